"""The fold of events into the state of each task: live, final and re-read runs alike."""

from collections import Counter
from collections.abc import Iterator, Mapping
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
    ToolAnswered,
    ToolCalled,
    TurnEnded,
)
from xz_magics.records import STATUSES, Outcome, Status, Task, Turn, known_sum

State = Literal["waiting", "running"] | Status
TaskEvent = (
    TaskStarted | RequestSent | TextReceived | RetryScheduled | TurnEnded | ToolCalled | ToolAnswered | TaskEnded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A task that has not ended, as it stands now: `output` is what its present turn has answered so far.

    `note` says what it does meanwhile, such as "calls read_file". Tokens and cost are those of the turns that ended.
    """

    label: str
    status: State
    model: str
    output: str | None
    note: str
    parent: str | None
    depth: int
    turns: tuple[Turn, ...]
    started_at: float | None

    @property
    def success(self) -> bool:
        return False

    @property
    def total_tokens(self) -> int | None:
        return known_sum(turn.total_tokens for turn in self.turns)

    @property
    def cost_usd(self) -> float | None:
        return known_sum(turn.cost_usd for turn in self.turns)


@dataclass(slots=True)
class Row:
    """One task as it goes. `state` is "waiting" or "running", then its status.

    `calls` are the names of the tools that it waits for, by the call's id; `children` what it delegated.
    """

    task: Task
    parent: str | None
    depth: int
    state: State = "waiting"
    parts: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    calls: dict[str, str] = field(default_factory=dict)
    children: list["Row"] = field(default_factory=list)
    spawn_s: float | None = None
    started: bool = False
    started_at: float | None = None
    note: str = ""
    outcome: Outcome | None = None

    @property
    def text(self) -> str:
        """What the present turn has answered so far."""
        return "".join(self.parts)

    def progress(self) -> Progress:
        return Progress(
            label=self.task.label,
            status=self.state,
            model=self.task.model,
            output=self.text or None,
            note=self.note,
            parent=self.parent,
            depth=self.depth,
            turns=tuple(self.turns),
            started_at=self.started_at,
        )

    def with_nested(self) -> "Iterator[Row]":
        """This row, then each child with its own, in the order planned."""
        yield self
        for child in self.children:
            yield from child.with_nested()


class Outcomes:
    """Called with each stamped event, in order. It may be read from other threads meanwhile.

    `rows` holds every subagent by label, `written` the tasks as written, in their order. `counts` and `ended` speak of
    these, `nested` of the subagents that they led to, `tokens` and `cost_usd` of all.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.written: list[Row] = []
        self.changed: set[str] = set()
        self.counts: Counter[State] = Counter()
        self.nested: Counter[State] = Counter()
        self.started_at: float | None = None
        self.duration_s: float | None = None
        self.stop_reason: str | None = None
        self.resumes_at: float | None = None
        self.tool_faults: Counter[str] = Counter()
        self.note = "starting"
        self.tokens = 0
        self.cost_usd = 0.0

    def __call__(self, stamped: Stamped) -> None:
        match stamped.event:
            case Noted(text=text):
                self.note = text
            case RunStarted():
                self.started_at, self.note = stamped.at, ""
            case TaskPlanned(task=task, parent=parent, depth=depth):
                self._plan(Row(task=task, parent=parent, depth=depth))
            case AccountPaused(delay_s=delay_s):
                self.resumes_at = max(self.resumes_at or 0.0, stamped.at + delay_s)
            case RunEnded(duration_s=duration_s, reason=reason):
                self.duration_s, self.stop_reason = duration_s, reason
            case event:
                self.changed.add(event.label)
                self._update(self.rows[event.label], event, stamped.at)

    def all(self) -> list[Outcome]:
        """The outcomes that there are: of each task as written, followed by those nested in it, depth first."""
        rows = (row for written in self.written for row in written.with_nested())
        return [row.outcome for row in rows if row.outcome is not None]

    def roots(self) -> list[Outcome]:
        """The outcomes of the tasks as written, in their order."""
        return [row.outcome for row in self.written if row.outcome is not None]

    def running(self) -> list[Row]:
        return [row for row in tuple(self.rows.values()) if row.state == "running"]

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in STATUSES)

    def _plan(self, row: Row) -> None:
        siblings = self.written if row.parent is None else self.rows[row.parent].children
        self.rows[row.task.label] = row
        siblings.append(row)
        self._counts(row)["waiting"] += 1

    def _update(self, row: Row, event: TaskEvent, at: float) -> None:  # noqa: C901 - one case per event is plainest
        match event:
            case TaskStarted():
                self._move(row, "running")
                row.started = True
            case RequestSent(spawn_s=spawn_s):
                row.parts.clear()
                row.note = ""
                if row.started_at is None:
                    row.started_at, row.spawn_s = at, spawn_s
            case TextReceived(text=text):
                row.parts.append(text)
            case RetryScheduled(error_type=error_type, delay_s=delay_s):
                row.note = f"{error_type}: tries again in {delay_s:.1f} s"
            case TurnEnded(turn=turn):
                row.turns.append(turn)
                self.tokens += turn.total_tokens or 0
                self.cost_usd += turn.cost_usd or 0.0
            case ToolCalled(call=call):
                row.calls[call.id] = call.name
                row.note = _calling(row.calls)
            case ToolAnswered(call_id=call_id, tool=tool, error=error):
                if error:
                    self.tool_faults[tool] += 1
                row.calls.pop(call_id, None)
                row.note = _calling(row.calls)
            case TaskEnded():
                self._end(row, event)

    def _move(self, row: Row, state: State) -> None:
        self._counts(row)[row.state] -= 1
        self._counts(row)[state] += 1
        row.state = state

    def _counts(self, row: Row) -> Counter[State]:
        return self.counts if row.parent is None else self.nested

    def _end(self, row: Row, ended: TaskEnded) -> None:
        """Children end before their parent, so the sums over its tree are complete."""
        children = [child.outcome for child in row.children if child.outcome is not None]
        tokens = [turn.total_tokens for turn in row.turns] + [child.tree_tokens for child in children]
        costs = [turn.cost_usd for turn in row.turns] + [child.tree_cost_usd for child in children]
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
            queued_s=ended.queued_s,
            spawn_s=row.spawn_s,
            duration_s=ended.duration_s,
            started_at=row.started_at,
            finish_reason=ended.finish_reason,
            work=ended.work,
            messages=ended.messages,
            tree_tokens=known_sum(tokens),
            tree_cost_usd=known_sum(costs),
        )
        self._move(row, ended.status)
        row.parts.clear()
        row.calls.clear()
        row.note = ""


def _calling(calls: Mapping[str, str]) -> str:
    return f"calls {', '.join(dict.fromkeys(calls.values()))}" if calls else ""
