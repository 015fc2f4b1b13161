"""Arms of a run, compared by inputs: it alone knows which outcomes make up the value of an input in an arm."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from xz_magics import stats
from xz_magics.errors import SpecError
from xz_magics.records import Outcome
from xz_magics.records.scores import Scores, score_columns, scorer_of
from xz_magics.results.places import Place, demand_name, mend_of, places_of
from xz_magics.views.wording import status_words, tasks_words

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.experiments import Experiments
    from xz_magics.views.plots import Figure

MOST = 1e100
"""A score beyond it is missing as an infinite one is: its square is no number any more."""
Cells = dict[str, dict[str, dict[str, list[float]]]]
"""By arm, unit and setting: a number for each repeat that has one."""


class Comparison:
    """The arms of one variable side by side, and each pair of them compared by the inputs that both have."""

    def __init__(self, compared: stats.Compared) -> None:
        self._compared = compared

    @property
    def arms(self) -> "DataFrame":
        """A row per arm: counts, then mean and 95 % interval of score, tokens, cost and duration over its inputs.

        `inputs` are those behind the score's mean (where there is no score: those that have an answer), `answers` the
        tasks that ended as done or incomplete, `failed` all others: what failed, was refused, timed out, was cancelled
        or skipped. `missing_scores` are answers that should have a score. Tokens, cost and duration are those of
        answers. `within_sd` is the pooled standard deviation of repeats, `between_sd` that of the inputs' values; both
        of the score.
        """
        from xz_magics.frames import comparing

        return comparing.arms_frame(self._compared.arms)

    @property
    def pairs(self) -> "DataFrame":
        """A row per pair of arms, `arm_a` minus `arm_b`, by the inputs that both have; `left_out` counts the others.

        `p_holm` is corrected over all pairs by Holm's method, the intervals are not; `needed_inputs` would find this
        difference with 80 % power at the level that the correction leaves, 0.05 / number of pairs. Where
        there is no score, each pair has a row for tokens, cost and duration.
        """
        from xz_magics.frames import comparing
        from xz_magics.views import verdicts

        return comparing.pairs_frame(self._compared.pairs, [verdicts.of_pair(pair) for pair in self._compared.pairs])

    @property
    def verdict(self) -> str:
        """Which arm is better, or that none is, in words; and what failed."""
        from xz_magics.views import verdicts

        return verdicts.of_all(self._compared)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What else a reader should know, each in one line."""
        return self._compared.notes

    def plot(self) -> "Figure":
        """The score by arm with its inputs, cost against score, duration against score; bars are 95 % intervals."""
        from xz_magics.views.plots.arms import arms

        return arms(self._compared)

    def __repr__(self) -> str:
        from xz_magics.views import comparison

        return comparison.told(self._compared)

    def _repr_html_(self) -> str:
        from xz_magics.views import comparison

        return comparison.page(self._compared)


def compare(results: "Experiments", variable: str, score: str | None) -> Comparison:
    """Raises SpecError for a variable or a score that this run has not.

    Tasks of one unit are no independent inputs: its value in an arm is the mean over repeats, then over its tasks and
    the values of all other variables.
    """
    places = places_of(results.outcomes, variable)
    name = _score_name(results.scores, places, score)
    measured: dict[stats.Measure, Cells] = {
        "score": _cells(places, lambda outcome: _number(results.scores.get(outcome.label, {}).get(name or ""))),
        "tokens": _cells(places, lambda outcome: outcome.reused.tokens if outcome.reused else outcome.total_tokens),
        "cost_usd": _cells(places, lambda outcome: (outcome.reused or outcome).cost_usd),
        "duration_s": _cells(places, lambda outcome: outcome.duration_s),
    }
    yes_no = name is not None and _is_yes_no(measured["score"])
    measures = stats.MEASURES[:1] if name else stats.MEASURES[1:]
    return Comparison(
        stats.Compared(
            variable=variable,
            score=name,
            arms=tuple(_arms(places, measured, results.scores, name, yes_no=yes_no)),
            pairs=tuple(pair for measure in measures for pair in _pairs(measure, measured[measure], yes_no=yes_no)),
            notes=(
                *_notes_of_state(results, places),
                *_notes_of_scores(results.scores, places, name),
                _unit(places),
                *_notes_of_pairs(math.comb(len(measured["score"]), 2)),
            ),
        )
    )


def pivot(results: "Experiments", variable: str, value: str) -> "DataFrame":
    """Raises SpecError for a variable that this run has not, or a value that is no column of `df`."""
    from xz_magics.frames import comparing
    from xz_magics.views import side_by_side

    outcomes, table = results.outcomes, results.df
    places = places_of(outcomes, variable)
    demand_name(value, "value")
    if value not in table.columns:
        raise SpecError(f"df has no column {value!r}", mend_of(value, [str(name) for name in table.columns]))
    row_of = {outcome.label: row for row, outcome in enumerate(outcomes)}
    pivoted = comparing.pivot_frame(
        table[value],
        cells={(place.row, place.arm): row_of[place.outcome.label] for place in places},
        heads=("input", *places[0].others, "repeat"),
        variable=variable,
    )
    keys = dict(zip(dict.fromkeys(place.row for place in places), pivoted.index, strict=True))
    below = {
        (keys[place.row], place.arm): side_by_side.below_words(
            place.outcome, results.scores.get(place.outcome.label, {})
        )
        for place in places
    }
    rows = {keys[place.row]: place.trial.columns for place in places}
    return pivoted.shown_by(partial(side_by_side.page, below=below, rows=rows))


def _score_name(scores: Scores, places: Sequence[Place], asked: str | None) -> str | None:
    """As the scores call it; a column's name does as well. None where none is asked for and there is none."""
    known = _score_names(scores, places)
    if asked is None:
        return known[0] if known else None
    demand_name(asked, "score")
    names = {column: name for name, column in score_columns(scores).items() if name in known}
    found = asked if asked in known else names.get(asked)
    if found is None:
        mend = (
            mend_of(asked, known) if known else "give `score:` in the cell, or score the run: results.score(function)"
        )
        raise SpecError(f"there is no score {asked!r}", mend)
    return found


def _score_names(scores: Scores, places: Sequence[Place]) -> list[str]:
    return list(dict.fromkeys(name for place in places for name in scores.get(place.outcome.label, {})))


def _number(score: float | None) -> float | None:
    """True is 1."""
    return None if score is None or not abs(score) < MOST else float(score)


def _cells(places: Sequence[Place], number: Callable[[Outcome], float | None]) -> Cells:
    """Of answers: what a task without one took says nothing of what an answer takes."""
    cells: Cells = {place.arm: {} for place in places}
    for place in places:
        value = number(place.outcome) if place.answered else None
        if value is not None:
            settings = cells[place.arm].setdefault(place.unit, {})
            settings.setdefault(place.setting, []).append(value)
    return cells


def _is_yes_no(cells: Cells) -> bool:
    return all(number in {0.0, 1.0} for number in _numbers(cells.values()))


def _numbers(arms: Iterable[stats.Values]) -> Iterator[float]:
    return (number for arm in arms for settings in arm.values() for repeats in settings.values() for number in repeats)


def _arms(
    places: Sequence[Place],
    measured: Mapping[stats.Measure, Cells],
    scores_of: Scores,
    score: str | None,
    *,
    yes_no: bool,
) -> Iterator[stats.Arm]:
    for name in measured["score"]:
        own = [place for place in places if place.arm == name]
        answers = [place for place in own if place.answered]
        estimates: dict[stats.Measure, stats.Estimate] = {
            measure: stats.estimate(cells[name], bounds=(0, math.inf))
            for measure, cells in measured.items()
            if measure != "score"
        }
        scores = measured["score"][name]
        estimates["score"] = stats.estimate(scores, yes_no=yes_no, bounds=(0, 1) if yes_no else None)
        yield stats.Arm(
            name=name,
            inputs=len(estimates["score" if score else "tokens"].points),
            answers=len(answers),
            failed=len(own) - len(answers),
            missing_scores=sum(_is_asked(scores_of, place, score) for place in answers)
            - sum(1 for _ in _numbers([scores])),
            estimates=estimates,
            lost=Counter(status_words(place.outcome) for place in own if not place.answered),
        )


def _is_asked(scores: Scores, place: Place, score: str | None) -> bool:
    """Whether this score was asked for there: what is missing has an entry, too."""
    scorers = map(scorer_of, scores.get(place.outcome.label, {}))
    return score is not None and scorer_of(score) in scorers


def _pairs(measure: stats.Measure, cells: Cells, *, yes_no: bool) -> list[stats.Pair]:
    yes_no = yes_no and measure == "score"
    pairs = math.comb(len(cells), 2)
    return stats.corrected(
        [
            stats.pair(one, two, measure, (cells[one], cells[two]), yes_no=yes_no, pairs=pairs)
            for one, two in combinations(cells, 2)
        ]
    )


def _notes_of_state(results: "Experiments", places: Sequence[Place]) -> Iterator[str]:
    fold = results.fold
    if results.duration_s is None and fold.ended < len(fold.written):
        yield f"the run goes on: this compares the {fold.ended:,} of {len(fold.written):,} tasks that have ended"
    without = len(results.outcomes) - len(places)
    if without:
        yield f"{tasks_words(without)} without this variable {'is' if without == 1 else 'are'} left out"
    unpriced = sum(place.answered and place.outcome.cost_usd is None for place in places)
    if unpriced:
        yield f"the cost of {unpriced:,} answer{'' if unpriced == 1 else 's'} is unknown and left out"


def _notes_of_scores(scores: Scores, places: Sequence[Place], name: str | None) -> Iterator[str]:
    if name is None:
        yield "there is no score: tokens, cost and duration are compared"
    others = [other for other in _score_names(scores, places) if other != name]
    if others:
        yield f"score is {name}; others can be compared, too: {', '.join(others)}"
    unasked = sum(place.answered and not _is_asked(scores, place, name) for place in places) if name else 0
    if unasked:
        yield f"{unasked:,} answer{' is' if unasked == 1 else 's are'} of tasks without this score, and not in its mean"


def _unit(places: Sequence[Place]) -> str:
    several = len({(place.unit, place.trial.input) for place in places}) > len({place.unit for place in places})
    task = "the task with those that it builds on" if several else "the task"
    kinds = {"the foreach row" if place.trial.row is not None else task for place in places}
    over = ["its repeats"] if any(place.trial.repeat is not None for place in places) else []
    others = [*(["its tasks"] if several else []), *places[0].others]
    if others:
        over.append(f"then over {' and '.join(others)}" if over else " and ".join(others))
    averaged = f"; its value in an arm is the mean over {', '.join(over)}" if over else ""
    return f"the unit is {', or without one '.join(sorted(kinds))}{averaged}"


def _notes_of_pairs(pairs: int) -> Iterator[str]:
    if pairs > 1:
        yield (
            f"p is corrected over all pairs by Holm's method, needed inputs are reckoned at 0.05 / {pairs:,} pairs;"
            " intervals are those of each pair alone"
        )
