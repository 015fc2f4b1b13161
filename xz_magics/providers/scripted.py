"""A script in place of a model, for tests and lessons: plainly no real one.

`scripted:` echoes; `scripted:NAME` plays the script of that name, given by `Scripts` or in the configuration.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, get_args

from xz_magics.errors import ConfigError, ProviderError
from xz_magics.prices import FREE, Price, flat_price
from xz_magics.providers import Exchange, ProviderIdentity
from xz_magics.records import ErrorType, Finish, Reply, Request, ToolCall, Usage

CHARGE_ALL_FROM = 500
FAILURES: Mapping[int, ErrorType] = {
    401: "auth",
    402: "spent_account",
    403: "auth",
    408: "bad_response",
    409: "bad_response",
    425: "bad_response",
    429: "rate_limited",
}
CALL_FIELDS = {"name", "arguments", "id"}
PART_OF_IT = "this failure is part of the script"
LEAST = {
    "latency_s": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "status": 200,
    "retry_after_s": 0,
    "chunks": 1,
    "cut": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One scripted call. Latency in seconds; `chunks`: in how many pieces the answer streams.

    `status` other than 200 fails the call; `cut`: the stream breaks off after so many pieces. `tool_calls` are written
    as {"name": …, "arguments": a mapping or any text, "id": …}, where only the name must be there. `when`: the step is
    taken, each time, where the last message holds this text.
    """

    answer: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    when: str = ""
    latency_s: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: Finish = "stop"
    status: int = 200
    retry_after_s: float | None = None
    chunks: int = 1
    cut: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a scripted model does. The first step whose `when` fits is taken; where none does, those without `when`
    are taken in turn, the last one again and again.

    Without any of these, answers, latencies and token counts are drawn from `seed` and the prompt: the same every time.
    """

    steps: tuple[Step, ...] = ()
    seed: int = 0
    latency_s: float = 0.05
    price: Price = field(default=FREE)


class ScriptedProvider:
    """Plays one script; it holds how far the script has come."""

    overhead_tokens = 64
    tools_overhead_tokens = schema_overhead_tokens = 0
    note = "scripted: is no real model: its answers come from a script"

    def __init__(self, name: str, script: Script) -> None:
        self.model = f"scripted:{name}" if name else "scripted:"
        self.identity = ProviderIdentity("scripted", "", f"{name} {script!r}")
        self.account = self.model
        self.price: Price | None = script.price
        self._script = script
        self._in_turn = [step for step in script.steps if not step.when]
        self._taken = 0

    async def open(self, tell: Callable[[str], None]) -> None:
        """Nothing to make ready."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def call(self, request: Request, exchange: Exchange) -> Reply:
        step = self._next(request)
        exchange.mark_sent()
        if step.status != 200:
            await asyncio.sleep(step.latency_s)
            raise _failure(step)
        pieces = _pieces(step.answer, step.chunks if request.stream else 1)
        for piece in pieces[: step.cut]:
            await asyncio.sleep(step.latency_s / len(pieces))
            exchange.add_text(piece)
        if step.cut is not None and not exchange.text:
            raise ProviderError("the script's stream ended before any text", PART_OF_IT, "network", "all")
        if step.cut is not None:
            told = "the script breaks it off"
            return Reply(text=exchange.text, finish="cut", finish_reason=None, usage=None, model=self.model, note=told)
        return self._whole(step, request, exchange)

    def _whole(self, step: Step, request: Request, exchange: Exchange) -> Reply:
        """The reply of a step whose text has come."""
        calls = _tool_calls(step.tool_calls) if request.may_call else ()
        finish = step.finish
        if step.tool_calls and finish in {"stop", "tool_calls"}:
            finish = "tool_calls" if calls else "stop"
        words = " ".join([step.answer, *(f"{call.name} {call.arguments}" for call in calls)]).split()
        usage = Usage(
            input_tokens=_given(step.input_tokens, sum(len(m.content.split()) for m in request.messages)),
            output_tokens=min(_given(step.output_tokens, len(words)), request.max_tokens),
        )
        exchange.received_bytes += sum(len(call.arguments.encode("utf-8", "surrogatepass")) for call in calls)
        exchange.usage, exchange.finish_reason = usage, finish
        if not step.answer and not calls and finish in {"stop", "length"}:
            told = (
                "the script calls a tool, and none may be called"
                if step.tool_calls
                else "the script sent an answer without text"
            )
            raise ProviderError(told, PART_OF_IT, "empty_answer", "all")
        return Reply(
            text=exchange.text, finish=finish, finish_reason=finish, usage=usage, model=self.model, tool_calls=calls
        )

    def _next(self, request: Request) -> Step:
        last = request.messages[-1].content
        for step in self._script.steps:
            if step.when and step.when in last:
                return step
        if not self._in_turn:
            return self._draw(last)
        self._taken += 1
        return self._in_turn[min(self._taken, len(self._in_turn)) - 1]

    def _draw(self, prompt: str) -> Step:
        digest = hashlib.blake2b(f"{self._script.seed}\n{prompt}".encode("utf-8", "surrogatepass")).digest()
        random = Random(digest)
        answer = f"(no real model) You wrote: {prompt}"
        latency_s = self._script.latency_s * random.uniform(0.5, 1.5)
        return Step(answer=answer, latency_s=latency_s, output_tokens=random.randint(5, 60), chunks=4)


def script_of(values: Mapping[str, Any], *, where: str) -> Script:
    """A script as written in a configuration: `price` as in its table of prices. Raises ConfigError."""
    values = dict(values)
    steps = values.pop("steps", ())
    if "price" in values:
        values["price"] = flat_price(values["price"], f"the script {where}")
    try:
        script = Script(steps=tuple(_step(step) for step in steps), **values)
        _check_numbers(script)
    except (TypeError, ValueError) as error:
        known = ", ".join(field.name for field in (*fields(Script), *fields(Step)))
        raise ConfigError(
            f"the script {where} cannot be read: {error}", f"a script and its steps have: {known}"
        ) from error
    return script


def _step(written: Mapping[str, Any]) -> Step:
    step = Step(**written)
    _check_numbers(step)
    for name in ("answer", "when"):
        if not isinstance(getattr(step, name), str):
            raise TypeError(f"{name} is {getattr(step, name)!r}, which is no text")
    _tool_calls(step.tool_calls)
    if step.finish not in get_args(Finish):
        raise TypeError(f"finish is {step.finish!r}, none of {', '.join(get_args(Finish))}")
    return step


def _tool_calls(written: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    """Raises TypeError or ValueError that names what is wrong."""
    if not isinstance(written, (list, tuple)) or not all(isinstance(call, Mapping) for call in written):
        raise TypeError(f"tool_calls is {written!r}, which is no list of mappings")
    calls = tuple(_tool_call(call, f"call-{number}") for number, call in enumerate(written, start=1))
    if len({call.id for call in calls}) < len(calls):
        raise ValueError(f"two tool calls have one id, of {', '.join(call.id for call in calls)}")
    return calls


def _tool_call(written: Mapping[str, Any], made_up_id: str) -> ToolCall:
    unknown = [repr(name) for name in written if name not in CALL_FIELDS]
    if unknown:
        raise TypeError(f"a tool call holds {unknown[0]}, none of name, arguments, id")
    name, call_id, arguments = written.get("name"), written.get("id", made_up_id), written.get("arguments", {})
    if not isinstance(name, str):
        raise TypeError(f"a tool call's name is {name!r}, which is no text")
    if not isinstance(call_id, str):
        raise TypeError(f"the id of the call of {name} is {call_id!r}, which is no text")
    if not isinstance(arguments, (str, Mapping)):
        raise TypeError(f"the arguments of {name} are {arguments!r}, which is neither a mapping nor a text")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=call_id, name=name, arguments=text)


def _check_numbers(part: Script | Step) -> None:
    for name, least in LEAST.items():
        value = getattr(part, name, None)
        kind = (int, float) if name.endswith("_s") else int
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not least <= value < 2**53):
            raise TypeError(f"{name} is {value!r}, which is no number from {least} up")


def _failure(step: Step) -> ProviderError:
    free = step.status < CHARGE_ALL_FROM or step.status in {503, 529}
    return ProviderError(
        f"the script answered with status {step.status}",
        PART_OF_IT,
        FAILURES.get(step.status, "bad_request" if step.status < CHARGE_ALL_FROM else "bad_response"),
        "nothing" if free else "all",
        step.status,
        step.retry_after_s,
    )


def _pieces(text: str, count: int) -> Sequence[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def _given(number: int | None, otherwise: int) -> int:
    return otherwise if number is None else number
