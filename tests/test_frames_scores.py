"""Scores as columns: their names, their dtypes, and what is NA."""

import pandas as pd
import pytest

from xz_magics.frames.scores import score_columns, scores_frame
from xz_magics.records import Outcome


def outcome(label, **fields):
    return Outcome(index=0, label=label, status="done", model="m", max_tokens=9, **fields)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((True, None, False), "boolean"),
        ((0.5, None, 2.0), "Float64"),
        ((True, 0.5, None), "Float64"),
        ((None, None, None), "Float64"),
    ],
)
def test_yes_and_no_are_booleans_and_all_else_numbers_and_a_missing_score_is_na(values, dtype):
    scores = {label: {"f": value} for label, value in zip("abc", values, strict=True)}

    column = score_columns([outcome(label) for label in "abc"], scores)["score"]

    assert column.dtype == dtype
    assert [None if value is pd.NA else value for value in column] == list(values)


def test_subagents_without_scores_are_na():
    outcomes = [outcome("a"), outcome("a/1", parent="a", depth=1)]

    assert score_columns(outcomes, {"a": {"f": 1.0}})["score"].isna().tolist() == [False, True]
    assert score_columns(outcomes, {}) == {}


def test_a_table_of_scores_has_a_row_per_task():
    table = scores_frame([outcome("a"), outcome("b")], {"a": {"f": 1.0, "g": True}})

    assert list(table) == ["label", "status", "score.f", "score.g"]
    assert table["label"].tolist() == ["a", "b"]
    assert table["status"].dtype == "string"
