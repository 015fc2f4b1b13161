"""The values that pass between the rooms: frozen, and this file alone knows their fields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

Number = TypeVar("Number", int, float)

Status = Literal["done", "incomplete", "refused", "failed", "timed_out", "cancelled", "skipped"]
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

Finish = Literal["stop", "length", "refused", "tool_calls", "cut"]
"""Why a reply ended, in one vocabulary for all wires. `cut`: the stream broke off after some text."""

Role = Literal["system", "user", "assistant", "tool"]

AfterWhen = Literal["text", "done", "ended"]
"""What a task asks of those that it comes after: some text (done or incomplete), `done`, or any end at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Hard limits; None is no limit, 0 is nothing at all. Time in seconds, cost in US dollars."""

    max_executions: int | None = None
    max_total_tokens: int | None = None
    max_total_time: float | None = None
    max_total_cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to have a tool called. `arguments` is the JSON text as the model wrote it, which may be none."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What a model is told of a tool. `parameters` is the JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation. An assistant's may hold tool calls; a tool's answers the call of that id.

    `error`: the tool's result says what went wrong. `cached`: it is that of an equal call before.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool: str | None = None
    error: bool = False
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call. `input_tokens` holds all prompt tokens; the cached ones are a part of it."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one model call asks. `max_tokens` always goes out: the reservation rests on it.

    `may_call` False: the tools are known from before, and none may be called any more.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = True
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's answer. `finish_reason` is the provider's own word; `usage` is None where it sent none.

    `note` says what broke off a reply that is cut.
    """

    text: str
    finish: Finish
    finish_reason: str | None
    usage: Usage | None
    model: str | None = None
    request_id: str | None = None
    note: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """Where the output of an earlier task goes into a text of a later one: before the character number `at`."""

    field: Literal["prompt", "system", "summary_prompt"]
    at: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One complete unit of work: only the outputs of earlier tasks may be left to be filled in. Times in seconds."""

    index: int
    label: str
    prompt: str
    model: str
    max_tokens: int
    system: str | None = None
    summary_prompt: str | None = None
    allowed_tools: tuple[str, ...] = ()
    max_turns: int = 10
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float | None = None
    idle_timeout: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    after_when: AfterWhen = "text"
    inserts: tuple[Insert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One model call with all its attempts. Tokens and cost are what was charged; None is unknown."""

    number: int
    attempts: int
    max_tokens: int
    started_at: float | None
    duration_s: float | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    estimated: bool = False
    finish_reason: str | None = None
    error_type: ErrorType | None = None
    error: str | None = None
    tool_calls: int = 0

    @property
    def total_tokens(self) -> int | None:
        return known_sum((self.input_tokens, self.output_tokens))


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
    tell what it did when, in the order in which each ended.
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
    def total_tokens(self) -> int | None:
        return known_sum((self.input_tokens, self.output_tokens))

    @property
    def cost_usd(self) -> float | None:
        return known_sum(turn.cost_usd for turn in self.turns)

    @property
    def estimated(self) -> bool:
        return any(turn.estimated for turn in self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """Where one limit of one level stands: `level` is "session" or "run", `name` a field of Quota; limit None: none."""

    level: str
    name: str
    limit: float | None
    used: float
    reserved: float

    @property
    def remaining(self) -> float | None:
        return None if self.limit is None else max(0, self.limit - self.used - self.reserved)


def known_sum(numbers: Iterable[Number | None]) -> Number | None:
    """The sum of the known numbers; None where none is known: unknown is never 0."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None
