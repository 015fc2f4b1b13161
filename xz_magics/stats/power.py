"""How many inputs a comparison needs so that it finds a difference as large as the one found, in 80 % of cases."""

import math
from functools import cache, lru_cache

from scipy.special import bdtr, nctdtr, ndtri, stdtrit

from xz_magics.stats.intervals import TAIL

POWER = 0.8
LEAST_INPUTS = 6
"""Below it there is no test: with five inputs on one side and none on the other, an exact test gives p = 0.0625."""
MANY_INPUTS = 10_000
MANY_FOR_EXACT = 300
LEAST_EFFECT = 1e-4
"""Of a spread. What is smaller would need hundreds of millions of inputs, or is a rounding error."""


def inputs_for_means(difference: float, spread: float) -> int | None:
    """For the paired t test, two-sided at 0.05: power by the noncentral t distribution (Cohen, "Statistical power
    analysis for the behavioral sciences", 1988, chapter 2). `spread` is the sd of the paired differences, not 0.

    None where the difference is 0 or next to it.
    """
    effect = abs(difference) / spread
    if effect < LEAST_EFFECT:
        return None
    rough = ((float(ndtri(1 - TAIL)) + float(ndtri(POWER))) / effect) ** 2
    if rough > MANY_INPUTS:
        return math.ceil(rough + 2)  # the t distribution's own tails: half of the squared normal quantile, rounded up
    inputs = max(LEAST_INPUTS, math.ceil(rough))
    while effect < 2 and _t_power(effect, inputs) < POWER:
        inputs += 1
    return inputs


@lru_cache(maxsize=4096)
def inputs_for_proportions(only_first: float, only_second: float) -> int | None:
    """For McNemar's exact test, two-sided at 0.05, from the shares of inputs that say yes to one arm only.

    Connor's formula (Connor, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, 1987, pages 207-211) is that of the test by the normal distribution: it gives the exact test some
    76 %. From there on upwards, power is the exact test's own. None where both shares are equal.
    """
    difference, unequal = abs(only_first - only_second), only_first + only_second
    if not difference:
        return None
    alone = float(ndtri(1 - TAIL)) * math.sqrt(unequal)
    found = float(ndtri(POWER)) * math.sqrt(max(0.0, unequal - difference * difference))
    inputs = max(LEAST_INPUTS, math.ceil(((alone + found) / difference) ** 2))
    while inputs < MANY_FOR_EXACT and _exact_power(unequal, only_first / unequal, inputs) < POWER:
        inputs += 1
    return inputs


def _t_power(effect: float, inputs: int) -> float:
    """That the far tail is reached from the wrong side is left out: at this power it has less than 1e-5."""
    freedom = inputs - 1
    return 1 - float(nctdtr(freedom, effect * math.sqrt(inputs), stdtrit(freedom, 1 - TAIL)))


def _exact_power(unequal: float, first: float, inputs: int) -> float:
    """`unequal`: the share of inputs that tell the arms apart; `first`: of these, that for the first arm."""
    apart = list(range(LEAST_INPUTS, inputs + 1))
    fewer = [number - 1 for number in apart]
    most = [_most_against(number) for number in apart]
    is_found = bdtr(most, apart, first) + bdtr(most, apart, 1 - first)
    return float(((bdtr(apart, inputs, unequal) - bdtr(fewer, inputs, unequal)) * is_found).sum())


@cache
def _most_against(apart: int) -> int:
    """How many of so many inputs may say the contrary, and the test still finds a difference."""
    against = 0
    while bdtr(against + 1, apart, 0.5) <= TAIL:
        against += 1
    return against
