"""What a person gets of a run: the outcomes as an object with tables, histograms, pictures and a way to cancel."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from threading import Lock
from typing import Any, overload

from xz_magics.errors import TasksFailed, UnknownLabel
from xz_magics.events import Event
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes, Progress, Row
from xz_magics.records import Outcome
from xz_magics.results.experiments import Experiments, told_to_nobody
from xz_magics.results.exports import Exports
from xz_magics.results.tables import Limits
from xz_magics.views.progress import done_words, ended_words
from xz_magics.views.wording import reused_words


class Results(Experiments, Exports):
    """The outcomes of one run, in the order in which its tasks were written. While the run goes on, those that ended.

    Iteration, `len`, `df`, histograms and JSON speak of the tasks as written; the other tables, `summary` and `metrics`
    of the subagents nested in them, too. By label, either can be had, and while it still runs its Progress. `fold` is
    what all of this is made of: each task as it stands, those that have not ended, too.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        *,
        run_id: str,
        tracker: Limits,
        metrics: Metrics,
        stop: Callable[[], None],
        cancel: Callable[[str], None],
        warnings: tuple[str, ...] = (),
        dtypes: Mapping[str, str] | None = None,
        tell: Callable[[Event], None] = told_to_nobody,
    ) -> None:
        """`dtypes`: those of the foreach table's columns, by name. `tell` hears what is added after the tasks."""
        self.run_id = run_id
        self.scores = {}
        self.combined = None
        self.lambdas = {}
        self._adding = Lock()
        """By the names that they score under."""
        self._dtypes = {} if dtypes is None else dtypes
        self._warnings = warnings
        self._notes: dict[str, str] = {}
        self.running = True
        self.background = False
        self.interrupted = False
        self.shown_in_cell: int | None = None
        self.fold = outcomes
        self._tracker = tracker
        self._metrics = metrics
        self._stop = stop
        self._cancel = cancel
        self._tell = tell

    def cancel(self, label: str | None = None) -> None:
        """Ends one task, or without a label the whole run; text that has come is kept. From whatever thread.

        Raises UnknownLabel, a KeyError, for a label that no task of this run has.
        """
        if label is None:
            self._stop()
            return
        if self.fold.rows:
            self._row(label)
        self._cancel(label)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this run, each in one line."""
        faults, tasks = self.fold.tool_faults, len(self.fold.written)
        ended = f"this run goes on: {ended_words(self.fold.ended, tasks)}; only those stand in the tables"
        return (
            *([ended] if self.running and self.duration_s is None and tasks else []),
            *self._warnings,
            *filter(None, tuple(self._notes.values())),
            *filter(None, [reused_words(self.fold.roots())]),
            *self.fold.alerts,
            *(f"{name} went wrong in {count} of its calls: see messages_df" for name, count in tuple(faults.items())),
        )

    def raise_for_failures(self) -> "Results":
        """Raises TasksFailed unless every task is done; returns the results themselves otherwise."""
        rows = self.fold.written
        bad = [row for row in rows if row.state != "done"]
        if bad:
            named = ", ".join(f"{row.task.label} ({_trouble(row)})" for row in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise TasksFailed(
                f"{done_words(len(bad), len(rows), 'not done')}: {named}{more}",
                "see .df[['label', 'status', 'error']] of the results; those of the last run are in xz_magics.last",
            )
        return self

    @overload
    def __getitem__(self, label: str) -> Outcome | Progress: ...
    @overload
    def __getitem__(self, label: int) -> Outcome: ...
    def __getitem__(self, label: str | int) -> Outcome | Progress:
        """By label, or by place in the order written among those that have ended.

        A task that still waits or runs is given as Progress: so much as there is now. UnknownLabel otherwise.
        """
        if isinstance(label, int):
            return self.outcomes[label]
        row = self._row(label)
        return row.outcome or row.progress()

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __bool__(self) -> bool:
        """True, also while none has ended."""
        return True

    def __len__(self) -> int:
        return len(self.outcomes)

    def __repr__(self) -> str:
        from xz_magics.views import text

        uses = self._tracker.uses(above=True)
        experiment: dict[str, Any] = {"scores": self.scores, "combined": self.combined}
        return text.page(self.fold.all(), self.duration_s, uses, self.warnings, **experiment)

    def _repr_html_(self) -> str:
        from xz_magics.views import static

        uses = self._tracker.uses(above=True)
        experiment: dict[str, Any] = {"scores": self.scores, "combined": self.combined}
        return static.page(self.fold.all(), self.duration_s, uses, self.warnings, self.fold.pauses, **experiment)

    def bundle(self) -> Mapping[str, str]:
        """What a page shows in place of the live view."""
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _ipython_display_(self) -> None:
        """Nothing, where a live view of this very cell has just become the table: one result is shown once."""
        from xz_magics.views import widget

        shown, self.shown_in_cell = self.shown_in_cell, None
        if shown is None or shown != widget.current_cell():
            raise NotImplementedError  # IPython's word for "take the other forms"

    def _row(self, label: str) -> Row:
        rows = self.fold.rows
        if not rows and self.running:
            raise UnknownLabel(f"{label!r}: the run is about to begin", "look again")
        if label not in rows:
            close = get_close_matches(label, list(rows), n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(list(rows)[:10])}"
            raise UnknownLabel(f"no task is called {label!r}", mend)
        return rows[label]


def _trouble(row: Row) -> str:
    return (row.outcome and row.outcome.error_type) or row.state
