"""How many inputs a comparison needs so that it finds a difference as large as the one found, in 80 % of cases."""

import math
from functools import cache, lru_cache

from scipy.special import bdtr, nctdtr, ndtri, stdtrit

POWER = 0.8
LEVEL = 0.05
LEAST_INPUTS = 6
"""Below it there is no test: with five inputs on one side and none on the other, an exact test gives p = 0.0625."""
MANY_INPUTS = 10_000
MANY_FOR_EXACT = 300
LEAST_EFFECT, LARGEST_EFFECT = 1e-4, 100.0
"""Of a spread. What is smaller would need hundreds of millions of inputs, or is a rounding error."""


def least_inputs(pairs: int) -> int:
    """So many inputs, all on one side, make an exact test significant after correction for so many pairs."""
    return max(LEAST_INPUTS, math.ceil(math.log2(1 / _tail(pairs))))


def inputs_for_means(difference: float, spread: float, *, pairs: int = 1) -> int | None:
    """For the paired t test, two-sided at 0.05 / pairs: power by the noncentral t distribution (Cohen, "Statistical
    power analysis for the behavioral sciences", 1988, chapter 2). `spread` is the sd of the paired differences, not 0.

    None where the difference is 0 or next to it.
    """
    effect, tail = min(abs(difference) / spread, LARGEST_EFFECT), _tail(pairs)
    if effect < LEAST_EFFECT:
        return None
    z = float(ndtri(1 - tail))
    rough = ((z + float(ndtri(POWER))) / effect) ** 2
    if rough > MANY_INPUTS:
        return math.ceil(rough + z * z / 2)  # the t distribution's own tails
    inputs = max(LEAST_INPUTS, math.ceil(rough))
    while _t_power(effect, inputs, tail) < POWER:
        inputs += 1
    return inputs


@lru_cache(maxsize=4096)
def inputs_for_proportions(only_first: float, only_second: float, *, pairs: int = 1) -> int | None:
    """For McNemar's exact test, two-sided at 0.05 / pairs, from the shares of inputs that say yes to one arm only.

    Connor's formula (Connor, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, 1987, pages 207-211) is that of the test by the normal distribution: it gives the exact test some
    76 %. From there on upwards, power is the exact test's own. None where both shares are equal.
    """
    difference, unequal = abs(only_first - only_second), only_first + only_second
    if not difference:
        return None
    tail = _tail(pairs)
    alone = float(ndtri(1 - tail)) * math.sqrt(unequal)
    found = float(ndtri(POWER)) * math.sqrt(max(0.0, unequal - difference * difference))
    least = least_inputs(pairs)
    inputs = max(least, math.ceil(((alone + found) / difference) ** 2))
    while inputs < MANY_FOR_EXACT and _exact_power(unequal, only_first / unequal, inputs, least, tail) < POWER:
        inputs += 1
    return inputs


def _tail(pairs: int) -> float:
    return LEVEL / pairs / 2


def _t_power(effect: float, inputs: int, tail: float) -> float:
    """That the far tail is reached from the wrong side is left out: at this power it has less than 1e-5."""
    freedom = inputs - 1
    return 1 - float(nctdtr(freedom, effect * math.sqrt(inputs), stdtrit(freedom, 1 - tail)))


def _exact_power(unequal: float, first: float, inputs: int, least: int, tail: float) -> float:
    """`unequal`: the share of inputs that tell the arms apart; `first`: of these, that for the first arm."""
    apart = list(range(least, inputs + 1))
    fewer = [number - 1 for number in apart]
    most = [_most_against(number, tail) for number in apart]
    is_found = bdtr(most, apart, first) + bdtr(most, apart, 1 - first)
    return float(((bdtr(apart, inputs, unequal) - bdtr(fewer, inputs, unequal)) * is_found).sum())


@cache
def _most_against(apart: int, tail: float) -> int:
    """How many of so many inputs may say the contrary, and the test still finds a difference."""
    against = 0
    while bdtr(against + 1, apart, 0.5) <= tail:
        against += 1
    return against
