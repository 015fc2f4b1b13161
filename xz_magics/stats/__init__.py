"""Numbers compared honestly: the unit is the input, whatever was repeated of it; the one room that knows scipy."""

from xz_magics.stats.arms import (
    MEASURES,
    Arm,
    Compared,
    Difference,
    Estimate,
    Measure,
    Pair,
    Values,
    compare,
    corrected,
    estimate,
    pair,
)
from xz_magics.stats.intervals import Interval
from xz_magics.stats.power import LEAST_INPUTS, least_inputs

__all__ = [
    "LEAST_INPUTS",
    "MEASURES",
    "Arm",
    "Compared",
    "Difference",
    "Estimate",
    "Interval",
    "Measure",
    "Pair",
    "Values",
    "compare",
    "corrected",
    "estimate",
    "least_inputs",
    "pair",
]
