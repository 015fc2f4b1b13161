"""The places of those at work: it alone decides who gets the next one that is free."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

RESUMING, CHILD, ROOT = range(3)


class Slots:
    """`count` subagents may be at work. A free slot goes first to a parent that resumes, then to the deepest child that
    waits, then to a root; among equals to who came first. It belongs to one event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: list[tuple[tuple[int, int, int], Slot]] = []
        self._numbers = itertools.count()

    def ask(self, *, depth: int) -> "Slot":
        """A place in the line, taken at once; `await slot.taken()` waits for the slot itself."""
        slot = Slot(self, depth)
        self.enqueue(slot, CHILD if depth else ROOT)
        return slot

    def enqueue(self, slot: "Slot", rank: int) -> None:
        heapq.heappush(self._line, ((rank, -slot.depth, next(self._numbers)), slot))
        self.serve()

    def free_one(self) -> None:
        self._free += 1
        self.serve()

    def serve(self) -> None:
        while self._free and self._line:
            _, slot = heapq.heappop(self._line)
            if slot.waits:
                self._free -= 1
                slot.give()


class Slot:
    """One subagent's slot: waited for, held, lent while it waits for its children, given back."""

    def __init__(self, slots: Slots, depth: int) -> None:
        self.depth = depth
        self.waits = True
        self._slots = slots
        self._held = False
        self._given: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def give(self) -> None:
        self.waits, self._held = False, True
        if not self._given.done():
            self._given.set_result(None)

    async def taken(self) -> None:
        """Returns when the slot is there. Who is cancelled meanwhile must still `give_back`."""
        await self._given

    def give_back(self, *_: object) -> None:
        """Leaves the line or frees the slot, as often as one likes."""
        self.waits = False
        if self._held:
            self._held = False
            self._slots.free_one()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Others may have the slot inside; afterwards it is waited for again, unless an exception ends the wait."""
        self.give_back()
        yield
        self._given = asyncio.get_running_loop().create_future()
        self.waits = True
        self._slots.enqueue(self, RESUMING)
        await self._given
