"""What `%subagents doctor` finds, and that it shows no secret and sends nothing."""

import asyncio
import os
import re
import sqlite3

import pytest

import xz_magics
from xz_magics.config import changed
from xz_magics.magics import doctor

KEY = "sk-verysecret1234567890"


@pytest.fixture(autouse=True)
def surroundings(session, monkeypatch, tmp_path):
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


def test_where_the_journal_lies_and_how_much_is_in_it_is_told(tmp_path):
    before = row("journal")
    xz_magics.run_sync(["one", "two"], model="scripted:")
    after = row("journal")

    file = tmp_path / "state" / "journal.db"
    assert before["state"] == after["state"] == "ok"
    assert re.fullmatch(rf"{re.escape(str(file))}, 0\.\d MB, 0 runs", before["found"])
    assert re.fullmatch(rf"{re.escape(str(file))}, 0\.\d MB, 1 run", after["found"])


@pytest.mark.parametrize(
    ("mode", "found"), [("off", "off: of runs nothing is kept on disk"), ("hashes", "hashes in place of texts")]
)
def test_what_the_journal_does_not_keep_is_told(tmp_path, mode, found):
    (tmp_path / "config.yaml").write_text(f"agent: {{subagent: {{journal: {mode}}}}}")

    told = row("journal")

    assert told["state"] == "ok"
    assert told["found"].endswith(found)
    assert (tmp_path / "state" / "journal.db").exists() == (mode != "off")


def test_a_folder_that_others_can_write_is_told_with_the_one_in_its_place(monkeypatch, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))

    told = row("journal")

    assert told["state"] == "warn"
    assert f"others can write in {tmp_path / 'state'}: the journal is {tmp_path / 'own'}" in told["found"]
    assert told["mend"].endswith("XZ_MAGICS_STATE")


def test_a_damaged_journal_is_told_with_where_it_is_now(tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "journal.db").write_bytes(b"no database" * 1000)

    told = row("journal")

    assert told["state"] == "warn"
    assert "the journal was damaged: it is now" in told["found"]
    assert told["mend"] == "nothing: what is moved aside may be deleted"


def test_a_newer_journal_is_told_with_the_update_that_writes_it(session, tmp_path):
    session.journal.close()
    del session.journal
    with sqlite3.connect(tmp_path / "state" / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    told = row("journal")

    assert told["state"] == "warn"
    assert "a newer version of xz_magics wrote" in told["found"]
    assert told["mend"].startswith("update xz_magics")


def test_a_journal_that_cannot_be_written_now_is_told_with_its_mend(session):
    other = sqlite3.connect(session.journal.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    xz_magics.run_sync(["one"], model="scripted:")

    told = row("journal")
    other.close()

    assert told["state"] == "warn"
    assert told["found"].endswith("another program has kept it locked for 2 s")
    assert told["mend"].startswith("end that one, or set journal: off")


def test_a_day_and_a_week_that_are_limited_are_told_as_they_stand(session):
    unlimited = row("budgets")["found"]
    limits = {"daily_max_executions": 2, "weekly_max_tokens": 10_000}
    session.settings = changed(session.settings, limits, "here")
    xz_magics.run_sync(["one"], model="scripted:")
    limited = row("budgets")

    assert unlimited == "no limit of a day or a week is set"
    assert limited["state"] == "ok"
    assert "day executions: 1 of 2 used, 1 left; week tokens: " in limited["found"]
    assert limited["found"].endswith("(days of UTC)")


def test_a_ledger_that_is_far_ahead_of_the_clock_is_told_with_its_mend(session, tmp_path):
    session.budgets.standing()
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as connection:
        connection.execute("UPDATE budgets SET period = 'day:2999-01-01' WHERE period LIKE 'day:%'")
    connection.close()

    told = row("budgets")

    assert told["state"] == "warn"
    assert told["found"] == "the ledger counts for day 2999-01-01, far ahead of the clock"
    assert told["mend"] == "set the clock right, or %subagents quota --clock-is-right"


def test_a_ledger_that_cannot_be_written_is_told_where_it_is_needed(tmp_path):
    (tmp_path / "state" / "ledger.db").mkdir(parents=True, mode=0o700)
    (tmp_path / "config.yaml").write_text("agent: {subagent: {daily_max_cost: 2}}")

    told = row("budgets")

    assert told["state"] == "warn"
    assert "the limits of day and week cannot be kept" in told["found"]
    assert told["mend"]


def test_what_serves_metrics_is_told_and_how_to_get_it(session, monkeypatch):
    pytest.importorskip("prometheus_client", reason='pip install "xz-magics[prometheus]"')
    url = session.exposition.serve(0)
    served = row("prometheus_client")
    monkeypatch.setattr(doctor, "_version", {}.get)

    assert served["found"].endswith(f", serves {url}")
    assert row("prometheus_client")["mend"] == 'pip install "xz-magics[prometheus]"'
