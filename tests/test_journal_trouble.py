"""Whole runs whose journal is in trouble: the results are there, one line tells of it, and nothing is sent unkept."""

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import time

import pytest

from xz_magics.api import run
from xz_magics.errors import RunStopped
from xz_magics.events import RequestSent, TaskEnded
from xz_magics.observers.journal import Journal, owners, placing, store
from xz_magics.observers.journal.placing import NAME
from xz_magics.observers.journal.tables import MIGRATIONS

SCRIPTS = """
scripts:
  paid: {steps: [{answer: paid, latency_s: 0.3}]}
  quick: {steps: [{answer: paid, latency_s: 0.02}]}
"""
LOCKED = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
for _ in sys.stdin:
    other.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    other.execute("ROLLBACK")
    print("free", flush=True)
"""


@pytest.fixture(autouse=True)
def scripts(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def other(folder):
    """Another process, which can lock the journal and let it go again."""
    Journal.open(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKED, folder / NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    class Other:
        def turn(self):
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

    yield Other()
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


class Heard:
    """What a run tells, and whatever is to happen once its first request has been sent."""

    def __init__(self, then=None):
        self.sent, self.ended, self.told = [], [], []
        self._then = then

    def observe(self, stamped):
        match stamped.event:
            case RequestSent(label=label):
                self.sent.append(label)
                if len(self.sent) == 1 and self._then is not None:
                    self._then()
            case TaskEnded(label=label):
                self.ended.append(label)

    @property
    def listening(self):
        return {"observers": [self.observe], "on_result": self.told.append}


@contextlib.asynccontextmanager
async def unblocked():
    """Meanwhile the loop is never held up for half of what SQLite may wait for a lock."""
    longest_s = 0.0

    async def look():
        nonlocal longest_s
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - began)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
    assert longest_s < 1.0


async def until(condition):
    latest = time.monotonic() + 20
    while not condition() and time.monotonic() < latest:
        await asyncio.sleep(0.1)
    assert condition()


def prompts(count):
    return {f"t{n}": f"Say {n}." for n in range(count)}


def lines(results):
    """What is said of the journal."""
    told = [line for line in results.warnings if "journal" in line]
    assert not [line for line in told if "\n" in line]
    return told


def journalled(folder, results):
    """The labels whose end is on disk."""
    return {s.event.label for s in Journal.open(folder).events(results.run_id) if isinstance(s.event, TaskEnded)}


def version(file):
    if not file.exists():
        return None
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def assert_only_what_was_sent_has_ended(results, heard):
    """What was under way is finished and kept; all else was never sent, and says why."""
    done = [outcome.label for outcome in results if outcome.success]
    assert done == heard.sent == ["t0", "t1"]
    assert [outcome.output for outcome in results][:2] == ["paid", "paid"]
    assert {outcome.status for outcome in results if not outcome.success} == {"skipped"}
    assert all("it was not sent: the journal" in outcome.error for outcome in results if not outcome.success)
    assert [outcome.label for outcome in heard.told] == heard.ended
    assert len(heard.ended) == len(results)


# In mid-run


async def test_a_disk_that_fills_up_ends_the_sending_and_what_runs_is_finished_and_kept(session, folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = Heard(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)))

    try:
        results = await run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    session.close()

    assert_only_what_was_sent_has_ended(results, heard)
    (line,) = lines(results)
    assert "full" in line
    assert "xz_magics.last" in line
    assert line in str(results)
    assert journalled(folder, results) == set(prompts(8))


async def test_a_run_that_begins_while_the_disk_is_full_goes_on_without_a_journal_and_the_one_after_it_has_one(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = Heard(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)))

    try:
        await run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening)
        during = await run(prompts(2), model="scripted:quick")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    after = await run(prompts(2), model="scripted:quick")

    assert [outcome.status for outcome in (*during, *after)] == ["done"] * 4
    (line,) = lines(during)
    assert "full" in line
    assert line.endswith("the run goes on without a journal")
    assert lines(after) == []
    assert journalled(folder, after) == set(prompts(2))


async def test_a_lock_of_another_program_for_a_second_is_waited_for_and_nobody_hears_of_it(other, folder):
    heard = Heard(lambda: (other.turn(), asyncio.get_running_loop().call_later(1, other.turn)))

    async with unblocked():
        results = await run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening)

    assert [outcome.status for outcome in results] == ["done"] * 8
    assert lines(results) == []
    assert journalled(folder, results) == set(prompts(8))


async def test_a_lock_that_stays_ends_the_sending_and_all_is_on_disk_once_it_goes(other, folder):
    heard = Heard(other.turn)

    async with unblocked():
        results = await run(prompts(40), model="scripted:paid", max_concurrent=2, **heard.listening)
        other.turn()
        await until(lambda: journalled(folder, results) == set(prompts(40)))

    assert_only_what_was_sent_has_ended(results, heard)
    (line,) = lines(results)
    assert "another program has kept it locked for 2 s" in line


async def test_under_a_lock_from_the_beginning_a_run_goes_on_without_a_journal(other):
    heard = Heard()
    other.turn()

    async with unblocked():
        results = await run(prompts(20), model="scripted:quick", max_concurrent=2, **heard.listening)
    other.turn()

    assert [outcome.status for outcome in results] == ["done"] * 20
    assert [outcome.label for outcome in heard.told] == heard.ended
    (line,) = lines(results)
    assert "another program has kept it locked for 2 s" in line
    assert line.endswith("the run goes on without a journal")


async def test_stop_waits_for_no_lock(session, other):
    """At most for the time in which the end of the run could still be kept."""
    heard = Heard(lambda: (other.turn(), asyncio.get_running_loop().call_later(0.2, session.last.cancel)))

    async with asyncio.timeout(8):
        with pytest.raises(RunStopped):
            await run(prompts(20), model="scripted:paid", max_concurrent=2, **heard.listening)
    other.turn()

    assert {outcome.status for outcome in session.last} == {"cancelled", "skipped"}
    assert heard.told == list(session.last)


async def test_what_was_not_sent_for_a_lock_is_not_sent_when_it_goes_in_mid_run(other):
    """A row says that it was not sent, and the next one was: nobody would know what to do."""
    heard = Heard(other.turn)

    def let_go(stamped):
        if isinstance(stamped.event, TaskEnded) and stamped.event.status == "skipped" and not freed:
            freed.append(other.turn())

    freed = []
    observers = [heard.observe, let_go]

    results = await run(prompts(8), model="scripted:paid", max_concurrent=2, observers=observers)

    assert freed == ["free"]
    assert heard.sent == ["t0", "t1"]
    assert len(lines(results)) == 1


async def test_a_journal_that_is_damaged_in_mid_run_ends_the_sending_and_the_next_run_has_a_new_one(
    folder, monkeypatch
):
    monkeypatch.setattr(store, "CHECKED_BYTES", 0)  # as if it were too large to be read through at each opening
    heard = Heard(lambda: (folder / NAME).write_bytes(os.urandom(50_000)))

    results = await run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening)
    await until(lambda: list(folder.glob("*damaged*.db")) and version(folder / NAME) == len(MIGRATIONS))
    again = await run(prompts(2), model="scripted:quick")

    assert_only_what_was_sent_has_ended(results, heard)
    (line,) = lines(results)
    assert "it is damaged; run the cell again: by then it is moved aside" in line
    assert journalled(folder, again) == set(prompts(2))


@pytest.mark.parametrize("how", ["moved", "deleted", "its folder deleted"])
async def test_a_journal_that_goes_away_ends_the_sending_and_says_so(how, folder, caplog):
    def take_away():
        match how:
            case "moved":
                (folder / NAME).rename(folder / "elsewhere.db")
            case "deleted":
                (folder / NAME).unlink()
            case _:
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()

    heard = Heard(take_away)

    results = await run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening)
    await until(lambda: version(folder / NAME) == len(MIGRATIONS))
    again = await run(prompts(2), model="scripted:quick")

    assert_only_what_was_sent_has_ended(results, heard)
    (line,) = lines(results)
    assert f"the journal {folder / NAME} was moved or deleted; run the cell again" in line
    assert lines(again) == []
    assert journalled(folder, again) == set(prompts(2))
    assert journalled(folder, results) == set()
    assert not [record for record in caplog.records if record.exc_info]


async def test_between_two_runs_a_journal_may_go_away_and_the_next_one_is_in_a_new_file(folder):
    await run(prompts(2), model="scripted:quick")
    (folder / NAME).unlink()

    results = await run(prompts(2), model="scripted:quick")

    assert [outcome.status for outcome in results] == ["done"] * 2
    assert lines(results) == []
    assert journalled(folder, results) == set(prompts(2))


async def test_all_runs_under_way_hear_of_a_journal_that_goes_away(folder):
    heard, other_one = Heard(), Heard((folder / NAME).unlink)
    later = asyncio.create_task(run(prompts(8), model="scripted:paid", max_concurrent=2, **heard.listening))
    await until(lambda: heard.sent)

    results = [await run(prompts(8), model="scripted:paid", max_concurrent=2, **other_one.listening), await later]

    for one in results:
        assert "skipped" in {outcome.status for outcome in one}
        assert "was moved or deleted" in lines(one)[0]


# on_result


async def test_on_result_hears_of_an_outcome_only_once_it_is_on_disk(folder):
    unkept = []

    def hear(outcome):
        with sqlite3.connect(folder / NAME) as connection:
            found = connection.execute(
                "SELECT count(*) FROM events WHERE kind = 'TaskEnded' AND label = ?", (outcome.label,)
            )
            if found.fetchone() != (1,):
                unkept.append(outcome.label)
            heard.append(outcome.label)

    heard = []
    results = await run(prompts(40), model="scripted:quick", max_concurrent=7, on_result=hear)

    assert unkept == []
    assert sorted(heard) == sorted(outcome.label for outcome in results)


async def test_on_result_waits_while_the_journal_is_locked_and_the_run_goes_on(other):
    order = []

    def free():
        order.append("free")
        other.turn()

    def lock():
        other.turn()
        asyncio.get_running_loop().call_later(1, free)

    heard = Heard(lock)

    results = await run(prompts(2), model="scripted:paid", observers=[heard.observe], on_result=order.append)

    assert order == ["free", *results]


async def test_without_a_journal_on_result_is_called_when_a_task_ends(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS + "\nagent: {subagent: {journal: off}}")
    order = []

    def observe(stamped):
        if isinstance(stamped.event, TaskEnded):
            order.append(stamped.event.label)

    await run(
        prompts(3), model="scripted:quick", observers=[observe], on_result=lambda outcome: order.append(outcome.label)
    )

    assert order[::2] == order[1::2]
    assert len(order) == 6


async def test_an_on_result_that_fails_hears_no_more_and_harms_nothing(caplog):
    heard = []

    def fail(outcome):
        heard.append(outcome.label)
        raise ZeroDivisionError

    results = await run(prompts(5), model="scripted:quick", on_result=fail)

    assert [outcome.status for outcome in results] == ["done"] * 5
    assert len(heard) == 1
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


# From the beginning


async def test_a_damaged_journal_is_moved_aside_with_one_line(folder):
    folder.mkdir(mode=0o700)
    (folder / NAME).write_bytes(os.urandom(20_000))

    results = await run(prompts(2), model="scripted:quick")

    (line,) = lines(results)
    assert line.startswith("the journal was damaged: it is now")
    assert len(list(folder.glob("*damaged*.db"))) == 1
    assert journalled(folder, results) == set(prompts(2))


async def test_under_a_journal_of_a_newer_version_a_run_goes_on_without_one(session, folder):
    await run(prompts(1), model="scripted:quick")
    session.close()
    with sqlite3.connect(folder / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    heard = Heard()

    results = await run(prompts(2), model="scripted:quick", **heard.listening)

    assert [outcome.status for outcome in results] == ["done"] * 2
    assert heard.told == list(results)
    (line,) = lines(results)
    assert "newer version" in line
    assert line.endswith("the run goes on without a journal")


async def test_the_journal_of_an_older_version_is_brought_up_to_date_and_loses_nothing(folder):
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / NAME) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("INSERT INTO runs VALUES ('old', ?, ?, 'nobody', NULL, 'x', 1, NULL)", (time.time(),) * 2)
        connection.execute(
            """INSERT INTO events VALUES ('old', 0, ?, 'Noted', NULL, '{"@": "Noted", "text": "x"}')""", (time.time(),)
        )
        connection.execute("PRAGMA user_version = 1")
    connection.close()

    results = await run(prompts(2), model="scripted:quick")

    journal = Journal.open(folder)
    with sqlite3.connect(folder / NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert lines(results) == []
    assert [run.id for run in journal.runs()] == [results.run_id, "old"]
    assert [stamped.event.text for stamped in journal.events("old")] == ["x"]


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home and a folder for what is temporary, of the test's own, and no other place for the journal."""
    monkeypatch.delenv("XZ_MAGICS_STATE")
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    return tmp_path / "home"


async def test_where_the_home_cannot_be_written_the_journal_lies_elsewhere_with_one_line(home, tmp_path):
    (home / ".local").write_text("a file where a folder is wanted")

    results = await run(prompts(2), model="scripted:quick")

    (line,) = lines(results)
    there = tmp_path / "temporary" / f"xz_magics-{os.geteuid()}"
    assert f"the journal is {there / NAME}" in line
    assert journalled(there, results) == set(prompts(2))


async def test_where_nothing_can_be_written_the_run_goes_on_without_a_journal(home, tmp_path):
    (home / ".local").write_text("a file where a folder is wanted")
    (tmp_path / "temporary").rmdir()
    (tmp_path / "temporary").write_text("another one")
    heard = Heard()

    results = await run(prompts(2), model="scripted:quick", **heard.listening)

    assert [outcome.status for outcome in results] == ["done"] * 2
    assert heard.told == list(results)
    (line,) = lines(results)
    assert "no journal is kept" in line
    assert line.endswith("the run goes on without a journal")


async def test_where_processes_cannot_be_seen_the_run_goes_on_without_a_journal(monkeypatch, tmp_path):
    monkeypatch.setattr(owners, "BOOT", tmp_path / "nowhere")

    results = await run(prompts(2), model="scripted:quick")

    assert [outcome.status for outcome in results] == ["done"] * 2
    (line,) = lines(results)
    assert "nowhere cannot be read" in line
    assert line.endswith("the run goes on without a journal")


async def test_a_home_on_a_network_gives_way_to_this_machine_with_one_line(home, tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "network_file_system", lambda folder: "nfs" if folder.is_relative_to(home) else None)

    results = await run(prompts(2), model="scripted:quick")

    (line,) = lines(results)
    there = tmp_path / "temporary" / f"xz_magics-{os.geteuid()}"
    assert "is on a network (nfs)" in line
    assert journalled(there, results) == set(prompts(2))


async def test_on_a_network_that_is_asked_for_by_name_no_log_is_shared(folder, monkeypatch):
    monkeypatch.setattr(placing, "network_file_system", lambda folder: "nfs")

    results = await run(prompts(2), model="scripted:quick")

    (line,) = lines(results)
    assert "slow there" in line
    assert [file.name for file in folder.iterdir() if file.name.startswith(NAME)] == [NAME]
    assert journalled(folder, results) == set(prompts(2))
