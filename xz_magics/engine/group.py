"""Tasks that were written together: it starts each when its turn comes, and ends every one of them exactly once."""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xz_magics.agent import Delegation, Ending, Means, Subagent, Surroundings
from xz_magics.agent.answers import Checked
from xz_magics.engine.slots import Slot, Slots
from xz_magics.errors import QuotaExceeded
from xz_magics.events import TaskEnded, TaskPlanned
from xz_magics.plan import with_results
from xz_magics.providers import Provider
from xz_magics.records import Status, Task
from xz_magics.tools.granted import Granted
from xz_magics.tools.rights import Rights

NO_RIGHTS = Rights()
FAIL_FAST_ON: frozenset[Status] = frozenset({"failed", "timed_out"})

FAILED_FAST = Ending(
    status="cancelled", error_type="fail_fast", error="another task failed, and fail_fast is on\nmend that one first"
)
ORPHANED = Ending(
    status="cancelled", error_type="cancelled", error="the task that delegated it ended first\nsee why that one ended"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """What all groups of a run share; `groups` are those at work, `running` the subagents in them by label."""

    providers: Mapping[str, Provider]
    slots: Slots
    granted: Callable[[Rights], Granted]
    delegate: Callable[["Group", Task, Rights, str, Mapping[str, object]], Delegation]
    max_depth: int
    running: dict[str, Subagent] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)


class Group:
    """The tasks of a cell, or those of one delegation. `rights` are the most that its tasks can have; None: no bound.

    `ahead`: how many may stand in the line for a slot at once; `at_once`: how many may be in the line or at work.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        around: Surroundings,
        company: Company,
        *,
        parent: str | None = None,
        depth: int = 0,
        rights: Rights | None = None,
        ahead: int | None = None,
        at_once: int | None = None,
        fail_fast: bool = False,
        abandoned: Ending = ORPHANED,
    ) -> None:
        """`abandoned` is told by those that end because whoever waits for the group gives up."""
        self.around = around
        self.depth = depth
        self.endings: dict[str, TaskEnded] = {}
        self.halted: Ending | None = None
        self._tasks = {task.label: task for task in tasks}
        self._company = company
        self._parent = parent
        self._rights = rights
        self._ahead = ahead
        self._at_once = at_once
        self._fail_fast = fail_fast
        self._abandoned = abandoned
        self._unstarted = dict.fromkeys(self._tasks)
        self._ready: list[tuple[int, str]] = []
        self._ready_at: dict[str, float] = {}
        self._missing = {label: len(set(task.after)) for label, task in self._tasks.items() if task.after}
        self._followers: dict[str, list[str]] = {}
        for label, task in self._tasks.items():
            for earlier in set(task.after):
                self._followers.setdefault(earlier, []).append(label)
        self._in_line = 0
        self._launched = 0
        self._jobs: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()

    def plan(self) -> None:
        """Tells of all tasks, and makes those ready that come after nothing."""
        for task in self._tasks.values():
            depth = self.depth if task.of is None else self.depth + 1
            self.around.emit(TaskPlanned(task=task, parent=task.of or self._parent, depth=depth))
        for place, label in enumerate(self._tasks):
            if label not in self._missing:
                self._make_ready(label, place)

    async def work(self) -> None:
        """Returns when every task has ended; cancelled, it cancels them. The first step asks for the first slots."""
        self._company.groups.append(self)
        try:
            async with asyncio.TaskGroup() as self._jobs:
                self._launch()
                try:
                    if self._launched:
                        await self._idle.wait()
                except asyncio.CancelledError:
                    self.halted = self.halted or self._abandoned  # before its jobs end: none may start another
                    raise
        finally:
            self._company.groups.remove(self)
            self.halted = self.halted or self._abandoned
            while self._unstarted:
                self._end_unstarted(next(iter(self._unstarted)), self.halted)

    def in_order(self) -> list[TaskEnded]:
        """The endings of those that have ended, in the order in which the tasks were written."""
        return [self.endings[label] for label in self._tasks if label in self.endings]

    def halt(self, ending: Ending) -> None:
        """Nothing new starts, and what runs is cancelled; the first reason given is told."""
        self.halted = self.halted or ending
        for label in self._tasks:
            if label in self._company.running:
                self._company.running[label].cancel(ending)

    def drop(self, label: str, ending: Ending) -> None:
        """Ends a task of this group that has not started; nothing otherwise."""
        if label in self._unstarted:
            self._end_unstarted(label, ending)

    def out_of_time(self) -> QuotaExceeded | None:
        return self.around.tracker.out_of_time()

    def _launch(self) -> None:
        """Puts as many in the line for a slot as may stand there."""
        while (
            self._jobs is not None
            and self._ready
            and self.halted is None
            and (self._ahead is None or self._in_line < self._ahead)
            and (self._at_once is None or self._launched < self._at_once)
        ):
            _, label = heapq.heappop(self._ready)
            if label in self._unstarted:
                slot = self._company.slots.ask(depth=self.depth)
                self._in_line += 1
                self._launched += 1
                job = self._jobs.create_task(self._run_one(label, slot), name=f"xz_magics {label}")
                job.add_done_callback(slot.give_back)  # it may be cancelled before it begins

    async def _run_one(self, label: str, slot: Slot) -> None:
        try:
            await slot.taken()
            self._in_line -= 1
            self._launch()
            if self.halted is None and label in self._unstarted:
                await self._work_on(label, slot)
        finally:
            slot.give_back()
            self._launched -= 1
            self._launch()
            if not self._launched:
                self._idle.set()

    async def _work_on(self, label: str, slot: Slot) -> None:
        task = with_results(self._tasks[label], self.endings)
        provider = self._company.providers[task.model]
        means = self._means(task, slot)
        recalled = self.around.recall(task, provider, means.tools_of(task))
        if recalled is not None and not await _still_fits(task, recalled):
            recalled = None
        if self.halted is not None or label not in self._unstarted:
            return  # while that was looked at
        del self._unstarted[label]
        if recalled is not None:
            self.around.emit(recalled)
            self._note_end(recalled)
            return
        ready_at = self._ready_at[label]
        subagent = Subagent(task, provider, self.around, means, ready_at=ready_at, abandoned=self._abandoned)
        self._company.running[label] = subagent
        try:
            await subagent.run()
        finally:
            del self._company.running[label]
            if (ended := subagent.ended) is not None:
                self._note_end(ended)
                if self._fail_fast and ended.status in FAIL_FAST_ON:
                    self.halt(FAILED_FAST)

    def _means(self, task: Task, slot: Slot) -> Means:
        rights = Rights.of(task.allowed_tools) if task.allowed_tools else NO_RIGHTS
        if self._rights is not None:
            rights &= self._rights
        granted = self._company.granted(rights)
        if self.depth >= self._company.max_depth and granted.delegating:
            granted = self._company.granted(rights.only(set(rights.words) - granted.delegating))
        return Means(
            granted=granted,
            delegate=lambda name, arguments: self._company.delegate(self, task, rights, name, arguments),
            slot=slot,
        )

    def _note_end(self, ended: TaskEnded) -> None:
        """Tasks that come after this one are ready once it was the last they waited for, or will never start."""
        news = [ended]
        while news:  # no recursion: a chain may be ten thousand tasks long
            ended = news.pop()
            self.endings[ended.label] = ended
            for follower in self._followers.get(ended.label, ()):
                if follower not in self._unstarted:
                    continue
                self._missing[follower] -= 1
                if not _suffices(ended, self._tasks[follower]):
                    news.append(self._skip(follower, self.halted or _for_want_of(ended)))
                elif not self._missing[follower]:
                    self._make_ready(follower, self._tasks[follower].index)
        self._launch()

    def _make_ready(self, label: str, place: int) -> None:
        self._ready_at[label] = self.around.clock()
        heapq.heappush(self._ready, (place, label))

    def _end_unstarted(self, label: str, ending: Ending) -> None:
        self._note_end(self._skip(label, ending))

    def _skip(self, label: str, ending: Ending) -> TaskEnded:
        del self._unstarted[label]
        waited_s = self.around.clock() - self._ready_at[label] if label in self._ready_at else None
        ended = TaskEnded(
            label=label, status="skipped", error_type=ending.error_type, error=ending.error, queued_s=waited_s
        )
        self.around.emit(ended)
        return ended


async def _still_fits(task: Task, ended: TaskEnded) -> bool:
    """A schema is the same as then, but not what its model class checks besides."""
    if ended.status != "done" or task.schema is None or task.schema.model is None:
        return True
    checked = Checked(task.schema)
    return await checked.fits(ended.work) or await checked.fits(ended.output)


def _suffices(ended: TaskEnded, follower: Task) -> bool:
    match follower.after_when:
        case "ended":
            return True
        case "done":
            return ended.status == "done"
        case "text":
            return ended.status in {"done", "incomplete"} and ended.output is not None


def _for_want_of(ended: TaskEnded) -> Ending:
    kind = f" ({ended.error_type})" if ended.error_type else ""
    return Ending(
        status="skipped",
        error_type="dependency",
        error=f"it comes after {ended.label!r}, which ended as {ended.status}{kind}\nmend that one first",
    )
