"""A script in place of a model, for tests and lessons: plainly no real one.

`scripted:` echoes; `scripted:NAME` plays the script of that name, given by `Scripts` or in the configuration.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, get_args

from xz_magics.errors import ConfigError, ProviderError
from xz_magics.prices import FREE, Price, flat_price
from xz_magics.providers import Exchange
from xz_magics.records import ErrorType, Finish, Reply, Request, Usage

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

    `status` other than 200 fails the call; `cut`: the stream breaks off after so many pieces.
    """

    answer: str = ""
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
    """What a scripted model does. `steps` are taken in turn, the last one again and again.

    Without steps, answers, latencies and token counts are drawn from `seed` and the prompt: the same every time.
    """

    steps: tuple[Step, ...] = ()
    seed: int = 0
    latency_s: float = 0.05
    price: Price = field(default=FREE)


class ScriptedProvider:
    """Plays one script; it holds how far the script has come."""

    overhead_tokens = 64
    note = "scripted: is no real model: its answers come from a script"

    def __init__(self, name: str, script: Script) -> None:
        self.model = f"scripted:{name}" if name else "scripted:"
        self.account = self.model
        self.price: Price | None = script.price
        self._script = script
        self._calls = 0

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
        usage = Usage(
            input_tokens=_given(step.input_tokens, sum(len(m.content.split()) for m in request.messages)),
            output_tokens=min(_given(step.output_tokens, len(step.answer.split())), request.max_tokens),
        )
        exchange.usage, exchange.finish_reason = usage, step.finish
        if not step.answer and step.finish in {"stop", "length"}:
            raise ProviderError("the script sent an answer without text", PART_OF_IT, "empty_answer", "all")
        return Reply(text=exchange.text, finish=step.finish, finish_reason=step.finish, usage=usage, model=self.model)

    def _next(self, request: Request) -> Step:
        step = min(self._calls, len(self._script.steps) - 1)
        self._calls += 1
        return self._script.steps[step] if self._script.steps else self._draw(request)

    def _draw(self, request: Request) -> Step:
        prompt = request.messages[-1].content
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
    except TypeError as error:
        known = ", ".join(field.name for field in (*fields(Script), *fields(Step)))
        raise ConfigError(
            f"the script {where} cannot be read: {error}", f"a script and its steps have: {known}"
        ) from error
    return script


def _step(written: Mapping[str, Any]) -> Step:
    step = Step(**written)
    _check_numbers(step)
    if not isinstance(step.answer, str):
        raise TypeError(f"answer is {step.answer!r}, which is no text")
    if step.finish not in get_args(Finish):
        raise TypeError(f"finish is {step.finish!r}, none of {', '.join(get_args(Finish))}")
    return step


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
