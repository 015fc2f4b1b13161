"""What history asks of the journal: an overview of its runs, and one run as far as it can be read."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xz_magics.errors import XzMagicsError
from xz_magics.events import Event, Stamped, from_json
from xz_magics.observers.journal.rows import RunInfo, runs_of
from xz_magics.observers.journal.store import Connection
from xz_magics.observers.journal.unseen import Unknown, unknowns_among, unknowns_of
from xz_magics.records import STATUSES, known_sum

logger = logging.getLogger("xz_magics")

SUMS = """
    SELECT run, kind, CASE kind
        WHEN 'TaskEnded' THEN json_extract(body, '$.status') || iif(json_type(body, '$.reused') IS NULL, '', ' reused')
        WHEN 'TurnEnded' THEN json_extract(body, '$.turn.input_tokens', '$.turn.output_tokens', '$.turn.cost_usd')
        ELSE json_extract(body, '$.duration_s', '$.reason') END
    FROM events WHERE kind IN ('TurnEnded', 'TaskEnded', 'RunEnded') AND json_valid(body)
"""
"""Added up here: SQLite would sort all rows for it first. A row that is no JSON stands in nobody's way."""

SINCE = " AND run IN (SELECT id FROM runs WHERE started_at >= ?)"
"""For all runs, going through the whole table is three times as fast."""

UNENDED = """
    SELECT id, SUM(planned) - SUM(began OR ended), SUM(began AND NOT ended), MAX(heard_at) - MIN(started_at)
    FROM (SELECT runs.id, started_at, MAX(events.at) AS heard_at, SUM(kind = 'TaskPlanned') AS planned,
                 MAX(kind = 'CallIntended') AS began, MAX(kind = 'TaskEnded') AS ended
          FROM runs JOIN events ON run = runs.id
          WHERE started_at >= ? AND ended_at IS NULL GROUP BY runs.id, events.label)
    GROUP BY id
"""
"""Of runs without an end: how many of their subagents had not begun, and not ended; and until when they were heard."""


@dataclass(slots=True, kw_only=True)
class Overview:
    """A run as its events add up: subagents by state, nested ones too; what they used; how long it took.

    `duration_s` of a run without an end: until the last that was heard of it. `reason`: why it ended before its tasks.
    """

    run: RunInfo
    states: Counter[str] = field(default_factory=Counter)
    tokens: int | None = None
    cost_usd: float | None = None
    duration_s: float | None = None
    reason: str | None = None

    def add(self, kind: str, told: Any) -> None:
        """What is no number, and no status of ours, another program has written."""
        match kind, (told or "").split() if kind == "TaskEnded" else json.loads(told):
            case "TaskEnded", [status, *reused] if status in STATUSES:
                self.states[status] += 1
                if reused:
                    self.tokens, self.cost_usd = known_sum([self.tokens, 0]), known_sum([self.cost_usd, 0.0])
            case "TurnEnded", [read, written, cost_usd]:
                self.tokens = known_sum([self.tokens, *(one for one in (read, written) if isinstance(one, int))])
                self.cost_usd = known_sum([self.cost_usd, cost_usd if isinstance(cost_usd, float | int) else None])
            case "RunEnded", [int() | float() as duration_s, reason]:
                self.duration_s, self.reason = duration_s, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRun:
    """`lost`: so many of its events cannot be read."""

    run: RunInfo
    events: Sequence[Stamped]
    lost: int

    @property
    def unknowns(self) -> list[Unknown]:
        return unknowns_among(iter(self.events))


def overviews(connection: Connection, since: float) -> list[Overview]:
    """Of the runs that began since then, the latest first."""
    found = {run.id: Overview(run=run) for run in runs_of(connection) if run.started_at >= since}
    for run, kind, told in connection.execute(SUMS + SINCE, (since,)) if since > 0 else connection.execute(SUMS):
        if run in found:
            found[run].add(kind, told)
    for run, waiting, running, duration_s in connection.execute(UNENDED, (since,)):
        one = found[run]
        if one.duration_s is None:
            unknown = 0 if one.run.goes_on else len(unknowns_of(connection, run))
            begun, unbegun = ("running", "waiting") if one.run.goes_on else ("cancelled", "skipped")
            one.states += Counter({"unknown": unknown, begun: running - unknown, unbegun: waiting})
            one.duration_s = duration_s
    return list(found.values())


def read_run(connection: Connection, run: str) -> ReadRun | None:
    """None: there is none of that id. An event that cannot be read is left out, with a logged traceback."""
    known = runs_of(connection, run)
    if not known:
        return None
    events, lost = [], 0
    rows = connection.execute("SELECT number, at, body FROM events WHERE run = ? ORDER BY number", (run,))
    for number, at, body in rows:
        try:
            event = from_json(json.loads(body))
        except (ValueError, TypeError, KeyError, RecursionError, XzMagicsError):
            logger.exception("event %d of run %s cannot be read", number, run)
            event = None
        if isinstance(event, Event):
            events.append(Stamped(run=run, number=number, at=at, event=event))
        else:
            lost += 1
    return ReadRun(run=known[0], events=events, lost=lost)
