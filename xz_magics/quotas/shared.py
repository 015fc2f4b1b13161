"""Limits over days and weeks, above every session: it alone asks the ledger, in a thread, so that no loop waits."""

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress

from xz_magics.errors import QuotaExceeded, XzMagicsError
from xz_magics.quotas.deciding import Asked, Decided, decide, stand_as
from xz_magics.quotas.ledger import Hold, Ledger
from xz_magics.quotas.level import COUNTED, NOTHING, Amounts, Level, in_billionths
from xz_magics.records import LimitUse, Quota

logger = logging.getLogger("xz_magics")

POLL_S = 0.3
"""How often one that waits asks again: another process that gives room back tells nobody."""

GATHER_S = 0.5
"""So long what is used without limits is gathered: it is written together."""

RETRY_S = 5.0
"""After so long what could not be written is tried again, if nobody asks before."""

CALM_S = 3.0
"""So long after a failure whoever asks is refused at once: each would wait as long for the same error."""

END_S = 1.5
LIMITED_END_S = 5.0
"""So long the end of the interpreter waits for what is not written yet; longer where limits should know of it."""

LOOK_S = 2.0
"""So long it takes at most to look at how the limits stand, and to end a run."""


class Shared:
    """The limits of the day and the week, and who waits for room in them. Safe from any thread and any event loop.

    Who waits for a limit keeps later comers of this process at that limit behind it. What many ask for at the same time
    is written at once. A ledger that cannot be written refuses whoever asks; what is to be settled is tried again.
    Without limits nobody asks, and what is used is booked all the same: a limit that is set later knows of it.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], limits: Mapping[str, Quota] | None = None) -> None:
        """`open_ledger` is called at first use, in the thread."""
        self._open_ledger = open_ledger
        self._levels = {name: Level(name, Quota(), time.monotonic) for name in ("day", "week")}
        self.limits = limits or {}
        self._changed = threading.Condition()
        self._asked: list[Asked] = []
        self._settled: list[Settled] = []
        self._takes_back = self._owes = False
        self._waiting = 0
        self._due_at: float | None = None
        self._note: str | None = None
        self._thread: threading.Thread | None = None
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    @property
    def limits(self) -> Mapping[str, Quota]:
        """By level; of each, time is not looked at. Who waits is decided about anew within POLL_S."""
        return {name: level.quota for name, level in self._levels.items()}

    @limits.setter
    def limits(self, limits: Mapping[str, Quota]) -> None:
        for name, level in self._levels.items():
            level.quota = in_billionths(limits.get(name, Quota()))

    @property
    def is_limited(self) -> bool:
        """Without limits nobody waits for the ledger."""
        return any(level.limits(COUNTED) for level in self._levels.values())

    @property
    def waits(self) -> bool:
        """Whether somebody of this process waits for room."""
        return self._waiting > 0

    def uses(self, *, only_set: bool = False) -> list[LimitUse]:
        """A row per limit, as the ledger stood when this process last asked it."""
        levels = self._levels.values()
        return [use for level in levels for use in level.uses(level.limits(COUNTED) if only_set else COUNTED)]

    async def take(self, need: Amounts) -> Hold:
        """Waits while others, in whatever process, may give room back. Raises QuotaExceeded when it can never fit."""
        answer = self._ask(need)
        try:
            return await asyncio.wrap_future(answer)
        except BaseException:  # GeneratorExit too: a loop that is closed leaves its waiters behind
            self._leave(answer)
            raise

    def settle(self, hold: Hold, used: Amounts) -> None:
        """Books what was used and gives the rest back, soon."""
        with self._changed:
            self._settled.append((hold, used))
            self._owe()

    def book(self, used: Amounts) -> None:
        """Books what was used without any room being held, within GATHER_S."""
        with self._changed:
            if self._settled and self._settled[-1][0] is None:
                used = used.plus(self._settled.pop()[1])
            self._settled.append((None, used))
            self._owe(GATHER_S)

    async def check(self) -> str | None:
        """Writes to the ledger, if there are limits, and waits for it. Raises QuotaExceeded where that fails.

        Returns the line that a person should see, if there is one.
        """
        if not self.is_limited:
            return None
        await self.take(NOTHING)
        return self._note

    async def written(self) -> None:
        """Waits until what is settled is on disk, or LOOK_S; what cannot be written is tried again later."""
        if self._owes:
            with suppress(TimeoutError, QuotaExceeded, RuntimeError):
                async with asyncio.timeout(LOOK_S):
                    await self.take(NOTHING)

    def standing(self) -> tuple[list[LimitUse], str | None]:
        """A row per limit as the ledger stands now, also where none is set, and the line of `check`.

        It waits LOOK_S for the ledger; after that the line says so. One that cannot be written has no rows; with
        limits, it raises QuotaExceeded.
        """
        answer = self._ask(NOTHING)
        try:
            answer.result(LOOK_S)
        except TimeoutError:
            self._leave(answer)
            told = (
                f"the ledger has not answered for {LOOK_S:g} s, and what it has is not known: end what keeps it locked"
            )
            return (self.uses(), told) if self.is_limited else ([], None)
        except QuotaExceeded:
            if self.is_limited:
                raise
            return [], None
        return self.uses(), self._note

    def take_back(self) -> None:
        """Leaves the days and weeks that lie far ahead of the clock; what the present ones have used stays."""
        with self._changed:
            self._takes_back = True
            self._wake()

    def close(self) -> None:
        """Writes what is to be settled. Who waits goes on waiting; the next use begins a new thread."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(LIMITED_END_S if self.is_limited else END_S)

    def _ask(self, need: Amounts) -> "Future[Hold]":
        answer: Future[Hold] = Future()
        with self._changed:
            self._asked.append((need, answer))
            self._wake()
        return answer

    def _leave(self, answer: "Future[Hold]") -> None:
        """Nobody waits for it any more; what it was granted meanwhile comes back."""
        if not answer.cancel() and answer.exception() is None:
            self.settle(answer.result(), NOTHING)

    def _owe(self, within_s: float = 0.0) -> None:
        self._owes = True
        try:
            self._wake(within_s)
        except RuntimeError:  # no thread begins any more when the interpreter ends
            logger.debug("what is used now is not counted for this day and week", exc_info=True)

    def _wake(self, within_s: float = 0.0) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._live, name="xz_magics ledger", daemon=True)
            thread.start()
            self._thread = thread
        self._be_due(within_s)

    def _be_due(self, within_s: float) -> None:
        due_at = time.monotonic() + within_s
        if self._due_at is None or due_at < self._due_at:
            self._due_at = due_at
            self._changed.notify_all()

    def _forget(self) -> None:
        """In a forked copy the thread is missing, and what is held is the original's."""
        self._changed = threading.Condition()
        self._asked, self._settled = [], []
        self._takes_back = self._owes = False
        self._due_at, self._thread, self._waiting = None, None, 0

    def _live(self) -> None:
        ledger: Ledger | None = None
        failure: Exception | None = None
        calm_until = 0.0
        decided: list[Decided] = []
        is_over = False
        while not is_over:
            asked, settled, is_over = self._next()
            try:
                if failure is not None and asked and time.monotonic() < calm_until:
                    decided = [(one, _unwritable(failure)) for one in asked]
                else:
                    ledger = ledger or self._open_ledger()
                    decided = self._decide(ledger, asked, settled)
                    failure, settled = None, []
            except Exception as error:  # whatever it is, those who wait must hear of it
                if str(error) != str(failure):
                    level = logging.WARNING if self.is_limited else logging.DEBUG
                    logger.log(level, "what days and weeks use cannot be counted", exc_info=True)
                failure, calm_until = error, time.monotonic() + CALM_S
                decided = [(one, _unwritable(error)) for one in asked]
            self._tell(decided, settled)
        if ledger is not None:
            ledger.close()

    def _next(self) -> "tuple[list[Asked], list[Settled], bool]":
        """What there is to do, once there is something; for a thread that is to end, only what is to be settled."""
        with self._changed:

            def is_over() -> bool:
                return self._thread is not threading.current_thread()

            while not is_over() and (wait_s := self._wait_s()) != 0:
                self._changed.wait(wait_s)
            asked: list[Asked] = []
            if not is_over():
                self._due_at = None
                asked, self._asked = [one for one in self._asked if not one[1].cancelled()], []
            settled, self._settled = self._settled, []
            return asked, settled, is_over()

    def _wait_s(self) -> float | None:
        """0: something is due; None: nothing will be."""
        return None if self._due_at is None else max(0.0, self._due_at - time.monotonic())

    def _decide(self, ledger: Ledger, asked: list[Asked], settled: "list[Settled]") -> list[Decided]:
        """The levels stand as the ledger does afterwards."""
        with ledger.group():
            for hold, used in settled:
                ledger.settle(hold, used)
            if self._takes_back:
                ledger.take_back()
            decided = decide(ledger, self._levels, asked)
            self._note = stand_as(ledger, self._levels)
        self._takes_back = False
        return decided

    def _tell(self, decided: list[Decided], settled: "list[Settled]") -> None:
        """Who must wait stands before later comers; `settled` is what could not be written."""
        with self._changed:
            waiting = [one for one, decision in decided if decision is None]
            self._waiting = len(waiting)
            self._asked[:0] = waiting
            self._settled[:0] = settled
            self._owes = bool(self._settled)
            if self._asked:
                self._be_due(POLL_S)
            elif self._settled:
                self._be_due(RETRY_S)
        for (_, answer), decision in decided:
            if decision is None:
                continue
            is_awaited = answer.set_running_or_notify_cancel()
            if isinstance(decision, Hold):
                answer.set_result(decision) if is_awaited else self.settle(decision, NOTHING)
            elif is_awaited:
                answer.set_exception(decision)


Settled = tuple[Hold | None, Amounts]
"""What is to be booked, and the hold that is given back, if there is one."""


def _unwritable(error: Exception) -> QuotaExceeded:
    """The refusal of whoever asks a ledger that is in trouble."""
    message, hint = (error.message, error.hint) if isinstance(error, XzMagicsError) else (repr(error), "")
    return QuotaExceeded(
        f"the limits of day and week cannot be kept: {message}",
        hint or "take away the daily and weekly limits",
        "ledger",
    )
