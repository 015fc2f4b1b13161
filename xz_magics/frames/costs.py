"""What each part of a run cost."""

from collections.abc import Sequence

import pandas as pd

from xz_magics.records import Outcome


def costs_frame(outcomes: Sequence[Outcome], what: str) -> "pd.DataFrame":
    raise NotImplementedError
