"""The tool calls of one subagent: it alone answers them, and counts those that go wrong or in circles."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from xz_magics.errors import XzMagicsError
from xz_magics.events import Event, ToolAnswered, ToolCalled
from xz_magics.records import Message, Task, ToolCall, ToolSpec
from xz_magics.tools.granted import Granted, Result

MOST_FAULTS = 3
"""So many turns in a row whose calls all went wrong are told to the model; the next one ends its work."""

MOST_EQUAL = 3
"""The same calls with the same arguments in so many turns in a row are a circle."""

MOST_CALLS = 64
"""Of one turn: each may bring a result of 64 KB and start a thread."""

CIRCLE = "not called: the third turn in a row that calls {name} with the same arguments. Answer with what you have."
TOO_MANY = f"not called: at most {MOST_CALLS} calls are carried out in one turn. Call it again in the next."


class Delegation(Protocol):
    """Subagents that were asked for and wait in line."""

    async def ended(self) -> str:
        """Their results as text, when all have ended. Cancelled, it cancels them."""
        ...


class Lending(Protocol):
    """The slot of a subagent at work."""

    def lent(self) -> AbstractAsyncContextManager[None]:
        """Others may have it inside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a subagent has beside its model: tools, a way to delegate (which raises XzMagicsError), and its slot."""

    granted: Granted
    delegate: Callable[[str, Mapping[str, Any]], Delegation]
    slot: Lending

    def tools_of(self, task: Task) -> tuple[ToolSpec, ...]:
        """What its model is told of: nothing where it has one turn only."""
        return self.granted.specs if task.max_turns > 1 else ()


class ToolCalls:
    """Answers the calls of one turn after the other. `faults` counts the turns in a row that went wrong altogether."""

    def __init__(self, label: str, means: Means, *, emit: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self.faults = 0
        self.circling: str | None = None
        self._label = label
        self._means = means
        self._emit = emit
        self._clock = clock
        self._asked: list[tuple[str, str]] = []
        self._equal = 0

    async def answer(self, turn: int, calls: Sequence[ToolCall]) -> list[Message]:
        """The results of all calls, in their order: run at the same time, those of ordinary tools in this slot.

        While only delegated work is waited for, the slot is lent.
        """
        self._count_equal(calls)
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(self._begun(turn, call, place)) for place, call in enumerate(calls)]
            # One step, in which each delegation takes its place in the line before the slot comes free.
            await asyncio.sleep(0)
            own = [job for job, call in zip(answers, calls, strict=True) if call.name not in self._delegating]
            if own:
                await asyncio.wait(own)
            if not all(job.done() for job in answers):
                async with self._means.slot.lent():
                    await asyncio.wait(answers)
        messages = [job.result() for job in answers]
        self.faults = self.faults + 1 if all(message.error for message in messages) else 0
        return messages

    @property
    def _delegating(self) -> frozenset[str]:
        return self._means.granted.delegating

    async def _begun(self, turn: int, call: ToolCall, place: int) -> Message:
        self._emit(ToolCalled(label=self._label, turn=turn, call=call))
        began_at = self._clock()
        if self._equal >= MOST_EQUAL:
            self.circling = call.name
            result = Result(text=CIRCLE.format(name=call.name), error=True)
        elif place >= MOST_CALLS:
            result = Result(text=TOO_MANY, error=True)
        elif call.name in self._delegating:
            result = await self._delegated(call)
        else:
            result = await self._means.granted.answer(call)
        self._emit(
            ToolAnswered(
                label=self._label,
                turn=turn,
                call_id=call.id,
                tool=call.name,
                duration_s=self._clock() - began_at,
                error=result.error,
                cached=result.cached,
            )
        )
        return Message(
            role="tool",
            content=result.text,
            tool_call_id=call.id,
            tool=call.name,
            error=result.error,
            cached=result.cached,
        )

    async def _delegated(self, call: ToolCall) -> Result:
        """A child's failure is a part of the result; only a call that cannot be carried out is an error."""
        granted = self._means.granted
        try:
            delegation = self._means.delegate(call.name, await granted.checked(call))
        except XzMagicsError as error:
            return granted.failed(error)
        return granted.given(await delegation.ended())

    def _count_equal(self, calls: Sequence[ToolCall]) -> None:
        """A turn is compared as a whole: of equal calls side by side, none has seen the result of another."""
        asked = sorted((call.name, _canonical(call.arguments)) for call in calls)
        self._equal = self._equal + 1 if asked == self._asked else 1
        self._asked = asked


def _canonical(arguments: str) -> str:
    """The same for the same arguments, however they are written."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
