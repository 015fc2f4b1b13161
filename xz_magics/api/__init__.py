"""`run` and `run_sync`, and how code that cannot await enters the loop."""

import asyncio
import inspect
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from xz_magics.api.granting import Tools
from xz_magics.api.launching import launch
from xz_magics.api.preparing import Work, check_asyncio
from xz_magics.errors import NestingError, RunInterrupted, RunStopped
from xz_magics.events import AlertRaised, Observer
from xz_magics.records import Outcome, Quota
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.views.progress import done_words

__all__ = ["interruption", "launch", "run", "run_arguments", "run_here", "run_sync"]


async def run(
    work: Work,
    *,
    model: str | Sequence[str] | None = None,
    system: str | None = None,
    summary_prompt: str | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    max_tokens: int | None = None,
    max_turns: int | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the option's name; it bounds each task, not this call
    idle_timeout: float | None = None,
    params: Mapping[str, Any] | None = None,
    allowed_tools: Sequence[str] | None = None,
    matrix: Mapping[str, Any] | None = None,
    exclude: Sequence[Mapping[str, Any]] | None = None,
    include: Sequence[Mapping[str, Any]] | None = None,
    foreach: Any = None,
    repeat: int | None = None,
    schema: Any = None,
    score: Any = None,
    expect: Any = None,
    tags: str | Sequence[str] | None = None,
    combine: Any = None,
    max_depth: int | None = None,
    max_concurrent: int | None = None,
    fail_fast: bool | None = None,
    max_executions: int | None = None,
    max_total_tokens: int | None = None,
    max_total_time: float | None = None,
    max_total_cost: float | None = None,
    quota: Quota | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    retries: int | None = None,
    stream: bool | None = None,
    base_url: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    names: Mapping[str, object] | None = None,
    tools: Tools | None = None,
    workspace: str | PathLike[str] | None = None,
    observers: Iterable[Observer] = (),
    on_result: Callable[[Outcome], None] | None = None,
    on_alert: Callable[[AlertRaised], None] | None = None,
    resume: str | bool | None = None,
    reuse: bool | None = None,
    resend_unknown: bool | None = None,
    show: bool = False,
) -> Results:
    """Runs tasks concurrently as language-model subagents and returns their Results.

    `work` is a spec text, a dict, or a list of prompts, dicts or Tasks. The other arguments are the options of
    `%%subagents`; times are seconds, costs US dollars. `names` are what `{{name}}` in a prompt may use. `foreach` is a
    DataFrame, or a list of dicts or of plain values: each task is done for each row, whose columns its prompt may use,
    with each combination of the values in `matrix`, `repeat` times. `tools` are all that tasks can be granted by
    `allowed_tools`, functions or a part of `xz_magics.toolbox`; without them it is the whole toolbox. `workspace` is
    the folder that the built-in tools work in. `observers` are called with each stamped event; `on_result` with each
    Outcome, once it is on disk; `on_alert` with each AlertRaised: `kind`, `text`, `value`, `threshold`, which the
    settings say. A task's failure is a row, not an exception.

    `resume` is an earlier run, by its id, or True for the last: what is done there, of tasks that ask the same, is not
    asked again. What was sent there and nobody has seen the end of is sent again only with `resend_unknown`. `reuse`
    takes answers of all earlier runs that are in the journal.

    Raises SpecError, ConfigError or ModelError before anything is sent, and RunStopped when Stop was pressed: then
    `xz_magics.last` holds what there is.
    """
    options = {name: value for name, value in locals().items() if name != "work" and value is not None}
    with session.guards.guard() as guard:
        results = await launch(work, guard, **options)
    if results.interrupted:
        raise RunStopped(interruption(results))
    return results


run_arguments = inspect.signature(run)


def run_sync(work: Work, **options: Any) -> Results:
    """`run` for code that cannot await: in a plain script, and in a notebook too, where it runs on the kernel's loop.

    Takes the same arguments and raises the same errors; RunInterrupted when Stop was pressed; NestingError where that
    loop cannot be entered again.
    """
    run_arguments.bind(work, **options)
    with session.guards.guard() as guard:
        results = run_here(launch(work, guard, **options))
    if results.interrupted:
        raise RunInterrupted(interruption(results))
    return results


run_sync.__signature__ = run_arguments  # type: ignore[attr-defined]  # what help shows: one list of options


def run_here(running: Coroutine[Any, Any, Results]) -> Results:
    """Runs to the end from code that cannot await: on a loop of its own, or on the running one, entered once more."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        ended: list[Results] = []
        asyncio.run(_put_into(ended, running))
        return ended[0]
    try:
        _allow_nesting(loop)
    except NestingError:
        running.close()
        raise
    ready = len(loop._ready)  # type: ignore[attr-defined]  # noqa: SLF001 - nesting empties it in mid-step
    try:
        return loop.run_until_complete(running)
    finally:
        for _ in range(ready):
            loop.call_soon(_nothing)


def _nothing() -> None:
    """The step of the loop that is under way counts on so many callbacks, and the inner run has called them."""


async def _put_into(ended: list[Results], running: Coroutine[Any, Any, Results]) -> None:
    """asyncio.run makes the repr of its task's result, twice: of Results that would be the whole table."""
    ended.append(await running)


def interruption(results: Results) -> str:
    """What a person is told after Stop."""
    done = sum(outcome.success for outcome in results)
    told = f"Stopped: {done_words(done, len(results))}, and nothing goes on. What came is in xz_magics.last"
    if session.settings.journal == "on":
        return f"{told}. --resume (resume=True) goes on from there; without it, the cell begins anew."
    return f"{told}; to run all of it anew, run the cell again."


def _allow_nesting(loop: asyncio.AbstractEventLoop) -> None:
    """Checked before anything is patched: a failed patch would leave asyncio half changed for everybody."""
    if not isinstance(loop, asyncio.BaseEventLoop):
        raise NestingError(f"this event loop ({type(loop).__module__}) cannot be nested", "await xz_magics.run(...)")
    check_asyncio()
    import nest_asyncio2

    _take_away_nest_asyncio(type(loop))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the other library: nothing is left of it in this loop
        nest_asyncio2.apply(loop)


def _take_away_nest_asyncio(kind: type[asyncio.AbstractEventLoop]) -> None:
    """The older library, where the notebook itself has applied it, loses what a page sends during a nested run.

    nest_asyncio2 puts its own methods in the place of the other's, but only where it does not find the other's mark.
    """
    for patched in kind.__mro__:
        if "_nest_patched" in vars(patched) and "_nest_asyncio2" not in vars(patched):
            del patched._nest_patched  # type: ignore[attr-defined]  # noqa: SLF001 - it has no undo of its own
