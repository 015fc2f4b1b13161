"""A thread with an event loop of its own: it alone begins one, and ends it with the process."""

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Given = TypeVar("Given")

logger = logging.getLogger("xz_magics")

END_S = 1.5


class LoopThread:
    """Begun at first use. Safe from any thread. A forked copy of this process begins one of its own.

    Nothing of it holds up the end of the process for longer than 1.5 s.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._forgotten: asyncio.AbstractEventLoop | None = None
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    @property
    def is_here(self) -> bool:
        """Whether the present code runs on it."""
        return threading.current_thread() is self._thread

    def run(self, coroutine: Coroutine[Any, Any, None]) -> "Future[None]":
        """Returns at once; the coroutine has a copy of the caller's context."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._begun())

    def close(self) -> None:
        """Cancels what runs. The next `run` begins a new thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_wind_up(), loop)
            thread.join(END_S)

    def _begun(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(_DaemonThreads())
                self._thread = threading.Thread(target=_live, args=(loop,), name=self._name, daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def _forget(self) -> None:
        """In a forked copy the thread is missing. The loop is kept: closing it would disturb the original."""
        self._lock = threading.Lock()
        self._forgotten, self._loop, self._thread = self._loop, None, None


def _live(loop: asyncio.AbstractEventLoop) -> None:
    """A SystemExit or its kin leaves a loop by its top; it must not end what else runs there."""
    asyncio.set_event_loop(loop)
    ended = False
    while not ended:
        try:
            loop.run_forever()
            ended = True
        except BaseException:
            logger.exception("this came out of a task of %s; the others go on", threading.current_thread().name)
    loop.close()


async def _wind_up() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
    await loop.shutdown_asyncgens()
    loop.stop()


class _DaemonThreads(ThreadPoolExecutor):
    """A thread for each call: those of a ThreadPoolExecutor are waited for at the end of the process."""

    def submit(self, call: Callable[..., Given], /, *args: Any, **kwargs: Any) -> "Future[Given]":
        given: Future[Given] = Future()

        def work() -> None:
            if not given.set_running_or_notify_cancel():
                return
            try:
                given.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                given.set_exception(error)

        threading.Thread(target=work, name="xz_magics worker", daemon=True).start()
        return given
