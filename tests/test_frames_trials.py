"""Where a task stands in its fan-out comes back as columns, typed as they came in."""

import io

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from xz_magics import frames
from xz_magics.frames.trials import series, trial_columns
from xz_magics.records import Outcome, Trial
from xz_magics.specs.designs import in_value
from xz_magics.specs.tables import table_of


def outcome(label="a", trial=None, **fields):
    return Outcome(index=0, label=label, status="done", model="openai:m", max_tokens=9, trial=trial, **fields)


def dtypes(columns):
    return {name: str(column.dtype) for name, column in columns.items()}


def of_frame(frame):
    """The columns as they come back of tasks of each row."""
    table = table_of(frame, in_value("frame"))
    outcomes = [
        outcome(trial=Trial(input=f"a[{row}]", row=row, columns=columns))
        for row, columns in zip(table.index, table.rows, strict=True)
    ]
    return trial_columns(outcomes, table.dtypes)


def test_a_task_stands_in_the_columns_of_its_arms_row_and_repeat():
    arms, row = {"wording": "plain", "seed": 7}, {"text": "fine", "stars": 5}
    trial = Trial(input="a[3]", arms=arms, row=3, columns=row, repeat=2)

    columns = trial_columns([outcome(trial=trial), outcome(trial=None)], {})

    assert dtypes(columns) == {
        "input": "string",
        "wording": "string",
        "seed": "Int64",
        "text": "string",
        "stars": "Int64",
        "row": "Int64",
        "repeat": "Int64",
    }
    assert [column[0] for column in columns.values()] == ["a[3]", "plain", 7, "fine", 5, 3, 2]
    assert all(pd.isna(column[1]) for column in columns.values())


def test_only_what_some_task_has_is_a_column():
    assert trial_columns([outcome()], {}) == {}
    assert list(trial_columns([outcome(trial=Trial(input="a", arms={"x": 1}))], {})) == ["input", "x"]
    assert list(trial_columns([outcome(trial=Trial(input="a", repeat=1))], {})) == ["input", "repeat"]


def test_the_columns_of_a_table_come_back_as_they_were():
    frame = pd.DataFrame(
        {
            "text": ["a", "b"],
            "kind": pd.Categorical(["x", "y"]),
            "when": pd.to_datetime(["2024-01-01 00:00:00.5", "2024-07-01 00:00:00"], format="ISO8601").tz_localize(
                "Europe/Berlin"
            ),
            "naive": pd.to_datetime(["2024-01-01", "2024-07-01"]),
            "long": pd.to_timedelta(["1D", "2h"]),
            "whole": [1, 2],
            "small": pd.Series([1, 2], dtype="int8"),
            "perhaps": pd.array([1, None], dtype="Int64"),
            "part": [0.5, 1.5],
            "yes": [True, False],
            "maybe": pd.array([True, None], dtype="boolean"),
        }
    )

    columns = of_frame(frame)

    pd.testing.assert_frame_equal(pd.DataFrame({name: columns[name] for name in frame}), frame)


def test_what_knows_no_na_gets_a_dtype_that_does_where_one_is_needed():
    trial = Trial(input="a", row=0, columns={"whole": 1, "yes": True, "small": 1})

    columns = trial_columns([outcome(trial=trial), outcome()], {"whole": "int64", "yes": "bool", "small": "uint8"})

    assert dtypes(columns) | {"input": "", "row": ""} == {
        "input": "",
        "whole": "Int64",
        "yes": "boolean",
        "small": "UInt8",
        "row": "",
    }


def test_a_dtype_that_cannot_be_had_again_costs_no_column(caplog):
    column = series(["a", None], "of a library that is not here")

    assert (str(column.dtype), column[0]) == ("string", "a")
    assert "cannot be so again" in caplog.text


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([True, None], "boolean", [True, pd.NA]),
        ([1, 2], "Int64", [1, 2]),
        ([1, 2.5], "Float64", [1.0, 2.5]),
        ([1, "a", None], "string", ["1", "a", pd.NA]),
        ([True, 1], "string", ["true", "1"]),
        ([2**63], "string", [str(2**63)]),
        ([[1], ["a"]], "object", [[1], ["a"]]),
        ([{"a": 1}, [2]], "string", ['{"a": 1}', "[2]"]),
        ([None], "string", [pd.NA]),
        (["\ud800"], "string", ["\ufffd"]),
    ],
)
def test_values_without_a_dtype_of_their_own_get_one(values, dtype, stored):
    column = series(values)

    assert str(column.dtype) == dtype
    assert column.tolist() == stored


def test_a_name_that_is_taken_gets_a_prefix_and_no_value_is_lost():
    arms, row = {"status": 1, "input": 2}, {"label": "mine", "repeat": 3, "row": 4, "score": 5}
    trial = Trial(input="a[0]", arms=arms, row=0, columns=row, repeat=1)

    frame = frames.tasks_frame([outcome(trial=trial, value={"label": "given", "row": "six"})], {"a": {"equals": True}})

    told = frame.iloc[0]
    assert (told.label, told["row.label"], told["answer.label"]) == ("a", "mine", "given")
    assert (told.status, told["arm.status"], told.input, told["arm.input"]) == ("done", 1, "a[0]", 2)
    assert (told["row"], told["trial.row"], told["answer.row"]) == (4, 0, "six")
    assert (told["repeat"], told["trial.repeat"]) == (3, 1)
    assert (told.score, told["score.score"]) == (5, True)


def test_a_variable_that_the_outcome_tells_anyhow_stands_there_once():
    outcomes = [outcome(trial=Trial(input="a", arms={"model": "openai:m", "max_tokens": 9}))]
    named = [outcome(trial=Trial(input="a", arms={"model": "small"}))]

    assert list(trial_columns(outcomes, {}, frames.TASK_DTYPES)) == ["input"]
    assert list(trial_columns(named, {}, frames.TASK_DTYPES)) == ["input", "arm.model"]


cells = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
values = st.recursive(
    cells,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "label", "row"), values)), min_size=1, max_size=4)
)
def test_whatever_a_table_holds_each_task_is_a_row(rows):
    outcomes = [
        outcome(label=str(row), trial=Trial(input=f"a[{row}]", row=row, columns=columns))
        for row, columns in enumerate(rows)
    ]

    frame = frames.tasks_frame(outcomes)

    assert frame["label"].tolist() == [str(row) for row in range(len(rows))]
    assert frame["input"].tolist() == [f"a[{row}]" for row in range(len(rows))]
    assert frame.columns.is_unique
    frame.to_csv(io.StringIO())
