"""Where each task stands in its fan-out, as columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from xz_magics.records import Outcome


def trial_columns(outcomes: Sequence[Outcome], dtypes: Mapping[str, str]) -> dict[str, "pd.Series[Any]"]:
    """Columns `input`, each variable of the matrix, each column of the foreach table, `row` and `repeat`."""
    raise NotImplementedError
