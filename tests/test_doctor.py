"""What `%subagents doctor` finds, and that it shows no secret and sends nothing."""

import asyncio
import os

import pytest

from xz_magics.magics import doctor

KEY = "sk-verysecret1234567890"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """A configuration, a cache and an environment of the test's own."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("XZ_MAGICS_MODEL", "XZ_MAGICS_GGUF", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XZ_MAGICS_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("XZ_MAGICS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.yaml").write_text("{}")


def row(check):
    frame = doctor.report()
    (found,) = frame[frame["check"] == check].to_dict("records")
    return found


def test_every_check_has_a_state_and_whatever_is_not_right_a_mend():
    frame = doctor.report()

    assert set(frame["state"]) <= {"ok", "warn", "missing"}
    assert (frame["found"] != "").all()
    assert (frame[frame["state"] != "ok"]["mend"] != "").all()
    assert (frame[frame["state"] == "ok"]["mend"] == "").all()
    assert frame["check"].is_unique


def test_keys_are_there_or_not_and_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{KEY}@proxy.example:3128")
    (tmp_path / "config.yaml").write_text(
        "endpoints: {mine: {wire: openai, base_url: 'https://a.org/v1', key_env: A_KEY}}"
    )

    frame = doctor.report()

    assert row("openai:")["state"] == "ok"
    assert row("mine:") == {
        "check": "mine:",
        "state": "missing",
        "found": "a.org, A_KEY is not set",
        "mend": "set A_KEY before Jupyter starts",
    }
    assert row("proxy")["found"] == "https by http://proxy.example:3128"
    assert KEY not in frame.to_string()


def test_a_server_on_this_machine_needs_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    assert row("openai:")["state"] == "ok"


def test_an_address_with_a_password_is_a_finding_that_does_not_show_it(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://user:{KEY}@a.org/v1")

    frame = doctor.report()

    assert row("keys")["state"] == "warn"
    assert KEY not in frame.to_string()


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("agent: {subagent: {max_concurent: 3}}", "unknown setting 'max_concurent'"),
        ("agent: [", "is no YAML"),
    ],
)
def test_a_configuration_that_is_wrong_is_one_finding_beside_all_others(tmp_path, written, found):
    (tmp_path / "config.yaml").write_text(written)

    wrong = row("configuration")

    assert wrong["state"] == "warn"
    assert found in wrong["found"]
    assert len(doctor.report()) > 15


def test_what_a_file_of_the_working_directory_may_not_set_is_told(monkeypatch, tmp_path):
    (tmp_path / "config.yaml").write_text("tools: {unsafe_local: true}")
    monkeypatch.chdir(tmp_path)

    assert "tools.unsafe_local may not be set by a file in the working directory" in row("configuration")["found"]


def test_a_proxy_of_another_kind_is_told(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")

    assert (row("proxy")["state"], row("proxy")["found"]) == ("warn", "all by socks5://127.0.0.1:1")


def test_the_older_nest_asyncio_is_told_where_it_does_harm(monkeypatch):
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    monkeypatch.delattr(asyncio, "_nest_asyncio2", raising=False)
    monkeypatch.setattr(doctor, "_version", {"ipykernel": "7.1.0"}.get)
    harmful = row("nest_asyncio")
    monkeypatch.setattr(doctor, "_version", {"ipykernel": "7.0.1"}.get)
    monkeypatch.setattr(doctor.sys, "version_info", (3, 13, 0))
    harmless = row("nest_asyncio")
    monkeypatch.setattr(asyncio, "_nest_asyncio2", object(), raising=False)

    assert (harmful["state"], harmless["state"]) == ("warn", "ok")
    assert "take the call out" in harmful["mend"]
    assert row("nest_asyncio")["found"] == "not applied"


def test_what_a_kernel_cannot_do_is_told_with_its_version(monkeypatch):
    pytest.importorskip("ipykernel", reason="pip install ipykernel")
    monkeypatch.setattr(doctor, "_version", {"ipykernel": "6.31.0"}.get)

    assert row("kernel")["state"] == "warn"
    assert row("anywidget")["mend"] == "pip install anywidget"


@pytest.mark.parametrize(("version", "before"), [("6.31.0", True), ("7.0.1", True), ("7.1.0", False), ("10.0", False)])
def test_versions_are_compared_as_numbers(version, before):
    assert doctor._is_before(version, 7, 1) is before


async def test_a_loop_that_runs_is_named_and_whether_it_can_be_entered_again():
    assert "_UnixSelectorEventLoop" in row("event loop")["found"]


def test_weights_that_are_not_there_are_told_with_the_command_that_fetches_them():
    found = row("local model")

    assert found["state"] == "missing"
    assert "python -m xz_magics fetch" in found["mend"] or "pip install" in found["found"]
    assert row("model")["state"] == "missing"


def test_a_cache_folder_that_is_not_there_yet_is_looked_for_in_what_is_above_it(tmp_path):
    assert row("cache folder")["found"].startswith(f"{tmp_path / 'cache'}, ")


def test_what_is_broken_is_a_finding_and_hides_no_other(monkeypatch):
    whole = set(doctor.report()["check"])
    monkeypatch.setenv("HTTPS_PROXY", "http://[bad")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://[worse")

    frame = doctor.report()

    assert len(set(frame["check"]) & whole) >= len(whole) - 2
    assert (frame["state"] != "ok").any()
    assert (frame[frame["state"] != "ok"]["mend"] != "").all()


def test_a_working_directory_that_is_gone_is_no_end_of_it(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert len(doctor.report()) > 5
