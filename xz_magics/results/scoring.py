"""Scores what a run answered anew, without any model."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from xz_magics import scores, specs
from xz_magics.errors import SpecError
from xz_magics.records import Scorer
from xz_magics.records.scores import scorer_of
from xz_magics.scores.functions import Faults

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.experiments import Experiments

LATE = "scores that a Stop left no time for"


def score(results: "Experiments", scorers: Sequence[Any]) -> "DataFrame":
    """Raises SpecError for a judge, and for what is no score."""
    from xz_magics.frames.scores import scores_frame
    from xz_magics.scores.rules import rule_scores

    given = _named_apart(_checked(scorers), results) if scorers else None
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
    if given is None:
        results.note("", about=LATE)
    told = dict(faults.told())
    for name in dict.fromkeys(scorer_of(name) for of_one in found.values() for name in of_one):
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


def _named_apart(scorers: Sequence[Scorer], results: "Experiments") -> list[Scorer]:
    """Each lambda with a name that no other scorer of these results has; the same one keeps its own."""
    lambdas = results.lambdas
    for row in results.fold.written:
        lambdas |= {scorer.name: scorer.function for scorer in row.task.scores if _is_lambda(scorer)}
    taken = {scorer_of(name) for of_one in results.scores.values() for name in of_one} | lambdas.keys()
    taken |= {scorer.name for scorer in scorers if not _is_lambda(scorer)}
    names = (f"function_{number}" if number > 1 else "function" for number in count(1))
    found = []
    for scorer in scorers:
        if not _is_lambda(scorer):
            found.append(scorer)
            continue
        known = [name for name, function in lambdas.items() if function is scorer.function]
        name = known[0] if known else next(name for name in names if name not in taken)
        lambdas[name] = scorer.function
        found.append(replace(scorer, name=name))
    return found


def _is_lambda(scorer: Scorer) -> bool:
    return getattr(scorer.function, "__name__", "") == "<lambda>"
