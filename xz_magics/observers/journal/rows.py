"""Runs, events and answers as rows of the journal's tables: the statements that write and read them."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xz_magics.errors import JournalError, XzMagicsError
from xz_magics.events import CallIntended, RetryScheduled, RunEnded, Stamped, TaskEnded, TurnEnded, from_json
from xz_magics.observers.journal.keys import AnswerRef, Origin, Sent, sum_if_all_known
from xz_magics.observers.journal.owners import is_alive
from xz_magics.observers.journal.store import Connection, Row
from xz_magics.observers.journal.tables import COLUMNS
from xz_magics.records import Turn, known_sum

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
class Unknown:
    """A task that was sent and whose end nobody has seen: the most that it may have used and cost; None: no price.

    `sent_at` in seconds since the epoch; of the call that is open.
    """

    label: str
    calls: int
    most_tokens: int
    most_cost_usd: float | None
    sent_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where a run comes from, as far as it is known: the page's id of its cell, its work, its notebook."""

    cell: str | None = None
    spec_hash: str | None = None
    notebook: str | None = None


class Mark(NamedTuple):
    """What is told of a call's intent, or of an answer that may serve again, beside its key; as in AnswerRef.

    Of an intent, the origin is what it sends once more.
    """

    under: Sequence[str] | None = None
    origin_run: str | None = None
    origin_label: str | None = None
    answered_at: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None

    @property
    def body(self) -> str | None:
        known = {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}
        return json.dumps(known) if known else None

    @property
    def origin(self) -> Origin | None:
        return None if self.origin_run is None or self.origin_label is None else (self.origin_run, self.origin_label)

    @staticmethod
    def of(body: str | None) -> "Mark":
        return UNMARKED if body is None else Mark(**json.loads(body))


UNMARKED = Mark()
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
    return next((stamped.event.reason for stamped in _read(run, rows) if isinstance(stamped.event, RunEnded)), None)


def has_begun(connection: Connection, run: str) -> bool:
    """Whether anything was sent or answered in it."""
    looks = "SELECT EXISTS (SELECT 1 FROM events WHERE run = ? AND (kind = 'CallIntended' OR key IS NOT NULL))"
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
        for key, run, label, number, at, body in connection.execute(ANSWERS.format(", ".join("?" * len(some))), some):
            mark = Mark.of(body)
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
                under=tuple(mark.under or ()),
            )


def sent_of(connection: Connection, runs: Sequence[str]) -> list[Sent]:
    """What some runs of one chain, the latest first, have sent and nobody has seen the end of.

    Where a delegated task is among them, it is the task as written that led to it. Left out is what was sent again,
    by a run that resumed it or by one that began the cell anew.
    """
    found: list[Sent] = []
    resent: set[Origin] = set()
    asked: set[tuple[str, str]] = set()
    for run in runs:
        rows = connection.execute(
            "SELECT label, key, mark FROM events WHERE run = ? AND kind = 'CallIntended'", (run,)
        ).fetchall()
        keys = {label: key for label, key, _ in rows}
        marks = {label: Mark.of(body) for label, _, body in rows if body is not None}
        tops = {label: mark.under[0] for label, mark in marks.items() if mark.under}
        resent |= {mark.origin for mark in marks.values() if mark.origin is not None}
        tops_unknown: dict[str, list[Unknown]] = {}
        for unknown in unknowns_of(connection, run):
            tops_unknown.setdefault(tops.get(unknown.label, unknown.label), []).append(unknown)
        found += [
            _sent(run, label, key, unknowns)
            for label, unknowns in tops_unknown.items()
            if (key := keys.get(label)) is not None and (key, label) not in asked
        ]
        asked |= {(key, label) for label, key in keys.items() if key is not None}
    return [sent for sent in found if sent.origin not in resent]


def unknowns_of(connection: Connection, run: str) -> list[Unknown]:
    """Of one run; of one that goes on: what is under way."""
    rows = connection.execute(
        """
        SELECT number, at, body FROM events
        WHERE run = ?1 AND kind IN ('CallIntended', 'RetryScheduled', 'TurnEnded') AND label NOT IN
            (SELECT label FROM events WHERE run = ?1 AND kind = 'TaskEnded' AND label IS NOT NULL)
        ORDER BY number
        """,
        (run,),
    )
    return unknowns_among(_read(run, rows))


def _read(run: str, rows: Iterable[tuple[int, float, str]]) -> Iterator[Stamped]:
    """What another program has written among them stands in nobody's way."""
    for number, at, body in rows:
        try:
            yield Stamped(run=run, number=number, at=at, event=from_json(json.loads(body)))
        except (ValueError, TypeError, KeyError, XzMagicsError):
            logger.exception("event %d of run %s cannot be read", number, run)


def unknowns_among(events: Iterable[Stamped]) -> list[Unknown]:
    """In the order in which they were first sent. A turn that ended counts as it was charged, others at their worst."""
    turns: dict[str, dict[int, Turn]] = {}
    intended: dict[str, dict[tuple[int, int], CallIntended]] = {}
    opened_at: dict[str, float] = {}
    for stamped in events:
        match stamped.event:
            case CallIntended(label=label, turn=turn, attempt=attempt) as call:
                intended.setdefault(label, {})[turn, attempt] = call
                opened_at[label] = stamped.at
            case RetryScheduled(label=label):
                opened_at.pop(label, None)
            case TurnEnded(label=label, turn=turn):
                opened_at.pop(label, None)
                turns.setdefault(label, {})[turn.number] = turn
            case TaskEnded(label=label):
                opened_at.pop(label, None)
    return [
        _unknown(label, calls, turns.get(label, {}), opened_at[label])
        for label, calls in intended.items()
        if label in opened_at
    ]


def delete_run(connection: Connection, run: str) -> None:
    for table, name in (("events", "run"), ("runs", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {name} = ?", (run,))  # noqa: S608 - names of ours


def used_bytes(connection: Connection) -> int:
    """Without the pages that are free."""
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size * (pages - free))


def _unknown(
    label: str, calls: dict[tuple[int, int], CallIntended], ended: dict[int, Turn], opened_at: float
) -> Unknown:
    open_calls = [call for (turn, _), call in calls.items() if turn not in ended]
    open_cost = sum_if_all_known([call.worst_cost_usd for call in open_calls])
    spent = known_sum(turn.cost_usd for turn in ended.values()) or 0.0
    return Unknown(
        label=label,
        calls=len(calls),
        most_tokens=sum(call.bound_tokens for call in open_calls) + sum(t.total_tokens or 0 for t in ended.values()),
        most_cost_usd=None if open_cost is None else spent + open_cost,
        sent_at=opened_at,
    )


def _sent(run: str, label: str, key: str, unknowns: Sequence[Unknown]) -> Sent:
    """Of one task as written: what is unknown of it and of those that it led to."""
    return Sent(
        key=key,
        run=run,
        label=label,
        sent_at=max(unknown.sent_at for unknown in unknowns),
        most_tokens=sum(unknown.most_tokens for unknown in unknowns),
        most_cost_usd=sum_if_all_known([unknown.most_cost_usd for unknown in unknowns]),
    )


def _storable(value: Any) -> Any:
    """Half a pair of surrogates is no text for SQLite."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()
