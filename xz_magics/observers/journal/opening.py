"""The ledger's file: it alone knows where that lies, how it is opened or replaced, and what its trouble is called."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xz_magics.errors import JournalError
from xz_magics.observers.journal.placing import (
    Place,
    alone,
    identity,
    make_file,
    move_aside,
    named_folder,
    network_file_system,
    state_folder,
    trouble_with,
)

NAME = "ledger.db"
VERSION = 1
PAUSE_S = 0.0015
ALONE_S = 2.0

TABLES = """
CREATE TABLE IF NOT EXISTS budgets (
    period TEXT NOT NULL, name TEXT NOT NULL, used INTEGER NOT NULL DEFAULT 0, reserved INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (period, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (
    id TEXT NOT NULL, owner TEXT NOT NULL, taken_at REAL NOT NULL,
    period TEXT NOT NULL, name TEXT NOT NULL, amount INTEGER NOT NULL,
    PRIMARY KEY (id, period, name)
) STRICT, WITHOUT ROWID;
"""

TROUBLES: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: ("another program keeps it locked", "end that program"),
    sqlite3.SQLITE_FULL: ("its disk is full", "make room on it"),
    sqlite3.SQLITE_IOERR: ("its disk fails, or is full", "make room on it"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "run the cell again: by then it is moved aside"),
    sqlite3.SQLITE_NOTADB: ("it is no database", "run the cell again: by then it is moved aside"),
    sqlite3.SQLITE_READONLY: ("you have no right to", "give yourself the right to"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "see its folder"),
}
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def place_ledger(
    *,
    environ: Mapping[str, str] = os.environ,
    file_system: Callable[[Path], str | None] = network_file_system,
) -> Place:
    """In the folder that is named, or the user's own, and nowhere else: in a second file limits would begin anew.

    Raises JournalError where that cannot be written, or others can write in it.
    """
    folder = named_folder(environ) or state_folder()
    trouble = "the home directory is unknown" if folder is None else trouble_with(folder)
    if folder is None or trouble:
        raise JournalError(
            f"no ledger is kept: {trouble}",
            "name a folder of your own in XZ_MAGICS_STATE, or take away the daily and weekly limits",
        )
    return Place(file=folder / NAME, shared=file_system(folder) is not None)


def open_file(file: Path, *, wal: bool, busy_s: float) -> tuple[sqlite3.Connection, str | None]:
    """With its tables, for its owner alone; and a line where the one that was there is damaged: it is moved aside."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make(file)
    found = identity(file)
    try:
        return _connect(file, wal=wal, busy_s=busy_s), None
    except sqlite3.DatabaseError as error:
        if code_of(error) not in DAMAGED:
            raise
    with alone(file.parent, ALONE_S):
        aside = move_aside(file) if identity(file) == found else None  # another process may have been faster
        make_file(file)
    told = "by another kernel" if aside is None else f"as {aside.name}"
    note = f"the ledger was damaged and a new one began: the old one was moved aside {told}"
    return _connect(file, wal=wal, busy_s=busy_s), note


@contextmanager
def told_of(file: Path) -> Iterator[None]:
    """Maps what SQLite and the system raise to JournalError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why, mend = str(error), "make room or give rights there"
        if isinstance(error, sqlite3.Error):
            why, mend = TROUBLES.get(code_of(error), (why, mend))
        hint = f"{mend}, or take away the daily and weekly limits"
        raise JournalError(f"the ledger {file} cannot be written: {why}", hint) from error


def persist(connection: sqlite3.Connection, statement: str, busy_s: float) -> None:
    """Tries until the others let it: SQLite's own wait asks the more seldom the longer it lasts, and starves."""
    give_up_at = time.monotonic() + busy_s
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(random.uniform(0, PAUSE_S))
        else:
            return


def code_of(error: sqlite3.Error) -> int:
    """The primary code, without what is particular."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _make(file: Path) -> None:
    if not file.exists():
        with alone(file.parent, ALONE_S):
            if not file.exists():
                move_aside(file)  # another process may still use what is left of a file that was deleted
            make_file(file)
    make_file(file)


def _connect(file: Path, *, wal: bool, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        persist(connection, f"PRAGMA journal_mode = {'wal' if wal else 'delete'}", busy_s)
        connection.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        persist(connection, "BEGIN IMMEDIATE", busy_s)
        _bring_up_to_date(connection, file)
        persist(connection, "COMMIT", busy_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, file: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(f"a newer version of xz_magics wrote the ledger {file}", "update this one")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        damaged = sqlite3.DatabaseError(found)
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged
    for statement in TABLES.split(";")[:-1]:
        connection.execute(statement)
    if version < VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")
