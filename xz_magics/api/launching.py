"""How a run is put together out of its parts, seen through to its end and shown."""

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from typing import Any

from xz_magics import specs
from xz_magics.agent import Surroundings
from xz_magics.api.granting import Granting, Tools
from xz_magics.api.inner import enclosing, is_inner
from xz_magics.config import Settings, changed
from xz_magics.engine import Run
from xz_magics.errors import XzMagicsError
from xz_magics.events import Observer, RunStarted, Stamped, Stream, TaskEnded, TaskStarted
from xz_magics.interrupt import Guard
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.pacing import Gates
from xz_magics.plan import Plan, make_plan
from xz_magics.providers import Provider
from xz_magics.providers.local import installed
from xz_magics.providers.opening import Opener
from xz_magics.records import Outcome, Quota, Task
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.tools.granted import Granted
from xz_magics.tools.rights import Rights
from xz_magics.views.live import NoView, view_here

logger = logging.getLogger("xz_magics")

LIMITS = tuple(limit.name for limit in fields(Quota))
MOST_TASKS_WITH_TEXT_EVENTS = 64

Work = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any] | Task]


async def launch(
    work: Work,
    guard: Guard,
    *,
    quota: Quota | None = None,
    retries: int | None = None,
    stream: bool | None = None,
    base_url: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    names: Mapping[str, object] | None = None,
    tools: Tools | None = None,
    workspace: str | PathLike[str] | None = None,
    observers: Iterable[Observer] = (),
    on_result: Callable[[Outcome], None] | None = None,
    show: bool = False,
    **given: Any,
) -> Results:
    """`run` whose end by Stop is no exception: `results.interrupted` tells. `given` are options that tasks share."""
    if threading.current_thread() is threading.main_thread():
        session.kernel_loop = asyncio.get_running_loop()
    options = specs.check_options(given)
    settings = _settled(session.settings, retries=retries, stream=stream)
    opener = Opener(settings, session.local_model, base_url=base_url)
    document = specs.read(work, form=format)
    limits = specs.check_options({"quota": quota}).get("quota")
    options["quota"] = _tightest(document.head.get("quota"), options.get("quota"), limits)
    granting = Granting(document, options, settings, tools=tools, workspace=workspace)
    plan = make_plan(
        document,
        settings=settings,
        options=options,
        names=names or {},
        tools=granting.registry,
        secrets=opener.secrets(),
    )
    granting.check(plan.tasks)
    providers = opener.open_all(plan.tasks, priced=_cost_is_limited(plan.quota))
    granted = granting.grant(opener.secrets())
    parts = _put_together(plan, providers, settings, granted, observers, on_result)
    return await _see_through(*parts, providers, guard, show=show)


def _settled(settings: Settings, *, retries: int | None, stream: bool | None) -> Settings:
    given = {name: value for name, value in (("retries", retries), ("stream", stream)) if value is not None}
    model = settings.model or ("local" if installed() else None)
    return changed(replace(settings, model=model), given, "the options")


def _tightest(*quotas: Quota | None) -> Quota:
    """Of each limit the smallest that is given: none overrides another."""
    given = [quota for quota in quotas if quota is not None]
    limits = {name: [getattr(quota, name) for quota in given if getattr(quota, name) is not None] for name in LIMITS}
    return Quota(**{name: min(values, default=None) for name, values in limits.items()})


def _cost_is_limited(quota: Quota) -> bool:
    return quota.max_total_cost is not None or session.quota.quota.max_total_cost is not None


def _put_together(  # noqa: PLR0917 - all parts there are, put together once
    plan: Plan,
    providers: Mapping[str, Provider],
    settings: Settings,
    granted: Callable[[Rights], Granted],
    observers: Iterable[Observer],
    on_result: Callable[[Outcome], None] | None,
) -> tuple[Run, Results, Outcomes]:
    """The engine, what it tells, and the Results that hear it; nothing runs yet."""
    outcomes, metrics, run_id = Outcomes(), Metrics(), secrets.token_hex(6)
    inner = is_inner()

    def remember(stamped: Stamped) -> None:
        # Until it starts, the results before are worth more; those of a tool's own run are the tool's.
        if isinstance(stamped.event, RunStarted) and not inner:
            session.last, session.last_tracker = results, around.tracker

    counting = [_counting(outcomes, metrics), _counting(outcomes, session.metrics)]
    telling = [] if on_result is None else [_telling(outcomes, on_result)]
    events = Stream(run_id, critical=[outcomes], observers=[remember, *counting, *telling, *observers])
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
        granted=granted,
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
        warnings=plan.warnings + tuple(dict.fromkeys(p.note for p in providers.values() if p.note)),
    )
    return engine, results, outcomes


async def _see_through(
    engine: Run, results: Results, outcomes: Outcomes, providers: Mapping[str, Provider], guard: Guard, *, show: bool
) -> Results:
    """Runs to the end, whatever end that is; shows what there is."""
    view = view_here(engine.stop) if show else NoView()
    guard.attach(engine.stop)
    try:
        with enclosing(engine.stop):
            await engine.execute(lambda: view.draw(outcomes))
    except XzMagicsError:
        view.end(None)
        raise
    except BaseException:
        view.end(lambda: _drawn(results))
        raise
    finally:
        for provider in providers.values():
            await provider.aclose()
    results.shown_in_cell = view.end(lambda: _drawn(results))
    results.interrupted = engine.stopped or guard.stopped
    return results


def _drawn(results: Results) -> Mapping[str, str]:
    """A table that cannot be drawn loses nothing: the results are there all the same."""
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
