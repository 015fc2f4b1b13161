"""95 % intervals of means, of proportions and of differences: it alone knows their formulas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit

TAIL = 0.025
ROUNDING = 1e-12
"""A spread this small beside the numbers themselves is what is left of their rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float


def mean(values: Sequence[float]) -> float:
    """Of at least one value."""
    return math.fsum(values) / len(values)


def sd(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample (divided by n - 1); None for less than two values, 0 where all are equal."""
    if len(values) < 2:
        return None
    centre = mean(values)
    spread = math.dist(values, [centre] * len(values)) / math.sqrt(len(values) - 1)
    return spread if spread > ROUNDING * max(map(abs, values)) else 0.0


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval (Student, "The probable error of a mean", Biometrika 6, 1908).

    None for less than two values and where all are equal: nothing then tells how far the mean may be off.
    """
    spread = sd(values)
    if not spread:
        return None
    centre = mean(values)
    half = float(stdtrit(len(values) - 1, 1 - TAIL)) * spread / math.sqrt(len(values))
    return Interval(low=centre - half, high=centre + half)


def proportion_interval(yes: int, inputs: int) -> Interval:
    """Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22, 1927), without continuity correction; inputs >= 1."""
    z = float(ndtri(1 - TAIL))
    share, square = yes / inputs, z * z / inputs
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / inputs + square / inputs / 4) / (1 + square)
    return Interval(low=max(0.0, centre - half) if yes else 0.0, high=min(1.0, centre + half) if yes < inputs else 1.0)


def paired_proportions_interval(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Of the first share minus the second, where each input says yes or no to both; at least one input.

    Newcombe's square-and-add interval (Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17, 1998, pages 2635-2650: method 10): the Wilson
    intervals of both shares, joined with the correlation phi, which is corrected for continuity where it is positive.
    """
    inputs = both + only_first + only_second + neither
    yes_first, yes_second = both + only_first, both + only_second
    first, second = yes_first / inputs, yes_second / inputs
    one, two = proportion_interval(yes_first, inputs), proportion_interval(yes_second, inputs)
    phi = _phi(both, only_first, only_second, neither)
    below = _joined(first - one.low, two.high - second, phi)
    above = _joined(one.high - first, second - two.low, phi)
    difference = (only_first - only_second) / inputs
    return Interval(low=max(-1.0, difference - below), high=min(1.0, difference + above))


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    inputs = both + only_first + only_second + neither
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product = both * neither - only_first * only_second
    return (max(product - inputs / 2, 0.0) if product > 0 else product) / math.sqrt(margins)


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))
