"""Runs that are over, of this kernel and of earlier ones: found in the journal, opened, handed on, deleted."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from xz_magics.api.launching import counting
from xz_magics.api.recollecting import LATEST
from xz_magics.engine import STOPPED
from xz_magics.errors import JournalError, SpecError
from xz_magics.outcomes import states_words
from xz_magics.results import Results
from xz_magics.session import session

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.frames.history import Ran
    from xz_magics.observers.journal import Overview, RunInfo

logger = logging.getLogger("xz_magics")

Part = TypeVar("Part")


class History:
    """The journalled runs as tables, as they were when each was first asked for.

    A run that cannot be read is left out of them, and the log says why.
    """

    def __init__(self, overviews: Sequence["Overview"]) -> None:
        self._overviews = overviews

    @cached_property
    def runs(self) -> "DataFrame":
        """A row per run, the latest first. `started` is UTC; a run that `died` has no end of its own."""
        from xz_magics.frames import history

        return _frame_of(self._overviews, lambda some: history.runs_frame([_row(overview) for overview in some]))

    @cached_property
    def tasks(self) -> "DataFrame":
        """The columns of `all_df` for the subagents of all these runs, after the run's id."""
        from xz_magics.frames import history

        return _frame_of(self._opened, history.tasks_frame)

    @cached_property
    def turns(self) -> "DataFrame":
        """A row per model call of all these runs."""
        from xz_magics.frames import history

        return _frame_of(self._opened, history.turns_frame)

    def __repr__(self) -> str:
        return repr(self.runs)

    def _repr_html_(self) -> str | None:
        html: str | None = self.runs._repr_html_()  # type: ignore[operator]  # it is in no stub
        return html

    @cached_property
    def _opened(self) -> "list[Ran]":
        return [ran for overview in self._overviews if (ran := _ran(overview.run.id)) is not None]


def history(days: float | None = None) -> History:
    """The runs in the journal, of all kernels: those that began in the last `days`, or all. Raises JournalError."""
    return History(session.journal.overviews(0.0 if days is None else _days_ago(days)))


def open_run(run: str) -> Results:
    """The Results of a run in the journal, of whatever kernel; `run` is its id or the beginning of it, or "last".

    They are what they were when it ended: tables, pictures, comparisons, files. What had not ended when its kernel
    died has the status "unknown" where a call was open, else "cancelled" or "skipped". A run that goes on in this
    kernel is the live one. Raises SpecError where no run, or more than one, is meant, and JournalError.
    """
    found = find_run(run)
    live = [one for one in session.runs.running() if one.run_id == found.id]
    opened = live[0] if live else _opened(found.id)
    if opened is None:
        raise SpecError(f"run {found.id} has just been deleted", "%subagents runs lists those that there are")
    return opened


def export_run(run: str, path: str | PathLike[str]) -> None:
    """Writes a run as a file of JSON lines for somebody else, without keys and without the paths of this machine.

    `run` is its id or the beginning of it, or "last". Raises SpecError for a run that is none, JournalError for a file
    that cannot be written, or that is there already and is no exported run.
    """
    folders = [Path.cwd(), *filter(None, [session.settings.tools.workspace])]
    session.journal.export(find_run(run).id, _file(path), folders)


def import_run(path: str | PathLike[str]) -> str:
    """Takes an exported run into the journal, and returns its id for `open_run`. Raises JournalError."""
    return session.journal.import_(_file(path))


def find_run(run: str) -> "RunInfo":
    """By its id, or the beginning of it; "last" is the latest of all that has ended. Raises SpecError."""
    from xz_magics.observers.journal import Origins

    if not isinstance(run, str):
        raise SpecError(f"the run is {run!r}", f'give its id, or the beginning of it, or "{LATEST}"')
    if run != LATEST:
        return session.journal.find(run)
    latest = session.journal.latest(Origins())
    if latest is None:
        raise SpecError("there is no run in the journal yet", "run a cell that begins with %%subagents")
    return latest


def deletable_runs(run: str | None, older_than_days: float | None) -> list[str]:
    """The ids of one run, of those that began longer ago, or of all but those that go on.

    Raises SpecError where the one run goes on, or is none.
    """
    if run is not None:
        found = session.journal.find(run)
        if found.goes_on:
            raise SpecError(f"run {found.id} goes on", "delete it when it has ended")
        return [found.id]
    before = math.inf if older_than_days is None else _days_ago(older_than_days)
    return [one.id for one in session.journal.runs() if one.started_at < before and not one.goes_on]


def _days_ago(days: object) -> float:
    if isinstance(days, bool) or not isinstance(days, float | int) or not 0 <= days < math.inf:
        raise SpecError(f"{days!r} is no number of days", "give 0 or more, such as 30")
    from xz_magics.observers.journal import DAY_S

    return time.time() - days * DAY_S


def _file(path: str | PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise SpecError(f"the file is {path!r}: {error}", "give a text or a pathlib.Path that names it") from error


def _frame_of(parts: Sequence[Part], made_of: "Callable[[Sequence[Part]], DataFrame]") -> "DataFrame":
    """Of all parts but those of which alone none can be made: another program may have written anything."""
    try:
        return made_of(parts)
    except Exception:
        logger.exception("some runs cannot be shown, and are left out")
        return made_of([part for part in parts if _is_fit(part, made_of)])


def _is_fit(part: Part, made_of: "Callable[[Sequence[Part]], DataFrame]") -> bool:
    try:
        made_of([part])
    except Exception:
        logger.exception("this one cannot: %.200r", getattr(part, "run", part))
        return False
    return True


def _ran(run_id: str) -> "Ran | None":
    from xz_magics.frames.history import Ran

    try:
        results = _opened(run_id)
        return None if results is None else Ran(run=run_id, outcomes=results.fold.all(), scores=results.scores)
    except JournalError:
        raise
    except Exception:
        logger.exception("run %s cannot be opened, and is left out", run_id)
        return None


def _opened(run_id: str) -> Results | None:
    from xz_magics.results.opened import open_results

    read = session.journal.read(run_id)
    return None if read is None else open_results(read, counting)


def _row(overview: "Overview") -> dict[str, Any]:
    run = overview.run
    return {
        "run": run.id,
        "started": datetime.fromtimestamp(run.started_at, UTC),
        "notebook": run.notebook,
        "label": run.label,
        "tasks": run.tasks,
        "states": states_words(overview.states),
        "tokens": overview.tokens,
        "cost_usd": overview.cost_usd,
        "duration_s": time.time() - run.started_at if run.goes_on else overview.duration_s,
        "state": _state(overview),
    }


def _state(overview: "Overview") -> str:
    if overview.run.goes_on:
        return "running"
    if overview.run.ended_at is None:
        return "died"
    return "stopped" if overview.reason == STOPPED.error else "ended"
