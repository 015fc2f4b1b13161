"""How a task ended, turn by turn."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from xz_magics.records.calls import Message
from xz_magics.records.sums import known_sum
from xz_magics.records.tasks import Purpose, Trial

Status = Literal["done", "incomplete", "refused", "failed", "timed_out", "cancelled", "skipped", "unknown"]
"""unknown: it was sent, by a process that died before it saw the end."""

STATUSES: tuple[Status, ...] = get_args(Status)

ErrorType = Literal[
    "quota_exceeded",
    "auth",
    "rate_limited",
    "spent_account",
    "bad_request",
    "context_length",
    "bad_response",
    "empty_answer",
    "network",
    "timeout",
    "cancelled",
    "dependency",
    "fail_fast",
    "tool_protocol",
    "schema",
    "refused",
    "length",
    "turn_limit",
    "cut",
    "internal",
]
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One model call with all its attempts. Tokens and cost are what was charged; None is unknown.

    The cached tokens are a part of the input's.
    """

    number: int
    attempts: int
    max_tokens: int
    started_at: float | None
    duration_s: float | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    estimated: bool = False
    finish_reason: str | None = None
    error_type: ErrorType | None = None
    error: str | None = None
    tool_calls: int = 0

    @property
    def total_tokens(self) -> int | None:
        return known_sum((self.input_tokens, self.output_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """Where an answer comes from that was not asked for anew: which task of which run, and what it cost there.

    `ended_at` in seconds since the epoch; `age_s`: how long before this run took it.
    """

    run: str
    label: str
    ended_at: float
    tokens: int | None = None
    cost_usd: float | None = None
    age_s: float = 0.0


SpanKind = Literal["queued", "call", "retry", "rate_limited", "tool", "children"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What a subagent did for a while; times in seconds since the epoch.

    queued: it waits for its slot, for room or for its pace; call: a request is under way; retry and rate_limited: a
    pause before the next attempt; tool: a tool called `name` works; children: those it delegated to work.
    """

    kind: SpanKind
    started_at: float
    ended_at: float
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one task ended. Times in seconds, `started_at` in seconds since the epoch (UTC); None is unknown.

    `output` is what the task answered, in part where the status says so; `work` is the text before a summary.
    Tokens and cost are its own; `tree_tokens` and `tree_cost_usd` include what it delegated, at every depth. `spans`
    tell what it did when, in the order in which each ended. `value` is the answer as its schema has it: text, number,
    true or false, list or dict; None where there is no schema, or no answer that fits it. `reused`: it is the answer of
    an earlier run, and used nothing in this one.
    """

    index: int
    label: str
    status: Status
    model: str
    max_tokens: int
    output: str | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    parent: str | None = None
    depth: int = 0
    turns: tuple[Turn, ...] = ()
    queued_s: float | None = None
    spawn_s: float | None = None
    duration_s: float | None = None
    started_at: float | None = None
    finish_reason: str | None = None
    work: str | None = None
    messages: tuple[Message, ...] = ()
    tree_tokens: int | None = None
    tree_cost_usd: float | None = None
    spans: tuple[Span, ...] = ()
    value: Any = None
    purpose: Purpose = "task"
    trial: Trial | None = None
    tags: tuple[str, ...] = ()
    expect: Any = None
    reused: Reused | None = None

    @property
    def written(self) -> bool:
        """Whether it is a task as written; others were started by such a task, or by the run."""
        return self.parent is None and self.purpose == "task"

    @property
    def success(self) -> bool:
        return self.status == "done"

    @property
    def attempts(self) -> int:
        return sum(turn.attempts for turn in self.turns)

    @property
    def input_tokens(self) -> int | None:
        return known_sum(turn.input_tokens for turn in self.turns)

    @property
    def output_tokens(self) -> int | None:
        return known_sum(turn.output_tokens for turn in self.turns)

    @property
    def cached_tokens(self) -> int | None:
        """Those of the input's that were read from the provider's cache."""
        return known_sum(turn.cache_read_tokens for turn in self.turns)

    @property
    def total_tokens(self) -> int | None:
        return 0 if self.reused else known_sum((self.input_tokens, self.output_tokens))

    @property
    def cost_usd(self) -> float | None:
        return 0.0 if self.reused else known_sum(turn.cost_usd for turn in self.turns)

    @property
    def estimated(self) -> bool:
        return any(turn.estimated for turn in self.turns)
