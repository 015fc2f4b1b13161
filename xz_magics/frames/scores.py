"""Scores as columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xz_magics.records import Outcome


def score_columns(
    outcomes: Sequence[Outcome], scores: Mapping[str, Mapping[str, float | bool | None]]
) -> dict[str, "pd.Series[Any]"]:
    """A column per scorer, in the order of the outcomes; NA where a score is missing."""
    raise NotImplementedError
