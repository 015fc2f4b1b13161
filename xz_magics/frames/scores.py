"""Scores as columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xz_magics.records import Outcome
from xz_magics.records.scores import Score, Scores, score_columns as columns_of

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame


def score_columns(outcomes: Sequence[Outcome], scores: Scores) -> dict[str, "pd.Series[Any]"]:
    """A column per scorer, in the order of the outcomes; NA where a score is missing. Yes and no are booleans."""
    found: dict[str, pd.Series[Any]] = {}
    for name, column in columns_of(scores).items():
        values = [scores.get(outcome.label, {}).get(name) for outcome in outcomes]
        found[column] = pd.Series(values, dtype=_dtype(values))
    return found


def scores_frame(outcomes: Sequence[Outcome], scores: Scores) -> "DataFrame":
    """A row per outcome: its label, its status and its scores."""
    from xz_magics.frames import Table

    known = {name: [getattr(outcome, name) for outcome in outcomes] for name in ("label", "status")}
    texts = {name: pd.Series(values, dtype="string") for name, values in known.items()}
    return Table(texts | score_columns(outcomes, scores))


def _dtype(values: Sequence[Score]) -> str:
    known = [value for value in values if value is not None]
    return "boolean" if known and all(isinstance(value, bool) for value in known) else "Float64"
