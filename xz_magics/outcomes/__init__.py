"""The fold of events into the state of each task: live, final and re-read runs alike."""

from collections import Counter
from collections.abc import Mapping

from xz_magics.events import (
    AccountPaused,
    AlertRaised,
    AnswersCombined,
    AnswersScored,
    CallIntended,
    Noted,
    RequestSent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    Stamped,
    TableRead,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    TextReceived,
    ToolAnswered,
    ToolCalled,
    TurnEnded,
    Warned,
)
from xz_magics.outcomes.rows import STATES, Progress, Row, State, states_words
from xz_magics.records import STATUSES, Outcome, Span, SpanKind, known_sum
from xz_magics.tools.delegating import PARALLEL_SUBAGENT, SUBAGENT

__all__ = ["STATES", "Outcomes", "Progress", "Row", "State", "states_words"]

TaskEvent = (
    TaskStarted
    | CallIntended
    | RequestSent
    | TextReceived
    | RetryScheduled
    | TurnEnded
    | ToolCalled
    | ToolAnswered
    | TaskEnded
)
PAUSES: tuple[SpanKind, ...] = ("queued", "retry", "rate_limited")
DELEGATING = frozenset({SUBAGENT.name, PARALLEL_SUBAGENT.name})


class Outcomes:
    """Called with each stamped event, in order. It may be read from other threads meanwhile.

    `rows` holds every subagent by label, `written` the tasks as written, in their order, `extra` those that the run
    started to put outputs together. `counts` and `ended` speak of the tasks as written, `nested` of all others,
    `tokens`, `cost_usd` and `requests` (those under way) of all. `changed` holds the labels of rows that a view has not
    drawn since; the view empties it. `pauses` are the times in which an account was closed by a 429, `name` being the
    account. `alerts` are the texts of those raised, each once.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.written: list[Row] = []
        self.extra: list[Row] = []
        self.changed: set[str] = set()
        self.counts: Counter[State] = Counter()
        self.nested: Counter[State] = Counter()
        self.started_at: float | None = None
        self.duration_s: float | None = None
        self.stop_reason: str | None = None
        self.pauses: list[Span] = []
        self.alerts: list[str] = []
        self.tool_faults: Counter[str] = Counter()
        self.note = "starting"
        self.tokens = 0
        self.cost_usd = 0.0
        self.requests = 0

    def __call__(self, stamped: Stamped) -> None:
        match stamped.event:
            case Noted(text=text):
                self.note = text
            case RunStarted():
                self.started_at, self.note = stamped.at, ""
            case TaskPlanned(task=task, parent=parent, depth=depth):
                self._plan(Row(task=task, parent=parent, depth=depth))
            case AccountPaused(account=account, delay_s=delay_s):
                self._pause(account, stamped.at, stamped.at + delay_s)
            case AlertRaised(text=text):
                if text not in self.alerts:
                    self.alerts.append(text)
            case RunEnded(duration_s=duration_s, reason=reason):
                self.duration_s, self.stop_reason = duration_s, reason
            case AnswersScored() | AnswersCombined() | Warned() | TableRead():
                """Nothing of a task: the Results keep them."""
            case event:
                self.changed.add(event.label)
                self._update(self.rows[event.label], event, stamped.at)

    def all(self) -> list[Outcome]:
        """The outcomes that there are: of each task as written, followed by those nested in it, depth first.

        The extra ones come last.
        """
        rows = (row for top in (*self.written, *self.extra) for row in top.with_nested())
        return [row.outcome for row in rows if row.outcome is not None]

    def roots(self) -> list[Outcome]:
        """The outcomes of the tasks as written, in their order."""
        return [row.outcome for row in self.written if row.outcome is not None]

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in STATUSES)

    @property
    def resumes_at(self) -> float | None:
        """When the last of the pauses after a 429 ends or ended; in seconds since the epoch."""
        return max((pause.ended_at for pause in self.pauses), default=None)

    def _pause(self, account: str, at: float, until: float) -> None:
        """A pause that is prolonged stays one pause."""
        for place, known in enumerate(self.pauses):
            if known.name == account and known.ended_at >= at:
                at, until = known.started_at, max(until, known.ended_at)
                del self.pauses[place]
                break
        self.pauses.append(Span(kind="rate_limited", started_at=at, ended_at=until, name=account))

    def _plan(self, row: Row) -> None:
        siblings = self.written if row.written else self.extra if row.parent is None else self.rows[row.parent].children
        self.rows[row.task.label] = row
        siblings.append(row)
        self.changed.add(row.task.label)
        self._counts(row)["waiting"] += 1

    def _update(self, row: Row, event: TaskEvent, at: float) -> None:  # noqa: C901 - one case per event is plainest
        match event:
            case TaskStarted(queued_s=queued_s):
                self._move(row, "running")
                row.started = True
                row.since["queued"] = at - queued_s
                row.close("queued", at)
            case RequestSent(spawn_s=spawn_s):
                row.parts.clear()
                row.note = ""
                self.requests += 1
                for kind in PAUSES:
                    row.close(kind, at)
                row.since["call"] = at
                if row.started_at is None:
                    row.started_at, row.spawn_s = at, spawn_s
            case TextReceived(text=text):
                row.parts.append(text)
            case RetryScheduled(error_type=error_type, delay_s=delay_s):
                self._end_request(row, at)
                row.since["rate_limited" if error_type == "rate_limited" else "retry"] = at
                row.note = f"{error_type}: tries again in {delay_s:.1f} s"
            case TurnEnded(turn=turn):
                self._end_request(row, at)
                row.since["queued"] = at
                row.spend(turn)
                self.tokens += turn.total_tokens or 0
                self.cost_usd += turn.cost_usd or 0.0
            case ToolCalled(call=call):
                row.calls[call.id] = call.name
                row.since.pop("queued", None)
                row.since[f"call {call.id}"] = at
                row.note = _calling(row.calls)
            case ToolAnswered(call_id=call_id, tool=tool, error=error):
                if error:
                    self.tool_faults[tool] += 1
                row.calls.pop(call_id, None)
                row.close(_kind(tool), at, key=f"call {call_id}", name=tool)
                if not row.calls:
                    row.since["queued"] = at
                row.note = _calling(row.calls)
            case TaskEnded():
                self._end_request(row, at)
                self._end(row, event, at)

    def _move(self, row: Row, state: State) -> None:
        self._counts(row)[row.state] -= 1
        self._counts(row)[state] += 1
        row.state = state

    def _counts(self, row: Row) -> Counter[State]:
        return self.counts if row.written else self.nested

    def _end_request(self, row: Row, at: float) -> None:
        """An attempt is over; one that never came to a request ends the pause before it."""
        if "call" in row.since:
            self.requests -= 1
            row.close("call", at)
        for kind in PAUSES:
            row.close(kind, at)

    def _end(self, row: Row, ended: TaskEnded, at: float) -> None:
        """Children end before their parent, so the sums over its tree are complete."""
        if not row.started:
            row.since["queued"] = at - (ended.queued_s or 0.0)
            row.close("queued", at)
        for call_id, tool in row.calls.items():
            row.close(_kind(tool), at, key=f"call {call_id}", name=tool)
        children = [child.outcome for child in row.children if child.outcome is not None]
        own = (row.tokens, row.cost_usd) if ended.reused is None else (row.tokens or 0, row.cost_usd or 0.0)
        tokens = [own[0], *(child.tree_tokens for child in children)]
        costs = [own[1], *(child.tree_cost_usd for child in children)]
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
            spans=tuple(row.spans),
            value=ended.value,
            purpose=row.task.purpose,
            trial=row.task.trial,
            tags=row.task.tags,
            expect=row.task.expect,
            reused=ended.reused,
        )
        self._move(row, ended.status)
        row.parts.clear()
        row.calls.clear()
        row.since.clear()
        row.spans.clear()
        row.note = ""


def _kind(tool: str) -> SpanKind:
    return "children" if tool in DELEGATING else "tool"


def _calling(calls: Mapping[str, str]) -> str:
    return f"calls {', '.join(dict.fromkeys(calls.values()))}" if calls else ""
