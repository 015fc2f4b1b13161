"""What a run has sent and nobody has seen the end of: the most that it may have used and cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xz_magics.events import CallIntended, RetryScheduled, Stamped, TaskEnded, TurnEnded
from xz_magics.observers.journal.keys import Origin, Sent, sum_if_all_known
from xz_magics.observers.journal.marks import Mark
from xz_magics.observers.journal.rows import read_each
from xz_magics.observers.journal.store import Connection
from xz_magics.records import Turn, known_sum


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
        marks = {label: mark for label, _, text in rows if text is not None and (mark := Mark.of(text)) is not None}
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
    return unknowns_among(read_each(run, rows))


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
