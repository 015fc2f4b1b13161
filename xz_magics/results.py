"""What a person gets of a run: the outcomes as an object with tables, histograms, pictures and a way to cancel."""

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload

from xz_magics.characters import whole
from xz_magics.errors import TasksFailed
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes, Progress, Row
from xz_magics.quotas import Tracker
from xz_magics.records import Outcome

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame, Series
    from xz_magics.views.plots import Figure


class Results:
    """The outcomes of one run, in the order in which its tasks were written. While the run goes on, those that ended.

    Iteration, `len`, `df`, histograms and JSON speak of the tasks as written; the other tables, `summary` and `metrics`
    of the subagents nested in them, too. By label, either can be had, and while it still runs its Progress.
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
        self.interrupted = False
        self.shown_in_cell: int | None = None
        self._outcomes = outcomes
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
        if self._outcomes.rows:
            self._row(label)
        self._cancel(label)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this run, each in one line."""
        faults = self._outcomes.tool_faults
        return (
            *self._warnings,
            *(f"{name} went wrong in {count} of its calls: see messages_df" for name, count in faults.items()),
        )

    @property
    def outcomes(self) -> list[Outcome]:
        return self._outcomes.roots()

    @property
    def duration_s(self) -> float | None:
        """None while the run goes on."""
        return self._outcomes.duration_s

    @property
    def df(self) -> "DataFrame":
        """A row per task, in the order written; unknown numbers are NA."""
        from xz_magics import frames

        return frames.tasks_frame(self.outcomes)

    @property
    def all_df(self) -> "DataFrame":
        """The same columns for all: each task is followed by the subagents nested in it (`parent`, `depth`)."""
        from xz_magics import frames

        return frames.tasks_frame(self._outcomes.all())

    @property
    def turns_df(self) -> "DataFrame":
        """A row per model call, nested subagents' too."""
        from xz_magics import frames

        return frames.turns_frame(self._outcomes.all())

    @property
    def messages_df(self) -> "DataFrame":
        """A row per message of each conversation, and one per tool call after the message that asks for it."""
        from xz_magics import frames

        return frames.messages_frame(self._outcomes.all())

    @property
    def summary(self) -> "Series[Any]":
        """Counts by status, tokens, dollars and seconds of the whole run, nested subagents included."""
        from xz_magics import frames

        return frames.summary(self._outcomes.all(), self.duration_s)

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

    def plot(self) -> "Figure":
        """Both histograms side by side, by status."""
        from xz_magics.views import plots

        return plots.histograms(self.outcomes)

    def to_json(self, *, indent: int | None = None) -> str:
        """The outcomes as JSON text; `failed` counts whatever is not done."""
        return whole(json.dumps(self.to_dict(), indent=indent, ensure_ascii=False))

    def to_dict(self) -> dict[str, Any]:
        outcomes = self.outcomes
        successful = sum(outcome.success for outcome in outcomes)
        return {
            "results": [_plain(outcome) for outcome in outcomes],
            "total_duration_ms": None if self.duration_s is None else round(self.duration_s * 1000),
            "successful": successful,
            "failed": len(outcomes) - successful,
        }

    def raise_for_failures(self) -> "Results":
        """Raises TasksFailed unless every task is done; returns the results themselves otherwise."""
        rows = self._outcomes.written
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

        return text.page(self._outcomes.all(), self.duration_s, self._tracker.uses(above=True), self.warnings)

    def _repr_html_(self) -> str:
        from xz_magics.views import static

        return static.page(self._outcomes.all(), self.duration_s, self._tracker.uses(above=True), self.warnings)

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
        rows = self._outcomes.rows
        if label not in rows:
            close = get_close_matches(label, list(rows), n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(list(rows)[:10])}"
            raise KeyError(f"no task is called {label!r}; {mend}")
        return rows[label]


def _trouble(row: Row) -> str:
    return (row.outcome and row.outcome.error_type) or row.state


def _plain(outcome: Outcome) -> dict[str, Any]:
    duration_s = outcome.duration_s
    return {
        "label": outcome.label,
        "success": outcome.success,
        "status": outcome.status,
        "output": outcome.output,
        "duration_ms": None if duration_s is None else round(duration_s * 1000),
        "error": outcome.error,
        "error_type": outcome.error_type,
        "model": outcome.model,
        "turns": len(outcome.turns),
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "total_tokens": outcome.total_tokens,
        "estimated": outcome.estimated,
        "cost_usd": outcome.cost_usd,
        "tree_tokens": outcome.tree_tokens,
        "tree_cost_usd": outcome.tree_cost_usd,
    }
