"""What happens in a run, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xz_magics.records import ErrorType, Message, Quota, Reused, Status, Task, ToolCall, Turn
from xz_magics.records.scores import Scores

AlertKind = Literal["utilisation", "error_rate", "p95_duration", "active"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something worth a line before the run starts, such as the fetching of weights."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    tasks: int
    max_concurrent: int
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlanned:
    task: Task
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """Slot, reservation and pacing are granted; the first request goes out next."""

    label: str
    queued_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallIntended:
    """The next thing that happens is an attempt's request, unless the run ends first.

    `bound_tokens` and `worst_cost_usd` are the most that it can come to; None: no price is known.
    """

    label: str
    turn: int
    attempt: int
    bound_tokens: int
    worst_cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent:
    """An attempt's request has been written. `spawn_s` is given with a task's first one only."""

    label: str
    turn: int
    attempt: int
    spawn_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReceived:
    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    label: str
    turn: int
    attempt: int
    delay_s: float
    error_type: ErrorType
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPaused:
    """A 429: all tasks of this account wait together. Nothing of the key is in its name."""

    account: str
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded:
    """`text` is what the model wrote in it: a task that goes on may never come to its end."""

    label: str
    turn: Turn
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A model asked for a tool, and it begins."""

    label: str
    turn: int
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswered:
    """The result that goes back to the model; `error`: it says what went wrong. Time in seconds."""

    label: str
    turn: int
    call_id: str
    tool: str
    duration_s: float
    error: bool = False
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded:
    """The one final event of a task. Times in seconds; what was never reached is None.

    `value` is the answer as its schema has it, in plain JSON values. `reused`: it was not asked for anew.
    """

    label: str
    status: Status
    output: str | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    finish_reason: str | None = None
    duration_s: float | None = None
    queued_s: float | None = None
    work: str | None = None
    messages: tuple[Message, ...] = ()
    value: Any = None
    reused: Reused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersScored:
    """Scores by label and scorer; they take the place of what the same scorers said before."""

    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersCombined:
    """What the outputs came to: one text; or, where they were only filtered, the labels of those kept."""

    text: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A line for whoever reads the results, in the place of what was said `about` the same before; empty: nothing."""

    text: str
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRead:
    """The tasks were made from a table: the dtypes of its columns, by name."""

    dtypes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised:
    """A value has come to lie above a threshold: a share from 0 to 1, seconds for durations, else a count.

    The text names the threshold and not the value, so that the same alert is worded alike each time.
    """

    kind: AlertKind
    text: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    duration_s: float
    reason: str | None = None


Event = (
    Noted
    | RunStarted
    | TaskPlanned
    | TaskStarted
    | CallIntended
    | RequestSent
    | TextReceived
    | RetryScheduled
    | AccountPaused
    | TurnEnded
    | ToolCalled
    | ToolAnswered
    | TaskEnded
    | AnswersScored
    | AnswersCombined
    | Warned
    | TableRead
    | AlertRaised
    | RunEnded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """An event with its run, its number in that run (from 0) and its time in seconds since the epoch."""

    run: str
    number: int
    at: float
    event: Event
