"""The fields of answers as columns."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.frames.answers import MOST_COLUMNS, answer_columns, fields_frame
from xz_magics.records import Outcome


def outcomes(*values):
    return [
        Outcome(index=row, label=f"task-{row}", status="done", model="m", max_tokens=1, value=value)
        for row, value in enumerate(values)
    ]


def dtypes(*values):
    return {name: str(column.dtype) for name, column in answer_columns(outcomes(*values)).items()}


def test_each_field_is_a_column_of_its_kind_and_nested_ones_have_dotted_names():
    value = {"mood": "good", "stars": 3, "score": 0.5, "sure": True, "tags": ["a"], "who": {"name": "Ann", "age": 40}}

    assert dtypes(value, None) == {
        "mood": "string",
        "stars": "Int64",
        "score": "Float64",
        "sure": "boolean",
        "tags": "object",
        "who.name": "string",
        "who.age": "Int64",
    }


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((1, 2.5), "Float64"),
        ((1, None), "Int64"),
        ((True, 1), "object"),
        ((1, "x"), "object"),
        ((2**63, 1), "object"),
        ((None, None), "object"),
        ((["a"], None), "object"),
        (({}, None), "object"),
        ((1e300, None), "Float64"),
    ],
)
def test_the_dtype_is_that_of_the_values_that_came(values, dtype):
    assert dtypes(*({"x": value} for value in values)) == {"x": dtype}


def test_what_did_not_come_is_missing():
    columns = answer_columns(outcomes({"a": 1}, None, {"a": None, "b": "x"}))

    assert columns["a"].isna().tolist() == [False, True, True]
    assert columns["b"].isna().tolist() == [True, True, False]


def test_an_object_that_may_be_null_is_no_column_beside_its_fields():
    assert [*answer_columns(outcomes({"who": None}, {"who": {"name": "Ann"}}))] == ["who.name"]
    assert [*answer_columns(outcomes({"who": "Ann"}, {"who": {"name": "Ann"}}))] == ["who", "who.name"]


def test_a_field_with_a_dot_in_its_name_takes_no_others_place():
    columns = answer_columns(outcomes({"a.b": 1, "a": {"b": 2}}))

    assert {name: column.tolist() for name, column in columns.items()} == {"a.b": [1], "a.b (2)": [2]}


def test_any_number_of_fields_makes_a_table_of_bounded_width():
    many = {f"field_{number}": number for number in range(MOST_COLUMNS + 1)}

    assert dtypes({"all": many}) == {"all": "object"}
    assert dtypes(many, None) == {"value": "object"}


def test_the_frame_of_fields_has_a_row_per_outcome_with_its_label():
    frame = fields_frame(outcomes({"label": "x", "a": 1}, None))

    assert frame.columns.tolist() == ["label", "answer.label", "a"]
    assert frame["label"].tolist() == ["task-0", "task-1"]
    assert frame["a"].isna().tolist() == [False, True]


def test_a_run_without_answers_has_its_labels_alone():
    assert answer_columns([]) == answer_columns(outcomes(None)) == {}
    assert fields_frame([]).dtypes.astype(str).to_dict() == {"label": "string"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(VALUES, max_size=4))
def test_any_values_make_columns_of_one_length_that_pandas_can_show(values):
    columns = answer_columns(outcomes(*values))

    frame = pd.DataFrame(columns)
    assert all(len(column) == len(values) for column in columns.values())
    assert isinstance(frame.to_csv(), str)
    json.dumps([*columns])
