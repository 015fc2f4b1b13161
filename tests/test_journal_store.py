"""The journal's file: groups, locks, full disks, damage and versions; always a real file."""

import asyncio
import gc
import json
import logging
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from xz_magics.errors import JournalError
from xz_magics.events import CallIntended, Noted, Stamped, TaskEnded, to_json
from xz_magics.observers.journal import About, AnswerRef, Journal, RunInfo, owners
from xz_magics.observers.journal.owners import this_owner
from xz_magics.observers.journal.placing import NAME, Place
from xz_magics.observers.journal.rows import ANSWERS, answers_of, event_row, run_row
from xz_magics.observers.journal.store import Row, Store, insert, prepare_file, reading_from, writing_to
from xz_magics.observers.journal.tables import MIGRATIONS
from xz_magics.observers.journal.unseen import sent_of
from xz_magics.observers.journal.writing import Writer


@pytest.fixture
def journal(tmp_path):
    journal = Journal.open(tmp_path / "state")
    yield journal
    journal.close()


def noted(number, text="x", run="r"):
    return Stamped(run=run, number=number, at=time.time(), event=Noted(text=text))


@contextmanager
def no_file_above(size_bytes):
    """What a full disk does: no file of this process grows beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def write(journal, *numbers, text="x"):
    observe = journal.observer("r")
    observe._begun = numbers[0] > 0
    for number in numbers:
        observe(noted(number, text))
    await journal.kept()


def numbers(journal):
    return [stamped.number for stamped in journal.events("r")]


async def test_what_was_kept_is_read_by_another_process(journal, tmp_path):
    await write(journal, 0, 1)

    code = f"from pathlib import Path; from xz_magics.observers.journal import Journal as J; print([s.event.text for s in J.open(Path({str(tmp_path / 'state')!r})).events('r')])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout

    assert told.strip() == "['x', 'x']"


async def test_all_files_of_the_journal_are_for_their_owner_alone(journal, tmp_path):
    await write(journal, 0)

    files = list((tmp_path / "state").iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_what_comes_while_a_group_is_committed_is_one_group():
    groups, free = [], threading.Event()

    def commit(group):
        groups.append(list(group))
        free.wait(10)

    writer = Writer(commit, close=lambda: None, forget=lambda: None)

    writer.write(0)
    first = asyncio.ensure_future(writer.kept())
    while not groups:
        await asyncio.sleep(0.001)
    for number in range(1, 100):
        writer.write(number)
    free.set()
    await asyncio.gather(first, writer.kept())
    writer.close()

    assert groups == [[0], list(range(1, 100))]


async def test_threads_may_write_and_loops_wait_at_the_same_time(journal):
    async def one(run):
        observe = journal.observer(run)
        for number in range(50):
            observe(noted(number, run=run))
            await journal.kept()

    threads = [threading.Thread(target=lambda run=run: asyncio.run(one(run))) for run in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [len(list(journal.events(run))) for run in "abcd"] == [50] * 4


async def test_a_full_disk_is_told_and_what_was_written_before_stays(journal, tmp_path):
    await write(journal, 0)
    full_bytes = (tmp_path / "state" / f"{NAME}-wal").stat().st_size

    with no_file_above(full_bytes), pytest.raises(JournalError) as caught:
        await write(journal, 1, text="long " * 5_000)

    assert "disk" in caught.value.message
    assert "make room" in caught.value.hint
    assert "xz_magics.last" in caught.value.hint
    assert numbers(journal) == [0]


async def test_once_there_is_room_again_nothing_is_missing(journal, tmp_path):
    await write(journal, 0)
    full_bytes = (tmp_path / "state" / f"{NAME}-wal").stat().st_size
    with no_file_above(full_bytes), pytest.raises(JournalError):
        await write(journal, 1, text="long " * 5_000)
    with pytest.raises(JournalError):
        await journal.kept()

    await write(journal, 2)

    assert numbers(journal) == [0, 1, 2]


async def test_what_could_not_be_written_is_tried_once_more_at_the_end(journal, tmp_path):
    await write(journal, 0)
    full_bytes = (tmp_path / "state" / f"{NAME}-wal").stat().st_size
    with no_file_above(full_bytes), pytest.raises(JournalError):
        await write(journal, 1, text="long " * 5_000)

    journal.close()

    assert numbers(journal) == [0, 1]


async def test_a_lock_of_another_program_is_waited_for_without_holding_up_the_loop(journal, tmp_path):
    other = sqlite3.connect(tmp_path / "state" / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    with pytest.raises(JournalError) as caught:
        await write(journal, 0)
    beating.cancel()
    other.execute("ROLLBACK")
    other.close()
    await write(journal, 1)

    assert "locked for 2 s" in caught.value.message
    assert beats > 20
    assert numbers(journal) == [0, 1]


async def test_a_journal_that_is_moved_away_is_not_written_in_secret(journal, tmp_path):
    await write(journal, 0)
    (tmp_path / "state" / NAME).rename(tmp_path / "state" / "gone")

    with pytest.raises(JournalError, match="was moved or deleted"):
        await write(journal, 1)


def test_a_record_that_cannot_be_written_is_left_out_and_logged(tmp_path, caplog):
    place = Place(file=tmp_path / NAME)
    prepare_file(place)
    store = Store(place)
    event = event_row(noted(1), "{}")
    half = Row("events", (*event_row(noted(2), "{}").values[:4], "\ud800", *event.values[5:]))
    run = run_row(RunInfo(id="r", started_at=1.0))

    store.commit([run])
    store.commit([event, event, half])
    store.close()

    with sqlite3.connect(place.file) as connection:
        assert connection.execute("SELECT number FROM events").fetchall() == [(1,)]
    assert len(caplog.records) == 2


def test_where_the_connection_is_at_fault_no_row_is_taken_for_written(tmp_path):
    place = Place(file=tmp_path / NAME)
    prepare_file(place)
    store = Store(place)
    store.commit([run_row(RunInfo(id="r", started_at=1.0))])
    store._connection.close()

    with pytest.raises(JournalError):
        store.commit([event_row(noted(1), "{}")])


@pytest.mark.parametrize("where", ["head", "middle", "all"])
async def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(tmp_path, where):
    journal = Journal.open(tmp_path)
    await write(journal, *range(200), text="some text " * 20)
    journal.close()
    raw = bytearray((tmp_path / NAME).read_bytes())
    begin, end = {"head": (0, 100), "middle": (8192, 20000), "all": (0, len(raw))}[where]
    raw[begin:end] = os.urandom(end - begin)
    (tmp_path / NAME).write_bytes(raw)

    journal = Journal.open(tmp_path)
    await write(journal, 0)
    journal.close()

    aside = [file for file in tmp_path.iterdir() if "damaged" in file.name]
    kept = [file.read_bytes()[begin:end] for file in aside if file.suffix == ".db"]
    assert [bytes_[100:] for bytes_ in kept] == [bytes(raw[begin:end][100:])]
    assert journal.note.startswith("the journal was damaged: it is now")
    assert "\n" not in journal.note
    assert numbers(journal) == [0]


async def test_the_file_of_a_newer_version_is_read_and_nothing_is_added(tmp_path):
    journal = Journal.open(tmp_path)
    await write(journal, 0)
    journal.close()
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()

    newer = Journal.open(tmp_path)

    assert "newer version" in newer.note
    assert not newer.writable
    assert numbers(newer) == [0]
    for refused in (
        lambda: newer.observer("r", About()),
        lambda: newer.import_(tmp_path / "run.jsonl"),
        lambda: newer.delete(["r"]),
        lambda: newer.purge(older_than_s=-1),
    ):
        with pytest.raises(JournalError, match="newer version") as caught:
            refused()
        assert "\n" not in caught.value.message
    assert numbers(newer) == [0]


async def test_a_newer_version_may_add_a_column_while_this_one_writes(journal, tmp_path):
    await write(journal, 0)
    with sqlite3.connect(tmp_path / "state" / NAME) as connection:
        for table in ("runs", "events"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN mood TEXT")
    connection.close()

    await write(journal, 1)
    journal.observer("another")(noted(0, run="another"))
    await journal.kept()

    assert numbers(journal) == [0, 1]
    assert {run.id for run in journal.runs()} == {"r", "another"}


async def test_what_comes_of_a_run_that_was_deleted_is_left_out(journal, tmp_path):
    await write(journal, 0)
    journal.delete(["r"])

    await write(journal, 1)

    assert numbers(journal) == []


async def test_after_its_end_nothing_is_promised(journal):
    await write(journal, 0)
    observe = journal.observer("another")
    journal.close()

    observe(noted(0, run="another"))

    for promise in (journal.kept, journal.settled):
        with pytest.raises(JournalError, match="was closed"):
            await promise()
    with pytest.raises(JournalError, match="was closed"):
        journal.check()


def test_a_journal_that_is_closed_can_go(tmp_path):
    journal = Journal.open(tmp_path)
    asyncio.run(write(journal, 0))
    gone = weakref.ref(journal._writer)

    journal.close()
    del journal
    gc.collect()

    assert gone() is None


async def test_before_a_run_what_could_not_be_written_is_tried_once_more(journal, tmp_path, caplog):
    await write(journal, 0)
    full_bytes = (tmp_path / "state" / f"{NAME}-wal").stat().st_size
    with no_file_above(full_bytes):
        with pytest.raises(JournalError):
            await write(journal, 1, text="long " * 5_000)
        with pytest.raises(JournalError, match="disk"):
            await asyncio.to_thread(journal.check)

    await asyncio.to_thread(journal.check)

    assert journal.trouble is None
    assert numbers(journal) == [0, 1]
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)]


def test_retention_spares_what_was_imported(tmp_path):
    journal = Journal.open(tmp_path)
    long_ago = time.time() - 1000
    with writing_to(Place(file=tmp_path / NAME)) as connection:
        store_rows = [
            run_row(RunInfo(id=name, started_at=long_ago, ended_at=long_ago, owner=owner))
            for name, owner in (("imported", ""), ("own", "somebody"))
        ]
        insert(connection, store_rows)

    deleted = journal.purge(older_than_s=100)

    assert deleted == 1
    assert [run.id for run in journal.runs()] == ["imported"]


@pytest.mark.parametrize(("silent_s", "goes_on"), [(10, True), (4000, False)])
def test_a_run_of_a_container_that_is_gone_is_dead_after_an_hour_without_a_sign(tmp_path, silent_s, goes_on):
    journal = Journal.open(tmp_path)
    boot, _, number, began = this_owner().split(" ")
    info = RunInfo(id="r", started_at=time.time() - 90_000, owner=f"{boot} pid:[1] {number} {began}")
    heard = event_row(replace(noted(0), at=time.time() - silent_s), '{"@": "Noted", "text": "x"}')
    with writing_to(Place(file=tmp_path / NAME)) as connection:
        insert(connection, [run_row(info), heard])

    (run,) = journal.runs()

    assert run.goes_on is goes_on
    assert journal.purge(older_than_s=0) == (not goes_on)


def test_where_processes_cannot_be_seen_a_journal_says_so_and_others_may_be_at_work(journal, monkeypatch, tmp_path):
    owner = this_owner()
    monkeypatch.setattr(owners, "BOOT", tmp_path / "nowhere")

    with pytest.raises(JournalError, match="nowhere cannot be read"):
        journal.check()
    assert owners.is_alive(owner)
    assert not owners.is_alive(owner, silent_s=4000)


async def test_the_file_of_an_older_version_is_brought_up_to_date(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path)
    await write(journal, 0)
    journal.close()
    more = [*MIGRATIONS, "ALTER TABLE runs ADD COLUMN mood TEXT; UPDATE runs SET mood = 'fine'"]
    monkeypatch.setattr("xz_magics.observers.journal.store.MIGRATIONS", more)

    Journal.open(tmp_path)

    with sqlite3.connect(tmp_path / NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(more),)
        assert connection.execute("SELECT id, mood FROM runs").fetchall() == [("r", "fine")]
    assert numbers(journal) == [0]


def test_what_an_older_version_asked_and_answered_is_found_by_this_one(tmp_path):
    place = Place(file=tmp_path / NAME)
    with closing(sqlite3.connect(place.file)) as connection, connection:
        connection.executescript(f"{MIGRATIONS[0]}; {MIGRATIONS[1]}; PRAGMA user_version = 2")
        connection.execute("INSERT INTO runs (id, started_at, owner, tasks) VALUES ('r', ?, 'o', 2)", [time.time()])
        intended = CallIntended(label="a", turn=1, attempt=1, bound_tokens=9)
        for number, event in enumerate((intended, replace(intended, label="b"), TaskEnded(label="a", status="done"))):
            row = ("r", number, 2.0 + number, type(event).__name__, event.label, json.dumps(to_json(event)))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute(
            "INSERT INTO asked VALUES ('r', 'a', 'ka', NULL, 'q', 'z'), ('r', 'b', 'kb', NULL, NULL, NULL)"
        )
        connection.execute("INSERT INTO answers VALUES ('ka', 'r', 'a', 2, 3.5, 7, 0.5, 'q', 'y', ?)", ['["t"]'])

    with closing(sqlite3.connect(place.file)) as older, older:
        Journal.open(tmp_path)
        older.execute("INSERT INTO events (run, number, at, kind, body) VALUES ('r', 3, 6.0, 'Noted', '{}')")
        older.execute("INSERT INTO asked VALUES ('r', 'late', 'kl', NULL, NULL, NULL)")

    with reading_from(place) as connection:
        found = list(answers_of(connection, ["ka", "kb"]))
        (sent,) = sent_of(connection, ["r"])
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {ANSWERS.format('?')}", ["ka"]).fetchall())
    ref = AnswerRef(key="ka", run="r", label="a", number=2, ended_at=3.5, tokens=7, cost_usd=0.5)
    assert found == [replace(ref, origin_run="q", origin_label="y", under=("t",))]
    assert (sent.key, sent.label, sent.most_tokens) == ("kb", "b", 9)
    assert "events_by_key" in plan


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    Journal.open(tmp_path)
    more = [*MIGRATIONS, "ALTER TABLE runs ADD COLUMN mood TEXT; DELETE FROM nowhere"]
    monkeypatch.setattr("xz_magics.observers.journal.store.MIGRATIONS", more)

    with pytest.raises(JournalError, match="nowhere"):
        Journal.open(tmp_path)

    with sqlite3.connect(tmp_path / NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert "mood" not in connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'runs'").fetchone()[0]


def test_processes_that_begin_at_once_make_one_file(tmp_path):
    code = f"from pathlib import Path; from xz_magics.observers.journal import Journal; print(Journal.open(Path({str(tmp_path)!r})).note)"
    begun = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]

    assert [process.communicate(timeout=60)[0].strip() for process in begun] == ["None"] * 4


async def test_on_a_network_each_commit_is_in_the_file_itself(tmp_path):
    place = Place(file=tmp_path / NAME, shared=True)
    journal = Journal(place, prepare_file(place))

    await write(journal, 0)
    journal.close()

    with sqlite3.connect(place.file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert numbers(journal) == [0]


async def test_a_forked_copy_of_the_process_writes_on_its_own(journal):
    await write(journal, 0)
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(write(journal, 1))
            os._exit(0)
        finally:
            os._exit(1)

    until = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    await write(journal, 2)

    assert ended == (child, 0)
    assert numbers(journal) == [0, 1, 2]


def test_the_end_of_the_process_waits_for_what_is_not_on_disk_yet(tmp_path):
    code = f"""
import time
from pathlib import Path
from xz_magics.events import Noted, Stamped
from xz_magics.observers.journal import Journal
observe = Journal.open(Path({str(tmp_path)!r})).observer("r")
for number in range(1000):
    observe(Stamped(run="r", number=number, at=time.time(), event=Noted(text="x")))
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)

    assert numbers(Journal.open(tmp_path)) == list(range(1000))
