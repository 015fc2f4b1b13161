"""What all calls of one account share: the pause after a 429, the probe that goes first after it, and the refusal."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

from xz_magics.errors import ProviderError
from xz_magics.ratelimits import LONGEST_WAIT_S

FIRST_PAUSE_S = 0.5
LONGEST_OWN_PAUSE_S = 8.0
PROBE_S = 10.0
SPREAD_S = 2.0
WIDEST_GAP_S = 0.1
SHORTEST_WAIT_S = 0.0001


class Account:
    """Closed for a time by a 429, for good by a refusal. It belongs to one event loop.

    After a pause one call goes as a probe. Once it has an answer that is no 429 the others follow one by one, over
    about SPREAD_S seconds at most. A probe that has no answer after PROBE_S is joined by the next.

    Passages are numbered as they are let through: those up to `_paused_at_number` were there before the last pause
    began, so their 429s are part of it and their answers no sign of its end.
    """

    def __init__(self, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._refusal: ProviderError | None = None
        self._closed_until = -inf
        self._limited = False
        self._paused_at_number = 0
        self.last_number = 0
        self._pauses_in_a_row = 0
        self._own_pause_until = -inf
        self._probe: object | None = None
        self._probe_until = -inf
        self._waiting = 0
        self._to_spread = 0
        self._gap_s = 0.0
        self._next_at = -inf
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self._refusal is not None or self._clock() < self._closed_until

    def refuse(self, error: ProviderError) -> None:
        """Closes for good: who waits and who comes is told of this first refusal."""
        if self._refusal is None:
            self._refusal = error
            self.tell()

    def raise_refusal(self) -> None:
        if (error := self._refusal) is not None:
            raise ProviderError(f"not sent: {error.message}", error.hint, error.error_type, status=error.status)

    def wait_s(self) -> float:
        """How long until the next call may go if nothing else happens."""
        now = self._clock()
        if now < self._closed_until:
            return self._closed_until - now
        if self._limited and self._probe is not None and now < self._probe_until:
            return self._probe_until - now
        return max(0.0, self._next_at - now)

    def let_through(self, passage: object) -> int:
        """The passage goes, as the probe if one is due. Its number."""
        now = self._clock()
        if self._limited:
            self._probe, self._probe_until = passage, now + PROBE_S
        elif self._to_spread:
            self._to_spread -= 1
            self._next_at = now + self._random() * self._gap_s
        self.last_number += 1
        return self.last_number

    def paused_since(self, number: int) -> bool:
        return number <= self._paused_at_number

    def note_limited(self, number: int) -> None:
        """A 429 for that request. The first of an episode doubles the own pauses; half of each is drawn."""
        if self.paused_since(number):
            return
        backoff_s = min(LONGEST_OWN_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._pauses_in_a_row, 10))
        self._own_pause_until = self._clock() + (0.5 + self._random() / 2) * backoff_s
        self._pauses_in_a_row += 1
        self._begin_episode()

    def pause(self, asked_s: float | None, delay_s: float) -> float:
        """Closes for as long as the server asks, else for its own time and `delay_s` at least. How long, in seconds.

        A pause is extended, never shortened. None is made for what is too long to wait: those who come are to be told
        by the server, one after the other.
        """
        now = self._clock()
        if asked_s is None:
            self._closed_until = max(self._closed_until, self._own_pause_until, now + delay_s)
        elif asked_s <= LONGEST_WAIT_S:
            self._closed_until = max(self._closed_until, now + asked_s)
        self._begin_episode()
        return max(0.0, self._closed_until - now)

    def note_accepted(self, number: int) -> None:
        """An answer that is no 429 for that request: a pause before it is over for all."""
        if self.paused_since(number):
            return
        self._pauses_in_a_row = 0
        if self._limited:
            self._limited = False
            self._to_spread = self._waiting
            self._gap_s = min(WIDEST_GAP_S, 2 * SPREAD_S / max(1, self._waiting))
            self.tell()

    def note_left(self, passage: object) -> None:
        """A probe that leaves hands the probe on to the next."""
        if self._probe is passage:
            self._probe = None
        self.tell()

    def arrive(self) -> None:
        self._waiting += 1

    def depart(self) -> None:
        self._waiting -= 1

    def tell(self) -> None:
        """Wakes those that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, longest_s: float) -> None:
        """Returns after the next change, or after so long."""
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(None if longest_s == inf else max(longest_s, SHORTEST_WAIT_S)):
                await changed.wait()

    def _begin_episode(self) -> None:
        self._limited = True
        self._paused_at_number = self.last_number
