"""What `%subagents` answers of the runs of this kernel: which there are, how they stand, and the end of some."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from xz_magics import frames
from xz_magics.api import history
from xz_magics.api.recollecting import LATEST
from xz_magics.errors import ConfirmationNeeded, SpecError, XzMagicsError
from xz_magics.frames import TIME, DataFrame
from xz_magics.frames.costs import costs_frame
from xz_magics.magics.budgets import spending_frame
from xz_magics.outcomes import Row, states_words
from xz_magics.records import known_sum
from xz_magics.results import Results
from xz_magics.session import session
from xz_magics.views.wording import status_word

logger = logging.getLogger("xz_magics")

RUN_DTYPES = {
    "run": "string",
    "state": "string",
    "started": TIME,
    "tasks": "Int64",
    "nested": "Int64",
    "states": "string",
    "tokens": "Int64",
    "cost_usd": "Float64",
    "duration_s": "Float64",
    "where": "string",
}
CANCELLED_DTYPES = {"run": "string", "label": "string", "state": "string"}
EXPORTED_DTYPES = {"run": "string", "file": "string"}
DELETED_DTYPES = {"runs": "Int64", "freed_bytes": "Int64"}
SERVED_DTYPES = {"url": "string", "state": "string"}
TASK_FIELDS = ("label", "status", "model", "parent", "depth", "total_tokens", "cost_usd", "duration_s", "note")


def status() -> DataFrame:
    """A row per run: those under way, and the last few that ended."""
    return frames.table([_run_row(run) for run in session.runs.all()], RUN_DTYPES)


def cancel(name: str | None = None, run: str | None = None) -> DataFrame:
    """Ends one task, or without a label all that goes on; a row for each that was told to end."""
    runs = session.runs.running() if run is None else [_going_on(session.runs.find(run))]
    if name is None:
        for one in runs:
            one.cancel()
        return frames.table([{"run": one.run_id, "state": "stopping"} for one in runs], CANCELLED_DTYPES)
    having = [one for one in runs if name in one.fold.rows]
    if not having:
        labels = [label for one in runs for label in tuple(one.fold.rows)]
        raise _unknown(f"no task of a run that goes on is called {name!r}", name, labels)
    if len(having) > 1:
        ids = " or ".join(f"--run {one.run_id}" for one in having)
        raise SpecError(f"{len(having)} runs that go on have a task {name!r}", f"say which of them: {ids}")
    row = having[0].fold.rows[name]
    state = "stopping" if row.outcome is None else status_word(row.outcome.status)
    having[0].cancel(name)
    return frames.table([{"run": having[0].run_id, "label": name, "state": state}], CANCELLED_DTYPES)


def last() -> Results:
    if session.last is None:
        raise XzMagicsError("there are no results yet", "run a cell that begins with %%subagents")
    return session.last


def show(name: str | None = None) -> Results | DataFrame:
    """The Results of a run, the latest where none is named; or for the label of a task what there is of it.

    "last" is the latest run in the journal, of whatever kernel, unless a task is called so.
    """
    running, known = session.runs.running(), session.runs.all()
    if name is None:
        return running[-1] if running else last()
    for run in reversed(known):
        row = run.fold.rows.get(name)
        if row is not None:
            return _task_table(row)
    if name == LATEST:
        name = history.find_run(name).id
    named = [run for run in known if run.run_id.startswith(name)]
    if len(named) == 1:
        return named[0]
    if any(run.id.startswith(name) for run in session.journal.runs()):
        return history.open_run(name)
    words = [*(run.run_id for run in known), *(label for run in known for label in tuple(run.fold.rows))]
    raise _unknown(f"neither a run nor a task of this kernel is called {name!r}", name, words)


def runs() -> DataFrame:
    """A row per run in the journal, of all kernels, the latest first."""
    return history.history().runs


def export(name: str | None = None, file: str | None = None) -> DataFrame:
    if name is None or file is None:
        raise SpecError("export takes a run and a file", "such as %subagents export 1a2b run.jsonl")
    history.export_run(name, file)
    return frames.table([{"run": history.find_run(name).id, "file": file}], EXPORTED_DTYPES)


def import_(name: str | None = None) -> Results:
    if name is None:
        raise SpecError("import takes a file", "such as %subagents import run.jsonl")
    return history.open_run(history.import_run(name))


def purge(
    name: str | None = None,
    older_than: float | None = None,
    all: bool = False,  # noqa: A002, FBT001, FBT002 - the options' names
    yes: bool = False,  # noqa: FBT001, FBT002
) -> DataFrame:
    """Deletes runs from the journal; how many, and by how many bytes its file can be smaller without them."""
    if sum([name is not None, older_than is not None, all]) != 1:
        raise SpecError("purge takes one of RUN, --older-than DAYS and --all", "%subagents runs lists the runs")
    found = history.deletable_runs(name, older_than)
    if name is None and not yes and (all or (found and len(found) == len(history.deletable_runs(None, None)))):
        told = f"this deletes {len(found):,} run{'' if len(found) == 1 else 's'}: all that the journal has"
        by = "--all" if all else f"--older-than {older_than:g}"
        raise ConfirmationNeeded(told, f"say so: %subagents purge {by} --yes")
    return frames.table([{"runs": len(found), "freed_bytes": session.journal.delete(found)}], DELETED_DTYPES)


def quota(show: Callable[[DataFrame], object] | None = None) -> DataFrame:
    """The limits of the session, the latest run, the day and the week, and how much of each is used.

    `show` is shown before what this day and week cost, by tag, model and notebook, where there is a journal of it.
    """
    budgets, note = session.budgets.standing()
    if note is not None:
        logger.warning("%s", note)
    if show is not None and (spent := spending_frame()) is not None:
        show(spent)
    latest = [] if session.last_tracker is None else session.last_tracker.uses()
    return frames.quota_frame([*session.quota.uses(), *latest, *budgets])


def costs(name: str = "model") -> DataFrame:
    """What the runs under way and the last that ended cost, by model or by whatever `results.costs_by` takes."""
    return costs_frame([run.fold.all() for run in session.runs.all()], name)


def metrics(show: Callable[[DataFrame], object], serve: int | None = None) -> DataFrame:
    """Shows every series of this kernel, and answers with how soon requests went out; or where they are served.

    `serve` is a port of this machine, on which Prometheus finds them until the kernel ends.
    """
    if serve is not None:
        begins = session.exposition.url is None
        url = session.exposition.serve(serve)
        state = "begins, and ends with this kernel" if begins else "was served already"
        if serve and f":{serve}/" not in url:
            state += f", so not at port {serve} too"
        return frames.table([{"url": url, "state": state}], SERVED_DTYPES)
    show(frames.metrics_frame(session.metrics))
    return frames.spawn_frame(session.metrics)


def _run_row(run: Results) -> dict[str, Any]:
    fold = run.fold
    turns = [turn for row in tuple(fold.rows.values()) for turn in tuple(row.turns)]
    since_s = None if fold.started_at is None else time.time() - fold.started_at
    return {
        "run": run.run_id,
        "state": "running" if run.running else "stopped" if run.interrupted else "ended",
        "started": None if fold.started_at is None else datetime.fromtimestamp(fold.started_at, UTC),
        "tasks": len(fold.written),
        "nested": len(fold.rows) - len(fold.written),
        "states": states_words(fold.counts + fold.nested) or fold.note,
        "tokens": known_sum(turn.total_tokens for turn in turns),
        "cost_usd": known_sum(turn.cost_usd for turn in turns),
        "duration_s": since_s if run.running else run.duration_s,
        "where": "background" if run.background else "cell",
    }


def _going_on(run: Results) -> Results:
    if not run.running:
        raise SpecError(f"the run {run.run_id} has ended", f"what it brought: %subagents show {run.run_id}")
    return run


def _task_table(row: Row) -> DataFrame:
    """A line per field that is known; unknown ones are left out."""
    one = row.outcome or row.progress()
    values = {name: getattr(one, name, None) for name in TASK_FIELDS}
    values |= {"turns": len(one.turns), "error": row.outcome and row.outcome.error, "output": one.output}
    known = [{"field": name, "value": str(value)} for name, value in values.items() if value not in {None, ""}]
    return frames.table(known, {"field": "string", "value": "string"})


def _unknown(message: str, name: str, known: Sequence[str]) -> SpecError:
    close = get_close_matches(name, known, n=1)
    some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return SpecError(message, f"did you mean {close[0]}?" if close else f"there are: {some or 'none'}")
