"""What a live page is told of a run: all of it at first, then what changes, in small messages."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.events import (
    AccountPaused,
    Noted,
    RequestSent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    TextReceived,
    ToolAnswered,
    ToolCalled,
    TurnEnded,
)
from xz_magics.outcomes import STATES, Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.records import STATUSES, LimitUse, Message, Quota, ToolCall, Turn
from xz_magics.views import dashboard
from xz_magics.views.dashboard import BLANK, FLUSH_BYTES, Dashboard
from xz_magics.views.detail import DETAIL_BYTES, last_line
from xz_magics.views.watched import Watched
from xz_magics.views.wording import COLOURS, SIGNS, harmless

STARTED = RunStarted(tasks=1, max_concurrent=5, quota=Quota())
TURN = Turn(number=1, attempts=1, max_tokens=9, started_at=0.0, duration_s=1.0, input_tokens=1_200, cost_usd=0.5)
CALL = ToolCall(id="c", name="read_file", arguments='{"path": "a"}')


class Stage:
    """A run whose events are made up, its dashboard, and a page that keeps what it is told."""

    def __init__(self, *events, uses=(), outcomes=None):
        self.outcomes = outcomes or Outcomes()
        self.now = 1_000.0
        self.asked = []
        self.dashboard = Dashboard(
            Watched(
                run_id="r",
                outcomes=self.outcomes,
                uses=lambda: uses,
                stop=lambda: self.asked.append("all"),
                cancel=self.asked.append,
            ),
            wall=lambda: self.now,
        )
        self.rows = {}
        self.details = []
        self.emit(*events)

    def emit(self, *events):
        for event in events:
            self.outcomes(Stamped(run="r", number=0, at=self.now, event=event))

    def flush(self):
        """The message that draws, if there is one."""
        drawn = None
        for message in self.dashboard.flush():
            if message["kind"] == "detail":
                self.details.append(message)
                continue
            drawn = message
            if message.get("reset"):
                self.rows = {}
            for row in message["rows"]:
                self.rows[row["n"]] = self.rows.get(row["n"], dict(BLANK)) | row
        return drawn

    def flush_all(self):
        """Every message until nothing waits."""
        messages = [self.flush()]
        while self.dashboard.more:
            messages.append(self.flush())
        return messages

    def later(self, seconds):
        self.now += seconds
        return self


def planned(*labels, **fields):
    return [TaskPlanned(task=task(label, index=index, **fields)) for index, label in enumerate(labels)]


def test_a_page_is_first_told_everything_and_then_only_what_changes():
    stage = Stage(STARTED, *planned("a", "b"), TaskStarted(label="a", queued_s=0.0))

    first = stage.flush()
    stage.emit(RequestSent(label="a", turn=1, attempt=1), TextReceived(label="a", text="Hi."))
    second = stage.flush()

    assert first["reset"] is True
    assert [(row["label"], row["model"], row["state"]) for row in first["rows"]] == [
        ("a", "scripted:", "running"),
        ("b", "scripted:", "waiting"),
    ]
    assert "reset" not in second
    assert second["rows"] == [{"n": 0, "started_at": 1_000.0, "text": "Hi."}]
    assert second["head"]["requests"] == 1


def test_after_a_hello_everything_is_told_anew():
    stage = Stage(STARTED, *planned("a", "b"))
    stage.flush()

    stage.dashboard.obey({"kind": "hello"})
    again = stage.flush()

    assert again["reset"] is True
    assert [row["label"] for row in again["rows"]] == ["a", "b"]


def test_the_changes_that_were_told_are_no_changes_any_more():
    stage = Stage(STARTED, *planned("a"))

    stage.flush()

    assert stage.outcomes.changed == set()
    assert stage.flush() is None


def test_head_and_bars_go_with_the_rows_and_alone_once_a_second():
    stage = Stage(STARTED, *planned("a"))
    stage.flush()
    stage.outcomes.note = "something new"

    soon, later = stage.later(0.5).flush(), stage.later(0.6).flush()

    assert soon is None
    assert (later["head"]["note"], later["rows"]) == ("something new", [])


def test_the_head_counts_tasks_apart_from_the_nested_ones_in_the_order_of_states():
    stage = Stage(
        Noted(text="fetching"),
        STARTED,
        *planned("a", "b", "c"),
        TaskPlanned(task=task("a/1"), parent="a", depth=1),
        TaskStarted(label="a/1", queued_s=0.0),
        TaskEnded(label="c", status="failed", error="no", error_type="bad_request"),
        TurnEnded(label="a/1", turn=TURN),
        AccountPaused(account="x", delay_s=9.0),
    )

    head = stage.flush()["head"]

    assert list(head["counts"].items()) == [("waiting", 2), ("failed", 1)]
    assert head["nested"] == {"running": 1}
    assert (head["total"], head["ended"], head["tokens"], head["cost"]) == (3, 1, 1_200, "$0.5000")
    assert (head["run_id"], head["note"], head["started_at"], head["ended_at"]) == ("r", "", 1_000.0, None)
    assert (head["resumes_at"], head["now"]) == (1_009.0, 1_000.0)
    assert stage.later(10).flush()["head"]["resumes_at"] is None


def test_a_nested_row_names_the_row_that_it_stands_under():
    stage = Stage(STARTED, *planned("a", "b"), TaskPlanned(task=task("a/1"), parent="a", depth=1))

    rows = stage.flush()["rows"]

    assert [(row["n"], row.get("under"), row.get("depth", 0)) for row in rows] == [
        (0, None, 0),
        (1, None, 0),
        (2, 0, 1),
    ]


def test_an_ended_row_tells_its_status_in_words_and_the_first_line_of_answer_or_error():
    stage = Stage(
        STARTED,
        *planned("a", "b"),
        TextReceived(label="a", text="half"),
        TurnEnded(label="a", turn=replace(TURN, estimated=True)),
        TaskEnded(label="a", status="done", output="\n One.\nTwo.", duration_s=2.5),
        TaskEnded(label="b", status="failed", error="the model is unknown\nsee the list", error_type="bad_request"),
    )

    one, other = stage.flush()["rows"]

    assert (one["words"], one["text"], one["duration_s"]) == ("done", "One.", 2.5)
    assert (one["turns"], one["tokens"], one["cost"]) == (1, "≈ 1,200", "$0.5000")
    assert (other["state"], other["words"], other["text"]) == ("failed", "failed: bad request", "the model is unknown")


def test_a_row_that_calls_a_tool_or_waits_for_another_try_says_so():
    stage = Stage(STARTED, *planned("a"), ToolCalled(label="a", turn=1, call=CALL))
    calling = stage.flush()["rows"][0]["note"]
    stage.emit(ToolAnswered(label="a", turn=1, call_id="c", tool="read_file", duration_s=0.1))
    answered = stage.flush()["rows"][0]["note"]
    stage.emit(RetryScheduled(label="a", turn=1, attempt=1, delay_s=2.0, error_type="rate_limited", error="429"))

    assert (calling, answered) == ("calls read_file", "")
    assert stage.flush()["rows"][0]["note"] == "rate_limited: tries again in 2.0 s"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([], ""),
        (["one"], "one"),
        (["one\n", "two ", "three"], "two three"),
        (["one\ntwo\n", "\n", "  "], "two"),
        (["a" * 100, "b" * 100], "…" + "a" * 59 + "b" * 100),
        (["x\n", *("ab " * 40)], ("ab " * 40).strip()),
        (["\x1b[31mred"], "\\x1b[31mred"),
    ],
)
def test_the_last_line_of_a_text_in_pieces(parts, line):
    assert last_line(parts) == line


def test_only_limits_that_are_set_have_a_bar_and_the_head_tells_the_tokens_reserved():
    uses = [
        LimitUse(level="run", name="max_executions", limit=None, used=3, reserved=0),
        LimitUse(level="run", name="max_total_tokens", limit=10_000, used=8_204, reserved=400),
        LimitUse(level="session", name="max_total_tokens", limit=10, used=9_000, reserved=500),
    ]
    message = Stage(STARTED, uses=uses).flush()

    assert message["bars"] == [
        {
            "name": "run tokens",
            "words": "8,204 of 10,000 used, 400 reserved, 1,396 left",
            "used": 0.82,
            "reserved": 0.04,
        },
        {"name": "session tokens", "words": "9,000 of 10 used, 500 reserved, 0 left", "used": 1.0, "reserved": 0.0},
    ]
    assert message["head"]["reserved"] == 400


def test_the_time_left_is_that_of_the_tasks_to_come_at_the_pace_so_far():
    stage = Stage(STARTED, *planned(*"abcde"))

    before = stage.flush()["head"]["left_s"]
    stage.later(4).emit(*(TaskEnded(label=label, status="done", duration_s=1.0) for label in "ab"))
    then = stage.flush()["head"]["left_s"]
    later = stage.later(2).flush()["head"]["left_s"]
    stage.emit(*(TaskEnded(label=label, status="done", duration_s=1.0) for label in "cde"))
    last = stage.later(1).flush()["head"]["left_s"]
    stage.emit(RunEnded(duration_s=7.0))

    assert (before, then, later, last) == (None, 7.0, 10.0, 0.0)
    assert stage.flush()["head"]["left_s"] is None


def test_rows_that_do_not_fit_wait_and_what_became_of_a_row_goes_before_any_text():
    labels = [f"task-{number}" for number in range(300)]
    texts = [TextReceived(label=label, text="words " * 20) for label in labels]
    stage = Stage(STARTED, *planned(*labels), *texts)

    messages = stage.flush_all()

    told = [(row["n"], "label" in row, "text" in row) for message in messages for row in message["rows"]]
    assert len(messages) > 3
    assert [n for n, standing, _ in told if standing] == list(range(300))
    assert [n for n, _, text in told if text] == list(range(300))
    first_text = next(at for at, (_, _, text) in enumerate(told) if text)
    assert sum(standing for _, standing, _ in told[:first_text]) > 200
    assert all(len(json.dumps(message)) > 0.9 * FLUSH_BYTES for message in messages[:-1])


def test_a_row_that_waits_keeps_its_turn_however_often_the_others_change():
    labels = [f"task-{number}" for number in range(300)]
    stage = Stage(STARTED, *planned(*labels))
    seen = set()

    for number in range(40):
        stage.emit(*(TextReceived(label=label, text=f" word{number}" * 20) for label in labels))
        seen |= {row["n"] for row in stage.flush()["rows"] if "text" in row}

    assert seen == set(range(300))


def test_a_cancelled_row_says_that_it_stops_in_the_next_message():
    stage = Stage(STARTED, *planned("a", "b", "c"), TaskEnded(label="c", status="done"))
    stage.flush()

    stage.dashboard.obey({"kind": "cancel", "n": 1})
    stage.dashboard.obey({"kind": "cancel", "n": 2})
    asked = stage.flush()["rows"]
    stage.emit(TaskEnded(label="b", status="cancelled"))
    ended = stage.flush()["rows"]

    assert stage.asked == ["b", "c"]
    assert asked == [{"n": 1, "stopping": True}]
    assert ended == [{"n": 1, "state": "cancelled", "words": "cancelled", "stopping": False}]


def test_stop_stops_every_row_that_has_not_ended():
    stage = Stage(STARTED, *planned("a", "b", "c"), TaskEnded(label="c", status="done"))
    stage.flush()

    stage.dashboard.obey({"kind": "stop"})

    assert stage.flush()["rows"] == [{"n": 0, "stopping": True}, {"n": 1, "stopping": True}]
    assert stage.asked == ["all"]


@pytest.mark.parametrize(
    "wish",
    [
        None,
        7,
        "stop",
        [],
        {},
        {"kind": "open"},
        {"kind": "cancel", "n": "0"},
        {"kind": "cancel", "n": 5},
        {"kind": "cancel", "n": -1},
        {"kind": "no such"},
        {"kind": {"kind": "stop"}},
    ],
)
def test_what_no_page_of_ours_says_does_nothing(wish):
    stage = Stage(STARTED, *planned("a"))
    stage.flush()

    stage.dashboard.obey(wish)

    assert stage.flush() is None
    assert stage.asked == []


async def test_a_run_that_ends_and_one_that_is_stopped_tell_which():
    told = []
    for stop in (False, True):
        ran = Ran([task()], {"scripted:": answering(Step(answer="hi", latency_s=0.3 if stop else 0.0))}).start()
        watched = Watched(
            run_id="r", outcomes=ran.outcomes, uses=ran.tracker.uses, stop=ran.engine.stop, cancel=ran.engine.cancel
        )
        dashboard = Dashboard(watched)
        if stop:
            dashboard.obey({"kind": "stop"})
        await ran.ended()
        told.append(dashboard.flush()[0])

    assert [(one["over"], one.get("stopped", False)) for one in told] == [(True, False), (True, True)]
    assert [one["rows"][0]["state"] for one in told] == ["done", "skipped"]
    assert all(one["head"]["ended_at"] >= one["head"]["started_at"] for one in told)


def test_the_end_is_told_at_once_though_no_row_changes():
    stage = Stage(STARTED, *planned("a"))
    stage.flush()

    stage.emit(RunEnded(duration_s=3.0))

    message = stage.flush()
    assert (message["over"], message["rows"], message["head"]["ended_at"]) == (True, [], 1_003.0)
    assert stage.flush() is None


def test_a_run_that_could_not_begin_says_why_in_the_head():
    stage = Stage(Noted(text="fetching"))

    stage.dashboard.fail("no such model\nsee the list")

    message = stage.flush()
    assert (message["over"], message["head"]["note"]) == (True, "no such model – see the list")


def test_an_opened_row_is_told_in_full_at_once_and_then_once_a_second_while_it_changes():
    stage = Stage(STARTED, *planned("a", system="Be brief."))
    stage.dashboard.obey({"kind": "hello"})
    stage.flush()

    stage.dashboard.obey({"kind": "open", "n": 0})
    stage.flush()
    stage.emit(TextReceived(label="a", text="one\ntwo"))
    stage.later(0.5).flush()
    waiting = list(stage.details)
    stage.later(0.6).flush()
    stage.later(5).flush()
    stage.dashboard.obey({"kind": "close", "n": 0})
    stage.emit(TextReceived(label="a", text=" three"))
    stage.later(5).flush()

    assert [detail["text"] for detail in waiting] == [""]
    assert [detail["text"] for detail in stage.details] == ["", "one\ntwo"]
    assert [(one["role"], one["content"]) for one in waiting[0]["messages"]] == [
        ("system", "Be brief."),
        ("user", "Say hi."),
    ]


def test_the_whole_of_an_ended_row_is_its_answer_error_messages_and_tool_calls():
    messages = (
        Message(role="user", content="Say hi."),
        Message(role="assistant", content="", tool_calls=(CALL,)),
        Message(role="tool", content="no such file", tool_call_id="c", tool="read_file", error=True),
        Message(role="assistant", content="I cannot."),
    )
    ended = TaskEnded(
        label="a", status="incomplete", output="I cannot.", error="cut\nraise it", error_type="cut", messages=messages
    )
    stage = Stage(STARTED, *planned("a"), ended)
    stage.flush()

    stage.dashboard.obey({"kind": "open", "n": 0})
    stage.flush()

    assert stage.details == [
        {
            "kind": "detail",
            "n": 0,
            "text": "I cannot.",
            "error": "cut\nraise it",
            "cut": "",
            "turns": [],
            "messages": [
                {"role": "user", "content": "Say hi.", "calls": [], "error": False},
                {
                    "role": "assistant",
                    "content": "",
                    "calls": [{"name": "read_file", "arguments": '{"path": "a"}'}],
                    "error": False,
                },
                {"role": "tool", "content": "no such file", "tool": "read_file", "calls": [], "error": True},
                {"role": "assistant", "content": "I cannot.", "calls": [], "error": False},
            ],
        }
    ]


def test_an_opened_row_tells_what_each_turn_came_to():
    first = replace(TURN, attempts=3, output_tokens=30, cache_read_tokens=1_000)
    second = replace(TURN, number=2, output_tokens=4, cost_usd=None, estimated=True)
    stage = Stage(STARTED, *planned("a"), TurnEnded(label="a", turn=first), TurnEnded(label="a", turn=second))
    stage.flush()

    stage.dashboard.obey({"kind": "open", "n": 0})
    stage.flush()

    assert stage.details[0]["turns"] == [
        {"turn": "1 (3 tries)", "in": "1,200", "cached": "1,000", "out": "30", "cost": "$0.5000", "time": "1.0 s"},
        {"turn": "2", "in": "≈ 1,200", "cached": "", "out": "≈ 4", "cost": "unpriced", "time": "1.0 s"},
    ]


def test_a_thousand_turns_leave_room_for_the_answer_and_fit():
    turns = [TurnEnded(label="a", turn=replace(TURN, number=number, output_tokens=9)) for number in range(1, 1_001)]
    stage = Stage(STARTED, *planned("a"), *turns, TaskEnded(label="a", status="done", output="word " * 20_000))
    stage.flush()

    stage.dashboard.obey({"kind": "open", "n": 0})
    stage.flush()

    assert len(json.dumps(stage.details[0], ensure_ascii=False).encode()) <= DETAIL_BYTES
    assert len(stage.details[0]["turns"]) > 100
    assert len(stage.details[0]["text"]) > 10_000


def test_the_head_tells_the_cost_so_far_and_about_what_it_will_be():
    uses = [LimitUse(level="run", name="max_total_cost", limit=1.2, used=0.5, reserved=0.0)]
    stage = Stage(STARTED, *planned("a", "b", "c"), uses=uses)
    first = stage.flush()["head"]["cost"]
    stage.emit(TurnEnded(label="a", turn=TURN))

    running = stage.later(2).flush()["head"]["cost"]
    stage.emit(TaskEnded(label="a", status="done"))
    guessed = stage.later(2).flush()["head"]["cost"]
    stage.emit(RunEnded(duration_s=4.0))
    over = stage.later(2).flush()["head"]["cost"]

    assert [first, running, guessed, over] == ["", "$0.5000", "$0.5000 of about $1.20", "$0.5000"]


def test_rows_opened_together_are_told_one_by_one():
    stage = Stage(STARTED, *planned("a", "b"))
    stage.flush()
    for n in range(2):
        stage.dashboard.obey({"kind": "open", "n": n})

    stage.flush()
    first = [detail["n"] for detail in stage.details]
    stage.flush()

    assert (first, [detail["n"] for detail in stage.details]) == ([0], [0, 1])


def test_a_detail_that_is_too_long_says_how_much_is_left_out_and_where_it_is():
    messages = (Message(role="user", content="é" * 40_000), Message(role="assistant", content="b" * 100_000))
    stage = Stage(
        STARTED, *planned("it's"), TaskEnded(label="it's", status="done", output="b" * 100_000, messages=messages)
    )
    stage.flush()

    stage.dashboard.obey({"kind": "open", "n": 0})
    stage.flush()

    (detail,) = stage.details
    told = [detail["text"], *(message["content"] for message in detail["messages"])]
    assert len(json.dumps(detail, ensure_ascii=False).encode()) <= DETAIL_BYTES
    assert set(detail["text"]) == {"b"}
    assert detail["cut"] == f'… {240_000 - sum(map(len, told)):,} more characters in results["it\'s"]'


LABELS = [
    "a",
    "b",
    '"quoted" <b>\\u0041',
    "\u202eright to left\u0000",
    "é" * 200,
    "\U0001f600" * 3_000,
    *(f"more-{number}" for number in range(80)),
]
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["word ", "\n", "\t", "\ud800", "\u200d\U0001f600", '"' * 400, "\\" * 400, "\U0001f600" * 400, "<script>"]
    ),
)
LABELLED = st.sampled_from(LABELS)


@st.composite
def steps(draw):
    """What the events of a run may be, whatever their order; and a page that comes, looks and asks meanwhile."""
    label, text = draw(LABELLED), draw(TEXTS)
    call = replace(CALL, id=text, name=text, arguments=text)
    outcome = draw(st.sampled_from(STATUSES))
    return draw(
        st.sampled_from(
            [
                Noted(text=text),
                STARTED,
                TaskPlanned(task=task(label, model=text)),
                TaskPlanned(task=task(label, model=text), parent=draw(LABELLED), depth=1),
                TaskStarted(label=label, queued_s=0.0),
                RequestSent(label=label, turn=1, attempt=1),
                TextReceived(label=label, text=text),
                RetryScheduled(label=label, turn=1, attempt=1, delay_s=1.0, error_type="network", error=text),
                AccountPaused(account=text, delay_s=1.0),
                TurnEnded(
                    label=label, turn=draw(st.sampled_from([TURN, replace(TURN, estimated=True, cost_usd=None)]))
                ),
                ToolCalled(label=label, turn=1, call=call),
                ToolAnswered(label=label, turn=1, call_id=text, tool=text, duration_s=0.1),
                TaskEnded(
                    label=label, status=outcome, output=text, error=text, messages=(Message(role="tool", content=text),)
                ),
                *("flush", "all", "hello", "stop", "cancel", "open"),
            ]
        )
    )


def strings(value):
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield from (key, *strings(inner))
        case list():
            for inner in value:
                yield from strings(inner)


def can_happen(stage, step):
    """The fold knows the row that an event speaks of; a row is planned once, and ends once."""
    rows = stage.outcomes.rows
    match step:
        case TaskPlanned(task=planned_task, parent=parent):
            return planned_task.label not in rows and (parent is None or parent in rows)
        case Noted() | RunStarted() | AccountPaused() | str():
            return True
    return step.label in rows and rows[step.label].outcome is None


@settings(max_examples=80, deadline=None)
@given(st.lists(steps(), max_size=120), st.booleans())
def test_whatever_happens_the_page_comes_to_know_what_a_new_page_is_told(drawn, all_planned):
    stage = Stage(STARTED, *(planned(*LABELS) if all_planned else ()))
    messages = []
    take = stage.dashboard.flush
    stage.dashboard.flush = lambda: [messages.append(message) or message for message in take()]

    for number, step in enumerate(drawn):
        stage.later(0.3)
        if not can_happen(stage, step):
            continue
        match step:
            case "flush":
                stage.flush()
            case "all":
                stage.flush_all()
            case str():
                stage.dashboard.obey({"kind": step, "n": number % 7})
            case event:
                stage.emit(event)
    stage.later(9).flush_all()
    fresh = Stage(outcomes=stage.outcomes)
    fresh.flush_all()

    def seen(rows):
        return {n: {name: value for name, value in row.items() if name != "stopping"} for n, row in rows.items()}

    assert sorted(stage.rows) == list(range(len(stage.outcomes.rows)))
    assert seen(stage.rows) == seen(fresh.rows)
    assert not any(row["stopping"] for row in stage.rows.values() if row["state"] in STATUSES)
    for message in messages:
        size = len(json.dumps(message, ensure_ascii=False).encode())
        assert size <= (FLUSH_BYTES if message["kind"] == "draw" else DETAIL_BYTES)
        assert all(harmless(text) == text for text in strings(message))


def test_the_head_says_that_a_run_waits_for_others():
    stage = Stage(STARTED, *planned("a"))
    watched = Watched(run_id="r", outcomes=stage.outcomes, uses=list, stop=print, cancel=print, waits=lambda: True)

    (message,) = Dashboard(watched).flush()

    assert message["head"]["note"] == "waits for room in the limit of the day or week"


def test_the_page_has_a_sign_and_a_colour_for_each_state():
    page = Path(dashboard.__file__).parent / "page"
    signs = (page / "dashboard.js").read_text(encoding="utf-8").split("const SIGNS = {")[1].split("}")[0]
    style = (page / "dashboard.css").read_text(encoding="utf-8")

    assert dict(re.findall(r'^  (\w+): "(.)",$', signs, re.MULTILINE)) == {"waiting": "◌", "running": "▶", **SIGNS}
    assert re.findall(r"^  (\w+):", signs, re.MULTILINE) == list(STATES)
    coloured = dict(re.findall(r'\[data-state="(\w+)"\].*--xz-colour: (#\w+)', style))
    assert coloured == COLOURS
