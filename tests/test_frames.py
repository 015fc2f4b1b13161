"""Outcomes, histograms, limits and metrics as DataFrames."""

import io
import math
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics import frames
from xz_magics.metrics import Metrics
from xz_magics.records import STATUSES, LimitUse, Message, Outcome, Reused, ToolCall, Turn

FIRST = Turn(
    number=1,
    attempts=2,
    max_tokens=64,
    started_at=1_700_000_000.25,
    duration_s=1.5,
    input_tokens=10,
    output_tokens=5,
    cost_usd=0.25,
    cache_read_tokens=4,
    finish_reason="stop",
)
SECOND = replace(
    FIRST, number=2, attempts=1, input_tokens=20, cost_usd=None, estimated=True, error_type="network", error="reset"
)
DONE = Outcome(
    index=0,
    label="a",
    status="done",
    model="openai:m",
    max_tokens=64,
    output="Paris",
    turns=(FIRST, SECOND),
    queued_s=0.1,
    spawn_s=0.01,
    duration_s=3.0,
    started_at=1_700_000_000.25,
    finish_reason="stop",
)
SKIPPED = Outcome(
    index=1,
    label="b",
    status="skipped",
    model="openai:m",
    max_tokens=64,
    error="no room\nraise it",
    error_type="quota_exceeded",
)
STRING, INT, FLOAT, BOOLEAN, TIME = "string", "Int64", "Float64", "boolean", "datetime64[us, UTC]"
TASK_DTYPES = {
    "label": STRING,
    "status": STRING,
    "success": BOOLEAN,
    "output": STRING,
    "error": STRING,
    "error_type": STRING,
    "model": STRING,
    "tags": STRING,
    "parent": STRING,
    "depth": INT,
    "turns": INT,
    "tool_calls": INT,
    "attempts": INT,
    "max_tokens": INT,
    "input_tokens": INT,
    "cached_tokens": INT,
    "output_tokens": INT,
    "total_tokens": INT,
    "estimated": BOOLEAN,
    "cost_usd": FLOAT,
    "tree_tokens": INT,
    "tree_cost_usd": FLOAT,
    "queued_s": FLOAT,
    "spawn_s": FLOAT,
    "duration_s": FLOAT,
    "started_at": TIME,
    "finish_reason": STRING,
    "reused": STRING,
}
TURN_DTYPES = {
    "label": STRING,
    "turn": INT,
    "attempts": INT,
    "max_tokens": INT,
    "input_tokens": INT,
    "cached_tokens": INT,
    "output_tokens": INT,
    "total_tokens": INT,
    "estimated": BOOLEAN,
    "cost_usd": FLOAT,
    "duration_s": FLOAT,
    "started_at": TIME,
    "finish_reason": STRING,
    "tool_calls": INT,
    "error_type": STRING,
    "error": STRING,
}
MESSAGE_DTYPES = {
    "label": STRING,
    "number": INT,
    "role": STRING,
    "content": STRING,
    "tool": STRING,
    "tool_call_id": STRING,
    "arguments": STRING,
    "error": BOOLEAN,
    "cached": BOOLEAN,
}


def dtypes(frame):
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


@pytest.mark.parametrize("outcomes", [[], [SKIPPED], [DONE, SKIPPED]])
def test_columns_and_dtypes_are_the_same_for_every_run(outcomes):
    tasks, turns, messages = frames.tasks_frame(outcomes), frames.turns_frame(outcomes), frames.messages_frame(outcomes)

    assert dtypes(tasks) == TASK_DTYPES
    assert dtypes(turns) == TURN_DTYPES
    assert dtypes(messages) == MESSAGE_DTYPES
    assert list(tasks) == list(TASK_DTYPES)
    assert isinstance(tasks.index, pd.RangeIndex)
    assert isinstance(turns.index, pd.RangeIndex)
    assert isinstance(messages.index, pd.RangeIndex)


def test_a_task_is_a_row_with_the_sums_of_its_turns():
    row = frames.tasks_frame([DONE]).iloc[0]

    assert (row.label, row.output, row.success, row.turns, row.attempts) == ("a", "Paris", True, 2, 3)
    assert (row.input_tokens, row.output_tokens, row.total_tokens, row.estimated) == (30, 10, 40, True)
    assert (row.cost_usd, row.duration_s) == (0.25, 3.0)
    assert row.started_at == pd.Timestamp("2023-11-14T22:13:20.250Z")


def test_unknown_numbers_are_na_and_never_zero():
    row = frames.tasks_frame([DONE, SKIPPED]).iloc[1]

    assert (
        row[["output", "input_tokens", "total_tokens", "cost_usd", "spawn_s", "duration_s", "started_at"]].isna().all()
    )
    assert (row.turns, row.attempts, row.error) == (0, 0, "no room\nraise it")


def test_a_model_call_is_a_row():
    frame = frames.turns_frame([SKIPPED, DONE])

    assert frame.label.tolist() == ["a", "a"]
    assert frame.turn.tolist() == [1, 2]
    assert frame.total_tokens.tolist() == [15, 25]
    assert frame.cost_usd.isna().tolist() == [False, True]
    assert frame.error.tolist() == [pd.NA, "reset"]


def test_a_message_is_a_row_and_each_tool_call_one_after_it():
    calls = tuple(ToolCall(id=f"c{number}", name="grep", arguments=f'{{"a": {number}}}') for number in (1, 2))
    messages = (
        Message(role="user", content="Look."),
        Message(role="assistant", content="I look.", tool_calls=calls),
        Message(role="tool", content="no", tool_call_id="c1", tool="grep", error=True),
        Message(role="tool", content="yes", tool_call_id="c2", tool="grep", cached=True),
        Message(role="assistant", content="Found."),
    )

    frame = frames.messages_frame([SKIPPED, replace(DONE, messages=messages)])

    assert frame.label.unique().tolist() == ["a"]
    assert frame.number.tolist() == [1, 2, 2, 2, 3, 4, 5]
    assert frame.role.tolist() == ["user", *["assistant"] * 3, "tool", "tool", "assistant"]
    assert frame.content.fillna("-").tolist() == ["Look.", "I look.", "-", "-", "no", "yes", "Found."]
    asked = frame[frame.arguments.notna()]
    assert asked[["tool", "tool_call_id", "arguments"]].to_numpy().tolist() == [
        ["grep", "c1", '{"a": 1}'],
        ["grep", "c2", '{"a": 2}'],
    ]
    assert frame[frame.error].tool_call_id.tolist() == ["c1"]
    assert frame[frame.cached].content.tolist() == ["yes"]


def test_tool_calls_are_counted_by_turn_and_by_task():
    outcome = replace(DONE, turns=(replace(FIRST, tool_calls=3), replace(SECOND, tool_calls=1)))

    assert frames.tasks_frame([outcome]).tool_calls.tolist() == [4]
    assert frames.turns_frame([outcome]).tool_calls.tolist() == [3, 1]


def test_a_summary_tells_nested_subagents_from_tasks_and_adds_up_both():
    summary = frames.summary([DONE, replace(DONE, label="b", parent="a", depth=1, status="failed")], 3.5)

    assert (summary.tasks, summary.nested, summary.done, summary.failed, summary.success_rate) == (1, 1, 1, 1, 0.5)
    assert summary.total_tokens == 80


@settings(deadline=None)
@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Cc"])))
def test_whatever_a_model_writes_can_be_held_and_saved(text):
    call = ToolCall(id=text, name=text, arguments=text)
    messages = (Message(role="assistant", content=text, tool_calls=(call,), tool_call_id=text, tool=text),)
    outcome = replace(DONE, label=text, output=text, error=text, messages=messages)

    frame = frames.tasks_frame([outcome])

    frames.messages_frame([outcome]).to_csv(io.StringIO())
    frame.to_csv(io.StringIO())
    frame[["label", "output", "error"]].to_json()
    frame.to_html().encode()
    assert frame.output[0] == text or any("\ud800" <= char <= "\udfff" for char in text)


def test_a_lone_surrogate_becomes_a_replacement_character_and_the_rest_stays():
    assert frames.tasks_frame([replace(DONE, output="a\x00b\ud800c\U0001f600")]).output[0] == "a\x00b\ufffdc\U0001f600"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.floats(min_value=0, max_value=1e6) | st.just(math.nan), st.sampled_from(STATUSES))
    )
)
def test_a_histogram_has_a_column_per_status_that_occurs_and_adds_up(rows):
    statuses = [status for _, status in rows]

    frame = frames.duration_histogram([replace(DONE, duration_s=value, status=status) for value, status in rows])

    occurring = [status for status in STATUSES if status in statuses]
    assert list(frame) == ["left", "right", "total", *occurring]
    assert frame.total.sum() == len(rows)
    assert (frame[occurring].sum(axis=1) == frame.total).all()
    assert frame.left.notna().sum() <= 30


def test_rows_without_a_value_stand_in_a_last_row_with_nan_edges():
    frame = frames.duration_histogram([DONE, SKIPPED])

    assert frame.left.tolist()[:1] == [2.5]
    assert frame.iloc[-1][["left", "right"]].isna().all()
    assert frame[["total", "done", "skipped"]].to_numpy().tolist() == [[1, 1, 0], [1, 0, 1]]


def test_token_histograms_have_whole_edges():
    frame = frames.token_histogram([DONE, replace(DONE, turns=(FIRST,))])

    assert frame[["left", "right"]].to_numpy().tolist() == [[15.0, 28.0], [28.0, 41.0]]


def test_an_empty_histogram_has_its_columns():
    assert dtypes(frames.token_histogram([])) == {"left": "float64", "right": "float64", "total": INT}


def test_a_summary_counts_statuses_and_adds_up_what_is_known():
    summary = frames.summary([DONE, SKIPPED], 3.5)

    assert summary.to_dict() == {
        "tasks": 2,
        "nested": 0,
        "done": 1,
        "skipped": 1,
        "success_rate": 0.5,
        "input_tokens": 30,
        "cached_tokens": 8,
        "output_tokens": 10,
        "total_tokens": 40,
        "estimated": 1,
        "cost_usd": 0.25,
        "duration_s": 3.5,
    }


def test_the_summary_of_an_empty_run_knows_no_tokens_and_no_rate():
    summary = frames.summary([], None)

    assert summary.tasks == 0
    assert summary[["success_rate", "total_tokens", "cost_usd", "duration_s"]].isna().all()


def test_limits_are_rows_and_no_limit_is_na():
    uses = [
        LimitUse(level="run", name="max_total_tokens", limit=100, used=40, reserved=10),
        LimitUse(level="run", name="max_total_cost", limit=None, used=0.5, reserved=0),
    ]

    frame = frames.quota_frame(uses)

    assert list(frame) == ["level", "name", "limit", "used", "reserved", "remaining"]
    assert frame.remaining.tolist() == [50.0, pd.NA]


def test_metrics_are_rows_by_series_and_spawns_are_one_row():
    metrics = Metrics()
    metrics.started(0)
    metrics.ended(DONE, started=True)

    samples, spawns = frames.metrics_frame(metrics), frames.spawn_frame(metrics)

    assert dtypes(samples) == {
        "name": STRING,
        "depth": INT,
        "status": STRING,
        "error_type": STRING,
        "le": FLOAT,
        "value": FLOAT,
    }
    assert samples.set_index("name").value["subagent_tokens_consumed"] == 40
    assert spawns[["spawns", "success_rate", "min_s"]].to_numpy().tolist() == [[1, 1.0, 0.01]]
    assert spawns.p95_s.isna().all()
    assert dtypes(frames.metrics_frame(Metrics())) == dtypes(samples)


def test_any_rows_become_a_table_with_the_dtypes_given_and_what_is_left_out_is_na():
    started_at = datetime(2026, 1, 2, tzinfo=UTC)
    types = {"name": STRING, "known": BOOLEAN, "count": INT, "started_at": frames.TIME}

    frame = frames.table([{"name": "a\ud800", "count": 3}, {"known": True, "started_at": started_at, "more": 1}], types)

    assert dtypes(frame) == types
    assert frame["name"].tolist() == ["a\ufffd", pd.NA]
    assert frame["count"].tolist() == [3, pd.NA]
    assert frame["known"].tolist() == [pd.NA, True]
    assert frame["started_at"].tolist() == [pd.NaT, pd.Timestamp(started_at)]
    assert dtypes(frames.table([], types)) == types


def test_a_table_to_read_cuts_no_text_and_says_when_it_is_empty():
    words = "a long finding " * 10

    assert words.strip() in " ".join(repr(frames.table([{"found": words}], {"found": "string"})).split())
    assert words.strip() in frames.table([{"found": words}], {"found": "string"})._repr_html_()
    assert repr(frames.table([], {"found": "string"})) == "there is nothing to show"


def test_no_table_of_ours_is_read_for_formulas():
    kept = frames.tasks_frame([DONE])[["label", "output"]].head(1)

    assert "tex2jax_ignore" in kept._repr_html_()


def test_what_is_reused_cost_nothing_and_stands_in_no_histogram():
    reused = replace(DONE, turns=(), duration_s=None, reused=Reused(run="r", label="a", ended_at=0.0))

    seconds, tokens = (made([DONE, reused]) for made in (frames.duration_histogram, frames.token_histogram))

    assert seconds.total.tolist() == tokens.total.tolist() == [1]
    assert tokens.left.tolist() == [40.0]


def test_the_series_hold_how_soon_requests_went_out():
    metrics = Metrics()
    metrics.started(0)
    metrics.ended(DONE, started=True)

    samples = frames.metrics_frame(metrics).set_index("name").value

    assert samples["subagent_spawn_seconds_count"] == 1
