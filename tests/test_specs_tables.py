"""A table of whatever kind becomes rows of plain JSON values."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import SpecError
from xz_magics.specs.designs import in_value
from xz_magics.specs.tables import Table, is_table, table_of

AT = in_value("rows")
FRAME = pd.DataFrame(
    {
        "text": ["a", None],
        "whole": pd.array([1, None], dtype="Int64"),
        "part": [0.5, float("nan")],
        "yes": [True, False],
        "kind": pd.Categorical(["x", None]),
        "when": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
        "long": pd.to_timedelta(["1D", None]),
        "list": [[1, np.float64(0.5)], None],
        "array": [np.array([1, 2]), {"b": (1, pd.NaT)}],
    },
    index=["p", "q"],
)


def test_a_dataframe_becomes_rows_of_plain_values_and_remembers_its_dtypes():
    table = table_of(FRAME, AT)

    assert table.rows == (
        {
            "text": "a",
            "whole": 1,
            "part": 0.5,
            "yes": True,
            "kind": "x",
            "when": "2024-01-01T00:00:00+01:00",
            "long": "P1DT0H0M0S",
            "list": [1, 0.5],
            "array": [1, 2],
        },
        dict.fromkeys(FRAME.columns) | {"yes": False, "array": {"b": [1, None]}},
    )
    assert table.columns == tuple(FRAME.columns)
    assert table.index == ("p", "q")
    assert table.dtypes == {name: str(dtype) for name, dtype in FRAME.dtypes.items()}
    json.dumps(table.rows, allow_nan=False)
    assert {type(value) for value in table.rows[0].values()} == {str, int, float, bool, list}


def test_a_list_of_mappings_has_the_columns_of_all_and_nothing_where_one_is_missing():
    rows = [{"a": 1}, {"b": date(2024, 1, 2), "a": pd.NA}, {"c": datetime(2024, 1, 2, tzinfo=ZoneInfo("UTC"))}]

    table = table_of(rows, AT)

    assert table == Table(
        columns=("a", "b", "c"),
        rows=(
            {"a": 1, "b": None, "c": None},
            {"a": None, "b": "2024-01-02", "c": None},
            {"a": None, "b": None, "c": "2024-01-02T00:00:00+00:00"},
        ),
        index=(0, 1, 2),
    )


def test_values_with_one_plain_text_are_taken_as_it():
    texts = {
        "0.10": Decimal("0.10"),
        "2024-01": pd.Period("2024-01"),
        "(0, 5]": pd.Interval(0, 5),
        "12345678-1234-5678-1234-567812345678": UUID("12345678" * 4),
        "1 day, 0:00:00": timedelta(days=1),
        "P1DT0H0M0S": pd.Timedelta("1D"),
        "2024-01-02": date(2024, 1, 2),
        "12:30:00": time(12, 30),
        "a/b.txt": PurePosixPath("a/b.txt"),
    }

    assert [row["item"] for row in table_of([*texts.values()], AT).rows] == [*texts]
    frame = pd.DataFrame({text: [value] for text, value in texts.items()})
    assert {column: value for column, value in table_of(frame, AT).rows[0].items() if column != value} == {
        "1 day, 0:00:00": "P1DT0H0M0S"
    }


def test_a_series_is_a_table_with_one_column():
    named, nameless = pd.Series(["a", None], index=["p", "q"], name="text"), pd.Series([1])

    assert table_of(named, AT).rows == ({"text": "a"}, {"text": None})
    assert table_of(named, AT).index == ("p", "q")
    assert table_of(nameless, AT).rows == ({"item": 1},)


def test_a_list_of_plain_values_has_one_column():
    table = table_of(("a", np.int64(2), None, [3]), AT)

    assert table.columns == ("item",)
    assert [row["item"] for row in table.rows] == ["a", 2, None, [3]]


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("rows", "rows: a table was expected, not a value of type str"),
        (5, "rows: a table was expected, not a value of type int"),
        ({"a": [1]}, "rows: a table was expected, not a value of type dict"),
        (np.zeros((2, 2)), "rows: a table was expected, not a value of type ndarray"),
        (pd.Index([1]), "rows: a table was expected, not a value of type Index"),
        ([np.datetime64("2024-01-01")], "rows[0]: a value of type datetime64 cannot go into a prompt"),
        (["\ud800"], "rows[0]: U+D800 is half a character"),
        ([{"a": {"\ud800": 1}}], "rows[0]['a']: U+D800 is half a character"),
        ([{"\ud800": 1}], "rows: U+D800 is half a character"),
        ([b"x"], "rows[0]: a value of type bytes cannot go into a prompt"),
        ([1, {"a": {1}}], "rows[1]: this row is a mapping, and the first is a value of type int"),
        (FRAME.assign(text=[print, "b"]), "rows[0]['text']: a value of type builtin_function_or_method cannot go"),
    ],
)
def test_what_is_no_table_or_holds_what_no_prompt_can_is_one_error_with_its_place(thing, message):
    with pytest.raises(SpecError) as caught:
        table_of(thing, AT)

    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_rows_that_hold_themselves_or_one_another_many_times_end():
    ring = []
    ring.append(ring)
    bomb = ["x"] * 10
    for _ in range(9):
        bomb = [bomb] * 10

    with pytest.raises(SpecError, match="nested deeper than 32 levels"):
        table_of([{"a": ring}], AT)
    with pytest.raises(SpecError, match="more than 1,000,000 values"):
        table_of([{"a": bomb}], AT)


def test_what_looks_like_a_table_is_told_from_what_does_not():
    assert [is_table(thing) for thing in (FRAME, [1], [], "rows", {"a": 1}, FRAME["text"])] == [
        True,
        True,
        *[False] * 3,
        True,
    ]


cells = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_infinity=False) | st.text(max_size=5)
)


@given(columns=st.dictionaries(st.text(max_size=3), st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=3))
def test_a_dataframe_and_the_list_of_its_rows_are_one_table(columns):
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})

    from_frame, from_list = table_of(frame, AT), table_of(frame.to_dict("records"), AT)

    assert (from_frame.columns, from_frame.rows, from_frame.index) == (
        from_list.columns,
        from_list.rows,
        from_list.index,
    )
