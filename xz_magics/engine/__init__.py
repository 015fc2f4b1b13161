"""Runs the tasks of a plan under slots and quota; it speaks only in events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from xz_magics.agent import Ending, Surroundings
from xz_magics.engine.delegation import Delegated, Order, read_order
from xz_magics.engine.group import FAILED_FAST, Company, Group
from xz_magics.engine.slots import Slots
from xz_magics.errors import JournalError
from xz_magics.events import Noted, RunEnded, RunStarted, TaskEnded
from xz_magics.providers import Provider
from xz_magics.records import Task
from xz_magics.tools import ToolError
from xz_magics.tools.delegating import SUBAGENT
from xz_magics.tools.granted import Granted
from xz_magics.tools.rights import Rights

logger = logging.getLogger("xz_magics")

BEAT_S = 0.1
"""How often the views are drawn and the time limits looked at. It is also the loop's heartbeat: without one, an
interrupt of a silent run is served only when the next byte comes."""

KEPT_S = 2.0
"""How long the end of a run waits for its last events to be on disk."""

MOST_BEATS_UNDRAWN = 10
"""What is shown is on disk; where so much happens that something is always on its way there, a view waits no longer."""

AHEAD = 5
"""So many tasks as written stand in the line for a slot: slots that come free together are filled in few steps."""

STOPPED = Ending(status="cancelled", error_type="cancelled", error="stopped by you\nrun the cell again")
CANCELLED = Ending(status="cancelled", error_type="cancelled", error="cancelled by you\nrun the cell again")


Work = Callable[[Sequence[Task]], Awaitable[list[TaskEnded]]]
Further = Callable[[Work], Awaitable[None]]
"""What a run does once the tasks as written have ended: it is handed the way to have more tasks worked on."""


class Run:
    """One run: starts subagents as slots come free, stops them when asked, and ends every task exactly once.

    `granted` gives the tools that some rights come to.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        providers: Mapping[str, Provider],
        around: Surroundings,
        *,
        granted: Callable[[Rights], Granted],
        max_concurrent: int = 5,
        max_depth: int = 3,
        fail_fast: bool = False,
    ) -> None:
        self._tasks = tuple(tasks)
        self._providers = providers
        self._around = around
        self._max_concurrent = max_concurrent
        self._beat: Callable[[], None] | None = None
        self._halt: Ending | None = None
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._furthering: asyncio.Future[None] | None = None
        self._labels = dict.fromkeys(task.label for task in self._tasks)
        self._company = Company(
            providers=providers,
            slots=Slots(max_concurrent),
            granted=granted,
            delegate=self._delegate,
            max_depth=max_depth,
        )
        self._roots = Group(self._tasks, around, self._company, ahead=AHEAD, fail_fast=fail_fast, abandoned=CANCELLED)
        self._started_at = 0.0
        self._planned = False
        self._cancelled_early: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether somebody pressed Stop."""
        return self._halt is STOPPED

    async def execute(self, beat: Callable[[], None] | None = None, further: Further | None = None) -> None:
        """Returns when every task has ended. Raises ModelError before anything is sent, and CancelledError.

        `beat` is called ten times a second, and once at the end. `further` is left out after a Stop, and a Stop ends
        it; after another end of all, what it asks for is skipped. Where it fails, what has ended stays as it is.
        """
        self._beat = beat
        if self._halt is None:
            await self._open_providers()
        around = self._around
        around.emit(RunStarted(tasks=len(self._tasks), max_concurrent=self._max_concurrent, quota=around.tracker.quota))
        self._started_at = around.clock()
        self._roots.plan()
        self._planned = True
        for label in self._cancelled_early:
            self._cancel_one(label)
        if self._halt is not None:
            self._roots.halt(self._halt)
        try:
            with around.tracker.working(above=False):
                async with self._heartbeat():
                    await self._roots.work()
                    if further is not None and self._halt is not STOPPED:
                        await self._go_further(further)
        finally:
            reason = None if self._halt is None else self._halt.error
            around.emit(RunEnded(duration_s=around.clock() - self._started_at, reason=reason))
            await self._is_kept(KEPT_S)
            self._draw()

    def stop(self) -> None:
        """Ends the run: from whatever thread, in a signal handler too, as often as one likes."""
        self._call(self._halt_all, STOPPED)

    def cancel(self, label: str) -> None:
        """Ends one task and leaves the others alone: from whatever thread. An unknown or ended one: nothing."""
        self._call(self._cancel_one, label)

    async def _go_further(self, further: Further) -> None:
        self._furthering = asyncio.ensure_future(further(self._work_on))
        try:
            await asyncio.wait({self._furthering})
        finally:
            self._furthering.cancel()
            await asyncio.wait({self._furthering})
        if not self._furthering.cancelled() and (error := self._furthering.exception()) is not None:
            logger.error("what was to be done after the tasks failed; they are as they ended", exc_info=error)

    async def _work_on(self, tasks: Sequence[Task]) -> list[TaskEnded]:
        """How they ended, in their order. A label that is taken gets a number."""
        fresh = [self._relabelled(task) for task in tasks]
        group = Group(fresh, self._around, self._company, ahead=AHEAD, abandoned=CANCELLED)
        group.halted = self._halt or (FAILED_FAST if self._roots.halted is FAILED_FAST else None)
        group.plan()
        await group.work()
        return group.in_order()

    def _relabelled(self, task: Task) -> Task:
        label, number = task.label, 1
        while label in self._labels:
            number += 1
            label = f"{task.label} ({number})"
        self._labels[label] = None
        return replace(task, label=label)

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
        """From whatever thread a provider makes itself ready in, which may be late: a Stop does not wait for it."""
        self._call(self._note, note)

    def _note(self, note: str) -> None:
        if not self._planned:
            self._around.emit(Noted(text=note))

    def _delegate(
        self, group: Group, parent: Task, rights: Rights, name: str, arguments: Mapping[str, object]
    ) -> Delegated:
        """A group below the one that the parent is in: its tasks are planned, and stand in the line once it works."""
        order = read_order(parent, name, arguments, rights=rights, taken=self._labels, models=self._providers)
        self._labels |= dict.fromkeys(task.label for task in order.tasks)
        around = group.around
        if order.quota is not None:
            self._check_priced(order)
            around = replace(around, tracker=around.tracker.child(order.quota, level=f"group of {parent.label}"))
        children = Group(
            order.tasks,
            around,
            self._company,
            parent=parent.label,
            depth=group.depth + 1,
            rights=rights,
            at_once=order.max_concurrent,
            fail_fast=order.fail_fast,
        )
        children.halted = self._company.running[parent.label].halted  # it may be cancelled already, and not know it yet
        children.plan()
        return Delegated(group=children, alone=name == SUBAGENT.name)

    def _check_priced(self, order: Order) -> None:
        unpriced = [task.model for task in order.tasks if self._providers[task.model].price is None]
        if unpriced and order.quota is not None and order.quota.max_total_cost is not None:
            raise ToolError(f"max_total_cost cannot bind {unpriced[0]}, whose price is unknown", "leave it out")

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
        beats = drawn = 0
        while True:
            self._end_what_is_out_of_time()
            if await self._is_kept(BEAT_S) or beats - drawn >= MOST_BEATS_UNDRAWN:
                self._draw()
                drawn = beats
            beats += 1
            await asyncio.sleep(BEAT_S)

    async def _is_kept(self, longest_s: float) -> bool:
        """Whether all that has happened may be shown: it is on disk, or cannot be brought there.

        Of the journal's trouble its own log tells, and each task that is not sent for it.
        """
        try:
            async with asyncio.timeout(longest_s):
                await self._around.settled()
        except TimeoutError:
            return False
        except JournalError:
            return True
        return True

    def _draw(self) -> None:
        if self._beat is not None:
            try:
                self._beat()
            except Exception:
                logger.exception("the live view failed; the run goes on without it")
                self._beat = None

    def _end_what_is_out_of_time(self) -> None:
        for group in (self._roots, *self._company.groups):
            spent = group.out_of_time()
            if spent is not None and group.halted is None:
                ending = Ending(status="timed_out", error_type="quota_exceeded", error=str(spent))
                if group.around is self._around:  # the run's own limit
                    self._halt_all(ending)
                else:
                    group.halt(ending)

    def _halt_all(self, ending: Ending) -> None:
        self._halt = self._halt or ending
        if self._opening is not None:
            self._opening.cancel()
        for group in reversed(self._company.groups):
            group.halt(ending)
        if ending is STOPPED and self._furthering is not None and not self._company.groups:
            self._furthering.cancel()  # it waits for something else, such as a function of the notebook

    def _cancel_one(self, label: str) -> None:
        if not self._planned:
            self._cancelled_early.append(label)
            return
        if label in self._company.running:
            self._company.running[label].cancel(CANCELLED)
        for group in (self._roots, *self._company.groups):
            group.drop(label, CANCELLED)
