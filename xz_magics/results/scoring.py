"""Scores what a run answered anew, without any model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xz_magics import scores, specs
from xz_magics.errors import SpecError
from xz_magics.records import Scorer
from xz_magics.scores.functions import Faults
from xz_magics.scores.rules import rule_scores

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.experiments import Experiments


def score(results: "Experiments", scorers: Sequence[Any]) -> "DataFrame":
    """Raises SpecError for a judge, and for what is no score."""
    from xz_magics.frames.scores import scores_frame

    given = _checked(scorers) if scorers else None
    pairs = [
        (row.outcome, [scorer for scorer in row.task.scores if scorer.judge is None] if given is None else given)
        for row in results.fold.written
        if row.outcome is not None
    ]
    faults = Faults()
    found = rule_scores(pairs, faults)
    if not found:
        raise SpecError("these tasks have no score of their own", "name one, such as results.score('equals')")
    results.add_scores(found)
    told = dict(faults.told())
    for name in dict.fromkeys(name.partition(".")[0] for of_one in found.values() for name in of_one):
        results.note(told.get(name, ""), about=f"score {name}")
    return scores_frame(results.outcomes, found)


def _checked(scorers: Sequence[Any]) -> tuple[Scorer, ...]:
    written = specs.check_options({"score": list(scorers)})["score"]
    for scorer in written:
        if scorer.judge is not None:
            raise SpecError(
                "a judge is a model, and none is called here", "put it into `score:` and run the tasks again"
            )
    return scores.resolved(written, {}, model="")
