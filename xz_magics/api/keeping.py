"""What of a run waits for the disk: each request for its intent, and `on_result` for each outcome."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from xz_magics.api.journalling import Journalling
from xz_magics.errors import JournalError
from xz_magics.events import Stamped, TaskEnded
from xz_magics.outcomes import Outcomes
from xz_magics.records import Outcome

logger = logging.getLogger("xz_magics")


class Keeping:
    """After the journal's first failure nothing more of the run is sent, even where it can be written again."""

    def __init__(self, journalling: Journalling) -> None:
        self.journalling = journalling
        self._failure: JournalError | None = None
        self._failed_before = self._latest_failure

    @property
    def trouble(self) -> str | None:
        """What has kept the journal from being written, in one line."""
        failure = self._failure
        return self.journalling.trouble if failure is None else f"{failure.message}; {failure.hint}"

    async def kept(self) -> None:
        await self._unless_failed(self.journalling.kept)

    async def settled(self) -> None:
        await self._unless_failed(self.journalling.settled)

    @property
    def _latest_failure(self) -> JournalError | None:
        journal = self.journalling.journal
        return None if journal is None else journal.latest_failure

    async def _unless_failed(self, waiting: Callable[[], Awaitable[None]]) -> None:
        if self._failure is None:
            try:
                await waiting()
            except JournalError as error:
                self._failure = error
            else:
                latest = self._latest_failure
                self._failure = None if latest is self._failed_before else latest
        if self._failure is not None:
            raise JournalError(*self._failure.args)


class Telling:
    """Hands each outcome to `on_result`, in their order: once it is on disk, or cannot be brought there."""

    def __init__(self, outcomes: Outcomes, keeping: Keeping, on_result: Callable[[Outcome], None] | None) -> None:
        self._outcomes = outcomes
        self._keeping = keeping
        self._on_result = on_result
        self._ended: deque[Outcome] = deque()
        self._news = asyncio.Event()

    def observe(self, stamped: Stamped) -> None:
        if self._on_result is None or not isinstance(stamped.event, TaskEnded):
            return
        outcome = self._outcomes.rows[stamped.event.label].outcome
        if outcome is not None:
            self._ended.append(outcome)
            self._news.set()
        if self._keeping.journalling.journal is None:
            self._tell(len(self._ended))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Around the run, which waits at its end for its last events to be on disk: then all that is left is told."""
        job = asyncio.create_task(self._work())
        try:
            yield
        finally:
            job.cancel()
            if not job.done():
                self._tell(len(self._ended))
            await asyncio.wait({job})
            if not job.cancelled():
                job.result()  # what no `except` may keep, such as SystemExit

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            count = len(self._ended)
            with suppress(JournalError):  # the run tells of it
                await self._keeping.kept()
            self._tell(count)

    def _tell(self, count: int) -> None:
        while self._ended and count:  # an on_result that runs the loop itself may come to the end of the run in it
            outcome, count = self._ended.popleft(), count - 1
            if self._on_result is None:
                continue
            try:
                self._on_result(outcome)
            except Exception:
                logger.exception("on_result failed and hears no more: %r", self._on_result)
                self._on_result = None
