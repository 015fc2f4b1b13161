"""A script in place of a model, for tests and lessons: plainly no real one.

`scripted:` echoes; `scripted:NAME` plays the script of that name, given by `Scripts` or in the configuration.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from xz_magics.errors import ModelError, ProviderError
from xz_magics.prices import FREE, FlatPrice, Price
from xz_magics.providers import Exchange
from xz_magics.records import Finish, Reply, Request, Usage

CHARGE_ALL_FROM = 500
KNOWN_STATUSES = {401: "auth", 403: "auth", 429: "rate_limited", 402: "spent_account", 408: "timeout"}


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
        pieces = _pieces(step.answer, step.chunks)
        for piece in pieces[: step.cut]:
            await asyncio.sleep(step.latency_s / len(pieces))
            exchange.add_text(piece)
        if step.cut is not None:
            told = "the script breaks it off"
            return Reply(text=exchange.text, finish="cut", finish_reason=None, usage=None, model=self.model, note=told)
        usage = Usage(
            input_tokens=_given(step.input_tokens, sum(len(m.content.split()) for m in request.messages)),
            output_tokens=min(_given(step.output_tokens, len(step.answer.split())), request.max_tokens),
        )
        exchange.finish_reason = step.finish
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
    """A script as written in a configuration; raises ModelError for a field that no script has."""
    values = dict(values)
    steps = values.pop("steps", ())
    price = values.pop("price", None)
    try:
        if price is not None:
            values["price"] = FlatPrice(**{name: Decimal(str(usd)) for name, usd in price.items()})
        return Script(steps=tuple(Step(**step) for step in steps), **values)
    except TypeError as error:
        raise ModelError(f"the script {where} cannot be read: {error}", "see the fields of Script and Step") from error


def _failure(step: Step) -> ProviderError:
    kind = KNOWN_STATUSES.get(step.status, "bad_request" if step.status < CHARGE_ALL_FROM else "bad_response")
    free = step.status < CHARGE_ALL_FROM or step.status in {503, 529}
    return ProviderError(
        f"the script answered with status {step.status}",
        "this failure is part of the script",
        kind,  # type: ignore[arg-type]  # the table above holds error types only
        "nothing" if free else "all",
        step.status,
        step.retry_after_s,
    )


def _pieces(text: str, count: int) -> Sequence[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def _given(number: int | None, otherwise: int) -> int:
    return otherwise if number is None else number
