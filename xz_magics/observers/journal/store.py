"""The journal's file: how it is opened and brought up to date, and how a group of records is committed."""

import logging
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from xz_magics.errors import JournalError
from xz_magics.observers.journal.placing import Place, alone, identity, make_file, move_aside, trouble_with
from xz_magics.observers.journal.tables import COLUMNS, MIGRATIONS

logger = logging.getLogger("xz_magics")

Connection = sqlite3.Connection


class Row(NamedTuple):
    """Of a table, in the order of its columns; of `ended`: when a run ended, and which."""

    table: str
    values: tuple[Any, ...]

    @property
    def run(self) -> str:
        return str(self.values[1 if self.table == "ended" else 0])


ROWS_AT_ONCE = 500
"""In one statement: in each, SQLite lets other threads go on, and then waits for up to 5 ms to have its turn again."""

BUSY_S = 2.0
CHECKED_BYTES = 32_000_000
"""A larger file is not read through at its opening; where it is damaged, that is met later."""

TROUBLES: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("its disk is full", "make room on it"),
    sqlite3.SQLITE_IOERR: ("its disk fails, or is full", "make room on it"),
    sqlite3.SQLITE_BUSY: (
        f"another program has kept it locked for {BUSY_S:g} s",
        "end that one, or set journal: off",
    ),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "run the cell again: by then it is moved aside"),
    sqlite3.SQLITE_NOTADB: ("it is no database", "run the cell again: by then it is moved aside"),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "give yourself the right to, or set journal: off"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "see its folder, or set journal: off"),
}
MISFITS = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    ValueError,
    OverflowError,
)
"""What a row brings about that does not fit its table."""

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
KEPT_IN_MEMORY = "what the run brings is in xz_magics.last: save it with .to_json()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`writable` False: a newer version wrote it. `note`: what a person should know, one line."""

    writable: bool
    note: str | None = None


def prepare_file(place: Place, *, checked_bytes: float = CHECKED_BYTES) -> Opened:
    """Makes the file or brings it up to date; a damaged one is moved aside. Raises JournalError. It may wait 2 s."""
    file = place.file
    with told_of(file), alone(file.parent, BUSY_S):
        if not file.exists():
            move_aside(file)  # another process may still use what is left of a file that was deleted
        make_file(file)
        try:
            return _up_to_date(place, checked_bytes)
        except sqlite3.DatabaseError as error:
            if _code(error) not in DAMAGED:
                raise
        aside = move_aside(file)
        make_file(file)
        opened = _up_to_date(place, checked_bytes)
        note = f"the journal was damaged: it is now {aside}, and a new one begins"
        return Opened(writable=opened.writable, note=note)


class Store:
    """The one connection that writes; used by one thread. It is opened when something is first committed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None
        self._runs: dict[str, bool] = {}  # and whether they are under way
        self._forgotten: list[Connection] = []

    def commit(self, group: Sequence[Row]) -> None:
        """All of them at once, on disk when this returns. Raises JournalError, and then none of them is there.

        One that cannot be written as such is left out, with a logged traceback; so is what comes of a run whose
        beginning is not there, for it was deleted. Where the file is gone or damaged, a new one begins.
        """
        with told_of(self._place.file):
            if self._connection is not None and identity(self._place.file) != self._file and self._lose():
                told = f"the journal {self._place.file} was moved or deleted"
                raise JournalError(told, f"run the cell again; {KEPT_IN_MEMORY}")
            connection = self._connection or self._open()
            try:
                insert(connection, group)
            except sqlite3.DatabaseError as error:
                if _code(error) in DAMAGED:
                    self._lose()
                raise
            self._runs |= {row.run: row.table == "runs" for row in group if row.table in {"runs", "ended"}}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """In a forked copy of the process. It is kept: closing it would disturb the original."""
        if self._connection is not None:
            self._forgotten.append(self._connection)
            self._connection = self._file = None

    def _open(self) -> Connection:
        if self._file is not None or not self._place.file.exists():  # it was lost
            if (trouble := trouble_with(self._place.file.parent)) is not None:
                raise JournalError(f"no journal is kept: {trouble}", KEPT_IN_MEMORY)
            note = prepare_file(self._place, checked_bytes=math.inf).note
            logger.warning("%s", note or f"a new journal begins: {self._place.file}")
        self._file = identity(self._place.file)
        self._connection = connect(self._place)
        return self._connection

    def _lose(self) -> bool:
        """Whether a run is under way that loses its beginning."""
        self.close()
        under_way = any(self._runs.values())
        self._runs.clear()
        return under_way


def connect(place: Place, *, read_only: bool = False) -> Connection:
    """To a file that `prepare_file` has made; each commit is on disk when it returns. sqlite3.Error is not mapped."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"{place.file.as_uri()}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        if not read_only:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # it holds for a file that is empty yet, before WAL
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if place.shared else 'WAL'}")
            connection.execute(f"PRAGMA synchronous = {'EXTRA' if place.shared else 'FULL'}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def reading_from(place: Place) -> Iterator[Connection]:
    with told_of(place.file):
        connection = connect(place, read_only=True)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def writing_to(place: Place) -> Iterator[Connection]:
    """One transaction on a connection of its own."""
    with told_of(place.file):
        connection = connect(place)
        try:
            with transaction(connection):
                yield connection
        finally:
            connection.close()


@contextmanager
def transaction(connection: Connection) -> Iterator[Connection]:
    """It has the right to write from its beginning: one that asks for it later is refused without any waiting.

    Within one, no other begins.
    """
    if connection.in_transaction:
        yield connection
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def told_of(file: Path) -> Iterator[None]:
    """Maps what SQLite and the system raise to JournalError."""
    try:
        yield
    except sqlite3.Error as error:
        why, mend = TROUBLES.get(_code(error), (str(error), "see its folder, or set journal: off"))
        raise JournalError(f"the journal {file} fails: {why}", f"{mend}; {KEPT_IN_MEMORY}") from error
    except OSError as error:
        raise JournalError(
            f"the journal {file} fails: {error.strerror}", "see its folder, or set journal: off"
        ) from error


def insert(connection: Connection, group: Sequence[Row]) -> None:
    """All of them at once. A row that does not fit its table is left out, with a logged traceback.

    So is an event of a run whose beginning is not there, for it was deleted. Most groups are one statement, which is a
    transaction of its own: at the end of each further one, the thread waits for its turn.
    """
    by_table = {table: [row.values for row in group if row.table == table] for table in (*COLUMNS, "ended")}
    pieces = [
        (table, by_table[table][begin : begin + ROWS_AT_ONCE])
        for table in COLUMNS
        for begin in range(0, len(by_table[table]), ROWS_AT_ONCE)
    ]
    is_atomic = len(pieces) == 1 and not by_table["ended"]
    with nullcontext() if is_atomic else transaction(connection):
        for table, rows in pieces:
            _insert(connection, table, rows)
        for values in by_table["ended"]:
            connection.execute("UPDATE runs SET ended_at = ? WHERE id = ?", values)


def _insert(connection: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """What is wrong with one row alone must not keep the others from being written."""
    try:
        connection.execute(_statement(table, len(rows)), [value for row in rows for value in row])
    except MISFITS:
        with transaction(connection):  # it fails where not a row is at fault, but the connection
            for row in rows:
                try:
                    connection.execute(_statement(table, 1), row)
                except MISFITS:
                    logger.exception("a row of the journal does not fit the table %s and is left out", table)


@cache
def _statement(table: str, rows: int) -> str:
    columns = COLUMNS[table]
    values = ", ".join([f"({', '.join('?' * len(columns))})"] * rows)
    begun = " WHERE column1 IN (SELECT id FROM runs)" if table == "events" else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM (VALUES {values}){begun}"  # noqa: S608 - names of ours


def _up_to_date(place: Place, checked_bytes: float) -> Opened:
    connection = connect(place)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            note = f"a newer version of xz_magics wrote {place.file}: it is only read, and nothing is added"
            return Opened(writable=False, note=note)
        if place.file.stat().st_size <= checked_bytes:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                damaged = sqlite3.DatabaseError(found)
                damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise damaged
        for number in range(version, len(MIGRATIONS)):
            with transaction(connection):
                for statement in MIGRATIONS[number].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
    finally:
        connection.close()
    return Opened(writable=True, note=place.note)


def _code(error: sqlite3.Error) -> int:
    """The primary code, without what is particular."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
