"""Reserves room before a call and settles after it, at every level or at none; it alone counts what is used."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from xz_magics.errors import QuotaExceeded
from xz_magics.quotas.ledger import Hold, Ledger
from xz_magics.quotas.level import NOTHING, Amounts, Level, check_quota
from xz_magics.quotas.room import Chain, Grant, Reservation, Room
from xz_magics.quotas.shared import Shared
from xz_magics.records import LimitUse, Message, Number, Quota

__all__ = ["NOTHING", "Amounts", "Grant", "Hold", "Ledger", "Shared", "Tracker", "check_quota", "prompt_bound"]


class Tracker:
    """One level of limits. A reservation is taken at this level and at all levels above it, or at none.

    `shared` are limits above them all, of the day and the week, which other processes share.
    Raises SpecError for a limit that is negative or not finite. Safe from any thread and any event loop.
    """

    def __init__(
        self,
        quota: Quota | None = None,
        *,
        level: str = "session",
        clock: Callable[[], float] = time.monotonic,
        above: Chain = (),
        room: Room | None = None,
        shared: Shared | None = None,
    ) -> None:
        check_quota(quota or Quota())
        self._clock = clock
        self._level = Level(level, quota or Quota(), clock)
        self._chain: Chain = (self._level, *above)
        self._room = room or Room(shared)

    def child(self, quota: Quota | None = None, *, level: str = "run") -> "Tracker":
        """A level below this one."""
        return Tracker(quota, level=level, clock=self._clock, above=self._chain, room=self._room)

    def reserve(self, *, executions: int = 0, tokens: int = 0, cost: Decimal = Decimal(0)) -> Reservation:
        """`async with tracker.reserve(tokens=…) as grant: …; grant.settle(usage)`.

        Waits while others may give room back. Raises QuotaExceeded when it can never fit. Leaving the block without
        having settled gives everything back.
        """
        return Reservation(self._room, self._chain, Amounts(executions, tokens, cost))

    @contextmanager
    def working(self, *, above: bool = True) -> Iterator[None]:
        """Counts time as used while anybody is inside; `above`: at all levels above too."""
        levels = self._chain if above else self._chain[:1]
        with self._room.lock:
            for level in levels:
                level.count_time(+1)
        try:
            yield
        finally:
            with self._room.lock:
                for level in levels:
                    level.count_time(-1)

    @property
    def quota(self) -> Quota:
        """The limits; setting them decides anew about everybody who waits."""
        return self._level.quota

    @quota.setter
    def quota(self, quota: Quota) -> None:
        check_quota(quota)
        with self._room.lock:
            self._level.quota = quota
            self._room.serve()

    def reset(self) -> None:
        """Zeroes what is used; limits and live reservations stay, and so does what the day and the week have used."""
        with self._room.lock:
            self._level.reset()
            self._room.serve()

    @property
    def usage(self) -> Amounts:
        """Executions, tokens and dollars that are spent; what is reserved comes on top."""
        return self._level.used

    @property
    def reserved(self) -> Amounts:
        return self._level.reserved

    @property
    def remaining_executions(self) -> int | None:
        """None: no limit. As in all of these: at this level alone, less what is reserved."""
        return self._remaining("max_executions", int)

    @property
    def remaining_tokens(self) -> int | None:
        return self._remaining("max_total_tokens", int)

    @property
    def remaining_cost(self) -> float | None:
        """US dollars."""
        return self._remaining("max_total_cost", float)

    @property
    def remaining_time(self) -> float | None:
        """Seconds."""
        return self._remaining("max_total_time", float)

    @property
    def overshoot_tokens(self) -> int:
        """Tokens booked beyond the limit: more than 0 only after a provider counted more than the bound allowed."""
        limit = self.quota.max_total_tokens
        return 0 if limit is None else max(0, self.usage.tokens - limit)

    def left(self, name: str) -> float | None:
        """What of this limit, a field of Quota, is not used at any level from here upwards; None: no limit."""
        rooms = [use.limit - use.used for use in self.uses(above=True) if use.name == name and use.limit is not None]
        return min(rooms, default=None)

    def out_of_time(self) -> QuotaExceeded | None:
        """The error for the first level, from here upwards, whose time has run out."""
        with self._room.lock:
            return next(filter(None, (level.out_of_time() for level in self._chain)), None)

    def uses(self, *, above: bool = False) -> list[LimitUse]:
        """A row per limit of this level; `above`: then those limits of the levels above that are set."""
        with self._room.lock:
            uses = self._level.uses()
            if above:
                uses += [use for level in self._chain[1:] for use in level.uses(level.limits())]
        if above and self._room.shared is not None:
            uses += self._room.shared.uses(only_set=True)
        return uses

    def _remaining(self, name: str, kind: Callable[[float], Number]) -> Number | None:
        left = next(use.remaining for use in self.uses() if use.name == name)
        return None if left is None else kind(left)


def prompt_bound(messages: Iterable[Message], overhead_tokens: int) -> int:
    """The most tokens a prompt can have: a token is at least one byte of text; the wire adds its constant."""
    return sum(map(_message_bytes, messages)) + overhead_tokens


def _message_bytes(message: Message) -> int:
    called = sum(_size(call.id) + _size(call.name) + _size(call.arguments) for call in message.tool_calls)
    return _size(message.content) + called + _size(message.tool_call_id or "") + _size(message.tool or "")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
