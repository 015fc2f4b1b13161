"""What the journalled runs of a day and a week cost, by tag, model and notebook: it alone asks the events for it."""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xz_magics.errors import JournalError
from xz_magics.observers.journal.placing import Place
from xz_magics.observers.journal.store import Connection, reading_from
from xz_magics.records import known_sum

RUNS = "SELECT id, notebook FROM runs WHERE owner <> '' AND (ended_at IS NULL OR ended_at >= ?)"
"""Those that came in a file from elsewhere have no owner."""

PLANNED = """
SELECT json_extract(body, '$.task.label'), json_extract(body, '$.task.model'), json_extract(body, '$.task.purpose'),
    json_extract(body, '$.parent'), json_quote(json_extract(body, '$.task.tags'))
FROM events WHERE run = ? AND kind = 'TaskPlanned' AND json_valid(body)
"""
SPENT = """
SELECT label, at >= :day_at, sum(coalesce(tokens_in + tokens_out, tokens_in, tokens_out)), sum(cost),
    count(*) - count(cost)
FROM (
    SELECT label, at, json_extract(body, '$.turn.input_tokens') AS tokens_in,
        json_extract(body, '$.turn.output_tokens') AS tokens_out,
        json_extract(body, '$.turn.cost_usd') AS cost
    FROM events WHERE run = :run AND kind = 'TurnEnded' AND at >= :week_at AND json_valid(body)
) GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What the turns of one tag, model or notebook came to, in the day and in the week; None: unknown.

    `unpriced` are the turns of the week whose price is unknown, and which the costs do not hold.
    """

    by: str
    value: str | None
    day_tokens: int | None
    day_usd: float | None
    week_tokens: int | None
    week_usd: float | None
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    model: str | None
    tags: tuple[str, ...]
    led_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    today: bool
    tokens: int | None
    usd: float | None
    unpriced: int


LONGEST_S = 2.0
"""So long a kernel may be held up to look at it."""

STEPS = 1_000
"""After so many of SQLite's it looks at the time."""

BY = ("tag", "model", "notebook")
UNKNOWN = _Planned(model=None, tags=(), led_by=None)


def spending(file: Path, *, day_at: float, week_at: float, longest_s: float = LONGEST_S) -> list[Spending]:
    """Since the day and the week began, in seconds since the epoch; of each kind, the dearest first.

    What a nested subagent spent counts for the tags of the task that led to it; a task with two tags counts for both.
    Raises JournalError where the file cannot be read, or not in time.
    """
    groups: dict[tuple[str, str | None], list[_Spent]] = {}
    with reading_from(Place(file=file)) as connection, _bounded(connection, longest_s):
        # A label may hold half a pair of surrogates, which is text for JSON and none for SQLite.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for run, notebook in connection.execute(RUNS, (week_at,)).fetchall():
            planned = _planned(connection, run)
            values = {"run": run, "day_at": day_at, "week_at": week_at}
            for label, *spent in connection.execute(SPENT, values):
                one = _Spent(**dict(zip(_Spent.__slots__, spent, strict=True)))
                for group in _groups(planned, label, notebook):
                    groups.setdefault(group, []).append(one)
    found = [_sums(by, value, spent) for (by, value), spent in groups.items()]
    told = {one.by for one in found if one.value is not None}
    return sorted((one for one in found if one.by in told), key=_dearest)


@contextmanager
def _bounded(connection: Connection, longest_s: float) -> Iterator[None]:
    until = time.monotonic() + longest_s
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        told = f"to read what its runs spent takes longer than {longest_s:g} s"
        raise JournalError(told, "%subagents costs has the runs of this kernel") from error


def _planned(connection: Connection, run: str) -> dict[str, _Planned]:
    return {
        label: _Planned(model=model, tags=_tags(tags), led_by=parent if purpose == "task" else None)
        for label, model, purpose, parent, tags in connection.execute(PLANNED, (run,))
    }


def _tags(text: str | None) -> tuple[str, ...]:
    tags = json.loads(text or "[]")
    return tuple(map(str, tags)) if isinstance(tags, list) else ()


def _groups(planned: Mapping[str, _Planned], label: str, notebook: str | None) -> Iterator[tuple[str, str | None]]:
    task = root = planned.get(label, UNKNOWN)
    for _ in planned:  # and not for ever, whatever the file holds
        if root.led_by is None:
            break
        root = planned.get(root.led_by, UNKNOWN)
    for tag in dict.fromkeys(root.tags) or (None,):
        yield "tag", tag
    yield "model", task.model
    yield "notebook", notebook


def _sums(by: str, value: str | None, spent: list[_Spent]) -> Spending:
    today = [one for one in spent if one.today]
    return Spending(
        by=by,
        value=value,
        day_tokens=known_sum(one.tokens for one in today) if today else 0,
        day_usd=known_sum(one.usd for one in today) if today else 0.0,
        week_tokens=known_sum(one.tokens for one in spent),
        week_usd=known_sum(one.usd for one in spent),
        unpriced=sum(one.unpriced for one in spent),
    )


def _dearest(one: Spending) -> tuple[int, float, int, str]:
    return BY.index(one.by), -(one.week_usd or 0), -(one.week_tokens or 0), one.value or ""
