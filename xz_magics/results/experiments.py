"""A run as an experiment: answers as fields, scores, arms side by side, and what each part of it cost."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from xz_magics.events import AnswersCombined, AnswersScored, Event, Warned
from xz_magics.records import Outcome
from xz_magics.records.scores import Scores, scorer_of
from xz_magics.results.tables import Tables

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.comparing import Comparison


def told_to_nobody(event: Event) -> None:
    """Where no stream is."""
    del event


class Experiments(Tables):
    """Of all of these, the unit is a task as written. `scores`: by label, then by the scorer's name; None: missing.

    `combined` is what the run's `combine` came to; None where there is none, or it failed.
    """

    combined: Any
    lambdas: dict[str, Any]
    _notes: dict[str, str]
    _adding: Lock
    _tell: Callable[[Event], None]

    def note(self, text: str, *, about: str = "") -> None:
        """A line for `warnings`, in the place of what was said of the same before; an empty one takes that away."""
        before, self._notes[about or text] = self._notes.get(about or text, ""), text
        if text != before:
            self._tell(Warned(text=text, about=about))

    def add_scores(self, scores: Scores) -> None:
        """They take the place of what the scorers of these names said before. From whatever thread."""
        with self._adding:
            names = {name for of_one in scores.values() for name in of_one}
            outdated = {scorer_of(name) for name in names}
            kept = {
                label: {
                    name: score for name, score in of_one.items() if name in names or scorer_of(name) not in outdated
                }
                for label, of_one in self.scores.items()
            }
            labels = dict.fromkeys([*kept, *scores])
            self.scores = {label: {**kept.get(label, {}), **scores.get(label, {})} for label in labels}
        self._tell(AnswersScored(scores=scores))

    def add_combined(self, combined: str | Sequence[Outcome]) -> None:
        """What the outputs came to: one text, or those of them that were kept."""
        self.combined = combined
        if isinstance(combined, str):
            self._tell(AnswersCombined(text=combined))
        else:
            self._tell(AnswersCombined(labels=tuple(outcome.label for outcome in combined)))

    @property
    def fields_df(self) -> "DataFrame":
        """A row per task: its label, and a column per field of its answer, nested ones by dotted names."""
        from xz_magics.frames import answers

        return answers.fields_frame(self.outcomes)

    def score(self, *scorers: Callable[[Outcome], Any] | str | Mapping[str, Any]) -> "DataFrame":
        """Scores what is done without calling any model, by functions or by whatever `score:` takes but a judge.

        Without arguments by the tasks' own scores. Returns a row per task with these scores; they are added to
        `scores` and `df`, in the place of what scorers of the same names said before.
        """
        from xz_magics.results import scoring

        return scoring.score(self, scorers)

    def compare_by(self, variable: str, score: str | None = None) -> "Comparison":
        """The arms of one variable of the matrix, side by side and pair by pair; `score` is the first unless named.

        The unit is the foreach row, or without a table the task with those that it builds on: its value in an arm is
        the mean over repeats, then over its tasks and the values of all other variables.
        Raises SpecError for a variable or a score that this run has not.
        """
        from xz_magics.results import comparing

        return comparing.compare(self, variable, score)

    def pivot(self, variable: str, value: str = "output") -> "DataFrame":
        """A row per input, other variables and repeat, a column per arm: the answers, or another column of `df`.

        A page shows them side by side with their scores, and what stands in the foreach row.
        Raises SpecError for a name that this run has not.
        """
        from xz_magics.results import comparing

        return comparing.pivot(self, variable, value)

    def costs_by(self, what: str) -> "DataFrame":
        """Tokens and dollars by "model", "task", "input", "purpose", "turn", "tag" or a variable of the matrix.

        Nested subagents count for the task that led to them, judges and summaries for themselves. A task with two tags
        counts in both rows. Unknown numbers are NA, and `unpriced` counts the turns that `cost_usd` does not hold.
        Raises SpecError for another word.
        """
        from xz_magics.frames import costs

        return costs.costs_frame([self.fold.all()], what)
