"""Where each task stands in its fan-out, as columns, typed as they came in."""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from xz_magics.characters import whole
from xz_magics.records import Outcome

logger = logging.getLogger("xz_magics")

WHOLE = {f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
LARGEST = 2**63
HOLDING_NA = {"bool": "boolean", **WHOLE}
"""Of the dtypes that know no NA, those that do."""


def trial_columns(
    outcomes: Sequence[Outcome], dtypes: Mapping[str, str], taken: Collection[str] = ()
) -> dict[str, "pd.Series[Any]"]:
    """Columns `input`, each variable of the matrix, each column of the foreach table, `row` and `repeat`.

    Only those that any outcome has. A name that is taken gets a prefix, `arm.NAME` or `row.NAME`; but a variable is
    left out where the outcomes themselves say the same under its name.
    """
    trials = [outcome.trial for outcome in outcomes]
    there = [trial for trial in trials if trial is not None]
    columns: dict[str, pd.Series[Any]] = {}

    def add(name: str, prefix: str, values: Iterable[Any], dtype: str | None = None) -> None:
        while name in columns or name in taken:
            name = f"{prefix}.{name}"
        columns[name] = series([*values], dtype)

    if there:
        add("input", "trial", (trial and trial.input for trial in trials), "string")
    for name in dict.fromkeys(name for trial in there for name in trial.arms):
        if not _is_told(name, outcomes):
            add(name, "arm", (trial and trial.arms.get(name) for trial in trials))
    for name in dict.fromkeys(name for trial in there for name in trial.columns):
        add(name, "row", (trial and trial.columns.get(name) for trial in trials), dtypes.get(name))
    if any(trial.row is not None for trial in there):
        add("row", "trial", (trial and trial.row for trial in trials))
    if any(trial.repeat is not None for trial in there):
        add("repeat", "trial", (trial and trial.repeat for trial in trials), "Int64")
    return columns


def series(values: Sequence[Any], dtype: str | None = None) -> "pd.Series[Any]":
    """JSON values as a column: of this dtype, as far as it can hold them, or without one of theirs."""
    stored = [whole(value) if isinstance(value, str) else value for value in values]
    if dtype is not None and dtype != "object":
        try:
            return _typed(stored, dtype)
        except (TypeError, ValueError):
            logger.exception("a column that was %s cannot be so again", dtype)
    return _plain(stored)


def _typed(values: Sequence[Any], dtype: str) -> "pd.Series[Any]":
    held: Any = values
    if dtype.startswith("datetime64"):
        held = pd.to_datetime(pd.Series(values, dtype="object"), format="ISO8601", utc="," in dtype)
    return pd.Series(held, dtype=HOLDING_NA.get(dtype, dtype) if None in values else dtype)


def _plain(values: Sequence[Any]) -> "pd.Series[Any]":
    """Of one kind where all values are: true and false, numbers, text or lists; else the text of each, as JSON."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds and kinds <= {int, float} and all(value is None or -LARGEST <= value < LARGEST for value in values):
        return pd.Series(values, dtype="Int64" if kinds == {int} else "Float64")
    if kinds == {float}:
        return pd.Series(values, dtype="Float64")
    if kinds == {list}:
        return pd.Series(values, dtype="object")
    return pd.Series([_text(value) for value in values], dtype="string")


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else whole(json.dumps(value, ensure_ascii=False))


def _is_told(variable: str, outcomes: Sequence[Outcome]) -> bool:
    """Whether the outcomes have an attribute that says the same."""
    return all(
        outcome.trial is None or getattr(outcome, variable, ...) == outcome.trial.arms.get(variable)
        for outcome in outcomes
    )
