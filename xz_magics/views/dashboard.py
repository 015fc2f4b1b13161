"""What a live page is told of a run, in small messages: it alone knows what the page has been told already."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

from xz_magics.outcomes import STATES, Row, State
from xz_magics.records import LimitUse
from xz_magics.views.detail import json_size, row_detail, row_line, short
from xz_magics.views.progress import time_left_s, waiting_words
from xz_magics.views.projection import Projection
from xz_magics.views.watched import Watched
from xz_magics.views.wording import (
    cost_words,
    limit_name,
    limit_shares,
    limit_words,
    status_words,
    tokens_words,
)

logger = logging.getLogger("xz_magics")

Message = dict[str, Any]

FLUSH_BYTES = 10_000
FRAME_BYTES, ROW_BYTES = 120, 16
"""What a message, and a row in it, take beside what they tell."""
ALONE_AFTER_S = 1.0
"""Head and bars go with the rows; where no row changes, they go alone, and no more often than this."""
DETAIL_AFTER_S = 1.0
ESTIMATE_AFTER_S = 1.0
STOPPED = "stopped by you"
"""How the engine's reason begins where a person has pressed Stop."""

BLANK: Mapping[str, Any] = {
    "turns": 0, "tokens": "", "cost": "", "started_at": None, "duration_s": None, "note": "", "stopping": False,
    "depth": 0, "under": None, "text": "",
}  # fmt: skip
"""What the page takes a field to be before it is told."""


@dataclass(slots=True, eq=False)
class Line:
    """A row and what the page knows of it. `asked`: somebody wants it to stop."""

    n: int
    row: Row
    under: int | None
    told: Message
    asked: bool = False


class Dashboard:
    """Everything after a hello, and then only what changes. All of it is called on the loop of the run.

    A message tells rows for at most `FLUSH_BYTES`; the others wait for the next one, what became of a row before its
    text. `note` stands in the head once the run has started.
    """

    def __init__(self, watched: Watched, *, note: str = "", wall: Callable[[], float] = time.time) -> None:
        self._watched = watched
        self._outcomes = watched.outcomes
        self.note = note
        self._wall = wall
        self._lines: list[Line] = []
        self._places: dict[str, Line] = {}
        self._moved: dict[Line, None] = {}
        self._spoken: dict[Line, None] = {}
        self._opened: dict[Line, float] = {}
        self._changed_details: dict[Line, None] = {}
        self._projection = Projection()
        self._reset = True
        self._head: Message = {}
        self._told_at = 0.0
        self._failure = ""
        self._estimated_at = 0.0
        self._ends_at: float | None = None

    @property
    def over(self) -> bool:
        return self._outcomes.duration_s is not None or bool(self._failure)

    @property
    def more(self) -> bool:
        """Whether something waits that the last flush had no room for."""
        return bool(self._reset or self._moved or self._spoken or self._changed_details)

    def obey(self, wish: object) -> None:
        """What the page says: hello, stop, cancel, open, close. Anything else is none of this version's words."""
        match wish:
            case {"kind": "hello"}:
                self.begin_anew()
            case {"kind": "stop"}:
                self._watched.stop()
                self._ask_to_stop(self._lines)
            case {"kind": "cancel", "n": int(n)} if 0 <= n < len(self._lines):
                self._watched.cancel(self._lines[n].row.task.label)
                self._ask_to_stop([self._lines[n]])
            case {"kind": "open", "n": int(n)} if 0 <= n < len(self._lines):
                self._opened[self._lines[n]] = 0.0
                self._changed_details[self._lines[n]] = None
            case {"kind": "close", "n": int(n)} if 0 <= n < len(self._lines):
                self._opened.pop(self._lines[n], None)
                self._changed_details.pop(self._lines[n], None)
            case _:
                logger.debug("the page of run %s asks for something unknown: %r", self._watched.run_id, wish)

    def begin_anew(self) -> None:
        """A page that knows nothing is told everything."""
        self._reset = True
        self._opened.clear()
        self._changed_details.clear()
        for line in self._lines:
            line.told = dict(BLANK)
            self._moved[line] = self._spoken[line] = None

    def fail(self, error: str) -> None:
        """The run could not begin: the head says why."""
        self._failure = error.replace("\n", " – ")

    def flush(self) -> list[Message]:
        """The messages that are due now: one that draws, one with the whole of an opened row; often neither."""
        now = self._wall()
        self._take_changes()
        return [*self._drawn(now), *self._detailed(now)]

    def _take_changes(self) -> None:
        """The rows that are new, in the order planned, and those that have changed."""
        outcomes = self._outcomes
        for row in islice(outcomes.rows.values(), len(self._lines), None):
            under = None if row.parent is None else self._places[row.parent].n
            line = Line(n=len(self._lines), row=row, under=under, told=dict(BLANK))
            self._lines.append(line)
            self._places[row.task.label] = line
            self._projection.plan(row)
            self._mark([line])
        changed = sorted(map(self._places.__getitem__, outcomes.changed), key=attrgetter("n"))
        outcomes.changed.clear()
        for line in changed:
            self._projection.note(line.row)
        self._mark(changed)

    def _mark(self, lines: Iterable[Line]) -> None:
        """Who waits already keeps its place: so everybody's turn comes."""
        for line in lines:
            self._moved.setdefault(line)
            self._spoken.setdefault(line)
            if line in self._opened:
                self._changed_details.setdefault(line)

    def _ask_to_stop(self, lines: Iterable[Line]) -> None:
        """Who clicked looks at these rows, so they go first."""
        asked = [line for line in lines if line.row.outcome is None]
        for line in asked:
            line.asked = True
        self._moved = dict.fromkeys(asked) | self._moved

    def _drawn(self, now: float) -> list[Message]:
        uses = self._watched.uses()
        head: Message = {"head": self._headed(now, uses), "bars": _barred(uses)}
        rows = self._news(FLUSH_BYTES - FRAME_BYTES - json_size(head))
        alone = head != self._head and (self.over or now - self._told_at >= ALONE_AFTER_S)
        if not (rows or self._reset or alone):
            return []
        message: Message = {"kind": "draw", "rows": rows, "bars": head["bars"]}
        message["head"] = head["head"] | {"now": round(now, 3)}
        if self._reset:
            message["reset"] = True
        if self.over:
            message["over"] = True
        if (self._outcomes.stop_reason or "").startswith(STOPPED):
            message["stopped"] = True
        self._reset, self._head, self._told_at = False, head, now
        return [message]

    def _headed(self, now: float, uses: Sequence[LimitUse]) -> Message:
        outcomes = self._outcomes
        started_at = outcomes.started_at
        ended_at = None if started_at is None or outcomes.duration_s is None else started_at + outcomes.duration_s
        resumes_at = outcomes.resumes_at
        return {
            "run_id": self._watched.run_id,
            "note": short(self._failure or outcomes.note or waiting_words(self._watched) or self.note),
            "counts": _occurring(outcomes.counts),
            "nested": _occurring(outcomes.nested),
            "total": len(outcomes.written),
            "ended": outcomes.ended,
            "started_at": started_at,
            "ended_at": ended_at,
            "left_s": self._left_s(now),
            "tokens": outcomes.tokens,
            "reserved": next((round(use.reserved) for use in uses if use.name == "max_total_tokens"), 0),
            "cost": self._projection.words(
                outcomes.cost_usd, over=self.over, limit_usd=_run_limit(uses, "max_total_cost")
            ),
            "requests": outcomes.requests,
            "resumes_at": resumes_at if resumes_at is not None and resumes_at > now else None,
            "alerts": [short(alert) for alert in outcomes.alerts],
        }

    def _left_s(self, now: float) -> float | None:
        """A look at every task, so it is taken seldom: the page counts on by itself."""
        if now - self._estimated_at >= ESTIMATE_AFTER_S or self.over:
            left_s = time_left_s(self._outcomes, now)
            self._estimated_at, self._ends_at = now, None if left_s is None else now + left_s
        return None if self._ends_at is None else round(max(0.0, self._ends_at - now), 1)

    def _news(self, room: int) -> list[Message]:
        """Of the rows in turn what became of them, then their texts, as much as there is room for."""
        rows: dict[int, Message] = {}
        for waiting, part in ((self._moved, _standing), (self._spoken, _speaking)):
            handed = []
            for line in waiting:
                news = part(line)
                if news:
                    room -= json_size(news) + ROW_BYTES
                    if room < 0:
                        break
                    line.told |= news
                    rows.setdefault(line.n, {"n": line.n}).update(news)
                handed.append(line)
            for line in handed:
                del waiting[line]
            if waiting:
                break
        return list(rows.values())

    def _detailed(self, now: float) -> list[Message]:
        """One row's at a time: it may be long."""
        for line in self._changed_details:
            if now - self._opened[line] >= DETAIL_AFTER_S:
                del self._changed_details[line]
                self._opened[line] = now
                return [{"kind": "detail", "n": line.n, **row_detail(line.row)}]
        return []


def _standing(line: Line) -> Message:
    """What the page does not know of a row, but for its text. Looks closer only where something has changed."""
    row, outcome, told = line.row, line.row.outcome, line.told
    turns, stopping = len(row.turns), line.asked and outcome is None
    known = (told.get("state"), told["turns"], told["started_at"], told["note"], told["stopping"])
    if known == (row.state, turns, row.started_at, row.note, stopping):
        return {}
    same, sent = turns == told["turns"], turns > 0
    standing = {
        "state": row.state,
        "words": row.state if outcome is None else status_words(outcome),
        "turns": turns,
        "tokens": told["tokens"] if same else tokens_words(row.tokens, sent=sent, estimated=row.estimated),
        "cost": told["cost"] if same else cost_words(row.cost_usd, sent=sent, unpriced=row.unpriced),
        "started_at": row.started_at,
        "duration_s": None if outcome is None else outcome.duration_s,
        "note": short(row.note),
        "stopping": stopping,
    }
    if "label" not in told:
        task = row.task
        standing |= {"label": short(task.label), "model": short(task.model)}
        standing |= {"depth": row.depth, "under": line.under}
    return {name: value for name, value in standing.items() if told.get(name) != value}


def _speaking(line: Line) -> Message:
    text = row_line(line.row)
    return {} if text == line.told["text"] else {"text": text}


def _run_limit(uses: Sequence[LimitUse], name: str) -> float | None:
    return next((use.limit for use in uses if use.level == "run" and use.name == name), None)


def _barred(uses: Sequence[LimitUse]) -> list[Message]:
    bars = []
    for use in uses:
        shares = limit_shares(use)
        if shares is not None:
            used, reserved = (round(share, 3) for share in shares)
            bars.append({"name": limit_name(use), "words": limit_words(use), "used": used, "reserved": reserved})
    return bars


def _occurring(counts: Counter[State]) -> dict[State, int]:
    return {state: counts[state] for state in STATES if counts[state]}
