"""A run as an experiment: answers as fields, scores, arms side by side, and what each part of it cost."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xz_magics.records import Outcome
from xz_magics.results.tables import Tables

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.comparing import Comparison


class Experiments(Tables):
    """Of all of these, the unit is a task as written. `scores`: by label, then by the scorer's name; None: missing.

    `combined` is what the run's `combine` came to; None where there is none, or it failed.
    """

    combined: Any

    @property
    def fields_df(self) -> "DataFrame":
        """A row per task: its label, and a column per field of its answer, nested ones by dotted names."""
        from xz_magics.frames import answers

        return answers.fields_frame(self.outcomes)

    def score(self, *scorers: Callable[[Outcome], Any] | str | Mapping[str, Any]) -> "DataFrame":
        """Scores every task anew, without calling any model: functions, or what `score:` takes but a judge."""
        from xz_magics.results import scoring

        return scoring.score(self, scorers)

    def compare_by(self, variable: str, score: str | None = None) -> "Comparison":
        """The arms of one variable, compared by inputs."""
        from xz_magics.results import comparing

        return comparing.compare(self, variable, score)

    def pivot(self, variable: str, value: str = "output") -> "DataFrame":
        """A row per input and repeat, a column per arm: the answers side by side."""
        from xz_magics.results import comparing

        return comparing.pivot(self, variable, value)

    def costs_by(self, what: str) -> "DataFrame":
        """Tokens and dollars by "model", "tag", "input", "task" or a variable of the matrix."""
        from xz_magics.frames import costs

        return costs.costs_frame(self.fold.all(), what)
