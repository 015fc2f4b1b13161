"""Runs, events and answers as rows of the journal's tables: the statements that write and read them."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from xz_magics.errors import JournalError, XzMagicsError
from xz_magics.events import RunEnded, Stamped, from_json
from xz_magics.observers.journal.keys import AnswerRef
from xz_magics.observers.journal.marks import Mark
from xz_magics.observers.journal.owners import is_alive
from xz_magics.observers.journal.store import Connection, Row
from xz_magics.observers.journal.tables import COLUMNS

logger = logging.getLogger("xz_magics")

KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One journalled run. Times in seconds since the epoch; `ended_at` None: it goes on, or its process died;
    then `heard_at` is the time of its latest event.

    `owner` is empty for one that was imported. `resumes`: the run whose answers it goes on from. `nested`: a tool of
    another run began it.
    """

    id: str
    started_at: float
    ended_at: float | None = None
    owner: str = ""
    notebook: str | None = None
    label: str | None = None
    tasks: int = 0
    spec_hash: str | None = None
    cell: str | None = None
    resumes: str | None = None
    nested: bool = False
    heard_at: float | None = field(default=None, compare=False)

    @property
    def goes_on(self) -> bool:
        return self.ended_at is None and is_alive(self.owner, time.time() - (self.heard_at or self.started_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where a run comes from, as far as it is known: the page's id of its cell, its work, its notebook."""

    cell: str | None = None
    spec_hash: str | None = None
    notebook: str | None = None


RUN = COLUMNS["runs"]
READ = f"""
    SELECT {", ".join(RUN)},
        CASE WHEN ended_at IS NULL THEN (SELECT at FROM events WHERE run = id ORDER BY number DESC LIMIT 1) END
    FROM runs
"""  # noqa: S608 - names of ours
ANSWERS = "SELECT key, run, label, number, at, mark FROM events WHERE kind = 'TaskEnded' AND key IN ({})"


def run_row(run: RunInfo) -> Row:
    return Row("runs", tuple(_storable(getattr(run, name)) for name in RUN))


def event_row(stamped: Stamped, body: str, key: str | None = None, mark: str | None = None) -> Row:
    """`body` is the event as text."""
    event = stamped.event
    label = _storable(getattr(event, "label", None))
    return Row("events", (stamped.run, stamped.number, stamped.at, type(event).__name__, label, body, key, mark))


def runs_of(connection: Connection, only: str | None = None) -> list[RunInfo]:
    """The latest first."""
    rows = connection.execute(
        f"{READ} WHERE ?1 IS NULL OR id = ?1 ORDER BY started_at DESC, rowid DESC",
        (only,),
    )
    return [_run_info(row) for row in rows]


def events_of(connection: Connection, run: str) -> Iterator[Stamped]:
    rows = connection.execute("SELECT number, at, body FROM events WHERE run = ? ORDER BY number", (run,))
    for number, at, body in rows:
        yield Stamped(run=run, number=number, at=at, event=from_json(json.loads(body)))


def runs_from(connection: Connection, origins: Origins, *, alike: bool) -> Iterator[RunInfo]:
    """Of the same cell, else with the same work, else (unless `alike`) of the same notebook, else all; latest first.

    Without those that a tool began, and those that were imported.
    """
    conditions = {"cell = ?": origins.cell, "spec_hash = ?": origins.spec_hash}
    if not alike:
        conditions |= {"notebook = ?": origins.notebook, "? IS NULL": None}
    for condition, value in conditions.items():
        rows = connection.execute(
            f"{READ} WHERE {condition} AND NOT nested AND owner != '' ORDER BY started_at DESC, rowid DESC",
            (value,),
        )
        yield from map(_run_info, rows)


def _run_info(row: Sequence[Any]) -> RunInfo:
    return RunInfo(**dict(zip((*RUN, "heard_at"), row, strict=True)))


def reason_of(connection: Connection, run: str) -> str | None:
    """Why it ended before its tasks did; None: it did not, or it has no end."""
    rows = connection.execute(
        "SELECT number, at, body FROM events WHERE run = ? AND kind = 'RunEnded' ORDER BY number DESC LIMIT 1", (run,)
    )
    return next((stamped.event.reason for stamped in read_each(run, rows) if isinstance(stamped.event, RunEnded)), None)


def left_any_unsent(connection: Connection, run: str) -> bool:
    """Whether it skipped tasks, such as for a quota or because another failed."""
    looks = """
        SELECT EXISTS (
            SELECT 1 FROM events WHERE run = ? AND kind = 'TaskEnded' AND json_valid(body)
                AND json_extract(body, '$.status') = 'skipped'
        )
    """
    return bool(connection.execute(looks, (run,)).fetchone()[0])


def event_at(connection: Connection, run: str, number: int) -> Stamped:
    row = connection.execute("SELECT at, body FROM events WHERE run = ? AND number = ?", (run, number)).fetchone()
    if row is None:
        raise JournalError(f"event {number} of run {run} is no longer in the journal", "run the task again")
    return Stamped(run=run, number=number, at=row[0], event=from_json(json.loads(row[1])))


def answers_of(connection: Connection, keys: Sequence[str]) -> Iterator[AnswerRef]:
    """Those with these keys, in no order."""
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[begin : begin + KEYS_AT_ONCE]
        for key, run, label, number, at, text in connection.execute(ANSWERS.format(", ".join("?" * len(some))), some):
            if (mark := Mark.of(text)) is not None:
                yield AnswerRef(
                    key=key,
                    run=run,
                    label=label,
                    number=number,
                    ended_at=mark.answered_at or at,
                    tokens=mark.tokens,
                    cost_usd=mark.cost_usd,
                    origin_run=mark.origin_run,
                    origin_label=mark.origin_label,
                    under=mark.under,
                )


def read_each(run: str, rows: Iterable[tuple[int, float, str]]) -> Iterator[Stamped]:
    """What another program has written among them stands in nobody's way."""
    for number, at, body in rows:
        try:
            yield Stamped(run=run, number=number, at=at, event=from_json(json.loads(body)))
        except (ValueError, TypeError, KeyError, XzMagicsError):
            logger.exception("event %d of run %s cannot be read", number, run)


def delete_run(connection: Connection, run: str) -> None:
    for table, name in (("events", "run"), ("runs", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {name} = ?", (run,))  # noqa: S608 - names of ours


def used_bytes(connection: Connection) -> int:
    """Without the pages that are free."""
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size * (pages - free))


def _storable(value: Any) -> Any:
    """Half a pair of surrogates is no text for SQLite."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()
