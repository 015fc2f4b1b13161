"""Where the journal lies, and who may read it."""

import os
import stat

import pytest

from xz_magics.errors import JournalError
from xz_magics.observers.journal.placing import NAME, NETWORK, make_file, network_file_system, place_journal


def local(_):
    return None


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A home and a folder for what is temporary, both empty."""
    home, temp = tmp_path / "home", tmp_path / "temp"
    home.mkdir()
    temp.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(temp))
    return home, temp


def test_it_lies_in_the_state_folder_of_the_user_which_is_closed_to_others(places):
    home, _ = places

    place = place_journal(environ={}, file_system=local)

    assert place.file == home / ".local/state/xz_magics" / NAME
    assert (place.shared, place.note) == (False, None)
    assert stat.S_IMODE(place.file.parent.stat().st_mode) == 0o700


def test_the_environment_names_another_folder(tmp_path):
    place = place_journal(environ={"XZ_MAGICS_STATE": str(tmp_path / "mine")}, file_system=local)

    assert place.file == tmp_path / "mine" / NAME


@pytest.mark.parametrize("kind", sorted(set(NETWORK.values())))
def test_a_home_on_a_network_gives_way_to_a_folder_of_this_machine_with_one_line(places, kind):
    home, temp = places

    place = place_journal(environ={}, file_system=lambda folder: kind if folder.is_relative_to(home) else None)

    assert place.file == temp / f"xz_magics-{os.geteuid()}" / NAME
    assert not place.shared
    assert f"is on a network ({kind})" in place.note
    assert "\n" not in place.note
    assert stat.S_IMODE(place.file.parent.stat().st_mode) == 0o700


def test_the_folder_of_the_login_comes_before_the_temporary_one(places, tmp_path):
    home, _ = places

    place = place_journal(
        environ={"XDG_RUNTIME_DIR": str(tmp_path)},
        file_system=lambda folder: "nfs" if folder.is_relative_to(home) else None,
    )

    assert place.file == tmp_path / "xz_magics" / NAME


def test_where_everything_is_on_a_network_the_log_is_not_shared_between_processes(places):
    home, _ = places

    place = place_journal(environ={}, file_system=lambda _: "nfs")

    assert place.shared
    assert place.file.is_relative_to(home)
    assert "network" in place.note


def test_a_folder_on_a_network_that_is_named_is_taken_with_a_line(tmp_path):
    place = place_journal(tmp_path / "named", file_system=lambda _: "lustre")

    assert place.shared
    assert place.file == tmp_path / "named" / NAME
    assert "slow" in place.note


def test_where_the_home_cannot_be_written_it_lies_elsewhere_with_one_line(places):
    home, temp = places
    (home / ".local").write_text("a file where a folder is wanted")

    place = place_journal(environ={}, file_system=local)

    assert place.file.is_relative_to(temp)
    assert "cannot be made" in place.note
    assert "XZ_MAGICS_STATE" in place.note


def test_a_folder_in_which_others_can_write_is_not_taken(places):
    _, temp = places
    theirs = temp / f"xz_magics-{os.geteuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)

    with pytest.raises(JournalError) as caught:
        place_journal(theirs, environ={}, file_system=local)

    assert f"others can write in {theirs}" in caught.value.message
    assert "XZ_MAGICS_STATE" in caught.value.hint
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o777


def test_the_file_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        make_file(tmp_path / "new")
    finally:
        os.umask(before)
    (tmp_path / "old").touch(mode=0o644)
    make_file(tmp_path / "old")

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")] == [0o600, 0o600]


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("dear")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(JournalError, match="is no file of yours"):
        make_file(tmp_path / "link")

    assert (tmp_path / "target").read_text() == "dear"


def test_a_disk_of_this_machine_is_no_network(tmp_path):
    assert network_file_system(tmp_path) is None
