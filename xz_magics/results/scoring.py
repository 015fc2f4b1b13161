"""Scores an ended run anew."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.experiments import Experiments


def score(results: "Experiments", scorers: Sequence[Any]) -> "DataFrame":
    raise NotImplementedError
