"""Arms and what tells them apart, input by input: it alone knows which method fits which numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from xz_magics.stats.intervals import (
    ROUNDING,
    Interval,
    mean,
    mean_interval,
    paired_proportions_interval,
    proportion_interval,
    sd,
)
from xz_magics.stats.power import LEAST_INPUTS, inputs_for_means, inputs_for_proportions
from xz_magics.stats.tests import exact_sign, holm, paired_t

Measure = Literal["score", "tokens", "cost_usd", "duration_s"]
MEASURES: tuple[Measure, ...] = ("score", "tokens", "cost_usd", "duration_s")

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Of one arm: by input, then by setting (the values of all other variables), one number for each repeat."""

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over inputs. `points` are the inputs' own values; `interval` is None where they tell none.

    `within_sd` is the pooled standard deviation of repeats, None where nothing was repeated; `between_sd` that of the
    inputs' values, of which a part comes from within: the less, the more repeats.
    """

    points: tuple[float, ...]
    interval: Interval | None
    within_sd: float | None
    between_sd: float | None

    @property
    def mean(self) -> float | None:
        return mean(self.points) if self.points else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first arm minus the second, over the inputs that both have. None: not told by so few or so equal inputs.

    `method` names the test and the interval. `needed_inputs`: how many find this difference with 80 % power at the
    level that a correction for all pairs leaves, 0.05 / pairs.
    """

    inputs: int
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    method: str = ""
    needed_inputs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One value of a variable. `inputs` are those behind the score, or where there is none those with an answer.

    `answers` and `failed` count tasks, with an answer and without; `lost` says how the latter ended, and how many in
    each way. `missing_scores` counts the answers whose score is missing.
    """

    name: str
    inputs: int
    answers: int
    failed: int
    missing_scores: int
    estimates: Mapping[Measure, Estimate]
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two arms by one measure. `left_out` counts the inputs that only one of them has.

    `p_holm` is corrected for all `tested` pairs, which are those with a p.
    """

    first: str
    second: str
    measure: Measure
    left_out: int
    difference: Difference
    p_holm: float | None = None
    tested: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All arms of a variable. `score` is the score's name; None: there is none, and the other measures are compared.

    `notes`: what a reader should know, each in one line.
    """

    variable: str
    score: str | None
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()


def estimate(values: Values, *, yes_no: bool = False, bounds: Bounds | None = None) -> Estimate:
    """Of all inputs. `yes_no`: each number is 0 or 1. `bounds`: no number can lie beyond them.

    Repeats are averaged first, then settings: the unit is the input. Where each input comes to 0 or 1 the interval is
    Wilson's, otherwise that of t.
    """
    own = tuple(_value(settings, settings) for settings in values.values())
    repeats = [numbers for settings in values.values() for numbers in settings.values()]
    return Estimate(
        points=own,
        interval=_interval(own, bounds, yes_no=yes_no),
        within_sd=_within_sd(repeats),
        between_sd=sd(own),
    )


def pair(
    first: str,
    second: str,
    measure: Measure,
    values: tuple[Values, Values],
    *,
    yes_no: bool = False,
    pairs: int = 1,
) -> Pair:
    """By the inputs that both arms have, and of these by the settings that both have: like is compared with like.

    `pairs`: among so many.
    """
    one, two = values
    shared = {name: [key for key in one[name] if key in two[name]] for name in one if name in two}
    shared = {name: settings for name, settings in shared.items() if settings}
    numbers = [[_value(arm[name], settings) for name, settings in shared.items()] for arm in values]
    return Pair(
        first=first,
        second=second,
        measure=measure,
        left_out=len(one.keys() | two.keys()) - len(shared),
        difference=compare(*numbers, yes_no=yes_no, pairs=pairs),
    )


def compare(first: Sequence[float], second: Sequence[float], *, yes_no: bool = False, pairs: int = 1) -> Difference:
    """The same inputs in two arms, in the same order. Below LEAST_INPUTS only the difference itself is told.

    Where each input comes to 0 or 1: the exact McNemar test and Newcombe's paired interval. Otherwise the t test and
    interval of the differences; where these are all equal the exact sign test, and no interval.
    """
    inputs = len(first)
    differences = [_difference(a, b) for a, b in zip(first, second, strict=True)]
    found = mean(differences) if differences else None
    if found is None or inputs < LEAST_INPUTS:
        return Difference(inputs=inputs, difference=found)
    if yes_no and _all_yes_no(first) and _all_yes_no(second):
        return _compare_yes_no(first, second, found, pairs)
    spread = sd(differences)
    if not spread:
        p = exact_sign(inputs if found > 0 else 0, inputs if found < 0 else 0)
        return Difference(inputs=inputs, difference=found, p=p, method="exact sign test: all differences are equal")
    return Difference(
        inputs=inputs,
        difference=found,
        interval=_cut(mean_interval(differences), (-1.0, 1.0) if yes_no else None),
        p=paired_t(differences),
        method="paired t",
        needed_inputs=inputs_for_means(found, spread, pairs=pairs),
    )


def corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """With Holm's correction over all of these that have a p."""
    known = [one.difference.p for one in pairs if one.difference.p is not None]
    ps = iter(holm(known))
    return [one if one.difference.p is None else replace(one, p_holm=next(ps), tested=len(known)) for one in pairs]


def _within_sd(repeats: Sequence[Sequence[float]]) -> float | None:
    """The pooled standard deviation of groups of repeats: the root of their mean variance, weighted by n - 1."""
    groups = [(len(numbers) - 1, sd(numbers) or 0.0) for numbers in repeats if len(numbers) > 1]
    freedom = sum(weight for weight, _ in groups)
    return math.sqrt(math.fsum(weight * spread * spread for weight, spread in groups) / freedom) if freedom else None


def _value(settings: Mapping[str, Sequence[float]], names: Iterable[str]) -> float:
    """Of an input: the mean of these of its settings, each the mean of its repeats."""
    return mean([mean(settings[name]) for name in names])


def _interval(own: Sequence[float], bounds: Bounds | None, *, yes_no: bool) -> Interval | None:
    if yes_no and own and _all_yes_no(own):
        return proportion_interval(sum(value > 0 for value in own), len(own))
    return _cut(mean_interval(own), bounds)


def _cut(interval: Interval | None, bounds: Bounds | None) -> Interval | None:
    """What lies beyond the bounds cannot be: without it the interval holds the truth as often."""
    if interval is None or bounds is None:
        return interval
    return Interval(low=max(interval.low, bounds[0]), high=min(interval.high, bounds[1]))


def _difference(first: float, second: float) -> float:
    """0 where only the rounding of means tells them apart."""
    difference = first - second
    return difference if abs(difference) > ROUNDING * max(abs(first), abs(second)) else 0.0


def _compare_yes_no(first: Sequence[float], second: Sequence[float], found: float, pairs: int) -> Difference:
    inputs = len(first)
    both = sum(a + b == 2 for a, b in zip(first, second, strict=True))
    only_first, only_second = round(sum(first)) - both, round(sum(second)) - both
    neither = inputs - both - only_first - only_second
    return Difference(
        inputs=inputs,
        difference=found,
        interval=paired_proportions_interval(both, only_first, only_second, neither),
        p=exact_sign(only_first, only_second),
        method="exact McNemar test, Newcombe interval",
        needed_inputs=inputs_for_proportions(only_first / inputs, only_second / inputs, pairs=pairs),
    )


def _all_yes_no(values: Sequence[float]) -> bool:
    return all(value in {0.0, 1.0} for value in values)
