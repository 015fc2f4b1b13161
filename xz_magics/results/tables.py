"""A run as tables and pictures: which of its outcomes each of them speaks of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.records import LimitUse, Outcome

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame, Series
    from xz_magics.views.plots import Figure


class Limits(Protocol):
    """Where the limits of a run stand: a Tracker, while it goes on."""

    def uses(self, *, above: bool = False) -> list[LimitUse]: ...


class Tables:
    """What Results can be read as. Subclasses give the fold and what was counted and measured."""

    fold: Outcomes
    scores: dict[str, Mapping[str, float | bool | None]]
    _dtypes: Mapping[str, str]
    _tracker: Limits
    _metrics: Metrics

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

        return frames.tasks_frame(self.outcomes, self.scores, self._dtypes)

    @property
    def all_df(self) -> "DataFrame":
        """The same columns for all: each task is followed by the subagents nested in it (`parent`, `depth`)."""
        from xz_magics import frames

        return frames.tasks_frame(self.fold.all(), self.scores, self._dtypes)

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

    def plot(self, by: str = "status") -> "Figure":
        """Both histograms side by side, their bars stacked by "status", "model" or a variable of the matrix."""
        from xz_magics.views import plots

        return plots.histograms(self.outcomes, by=by)

    def timeline(self) -> "Figure":
        """Who ran when, nested subagents included: waiting, calls, retries, pauses, tools, and how many at once."""
        from xz_magics.views import plots

        return plots.timeline(self.fold.all(), self.fold.pauses)
