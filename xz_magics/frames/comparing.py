"""Arms, their differences and their answers side by side as tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from xz_magics.frames import DataFrame, Series, Table, table
from xz_magics.stats import MEASURES, Arm, Pair

Row = tuple[Any, ...]
"""What tells a row of a pivot from the others, one value for each head."""

ARM_DTYPES = {
    "arm": "string",
    "inputs": "Int64",
    "answers": "Int64",
    "failed": "Int64",
    "missing_scores": "Int64",
    **{f"{measure}{end}": "Float64" for measure in MEASURES for end in ("", "_low", "_high")},
    "within_sd": "Float64",
    "between_sd": "Float64",
}
PAIR_DTYPES = {
    "measure": "string",
    "arm_a": "string",
    "arm_b": "string",
    "inputs": "Int64",
    "left_out": "Int64",
    "difference": "Float64",
    "low": "Float64",
    "high": "Float64",
    "p": "Float64",
    "p_holm": "Float64",
    "method": "string",
    "needed_inputs": "Int64",
    "verdict": "string",
}


class SideBySide(Table):
    """A pivot that a page shows by `show`. What is made of it by slicing or computing is a plain table."""

    _metadata = ("_show",)
    _show: Callable[[DataFrame], str]

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def shown_by(self, show: Callable[[DataFrame], str]) -> "SideBySide":
        """Itself, which a page shows in this way from now on."""
        self._show = show
        return self

    def _repr_html_(self) -> str:
        return self._show(self)


def arms_frame(arms: Sequence[Arm]) -> DataFrame:
    """A row per arm."""
    return table([_arm_row(arm) for arm in arms], ARM_DTYPES)


def pairs_frame(pairs: Sequence[Pair], verdicts: Sequence[str]) -> DataFrame:
    """A row per pair, with its verdict."""
    rows = [_pair_row(pair) | {"verdict": verdict} for pair, verdict in zip(pairs, verdicts, strict=True)]
    return table(rows, PAIR_DTYPES)


def pivot_frame(
    values: "Series[Any]",
    *,
    cells: Mapping[tuple[Row, str], int],
    heads: Sequence[str],
    variable: str,
) -> SideBySide:
    """A row per row and a column per arm of `cells`, which tell the place of each among the values; else NA.

    Heads that tell no row apart are left out, the first excepted.
    """
    rows = {row: number for number, row in enumerate(dict.fromkeys(row for row, _ in cells))}
    columns = {}
    for arm in dict.fromkeys(arm for _, arm in cells):
        places = {rows[row]: place for (row, other), place in cells.items() if other == arm}
        column = values.iloc[list(places.values())]
        column.index = pd.Index(list(places))
        columns[arm] = column.reindex(range(len(rows)))
    telling = [at for at in range(len(heads)) if not at or len({row[at] for row in rows}) > 1]
    index = pd.MultiIndex.from_tuples(
        [tuple(row[at] for at in telling) for row in rows], names=[heads[at] for at in telling]
    )
    pivot = SideBySide(columns).set_axis(index if len(telling) > 1 else index.get_level_values(0))
    return SideBySide(pivot.rename_axis(columns=variable))


def _arm_row(arm: Arm) -> dict[str, Any]:
    score = arm.estimates["score"]
    row: dict[str, Any] = {
        "arm": arm.name,
        "inputs": arm.inputs,
        "answers": arm.answers,
        "failed": arm.failed,
        "missing_scores": arm.missing_scores,
        "within_sd": score.within_sd,
        "between_sd": score.between_sd,
    }
    for measure, estimate in arm.estimates.items():
        row[measure] = estimate.mean
        if estimate.interval:
            row |= {f"{measure}_low": estimate.interval.low, f"{measure}_high": estimate.interval.high}
    return row


def _pair_row(pair: Pair) -> dict[str, Any]:
    found = pair.difference
    return {
        "measure": pair.measure,
        "arm_a": pair.first,
        "arm_b": pair.second,
        "inputs": found.inputs,
        "left_out": pair.left_out,
        "difference": found.difference,
        "low": found.interval.low if found.interval else None,
        "high": found.interval.high if found.interval else None,
        "p": found.p,
        "p_holm": pair.p_holm,
        "method": found.method or None,
        "needed_inputs": found.needed_inputs,
    }
