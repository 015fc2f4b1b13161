"""The fold of events into the state of each task: live, final and re-read runs alike."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from xz_magics.events import (
    AccountPaused,
    Noted,
    RequestSent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    TextReceived,
    TurnEnded,
)
from xz_magics.records import STATUSES, Outcome, Status, Task, Turn

State = Literal["waiting", "running"] | Status


@dataclass(slots=True)
class Row:
    """One task as it goes. `state` is "waiting" or "running", then its status."""

    task: Task
    parent: str | None
    depth: int
    state: State = "waiting"
    parts: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    queued_s: float | None = None
    spawn_s: float | None = None
    started: bool = False
    started_at: float | None = None
    note: str = ""
    outcome: Outcome | None = None

    @property
    def text(self) -> str:
        """What has been answered so far."""
        return "".join(self.parts)


class Outcomes:
    """Called with each stamped event, in order. Rows stand in the order in which their tasks were planned."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.changed: set[str] = set()
        self.counts: Counter[State] = Counter()
        self.started_at: float | None = None
        self.duration_s: float | None = None
        self.stop_reason: str | None = None
        self.resumes_at: float | None = None
        self.note = "starting"
        self.tokens = 0
        self.cost_usd = 0.0

    def __call__(self, stamped: Stamped) -> None:  # noqa: C901 - one case per event is the plainest form
        match stamped.event:
            case Noted(text=text):
                self.note = text
            case RunStarted():
                self.started_at, self.note = stamped.at, ""
            case TaskPlanned(task=task, parent=parent, depth=depth):
                self.rows[task.label] = Row(task=task, parent=parent, depth=depth)
                self.counts["waiting"] += 1
            case TaskStarted(label=label, queued_s=queued_s):
                row = self._move(self._row(label), "running")
                row.started, row.queued_s = True, queued_s
            case RequestSent(label=label, spawn_s=spawn_s):
                row = self._row(label)
                row.parts.clear()
                row.note = ""
                if row.started_at is None:
                    row.started_at, row.spawn_s = stamped.at, spawn_s
            case TextReceived(label=label, text=text):
                self._row(label).parts.append(text)
            case RetryScheduled(label=label, error_type=error_type, delay_s=delay_s):
                self._row(label).note = f"{error_type}: tries again in {delay_s:.1f} s"
            case AccountPaused(delay_s=delay_s):
                self.resumes_at = stamped.at + delay_s
            case TurnEnded(label=label, turn=turn):
                self._row(label).turns.append(turn)
                self.tokens += turn.total_tokens or 0
                self.cost_usd += turn.cost_usd or 0.0
            case TaskEnded(label=label) as ended:
                self._end(self._row(label), ended)
            case RunEnded(duration_s=duration_s, reason=reason):
                self.duration_s, self.stop_reason = duration_s, reason

    def all(self) -> list[Outcome]:
        """The outcomes that there are, nested subagents too."""
        return [row.outcome for row in self.rows.values() if row.outcome is not None]

    def roots(self) -> list[Outcome]:
        """The outcomes of the tasks as written, in their order."""
        return [outcome for outcome in self.all() if outcome.depth == 0]

    def running(self) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.state == "running")

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in STATUSES)

    def _row(self, label: str) -> Row:
        self.changed.add(label)
        return self.rows[label]

    def _move(self, row: Row, state: State) -> Row:
        self.counts[row.state] -= 1
        self.counts[state] += 1
        row.state = state
        return row

    def _end(self, row: Row, ended: TaskEnded) -> None:
        self._move(row, ended.status)
        row.parts.clear()
        row.note = ""
        row.outcome = Outcome(
            index=row.task.index,
            label=row.task.label,
            status=ended.status,
            model=row.task.model,
            max_tokens=row.task.max_tokens,
            output=ended.output,
            error=ended.error,
            error_type=ended.error_type,
            parent=row.parent,
            depth=row.depth,
            turns=tuple(row.turns),
            queued_s=row.queued_s if row.queued_s is not None else ended.queued_s,
            spawn_s=row.spawn_s,
            duration_s=ended.duration_s,
            started_at=row.started_at,
            finish_reason=ended.finish_reason,
            work=ended.work,
            messages=ended.messages,
        )
