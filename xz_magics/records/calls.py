"""One model call: what it asks, what it answers, what it used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xz_magics.records.tasks import AnswerSchema

Finish = Literal["stop", "length", "refused", "tool_calls", "cut"]
"""Why a reply ended, in one vocabulary for all wires. `cut`: the stream broke off after some text."""

Role = Literal["system", "user", "assistant", "tool"]


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

    `may_call` False: the tools are known from before, and none may be called any more. `schema`: what the answer must
    be, where the wire can hold a model to it.
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
    schema: AnswerSchema | None = None


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
