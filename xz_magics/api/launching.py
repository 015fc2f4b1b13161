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
from xz_magics.api.journalling import journal_run
from xz_magics.api.keeping import Keeping, Telling
from xz_magics.api.preparing import Prepared, Work, prepare
from xz_magics.api.recollecting import recollect, with_hint
from xz_magics.engine import Run
from xz_magics.errors import XzMagicsError
from xz_magics.events import (
    AlertRaised,
    Observer,
    RunStarted,
    Stamped,
    Stream,
    TableRead,
    TaskEnded,
    TaskStarted,
    Warned,
)
from xz_magics.interrupt import Guard
from xz_magics.metrics import Metrics
from xz_magics.observers.alerts import Alerts
from xz_magics.outcomes import Outcomes
from xz_magics.pacing import Gates
from xz_magics.providers import Provider
from xz_magics.quotas import Tracker
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.views.live import NoView, View, Watched, view_here
from xz_magics.views.progress import TerminalView

logger = logging.getLogger("xz_magics")

MOST_TASKS_WITH_TEXT_EVENTS = 64
CLOSE_S = 2.0
STOP_S = 0.1
"""So often it looks whether somebody has pressed Stop where nothing else would tell."""

WITHOUT_RESULTS = (NoView, TerminalView)
"""For the others the results are drawn beforehand, in a thread: that takes half a second of the loop's time."""


async def launch(work: Work, guard: Guard, *, show: bool = False, **options: Any) -> Results:
    """`run` whose end by Stop is no exception: `results.interrupted` tells."""
    session.note_kernel_loop()
    prepared = with_hint(await asyncio.to_thread(recollect, prepare(work, **options)))
    return await see_through(prepared, guard, view_here() if show else NoView())


async def see_through(
    prepared: Prepared, guard: Guard, view: View, begun: Callable[[Results], None] | None = None
) -> Results:
    """Runs to the end, whatever end that is, on the present loop; shows what there is. `begun` gets the Results early.

    The run is among those of the session as long as it goes on, unless it is a tool's own.
    """
    run_id = secrets.token_hex(6)
    journalling = await asyncio.to_thread(journal_run, prepared, run_id)
    outcomes, keeping = Outcomes(), Keeping(journalling)
    telling = Telling(outcomes, keeping, prepared.on_result)
    engine, results, tracker, alerts = _put_together(prepared, run_id, outcomes, keeping, telling)
    further = Furthering(prepared.plan, results, stopped=lambda: engine.stopped)

    if journalling.note is not None:
        results.note(journalling.note)

    def beat() -> None:
        alerts.look()
        results.note(keeping.trouble or "", about="journal")
        view.draw()

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
                    waits=lambda: session.budgets.waits,
                )
            )
            guard.attach(engine.stop)
            try:
                results.note(await _budgets_note(engine), about="budgets")
                with enclosing(engine.stop):
                    async with telling.at_work():
                        await engine.execute(beat, further if further.is_needed else None)
            finally:
                closing = [_close(provider) for provider in prepared.providers.values()]
                await asyncio.gather(
                    *closing, session.budgets.written(), *([further.end_stopped()] if engine.stopped else [])
                )
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


async def _budgets_note(engine: Run) -> str:
    """What there is to say of the ledger. A Stop ends the wait for it: the run then ends as any that is stopped."""
    checking = asyncio.ensure_future(session.budgets.check())
    try:
        while not checking.done() and not engine.stopped:
            await asyncio.wait({checking}, timeout=STOP_S)
    finally:
        checking.cancel()
        await asyncio.wait({checking})
    return "" if engine.stopped else checking.result() or ""


@contextmanager
def _under_way(results: Results) -> Iterator[None]:
    if not is_inner():
        session.runs.add(results)
    try:
        yield
    finally:
        results.running = False


def _put_together(
    prepared: Prepared, run_id: str, outcomes: Outcomes, keeping: Keeping, telling: Telling
) -> tuple[Run, Results, Tracker, Alerts]:
    """The engine, what it tells, the Results that hear it and what warns of it; nothing runs yet."""
    plan, settings, providers = prepared.plan, prepared.settings, prepared.providers
    metrics = Metrics()
    inner = is_inner()

    def remember(stamped: Stamped) -> None:
        # Until it starts, the results before are worth more; those of a tool's own run are the tool's.
        if isinstance(stamped.event, RunStarted) and not inner:
            session.remember(results, around.tracker)

    def describe(stamped: Stamped) -> None:
        if isinstance(stamped.event, RunStarted):
            for text in warnings:
                events.emit(Warned(text=text))
            if plan.dtypes:
                events.emit(TableRead(dtypes=plan.dtypes))

    def warn(alert: AlertRaised) -> None:
        events.emit(alert)

    def note(text: str) -> None:
        results.note(text)

    counts = [counting(outcomes, metrics), counting(outcomes, session.metrics)]
    alerting = [] if prepared.on_alert is None else [_alerting(prepared.on_alert, note)]
    warnings = plan.warnings + tuple(dict.fromkeys(p.note for p in providers.values() if p.note))
    tracker = session.quota.child(plan.quota)
    alerts = Alerts(settings, uses=lambda: tracker.uses(above=True), emit=warn)
    observers: list[Observer] = [remember, *counts, telling.observe, *alerting, *prepared.observers, alerts, describe]
    events = Stream(run_id, critical=[outcomes, *keeping.journalling.observers], observers=observers)
    around = Surroundings(
        tracker=tracker,
        gates=Gates(rpm=plan.rpm, tpm=plan.tpm, max_concurrent=plan.max_concurrent),
        emit=events.emit,
        retries=settings.retries,
        output_max_size=settings.output_max_size,
        stream=settings.stream,
        emit_text=len(plan.tasks) <= MOST_TASKS_WITH_TEXT_EVENTS,
        kept=keeping.kept,
        settled=keeping.settled,
        recall=keeping.journalling.recall,
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
        tell=events.emit,
        warnings=warnings,
    )
    return engine, results, tracker, alerts


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


def counting(outcomes: Outcomes, metrics: Metrics) -> Observer:
    def observe(stamped: Stamped) -> None:
        match stamped.event:
            case TaskStarted(label=label):
                metrics.started(outcomes.rows[label].depth)
            case TaskEnded(label=label):
                outcome = outcomes.rows[label].outcome
                if outcome is not None:
                    metrics.ended(outcome, started=outcomes.rows[label].started)

    return observe


def _alerting(on_alert: Callable[[AlertRaised], None], note: Callable[[str], None]) -> Observer:
    """The stream drops and logs an observer that raises; here a person is told of it, too."""

    def observe(stamped: Stamped) -> None:
        if isinstance(stamped.event, AlertRaised):
            try:
                on_alert(stamped.event)
            except Exception as error:
                note(f"on_alert raised {type(error).__name__} and is called no more; the log tells where")
                raise

    return observe
