"""Whether a difference may be chance: p-values, two-sided, of differences between inputs; never 0, never NaN."""

import math
import sys
from collections.abc import Sequence

from scipy.special import bdtr, stdtr

from xz_magics.stats.intervals import mean, sd


def paired_t(differences: Sequence[float]) -> float | None:
    """Student's t test of paired differences (Student, Biometrika 6, 1908).

    None where they have no spread to be tested against: less than two, or all equal.
    """
    spread = sd(differences)
    if not spread:
        return None
    t = mean(differences) / spread * math.sqrt(len(differences))
    return _p(2 * float(stdtr(len(differences) - 1, -abs(t))))


def exact_sign(first: int, second: int) -> float:
    """Of so many inputs on either side, each side being as likely: the exact binomial test.

    Of inputs that say yes to one arm only, this is McNemar's test in its exact form (McNemar, Psychometrika 12, 1947).
    """
    return _p(2 * float(bdtr(min(first, second), first + second, 0.5)))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected so that all together raise a false alarm in at most 5 %.

    Holm's step-down method (Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6, 1979).
    """
    corrected = [1.0] * len(ps)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, _p((len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected


def _p(p: float) -> float:
    return min(1.0, max(p, sys.float_info.min))
