"""The fields of answers that have a schema, as columns."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from xz_magics.records import Outcome


def answer_columns(outcomes: Sequence[Outcome]) -> dict[str, "pd.Series[Any]"]:
    """A column per field, nested ones by dotted names."""
    raise NotImplementedError


def fields_frame(outcomes: Sequence[Outcome]) -> "pd.DataFrame":
    """A row per outcome: its label and the fields of its answer."""
    raise NotImplementedError
