"""Runs the tasks of a plan under slots and quota; it speaks only in events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from xz_magics.agent import Ending, Subagent, Surroundings
from xz_magics.events import Noted, RunEnded, RunStarted, TaskEnded, TaskPlanned
from xz_magics.providers import Provider
from xz_magics.records import Status, Task

logger = logging.getLogger("xz_magics")

BEAT_S = 0.1
"""How often the views are drawn and the time limits looked at. It is also the loop's heartbeat: without one, an
interrupt of a silent run is served only when the next byte comes."""

FAIL_FAST_ON: frozenset[Status] = frozenset({"failed", "timed_out"})

STOPPED = Ending(status="cancelled", error_type="cancelled", error="stopped by you\nrun the cell again")
CANCELLED = Ending(status="cancelled", error_type="cancelled", error="cancelled by you\nrun the cell again")
FAILED_FAST = Ending(
    status="cancelled", error_type="fail_fast", error="another task failed, and fail_fast is on\nmend that one first"
)


class Run:
    """One run: starts subagents as slots come free, stops them when asked, and ends every task exactly once."""

    def __init__(
        self,
        tasks: Iterable[Task],
        providers: Mapping[str, Provider],
        around: Surroundings,
        *,
        max_concurrent: int = 5,
        fail_fast: bool = False,
    ) -> None:
        self._tasks = {task.label: task for task in tasks}
        self._providers = providers
        self._around = around
        self._max_concurrent = max_concurrent
        self._fail_fast = fail_fast
        self._beat: Callable[[], None] | None = None
        self._waiting = dict.fromkeys(self._tasks)
        self._running: dict[str, Subagent] = {}
        self._halt: Ending | None = None
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(max_concurrent)
        self._ready_at = 0.0
        self._planned = False
        self._cancelled_early: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether somebody pressed Stop."""
        return self._halt is STOPPED

    async def execute(self, beat: Callable[[], None] | None = None) -> None:
        """Returns when every task has ended. Raises ModelError before anything is sent, and CancelledError.

        `beat` is called ten times a second, and once at the end.
        """
        self._beat = beat
        await self._open_providers()
        around = self._around
        around.emit(RunStarted(tasks=len(self._tasks), max_concurrent=self._max_concurrent, quota=around.tracker.quota))
        for task in self._tasks.values():
            around.emit(TaskPlanned(task=task))
        self._ready_at = around.clock()
        self._planned = True
        for label in self._cancelled_early:
            self._cancel_one(label)
        try:
            with around.tracker.working(above=False):
                await self._work()
        finally:
            self._end_what_never_started()
            reason = None if self._halt is None else self._halt.error
            around.emit(RunEnded(duration_s=around.clock() - self._ready_at, reason=reason))

    def stop(self) -> None:
        """Ends the run: from whatever thread, in a signal handler too, as often as one likes."""
        self._call(self._halt_all, STOPPED)

    def cancel(self, label: str) -> None:
        """Ends one task and leaves the others alone: from whatever thread. An unknown or ended one: nothing."""
        self._call(self._cancel_one, label)

    def _call(self, action: Callable[..., None], argument: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action, argument)

    async def _open_providers(self) -> None:
        """Stop ends the wait; then nothing is started."""
        async with self._heartbeat():
            self._opening = asyncio.create_task(self._open_each())
            try:
                await asyncio.wait({self._opening})
            finally:
                self._opening.cancel()
                await asyncio.wait({self._opening})
        if not self._opening.cancelled():
            self._opening.result()

    async def _open_each(self) -> None:
        for provider in self._providers.values():
            await provider.open(self._tell)

    def _tell(self, note: str) -> None:
        """From whatever thread a provider makes itself ready in."""
        self._call(self._around.emit, Noted(text=note))

    async def _work(self) -> None:
        async with self._heartbeat(), asyncio.TaskGroup() as group:
            for label in self._tasks:
                await self._slots.acquire()
                if self._halt is not None:
                    return
                group.create_task(self._run_one(label), name=f"xz_magics {label}")

    async def _run_one(self, label: str) -> None:
        try:
            if self._halt is not None or label not in self._waiting:
                return
            del self._waiting[label]
            task = self._tasks[label]
            subagent = Subagent(task, self._providers[task.model], self._around, ready_at=self._ready_at)
            self._running[label] = subagent
            status = await subagent.run()
            if self._fail_fast and status in FAIL_FAST_ON and self._halt is None:
                self._halt_all(FAILED_FAST)
        finally:
            self._running.pop(label, None)
            self._slots.release()

    @asynccontextmanager
    async def _heartbeat(self) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait({watch})

    async def _watch(self) -> None:
        """A view that fails is not drawn again; the time limits go on being watched."""
        while True:
            spent = self._around.tracker.out_of_time()
            if spent is not None and self._halt is None:
                self._halt_all(Ending(status="timed_out", error_type="quota_exceeded", error=str(spent)))
            if self._beat is not None:
                try:
                    self._beat()
                except Exception:
                    logger.exception("the live view failed; the run goes on without it")
                    self._beat = None
            await asyncio.sleep(BEAT_S)

    def _halt_all(self, ending: Ending) -> None:
        self._halt = self._halt or ending
        if self._opening is not None:
            self._opening.cancel()
        for subagent in self._running.values():
            subagent.cancel(ending)

    def _cancel_one(self, label: str) -> None:
        if not self._planned:
            self._cancelled_early.append(label)
        elif label in self._running:
            self._running[label].cancel(CANCELLED)
        elif label in self._waiting:
            del self._waiting[label]
            self._end_unstarted(label, CANCELLED)

    def _end_what_never_started(self) -> None:
        for label in tuple(self._waiting):
            del self._waiting[label]
            self._end_unstarted(label, self._halt or CANCELLED)

    def _end_unstarted(self, label: str, ending: Ending) -> None:
        self._around.emit(
            TaskEnded(
                label=label,
                status="skipped",
                error_type=ending.error_type,
                error=ending.error,
                queued_s=self._around.clock() - self._ready_at,
            )
        )
