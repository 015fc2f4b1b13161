"""What comes all at once goes on a few at a time: an event loop serves others in between, such as the page's clicks."""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

AT_ONCE = 4
"""In one step of a loop, or twice as many. What each does, with an answer or to send a request, takes a millisecond."""

LONGEST_S = 2.0
"""Nobody waits longer: an interrupt may have ended the step that was to call the next ones."""


async def spread() -> None:
    """Returns at once for who comes alone; of a crowd, each waits for its turn, first come, first served."""
    loop = asyncio.get_running_loop()
    if loop not in _crowds:
        for ended in [other for other in _crowds if other.is_closed()]:
            del _crowds[ended]  # with those that still wait there, it would be held for ever
        _crowds[loop] = _Crowd()
    await _crowds[loop].passed(loop)


class _Crowd:
    """Of one loop. `_passed` have gone on since `_begin_step`, called once in each step while there is a crowd."""

    def __init__(self) -> None:
        self._passed = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def passed(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._passed:
            loop.call_soon(self._begin_step, loop)
        if self._passed < AT_ONCE:
            self._passed += 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._line.append(turn)
        alarm = loop.call_later(LONGEST_S, self._break, turn)
        try:
            await turn
        finally:
            alarm.cancel()

    def _begin_step(self, loop: asyncio.AbstractEventLoop) -> None:
        self._passed = 0
        while self._line and self._passed < AT_ONCE:
            turn = self._line.popleft()
            if not turn.done():  # nobody has cancelled it
                turn.set_result(None)
                self._passed += 1
        if self._passed:
            loop.call_soon(self._begin_step, loop)

    def _break(self, turn: "asyncio.Future[None]") -> None:
        """Whoever comes next begins a step anew."""
        self._passed = 0
        if not turn.done():
            turn.set_result(None)


_crowds: WeakKeyDictionary[asyncio.AbstractEventLoop, _Crowd] = WeakKeyDictionary()
