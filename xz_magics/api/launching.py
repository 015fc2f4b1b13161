"""How a run that is prepared is seen through to its end, and shown."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xz_magics.agent import Surroundings
from xz_magics.api.furthering import Furthering
from xz_magics.api.inner import enclosing, is_inner
from xz_magics.api.preparing import Prepared, Work, prepare
from xz_magics.engine import Run
from xz_magics.errors import XzMagicsError
from xz_magics.events import Observer, RunStarted, Stamped, Stream, TaskEnded, TaskStarted
from xz_magics.interrupt import Guard
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.pacing import Gates
from xz_magics.providers import Provider
from xz_magics.quotas import Tracker
from xz_magics.records import Outcome
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.views.live import NoView, View, Watched, view_here
from xz_magics.views.progress import TerminalView

logger = logging.getLogger("xz_magics")

MOST_TASKS_WITH_TEXT_EVENTS = 64
CLOSE_S = 2.0
WITHOUT_RESULTS = (NoView, TerminalView)
"""For the others the results are drawn beforehand, in a thread: that takes half a second of the loop's time."""


async def launch(work: Work, guard: Guard, *, show: bool = False, **options: Any) -> Results:
    """`run` whose end by Stop is no exception: `results.interrupted` tells."""
    session.note_kernel_loop()
    prepared = prepare(work, **options)
    return await see_through(prepared, guard, view_here() if show else NoView())


async def see_through(
    prepared: Prepared, guard: Guard, view: View, begun: Callable[[Results], None] | None = None
) -> Results:
    """Runs to the end, whatever end that is, on the present loop; shows what there is. `begun` gets the Results early.

    The run is among those of the session as long as it goes on, unless it is a tool's own.
    """
    engine, results, outcomes, tracker = _put_together(prepared)
    further = Furthering(prepared.plan, results, stopped=lambda: engine.stopped)
    try:
        with _under_way(results):
            if begun is not None:
                begun(results)
            view.attach(
                Watched(
                    run_id=results.run_id,
                    outcomes=outcomes,
                    uses=lambda: tracker.uses(above=True),
                    stop=engine.stop,
                    cancel=engine.cancel,
                )
            )
            guard.attach(engine.stop)
            try:
                with enclosing(engine.stop):
                    await engine.execute(view.draw, further if further.is_needed else None)
            finally:
                closing = [_close(provider) for provider in prepared.providers.values()]
                await asyncio.gather(*closing, *([further.end_stopped()] if engine.stopped else []))
        drawn = None if isinstance(view, WITHOUT_RESULTS) else await asyncio.to_thread(_drawn, results)
    except XzMagicsError as error:
        session.runs.drop(results)
        _tell_of(error, view)
        raise
    except BaseException as error:
        results.interrupted = engine.stopped or guard.stopped
        if results.background and not isinstance(error, asyncio.CancelledError):
            results.note(f"this run failed: {_first_words(error)}; .error of its handle and the log tell more")
        _ended(view, results)
        raise
    results.shown_in_cell = _ended(view, results, drawn)
    results.interrupted = engine.stopped or guard.stopped  # a Stop may have come while the end was drawn
    return results


@contextmanager
def _under_way(results: Results) -> Iterator[None]:
    if not is_inner():
        session.runs.add(results)
    try:
        yield
    finally:
        results.running = False


def _put_together(prepared: Prepared) -> tuple[Run, Results, Outcomes, Tracker]:
    """The engine, what it tells, and the Results that hear it; nothing runs yet."""
    plan, settings, providers = prepared.plan, prepared.settings, prepared.providers
    outcomes, metrics, run_id = Outcomes(), Metrics(), secrets.token_hex(6)
    inner = is_inner()

    def remember(stamped: Stamped) -> None:
        # Until it starts, the results before are worth more; those of a tool's own run are the tool's.
        if isinstance(stamped.event, RunStarted) and not inner:
            session.remember(results, around.tracker)

    counting = [_counting(outcomes, metrics), _counting(outcomes, session.metrics)]
    telling = [] if prepared.on_result is None else [_telling(outcomes, prepared.on_result)]
    events = Stream(run_id, critical=[outcomes], observers=[remember, *counting, *telling, *prepared.observers])
    around = Surroundings(
        tracker=session.quota.child(plan.quota),
        gates=Gates(rpm=plan.rpm, tpm=plan.tpm, max_concurrent=plan.max_concurrent),
        emit=events.emit,
        retries=settings.retries,
        output_max_size=settings.output_max_size,
        stream=settings.stream,
        emit_text=len(plan.tasks) <= MOST_TASKS_WITH_TEXT_EVENTS,
    )
    engine = Run(
        plan.tasks,
        providers,
        around,
        granted=prepared.granted,
        max_concurrent=plan.max_concurrent,
        max_depth=plan.max_depth,
        fail_fast=plan.fail_fast,
    )
    results = Results(
        outcomes,
        run_id=run_id,
        tracker=around.tracker,
        metrics=metrics,
        stop=engine.stop,
        cancel=engine.cancel,
        dtypes=plan.dtypes,
        warnings=plan.warnings + tuple(dict.fromkeys(p.note for p in providers.values() if p.note)),
    )
    return engine, results, outcomes, around.tracker


async def _close(provider: Provider) -> None:
    """One that cannot be closed, or not in time, holds up neither the results nor the others."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await provider.aclose()
    except Exception:
        logger.exception("%s could not be closed", provider.model)


def _ended(view: View, results: Results, drawn: Mapping[str, str] | None = None) -> int | None:
    """A view that fails loses nothing: the results are there all the same."""
    try:
        return view.end(lambda: drawn or _drawn(results))
    except Exception:
        logger.exception("the live view of run %s could not end", results.run_id)
        return None


def _first_words(error: BaseException) -> str:
    """Those of the first fault of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _tell_of(error: XzMagicsError, view: View) -> None:
    """A page that is gone hides no error."""
    try:
        view.fail(error)
    except Exception:
        logger.exception("the live view could not tell of an error")


def _drawn(results: Results) -> Mapping[str, str]:
    try:
        return results.bundle()
    except Exception:
        logger.exception("the results of run %s cannot be drawn", results.run_id)
        return {
            "text/plain": "The table cannot be drawn (see the log). The results are in xz_magics.last: .df, .to_json()"
        }


def _counting(outcomes: Outcomes, metrics: Metrics) -> Observer:
    def observe(stamped: Stamped) -> None:
        match stamped.event:
            case TaskStarted(label=label):
                metrics.started(outcomes.rows[label].depth)
            case TaskEnded(label=label):
                outcome = outcomes.rows[label].outcome
                if outcome is not None:
                    metrics.ended(outcome, started=outcomes.rows[label].started)

    return observe


def _telling(outcomes: Outcomes, on_result: Callable[[Outcome], None]) -> Observer:
    def observe(stamped: Stamped) -> None:
        if isinstance(stamped.event, TaskEnded):
            outcome = outcomes.rows[stamped.event.label].outcome
            if outcome is not None:
                on_result(outcome)

    return observe
