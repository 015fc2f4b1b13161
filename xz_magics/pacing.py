"""One gate per account: a rate limit pauses all calls together, a refused key ends them."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from xz_magics.errors import ProviderError

SPREAD_S = 2.0
WIDEST_GAP_S = 0.1


class Gate:
    """What every call to one account passes before it is sent. It belongs to one event loop.

    After a pause the callers come through one by one, over about SPREAD_S seconds at most, so that the first of them
    can close the gate again before all have burst through it.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, random: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._random = random
        self._closed_until: float | None = None
        self._refusal: ProviderError | None = None
        self._refused = asyncio.Event()
        self._turnstile = asyncio.Lock()
        self._waiting = 0
        self._crowd = 0

    @property
    def closed(self) -> bool:
        return self._refusal is not None or self.delay_left_s > 0

    @property
    def delay_left_s(self) -> float:
        """How long the pause still lasts; 0 is no pause."""
        return 0.0 if self._closed_until is None else max(0.0, self._closed_until - self._clock())

    def pause(self, delay_s: float) -> None:
        """Closes the gate for so long from now. A pause is extended, never shortened."""
        self._closed_until = max(self._clock() + delay_s, self._closed_until or -float("inf"))

    def refuse(self, error: ProviderError) -> None:
        """Closes the gate for good: who waits and who comes is told of this first refusal."""
        if self._refusal is None:
            self._refusal = error
            self._refused.set()

    async def passed(self) -> None:
        """Returns when a call may be sent. Raises ProviderError, with nothing charged, once the account is refused."""
        if self.closed or self._waiting:
            self._waiting += 1
            self._crowd = max(self._crowd, self._waiting)
            try:
                async with self._turnstile:
                    await self._opened()
            finally:
                self._waiting -= 1
                self._crowd = self._crowd if self._waiting else 0
        self._raise_refusal()

    async def _opened(self) -> None:
        """Waits for the end of the pause, however often it is extended, and for a gap to the caller before."""
        delay_s = self.delay_left_s + self._gap_s()
        while self._refusal is None and delay_s > 0:
            await self._sleep(delay_s)
            delay_s = self.delay_left_s

    async def _sleep(self, delay_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._refused.wait()

    def _gap_s(self) -> float:
        return self._random() * min(WIDEST_GAP_S, 2 * SPREAD_S / self._crowd)

    def _raise_refusal(self) -> None:
        if (error := self._refusal) is not None:
            raise ProviderError(f"not sent: {error.message}", error.hint, error.error_type, status=error.status)


class Gates(dict[str, Gate]):
    """The gates of a run by account, each made when it is first asked for."""

    def __missing__(self, account: str) -> Gate:
        return self.setdefault(account, Gate())
