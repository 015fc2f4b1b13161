"""Runs that go on while other cells work: `start` begins one on the engine's thread, and its Handle holds it."""

import asyncio
import logging
import os
import threading
from collections.abc import Generator
from concurrent.futures import Future, wait
from typing import Any

from xz_magics.api import run_arguments
from xz_magics.api.launching import see_through
from xz_magics.api.preparing import Prepared, Work, prepare
from xz_magics.api.recollecting import recollect, with_hint
from xz_magics.errors import RunInterrupted, XzMagicsError
from xz_magics.interrupt import Guard
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.views.live import NoView, View, view_here
from xz_magics.views.progress import done_words, ended_words

logger = logging.getLogger("xz_magics")

BEGIN_S = 2.0
BEGIN_IN_LOOP_S = 0.2
LOOK_S = 0.05


def start(work: Work, *, show: bool = False, **options: Any) -> "Handle":
    """`run` in the background: returns at once with a handle, and other cells run meanwhile.

    Takes the same arguments, and raises the same errors before anything is sent. Stop leaves it alone;
    `handle.cancel()` ends it. What a tool starts ends with the run of the tool. The journal is waited for only where
    `resume` or `reuse` asks for what is in it.
    """
    run_arguments.bind(work, show=show, **options)
    session.note_kernel_loop()
    prepared = prepare(work, **options)
    asks = prepared.resume is not None or prepared.reuse
    if asks:
        prepared = with_hint(recollect(prepared))
    return Handle(prepared, view_here(background=True) if show else NoView(), recollects=not asks)


start.__signature__ = run_arguments.replace(  # type: ignore[attr-defined]  # what help shows: one list of options
    return_annotation="Handle"
)


class Handle:
    """A run in the background: `await` it or `wait()` for it, look at its `results` as they come, or `cancel()` it.

    Safe from any thread and any event loop. `error` is what ended it, where it did not end as runs do.
    """

    def __init__(self, prepared: Prepared, view: View, *, recollects: bool = False) -> None:
        """`recollects`: what an earlier run has left is still to be looked up."""
        self.error: BaseException | None = None
        self._tasks = len(prepared.plan.tasks)
        self._on_kernel = prepared.on_kernel
        self._process = os.getpid()
        self._begun: Future[Results] = Future()
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # from now on nobody who waits for it can cancel it
        going_on = self._go_on(prepared, view, recollects=recollects)
        session.engine.run(going_on).add_done_callback(self._note_end)
        if not session.engine.is_here:
            wait([self._begun], BEGIN_IN_LOOP_S if _runs_loop() else BEGIN_S)

    @property
    def done(self) -> bool:
        """Whether it has ended, however it did."""
        return self._ended.done()

    @property
    def results(self) -> Results:
        """They grow while the run goes on."""
        if not self._begun.done():
            self._check_elsewhere()
        return self._begun.result()

    @property
    def run_id(self) -> str:
        return self.results.run_id

    @property
    def goes_on(self) -> bool:
        """Whether it has begun, and has neither ended nor failed."""
        return self._begun.done() and self.error is None and not self.done

    def cancel(self, label: str | None = None) -> None:
        """Ends one task, or without a label the whole run; text that has come is kept."""
        self.results.cancel(label)

    def wait(self, timeout: float | None = None) -> Results:
        """The results, once the run has ended; raises what ended it, or TimeoutError after `timeout` seconds.

        The run goes on when the waiting ends before it. Raises XzMagicsError where waiting would keep the run itself
        from going on: there, `await handle`.
        """
        if not self.done:
            self._check_waiting()
        try:
            self._ended.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"{self!r}; it was waited for {timeout:g} s") from None
        except KeyboardInterrupt:
            raise RunInterrupted(self._waiting_stopped()) from None
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Results]:
        """From any event loop, as often as one likes; who is cancelled meanwhile leaves the run alone."""
        self._check_process()
        try:
            yield from self._end_seen_here().__await__()
        except asyncio.CancelledError as error:
            # Set on the error itself: asyncio's own timeouts take no subclass of it for theirs.
            error._render_traceback_ = lambda: [self._waiting_stopped()]  # type: ignore[attr-defined]
            raise
        return self._outcome()

    def __repr__(self) -> str:
        if not self._begun.done():
            return "a run that is about to begin"
        if self.error is not None:
            told, *_ = str(self.error).splitlines() or [""]
            return f"the run failed: {type(self.error).__name__}: {told}"
        results = self.results
        if not self.done:
            return f"run {results.run_id} goes on: {ended_words(len(results), self._tasks)}"
        done = sum(outcome.success for outcome in results)
        how = "was stopped" if results.interrupted else "has ended"
        return f"run {results.run_id} {how}: {done_words(done, self._tasks)}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Below its cell stands what stays true while the run goes on."""
        ways = "await it or .wait() for it, look at its .results, .cancel() it"
        return {"text/plain": f"run {self.run_id} in the background: {ways}" if self.goes_on else repr(self)}

    async def _end_seen_here(self) -> None:
        """A callback would stay for good where the waiting is given up; and this beat lets interrupts through."""
        while not self._ended.done():  # noqa: ASYNC110 - an asyncio.Event would need that callback
            await asyncio.sleep(LOOK_S)

    async def _go_on(self, prepared: Prepared, view: View, *, recollects: bool) -> None:
        try:
            if recollects:
                prepared = with_hint(await asyncio.to_thread(recollect, prepared))
            await see_through(prepared, Guard(), view, self._note_begun)
        except BaseException as error:  # noqa: BLE001 - it is kept for whoever asks, and nobody is above to hear it
            self._fail(error)

    def _note_begun(self, results: Results) -> None:
        results.background = True
        self._begun.set_result(results)

    def _note_end(self, job: "Future[None]") -> None:
        if job.cancelled():  # before its first step
            self._fail(asyncio.CancelledError())
        self._ended.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):  # who waits for it would take it for a wish to end himself
            error = XzMagicsError("the run was ended with the thread that it was on", "start it again")
        self.error = error
        if not self._begun.done():
            self._begun.set_exception(error)
        ours = isinstance(error, XzMagicsError)
        logger.log(
            logging.INFO if ours else logging.ERROR,
            "a run in the background failed: %s",
            error,
            exc_info=None if ours else error,
        )

    def _outcome(self) -> Results:
        if self.error is not None:
            raise self.error.with_traceback(None)  # raised as often as it is asked for: it would keep every frame
        return self.results

    def _waiting_stopped(self) -> str:
        return f"Stopped waiting: {self!r}. handle.cancel() ends it."

    def _check_waiting(self) -> None:
        self._check_elsewhere()
        loop = session.kernel_loop
        needed = self._on_kernel and loop is not None and not loop.is_closed()
        if needed and threading.current_thread() is threading.main_thread():
            names = ", ".join(self._on_kernel)
            raise XzMagicsError(
                f"this keeps the notebook waiting, and {names} can run only while it is free", "await handle"
            )

    def _check_elsewhere(self) -> None:
        self._check_process()
        if session.engine.is_here:
            raise XzMagicsError("this waits on the thread that the run itself needs", "await handle")

    def _check_process(self) -> None:
        if self._process != os.getpid() and not self.done:
            raise XzMagicsError("this run goes on in the process that this one is a copy of", "wait for it there")


def _runs_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def lost_words(name: str, value: object) -> str:
    """What a person is told whose variable will hold something else; empty but for the handle of a run that goes on."""
    if not isinstance(value, Handle) or not value.goes_on:
        return ""
    run = value.run_id
    ways = f"%subagents show {run} shows it, %subagents cancel --run {run} ends it"
    return f"run {run} goes on, and {name} is no longer its handle: {ways}"
