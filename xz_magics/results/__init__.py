"""What a person gets of a run: the outcomes as an object with tables, histograms, pictures and a way to cancel."""

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, overload

from xz_magics.characters import whole
from xz_magics.errors import TasksFailed
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes, Progress, Row
from xz_magics.quotas import Tracker
from xz_magics.records import Outcome
from xz_magics.results import files, plain

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame, Series
    from xz_magics.views.plots import Figure


class Results:
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
        tracker: Tracker,
        metrics: Metrics,
        stop: Callable[[], None],
        cancel: Callable[[str], None],
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.run_id = run_id
        self._warnings = warnings
        self.running = True
        self.background = False
        self.interrupted = False
        self.shown_in_cell: int | None = None
        self.fold = outcomes
        self._tracker = tracker
        self._metrics = metrics
        self._stop = stop
        self._cancel = cancel

    def cancel(self, label: str | None = None) -> None:
        """Ends one task, or without a label the whole run; text that has come is kept. From whatever thread.

        Raises KeyError for a label that no task of this run has.
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
        ended = f"this run goes on: {self.fold.ended:,} of {tasks:,} tasks have ended, and stand in the tables"
        return (
            *([ended] if self.running and self.duration_s is None and tasks else []),
            *self._warnings,
            *(f"{name} went wrong in {count} of its calls: see messages_df" for name, count in tuple(faults.items())),
        )

    @property
    def outcomes(self) -> list[Outcome]:
        return self.fold.roots()

    @property
    def duration_s(self) -> float | None:
        """None while the run goes on."""
        return self.fold.duration_s

    @property
    def df(self) -> "DataFrame":
        """A row per task, in the order written; unknown numbers are NA."""
        from xz_magics import frames

        return frames.tasks_frame(self.outcomes)

    @property
    def all_df(self) -> "DataFrame":
        """The same columns for all: each task is followed by the subagents nested in it (`parent`, `depth`)."""
        from xz_magics import frames

        return frames.tasks_frame(self.fold.all())

    @property
    def turns_df(self) -> "DataFrame":
        """A row per model call, nested subagents' too."""
        from xz_magics import frames

        return frames.turns_frame(self.fold.all())

    @property
    def messages_df(self) -> "DataFrame":
        """A row per message of each conversation, and one per tool call after the message that asks for it."""
        from xz_magics import frames

        return frames.messages_frame(self.fold.all())

    @property
    def summary(self) -> "Series[Any]":
        """Counts by status, tokens, dollars and seconds of the whole run, nested subagents included."""
        from xz_magics import frames

        return frames.summary(self.fold.all(), self.duration_s)

    @property
    def quota(self) -> "DataFrame":
        """What this run's own limits are and what it used."""
        from xz_magics import frames

        return frames.quota_frame(self._tracker.uses())

    @property
    def metrics(self) -> "DataFrame":
        """The run's series, by depth, status and error type."""
        from xz_magics import frames

        return frames.metrics_frame(self._metrics)

    @property
    def spawn_metrics(self) -> "DataFrame":
        """How soon requests went out: count, success rate, min, mean, max and, from 20 on, p95 of spawn_s, in a row."""
        from xz_magics import frames

        return frames.spawn_frame(self._metrics)

    def duration_histogram(self) -> "DataFrame":
        """Bins of duration_s: left, right, total and a column per status; the last row holds those without a value."""
        from xz_magics import frames

        return frames.duration_histogram(self.outcomes)

    def token_histogram(self) -> "DataFrame":
        """Bins of total_tokens, in the same form."""
        from xz_magics import frames

        return frames.token_histogram(self.outcomes)

    def plot(self, by: Literal["status", "model"] = "status") -> "Figure":
        """Both histograms side by side, their bars stacked by status or by model. Raises SpecError for another `by`."""
        from xz_magics.views import plots

        return plots.histograms(self.outcomes, by=by)

    def timeline(self) -> "Figure":
        """Who ran when, nested subagents included: waiting, calls, retries, pauses, tools, and how many at once."""
        from xz_magics.views import plots

        return plots.timeline(self.fold.all(), self.fold.pauses)

    @overload
    def to_csv(self, path: None = None) -> str: ...
    @overload
    def to_csv(self, path: files.FilePath) -> None: ...
    def to_csv(self, path: files.FilePath | None = None) -> str | None:
        """`df` for spreadsheets: as text, or in a file, which begins with the mark without which Excel misreads UTF-8.

        A text that a spreadsheet might compute begins with an apostrophe, control characters are left out, and an empty
        text looks like an unknown one. All else comes back by pandas' `read_csv`; `to_parquet` brings back everything.
        """
        from xz_magics.frames import spreadsheets

        return _given(spreadsheets.csv_text(self.df), path, "utf-8-sig")

    def to_parquet(self, path: files.FilePath) -> None:
        """`df` with its dtypes. Raises XzMagicsError where pyarrow is missing."""
        from xz_magics import frames

        files.write(frames.parquet(self.df), path)

    @overload
    def to_json(self, path: None = None, *, indent: int | None = None) -> str: ...
    @overload
    def to_json(self, path: files.FilePath, *, indent: int | None = None) -> None: ...
    def to_json(self, path: files.FilePath | None = None, *, indent: int | None = None) -> str | None:
        """The outcomes as JSON text or in a file; `failed` counts whatever is not done."""
        return _given(whole(json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)), path)

    @overload
    def to_html(self, path: None = None) -> str: ...
    @overload
    def to_html(self, path: files.FilePath) -> None: ...
    def to_html(self, path: files.FilePath | None = None) -> str | None:
        """The page that a notebook shows, as one document that needs nothing else: as text or in a file."""
        return _given(files.document(self._repr_html_(), f"subagents, run {self.run_id}"), path)

    def to_dict(self) -> dict[str, Any]:
        return plain.run(self.outcomes, self.duration_s)

    def raise_for_failures(self) -> "Results":
        """Raises TasksFailed unless every task is done; returns the results themselves otherwise."""
        rows = self.fold.written
        bad = [row for row in rows if row.state != "done"]
        if bad:
            named = ", ".join(f"{row.task.label} ({_trouble(row)})" for row in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise TasksFailed(
                f"{len(bad)} of {len(rows)} tasks are not done: {named}{more}",
                "see results.df[['label', 'status', 'error']]",
            )
        return self

    @overload
    def __getitem__(self, label: str) -> Outcome | Progress: ...
    @overload
    def __getitem__(self, label: int) -> Outcome: ...
    def __getitem__(self, label: str | int) -> Outcome | Progress:
        """By label, or by place in the order written among those that have ended.

        A task that still waits or runs is given as Progress: so much as there is now. KeyError for an unknown label.
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

        return text.page(self.fold.all(), self.duration_s, self._tracker.uses(above=True), self.warnings)

    def _repr_html_(self) -> str:
        from xz_magics.views import static

        uses = self._tracker.uses(above=True)
        return static.page(self.fold.all(), self.duration_s, uses, self.warnings, self.fold.pauses)

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
            raise KeyError(f"{label!r}: the run is about to begin; look again")
        if label not in rows:
            close = get_close_matches(label, list(rows), n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(list(rows)[:10])}"
            raise KeyError(f"no task is called {label!r}; {mend}")
        return rows[label]


def _given(text: str, path: files.FilePath | None, encoding: str = "utf-8") -> str | None:
    if path is None:
        return text
    files.write(text.encode(encoding), path)
    return None


def _trouble(row: Row) -> str:
    return (row.outcome and row.outcome.error_type) or row.state
