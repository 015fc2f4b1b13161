"""Taking room and giving it back: one lock for all levels of a tree, and those who wait, first come first served."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from decimal import Decimal

from xz_magics.errors import QuotaExceeded
from xz_magics.quotas.ledger import Hold
from xz_magics.quotas.level import NOTHING, Amounts, Level
from xz_magics.quotas.shared import Shared
from xz_magics.records import Usage

Chain = tuple[Level, ...]
"""A level and all levels above it."""


class Room:
    """Decides who may take what. Safe from any thread and any event loop.

    Who waits for a limit keeps later comers at that limit behind it: a large reservation is not starved by small ones.
    Who holds a seat and waits for tokens is never kept behind those who wait for a seat: that would lock up.
    """

    def __init__(self, shared: Shared | None = None) -> None:
        """`shared`: the limits above all levels here, which other processes share."""
        self.lock = threading.Lock()
        self.shared = shared
        self._queues: dict[tuple[Chain, tuple[str, ...]], deque[_Waiter]] = {}

    def ask(self, waiter: "_Waiter") -> None:
        """Grants, refuses, or lets it wait; the lock is held by the caller, as in all methods here."""
        if self._queues or not self._decide(waiter, set()):
            self._queues.setdefault(waiter.queue, deque()).append(waiter)
            self.serve()

    def give_back(self, chain: Chain, held: Amounts, used: Amounts = NOTHING) -> None:
        for level in chain:
            level.reserved = level.reserved.minus(held)
            level.used = level.used.plus(used)
        self.serve()

    def leave(self, waiter: "_Waiter") -> None:
        """It waits no longer; what it was granted meanwhile comes back."""
        if waiter.granted:
            self.give_back(waiter.chain, waiter.need)
        elif waiter.refusal is None:
            self._queues[waiter.queue].remove(waiter)
            self.serve()

    def serve(self) -> None:
        """Grants what fits now and refuses what never can."""
        full: set[tuple[Level, str]] = set()
        for name, queue in list(self._queues.items()):
            while queue and self._decide(queue[0], full):
                queue.popleft().wake()
            if not queue:
                del self._queues[name]

    @staticmethod
    def _decide(waiter: "_Waiter", full: set[tuple[Level, str]]) -> bool:
        """Whether it need not wait any more. `full` are the limits for which somebody waits who came earlier."""
        waiter.refusal = next(filter(None, (level.refusal(waiter.need) for level in waiter.chain)), None)
        if waiter.refusal is not None:
            return True
        tight = {(level, limit) for level in waiter.chain for limit in level.over(waiter.need)}
        taken = {(level, limit) for level, limit in full if level in waiter.chain and limit in waiter.limits}
        if tight or taken:
            full |= tight
            return False
        for level in waiter.chain:
            level.reserved = level.reserved.plus(waiter.need)
        waiter.granted = True
        return True


class _Waiter:
    """A reservation that is being decided; `woken` is set only where it had to wait."""

    def __init__(self, chain: Chain, need: Amounts) -> None:
        self.chain = chain
        self.need = need
        self.limits = need.limits()
        self.granted = False
        self.refusal: QuotaExceeded | None = None
        self.woken: asyncio.Future[None] | None = None

    @property
    def queue(self) -> "tuple[Chain, tuple[str, ...]]":
        """Where it stands in line: in one queue, if the first one must wait for a limit, so must the others."""
        return self.chain, self.limits

    def wake(self) -> None:
        """From whatever thread. A loop that is closed has nobody left to wake."""
        if self.woken is not None and not self.woken.get_loop().is_closed():
            self.woken.get_loop().call_soon_threadsafe(self._finish, self.woken)

    @staticmethod
    def _finish(woken: "asyncio.Future[None]") -> None:
        if not woken.done():
            woken.set_result(None)


class Grant:
    """Room that has been taken. Settle it once; what is not settled comes back when the block is left."""

    __slots__ = ("_chain", "_held", "_hold", "_room")

    def __init__(self, room: Room, chain: Chain, held: Amounts, hold: Hold | None) -> None:
        self._room = room
        self._chain = chain
        self._held: Amounts | None = held
        self._hold = hold

    def settle(self, usage: Usage, cost: Decimal = Decimal(0)) -> None:
        """Books what was really used, more than was reserved too, and gives the difference back."""
        self._close(lambda held: Amounts(held.executions, usage.total_tokens, cost))

    def settle_all(self) -> None:
        """Books the whole reservation."""
        self._close(lambda held: held)

    def give_back(self) -> None:
        """Books nothing; does nothing where the grant is settled already."""
        if self._held is not None:
            self._close(lambda _: NOTHING)

    def _close(self, used_of: Callable[[Amounts], Amounts]) -> None:
        if self._held is None:
            raise RuntimeError("this grant has been settled or given back already")
        held, self._held = self._held, None
        used = used_of(held)
        with self._room.lock:
            self._room.give_back(self._chain, held, used)
        shared = self._room.shared
        if shared is not None and self._hold is not None:
            shared.settle(self._hold, used)
        elif shared is not None and used != NOTHING:
            shared.book(used)


class Reservation:
    """An async context manager: entering waits for the room, leaving gives back what was not settled."""

    __slots__ = ("_chain", "_grant", "_need", "_room")

    def __init__(self, room: Room, chain: Chain, need: Amounts) -> None:
        self._room = room
        self._chain = chain
        self._need = need
        self._grant: Grant | None = None

    async def __aenter__(self) -> Grant:
        waiter = _Waiter(self._chain, self._need)
        with self._room.lock:
            self._room.ask(waiter)
            if not waiter.granted and waiter.refusal is None:
                waiter.woken = asyncio.get_running_loop().create_future()
        if waiter.woken is not None:
            try:
                await waiter.woken
            except BaseException:  # GeneratorExit too: a loop that is closed leaves its waiters behind
                with self._room.lock:
                    self._room.leave(waiter)
                raise
        if waiter.refusal is not None:
            raise waiter.refusal
        self._grant = Grant(self._room, self._chain, self._need, await self._hold())
        return self._grant

    async def __aexit__(self, *_: object) -> None:
        if self._grant is not None:
            self._grant.give_back()

    async def _hold(self) -> Hold | None:
        """The room that other processes share is asked for last: it takes a write to the disk."""
        shared = self._room.shared
        if shared is None or not shared.is_limited:
            return None
        try:
            return await shared.take(self._need)
        except BaseException:
            with self._room.lock:
                self._room.give_back(self._chain, self._need)
            raise
