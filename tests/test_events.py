"""The stream that stamps events and hands them out, and events as JSON."""

import json
import math
import pickle
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import XzMagicsError
from xz_magics.events import AlertKind, Event, Noted, Stamped, Stream, TaskPlanned, TextReceived, from_json, to_json
from xz_magics.records import (
    ERROR_TYPES,
    STATUSES,
    AnswerSchema,
    ErrorType,
    Insert,
    Judge,
    Message,
    Quota,
    Reused,
    Scorer,
    Status,
    Task,
    ToolCall,
    Trial,
    Turn,
)
from xz_magics.records.scores import Scores

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NUMBER = st.floats(0, 1e9, allow_nan=False)
QUOTA = st.builds(Quota, max_executions=st.none() | st.integers(0, 9), max_total_cost=st.none() | NUMBER)
TEXT = st.text(max_size=5)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
CALL = st.builds(ToolCall, id=TEXT, name=TEXT, arguments=TEXT)
MESSAGE = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT,
    tool_calls=st.lists(CALL, max_size=2).map(tuple),
    tool_call_id=st.none() | TEXT,
    tool=st.none() | TEXT,
    error=st.booleans(),
    cached=st.booleans(),
)
INSERT = st.builds(Insert, field=st.sampled_from(["prompt", "system"]), at=st.integers(0, 9), label=TEXT)
VALUES = st.dictionaries(st.text(max_size=3), JSON, max_size=2)
TRIAL = st.builds(
    Trial,
    input=TEXT,
    arms=VALUES,
    row=st.none() | st.integers(0, 9) | TEXT,
    columns=VALUES,
    repeat=st.none() | st.integers(1, 9),
)
JUDGE = st.builds(
    Judge, model=TEXT, rubric=TEXT, scale=st.dictionaries(TEXT, NUMBER, max_size=2), max_tokens=st.integers(1, 9)
)
SCORER = st.builds(
    Scorer,
    name=TEXT,
    kind=st.sampled_from(["contains", "function", "judge"]),
    given=JSON,
    judge=st.none() | JUDGE,
    function=st.none() | st.just(print),
)
TASK = st.builds(
    Task,
    index=st.integers(0, 9),
    label=TEXT,
    prompt=TEXT,
    model=TEXT,
    max_tokens=st.integers(1, 9),
    stop=TEXTS,
    params=st.dictionaries(st.text(max_size=3), JSON, max_size=2),
    after=TEXTS,
    after_when=st.sampled_from(["text", "done", "ended"]),
    inserts=st.lists(INSERT, max_size=2).map(tuple),
    trial=st.none() | TRIAL,
    tags=TEXTS,
    schema=st.none() | st.builds(AnswerSchema, name=TEXT, json=VALUES),
    scores=st.lists(SCORER, max_size=2).map(tuple),
    expect=JSON,
    purpose=st.sampled_from(["task", "judge", "combine"]),
    of=st.none() | TEXT,
)
TURN = st.builds(
    Turn,
    number=st.integers(1, 9),
    attempts=st.integers(1, 9),
    max_tokens=st.integers(1, 9),
    started_at=st.none() | NUMBER,
    duration_s=st.none() | NUMBER,
    tool_calls=st.integers(0, 9),
)
BY_TYPE = {
    int: st.integers(0, 99),
    float: NUMBER,
    bool: st.booleans(),
    str: TEXT,
    type(None): st.none(),
    Any: JSON,
    Task: TASK,
    Turn: TURN,
    ToolCall: CALL,
    Quota: QUOTA,
    Status: st.sampled_from(STATUSES),
    AlertKind: st.sampled_from(get_args(AlertKind)),
    ErrorType: st.sampled_from(ERROR_TYPES),
    tuple[Message, ...]: st.lists(MESSAGE, max_size=2).map(tuple),
    tuple[str, ...]: TEXTS,
    Mapping[str, str]: st.dictionaries(TEXT, TEXT, max_size=2),
    Reused: st.builds(Reused, run=TEXT, label=TEXT, ended_at=NUMBER, tokens=st.none() | st.integers(0, 9)),
    Scores: st.dictionaries(TEXT, st.dictionaries(TEXT, st.none() | NUMBER | st.booleans(), max_size=2), max_size=2),
}


def values_of(hint):
    is_union = get_origin(hint) in {Union, UnionType}
    return st.one_of(*map(values_of, get_args(hint))) if is_union else BY_TYPE[hint]


def events_of(kind):
    return st.builds(kind, **{name: values_of(hint) for name, hint in get_type_hints(kind).items()})


@given(st.one_of(*map(events_of, Event.__args__)), NUMBER)
def test_an_event_survives_json_and_pickle_unchanged(event, at):
    stamped = Stamped(run="r", number=3, at=at, event=event)

    assert from_json(json.loads(json.dumps(to_json(stamped)))) == stamped
    assert pickle.loads(pickle.dumps(stamped)) == stamped


@pytest.mark.parametrize(
    "value", [{"@": "Nobody"}, {}, {"@": "Noted", "text": "x", "later": 1}, {"@": "TextReceived", "label": "x"}]
)
def test_what_another_program_wrote_is_a_clear_error(value):
    with pytest.raises(XzMagicsError) as caught:
        from_json(value)

    assert caught.value.hint == "another program or version wrote it"


def test_events_are_numbered_timed_and_heard_in_order_by_the_critical_first():
    heard = []
    now = iter([1.5, 2.5])
    stream = Stream(
        "run",
        critical=[lambda stamped: heard.append(("critical", stamped.number))],
        observers=[lambda stamped: heard.append((stamped.run, stamped.at, stamped.event.text))],
        wall=lambda: next(now),
    )

    stream.emit(Noted(text="a"))
    stream.emit(Noted(text="b"))

    assert heard == [("critical", 0), ("run", 1.5, "a"), ("critical", 1), ("run", 2.5, "b")]


def test_an_observer_that_fails_hears_no_more_and_the_others_do(caplog):
    heard = []

    def broken(stamped):
        heard.append("broken")
        raise ZeroDivisionError

    stream = Stream("run-7", observers=[broken, lambda stamped: heard.append("other")])

    stream.emit(Noted(text="a"))
    stream.emit(Noted(text="b"))

    assert heard == ["broken", "other", "other"]
    assert [record.name for record in caplog.records] == ["xz_magics"]
    assert "an observer of run run-7 failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_critical_observer_that_fails_is_not_survived():
    def broken(stamped):
        raise ZeroDivisionError

    heard = []
    stream = Stream("run", critical=[broken], observers=[heard.append])

    with pytest.raises(ZeroDivisionError):
        stream.emit(Noted(text="a"))
    assert heard == []


def test_lists_and_mappings_within_a_task_stay_what_they_are():
    task = Task(
        index=0, label="a", prompt="p", model="m", max_tokens=1, params={"a": [1, {"@": "Noted"}], "b": math.pi}
    )

    assert from_json(to_json(TaskPlanned(task=task))).task.params == {"a": [1, {"@": "Noted"}], "b": math.pi}
    assert to_json(TextReceived(label="a", text="x")) == {"@": "TextReceived", "label": "a", "text": "x"}
