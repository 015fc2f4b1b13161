"""The thread that writes: it takes what has come, commits it as one group, and tells who waits for it."""

import asyncio
import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from xz_magics.errors import JournalError

logger = logging.getLogger("xz_magics")

END_S = 2.0
LATEST_S = 0.05
AGAIN_S = 2.0
TRIED_S = 10.0
CLOSED = ("the journal was closed", "begin anew: the next run opens it again")

Record = TypeVar("Record")


class Writer(Generic[Record]):
    """Begun at first use; safe from any thread. `commit` brings a group to disk, or raises JournalError.

    A group that could not be written stays in memory, goes before the next one, and is tried again now and then: where
    there is room again, nothing is missing. A forked copy of this process begins a thread of its own, and `forget` is
    called in it first.
    """

    def __init__(
        self, commit: Callable[[Sequence[Record]], None], *, close: Callable[[], None], forget: Callable[[], None]
    ) -> None:
        self._commit = commit
        self._close = close
        self._forget_store = forget
        self._begin_anew()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=partial(_forget, weakref.ref(self)))  # which nothing undoes

    def _begin_anew(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: list[Record] = []
        self._listeners: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._failure: JournalError | None = None
        self.latest_failure: JournalError | None = None
        self._written = self._tried = self._kept = 0
        self._tries_begun = self._tries_ended = self._tries_wanted = 0
        self._ending = self._refused = False

    def write(self, record: Record) -> None:
        """Returns at once. What comes after the end is left out, and then `kept` raises."""
        with self._changed:
            if self._ending:
                self._refused = True
                return
            self._waiting.append(record)
            self._written += 1
            begins = len(self._waiting) == 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="xz_magics journal", daemon=True)
                self._thread.start()
            elif begins:
                self._changed.notify_all()

    @property
    def failure(self) -> JournalError | None:
        """Of the last group that was tried."""
        return self._failure

    def try_again(self) -> None:
        """Raises JournalError where it cannot be written now: what could not be is tried once more, and waited for."""
        with self._changed:
            if self._ending:
                raise JournalError(*CLOSED)
            wanted = self._tries_wanted = self._tries_begun + 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._failure is None or self._tries_ended >= wanted, TRIED_S)
            if self._failure is not None:
                raise JournalError(*self._failure.args)

    async def kept(self) -> None:
        """Returns when all that was written so far is on disk. Raises JournalError where it could not be written."""
        with self._changed:
            if self._refused:
                raise JournalError(*CLOSED)
            if self._kept >= self._written:
                return
            if self._tried >= self._written and self._failure is not None:
                raise self._failure
            loop = asyncio.get_running_loop()
            told: asyncio.Future[None] = loop.create_future()
            self._listeners.append((self._written, loop, told))
            self._changed.notify_all()
            is_alone = len(self._listeners) == 1
        if is_alone:
            _give_way()
        await told

    async def settled(self) -> None:
        """As `kept`, and nothing was written since: what the caller does at once shows nothing that is not on disk."""
        await self.kept()
        while self._kept < self._written:
            await self.kept()

    def close(self) -> None:
        """Waits up to 2 s for what is not on disk yet."""
        with self._changed:
            thread, self._ending = self._thread, True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(END_S)
        atexit.unregister(self.close)

    def forget(self) -> None:
        """In a forked copy of the process, where the thread is not."""
        self._forget_store()
        self._begin_anew()

    def _work(self) -> None:
        group: list[Record] = []
        tried_at_end = False
        while True:
            with self._changed:
                self._wait_for_a_group(math.inf if self._failure is None else AGAIN_S)
                if not self._waiting and (not group or tried_at_end):
                    break
                tried_at_end = self._ending
                group += self._waiting
                self._waiting.clear()
                number = self._written
                self._tries_begun += 1
            failure = self._committed(group)
            with self._changed:
                self._tried, self._tries_ended = number, self._tries_begun
                if failure is None:
                    self._kept = number
                    group.clear()
                elif self._failure is None:
                    logger.warning("%s", failure)
                self._failure = failure
                self._changed.notify_all()
                self.latest_failure = failure or self.latest_failure
                told = [listener for listener in self._listeners if failure or listener[0] <= number]
                self._listeners = [] if failure else [one for one in self._listeners if one[0] > number]
            _tell(told, failure)
        self._close()

    def _wait_for_a_group(self, longest_s: float) -> None:
        """Somebody waits for it, or nobody has for a while: each commit takes as long, however much is in it."""
        until = time.monotonic() + longest_s
        while not self._ending and not (self._waiting and self._listeners) and not self._is_urged:
            if self._waiting:
                until = min(until, time.monotonic() + LATEST_S)
            if (left_s := until - time.monotonic()) <= 0:
                return
            self._changed.wait(None if left_s == math.inf else left_s)

    @property
    def _is_urged(self) -> bool:
        return self._failure is not None and self._tries_wanted > self._tries_begun

    def _committed(self, group: list[Record]) -> JournalError | None:
        try:
            self._commit(group)
        except JournalError as error:
            return error
        except Exception as error:
            logger.exception("the journal met a defect")
            return JournalError(f"the journal met a defect: {error!r}", "see the log; results are kept in memory")
        return None


def _give_way() -> None:
    """The thread that was woken goes on now, and not only when this one has had its turn of 5 ms."""
    time.sleep(0)


def _forget(writer: "weakref.ref[Writer[Any]]") -> None:
    if (found := writer()) is not None:
        found.forget()


def _tell(
    listeners: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]], failure: JournalError | None
) -> None:
    """One call for each loop, however many wait there; a loop that has ended waits for nothing."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, told in listeners:
        by_loop.setdefault(loop, []).append(told)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, waiting, failure)
        except RuntimeError:
            logger.debug("a loop that waited for the journal has ended")


def _settle(waiting: list["asyncio.Future[None]"], failure: JournalError | None) -> None:
    for told in waiting:
        if not told.done():
            if failure is None:
                told.set_result(None)
            else:
                told.set_exception(JournalError(*failure.args))
