"""The fold of events: what each event does to a row and to the sums, live and at the end."""

from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
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
    from_json,
    to_json,
)
from xz_magics.outcomes import Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.records import STATUSES, Message, Outcome, Quota, Reused, Span, ToolCall, Trial, Turn

STARTED = RunStarted(tasks=1, max_concurrent=5, quota=Quota())
TURN = Turn(number=1, attempts=2, max_tokens=100, started_at=3.0, duration_s=1.0, input_tokens=5, output_tokens=7)
PAID = replace(TURN, cost_usd=0.5)
REUSED = Reused(run="r", label="b", ended_at=9.0)


def folded(*events):
    outcomes = Outcomes()
    for number, event in enumerate(events):
        outcomes(Stamped(run="r", number=number, at=100.0 + number, event=event))
    return outcomes


def test_a_note_is_shown_until_the_run_starts():
    assert folded().note == "starting"
    assert folded(Noted(text="fetching")).note == "fetching"
    started = folded(Noted(text="fetching"), STARTED)
    assert (started.note, started.started_at, started.duration_s) == ("", 101.0, None)


def test_a_row_goes_from_waiting_to_running_to_its_status():
    planned = [STARTED, TaskPlanned(task=task("a"))]
    running = [*planned, TaskStarted(label="a", queued_s=0.5)]
    ended = [*running, TaskEnded(label="a", status="done", output="x")]

    assert dict(+folded(*planned).counts) == {"waiting": 1}
    assert dict(+folded(*running).counts) == {"running": 1}
    assert dict(+folded(*ended).counts) == {"done": 1}
    assert (folded(*running).ended, folded(*ended).ended) == (0, 1)


def test_text_gathers_and_a_new_attempt_begins_anew():
    events = [
        TaskPlanned(task=task("a")),
        TaskStarted(label="a", queued_s=0),
        RequestSent(label="a", turn=1, attempt=1),
    ]
    texts = [TextReceived(label="a", text="half "), TextReceived(label="a", text="an answer")]
    again = [
        RetryScheduled(label="a", turn=1, attempt=1, delay_s=1.25, error_type="network", error="gone"),
        RequestSent(label="a", turn=1, attempt=2),
    ]

    assert folded(*events, *texts).rows["a"].text == "half an answer"
    assert folded(*events, *texts, again[0]).rows["a"].note == "network: tries again in 1.2 s"
    row = folded(*events, *texts, *again).rows["a"]
    assert (row.text, row.note) == ("", "")


def test_a_rows_start_and_spawn_are_those_of_its_first_request():
    row = folded(
        TaskPlanned(task=task("a")),
        RequestSent(label="a", turn=1, attempt=1, spawn_s=0.25),
        RequestSent(label="a", turn=1, attempt=2),
    ).rows["a"]

    assert (row.started_at, row.spawn_s) == (101.0, 0.25)


def test_a_pause_of_the_account_says_when_it_ends():
    assert folded(AccountPaused(account="host", delay_s=2.5)).resumes_at == 102.5


def test_of_two_pauses_the_one_that_ends_later_counts():
    long, short = AccountPaused(account="host", delay_s=9.0), AccountPaused(account="other", delay_s=2.0)

    assert (folded(long, short).resumes_at, folded(short, long).resumes_at) == (109.0, 110.0)


def test_a_row_says_which_tools_it_waits_for_until_they_have_answered():
    def called(number, name):
        return ToolCalled(label="a", turn=1, call=ToolCall(id=f"c{number}", name=name, arguments="{}"))

    def answered(number):
        return ToolAnswered(label="a", turn=1, call_id=f"c{number}", tool="any", duration_s=0.1)

    events = [TaskPlanned(task=task("a")), called(1, "read_file"), called(2, "grep"), called(3, "grep")]

    assert folded(*events[:2]).rows["a"].note == "calls read_file"
    assert folded(*events).rows["a"].note == "calls read_file, grep"
    assert folded(*events, answered(1)).rows["a"].note == "calls grep"
    assert folded(*events, answered(3), answered(1), answered(2)).rows["a"].note == ""


def test_the_progress_of_a_task_is_what_there_is_of_it_now():
    planned = [TaskPlanned(task=task("a")), TaskPlanned(task=task("b"), parent="a", depth=1)]
    running = [
        *planned,
        TaskStarted(label="b", queued_s=0),
        RequestSent(label="b", turn=1, attempt=1),
        TurnEnded(label="b", turn=PAID),
        RequestSent(label="b", turn=2, attempt=1),
        *(TextReceived(label="b", text=text) for text in ("so ", "far")),
    ]

    waiting = folded(*planned).rows["a"].progress()
    now = folded(*running).rows["b"].progress()

    assert (waiting.status, waiting.output, waiting.success, waiting.turns) == ("waiting", None, False, ())
    assert (waiting.total_tokens, waiting.cost_usd, waiting.started_at) == (None, None, None)
    assert (now.label, now.model, now.parent, now.depth) == ("b", "scripted:", "a", 1)
    assert (now.status, now.output, now.success, now.turns) == ("running", "so far", False, (PAID,))
    assert (now.total_tokens, now.cost_usd, now.started_at) == (12, 0.5, 103.0)


def test_progress_holds_what_had_come_when_it_was_asked_for():
    outcomes = folded(TaskPlanned(task=task("a")), TextReceived(label="a", text="one"))
    before = outcomes.rows["a"].progress()

    outcomes(Stamped(run="r", number=2, at=102.0, event=TextReceived(label="a", text=" two")))

    assert (before.output, outcomes.rows["a"].progress().output) == ("one", "one two")


@pytest.mark.parametrize(
    ("turn", "tokens", "cost_usd"),
    [
        (TURN, 12, 0.0),
        (Turn(number=1, attempts=1, max_tokens=9, started_at=None, duration_s=None), 0, 0.0),
        (
            Turn(number=1, attempts=1, max_tokens=9, started_at=None, duration_s=None, output_tokens=3, cost_usd=0.5),
            3,
            0.5,
        ),
    ],
)
def test_turns_add_up_and_what_is_unknown_adds_nothing(turn, tokens, cost_usd):
    outcomes = folded(TaskPlanned(task=task("a")), TurnEnded(label="a", turn=turn), TurnEnded(label="a", turn=turn))

    assert (outcomes.tokens, outcomes.cost_usd) == (2 * tokens, 2 * cost_usd)


def test_an_outcome_holds_all_that_is_known_of_its_task():
    messages = (Message(role="user", content="Say hi."),)
    trial = Trial(input="a", arms={"model": "m"}, row=3, columns={"city": "Lima"}, repeat=2)
    known = task("a", index=4, trial=trial, tags=("user:x",), expect="total", purpose="judge", of="p")
    outcomes = folded(
        TaskPlanned(task=task("p")),
        TaskPlanned(task=known, parent="p", depth=1),
        TaskStarted(label="a", queued_s=0.5),
        RequestSent(label="a", turn=1, attempt=1, spawn_s=0.25),
        TurnEnded(label="a", turn=PAID),
        TaskEnded(
            label="a",
            status="incomplete",
            output="sum",
            error="cut",
            error_type="length",
            finish_reason="length",
            duration_s=2.0,
            queued_s=0.5,
            work="work",
            messages=messages,
            value={"sum": 12},
            reused=REUSED,
        ),
        RunEnded(duration_s=3.0, reason="because"),
    )

    assert outcomes.all() == [
        Outcome(
            index=4,
            label="a",
            status="incomplete",
            model="scripted:",
            max_tokens=100,
            output="sum",
            error="cut",
            error_type="length",
            parent="p",
            depth=1,
            turns=(PAID,),
            queued_s=0.5,
            spawn_s=0.25,
            duration_s=2.0,
            started_at=103.0,
            finish_reason="length",
            work="work",
            messages=messages,
            tree_tokens=12,
            tree_cost_usd=0.5,
            spans=(
                Span(kind="queued", started_at=101.5, ended_at=102.0),
                Span(kind="call", started_at=103.0, ended_at=104.0),
                Span(kind="queued", started_at=104.0, ended_at=105.0),
            ),
            value={"sum": 12},
            purpose="judge",
            trial=trial,
            tags=("user:x",),
            expect="total",
            reused=REUSED,
        )
    ]
    assert all(getattr(outcomes.all()[0], field.name) is not None for field in fields(Outcome))
    assert outcomes.roots() == [], "a nested subagent is no task as written"
    assert (outcomes.duration_s, outcomes.stop_reason) == (3.0, "because")


def test_a_task_that_never_started_has_waited_until_its_end():
    outcomes = folded(TaskPlanned(task=task("a")), TaskEnded(label="a", status="skipped", queued_s=7.0))

    (outcome,) = outcomes.all()
    assert (outcome.queued_s, outcome.started_at, outcome.turns, outcome.total_tokens) == (7.0, None, (), None)


def test_nested_subagents_follow_their_parent_and_are_counted_apart():
    outcomes = folded(
        RunStarted(tasks=2, max_concurrent=5, quota=Quota()),
        TaskPlanned(task=task("a")),
        TaskPlanned(task=task("b")),
        TaskStarted(label="a", queued_s=0),
        TaskPlanned(task=task("a/1"), parent="a", depth=1),
        TaskPlanned(task=task("a/2"), parent="a", depth=1),
        TaskPlanned(task=task("a/1/1"), parent="a/1", depth=2),
        TaskStarted(label="a/2", queued_s=0),
        *(TaskEnded(label=label, status="done") for label in ("b", "a/1/1", "a/1")),
    )

    assert [outcome.label for outcome in outcomes.all()] == ["a/1", "a/1/1", "b"]
    assert [outcome.label for outcome in outcomes.roots()] == ["b"]
    assert (dict(+outcomes.counts), outcomes.ended) == ({"running": 1, "done": 1}, 1)
    assert dict(+outcomes.nested) == {"running": 1, "done": 2}


TREE = st.lists(
    st.tuples(
        st.integers(0, 30), st.none() | st.integers(0, 99), st.none() | st.integers(0, 9), st.sampled_from(STATUSES)
    ),
    max_size=12,
)
"""Each subagent's parent (a number below its own; else it is a task as written), tokens, dollars and status."""


@given(TREE)
def test_the_sums_of_a_tree_are_those_of_all_its_subagents_and_nothing_is_lost(nodes):
    parents = [None if parent >= number else parent for number, (parent, *_) in enumerate(nodes)]
    depths = []
    for parent in parents:
        depths.append(0 if parent is None else depths[parent] + 1)
    planned = [
        TaskPlanned(task=task(str(number)), parent=None if parent is None else str(parent), depth=depths[number])
        for number, parent in enumerate(parents)
    ]
    ended = [
        event
        for number, (_, tokens, dollars, status) in reversed(list(enumerate(nodes)))
        for event in (
            TurnEnded(label=str(number), turn=replace(TURN, input_tokens=tokens, output_tokens=None, cost_usd=dollars)),
            TaskEnded(label=str(number), status=status),
        )
    ]

    outcomes = folded(*planned, *ended)

    assert sorted(int(outcome.label) for outcome in outcomes.all()) == list(range(len(nodes)))
    assert outcomes.counts + outcomes.nested == Counter(status for *_, status in nodes)
    assert outcomes.ended == len(outcomes.roots()) == parents.count(None)
    for outcome in outcomes.all():
        family = [int(outcome.label)]
        family += [number for number in range(len(nodes)) if ancestors(number, parents) & set(family)]
        assert outcome.tree_tokens == known(nodes[number][1] for number in family)
        assert outcome.tree_cost_usd == known(nodes[number][2] for number in family)
    places = [int(outcome.label) for outcome in outcomes.all()]
    for before, after in pairwise(places):
        assert parents[after] is None or parents[after] == before or parents[after] in ancestors(before, parents)


def ancestors(number, parents):
    above = parents[number]
    return set() if above is None else {above} | ancestors(above, parents)


def known(numbers):
    found = [number for number in numbers if number is not None]
    return sum(found) if found else None


def test_rows_stand_in_the_order_planned_however_they_end():
    outcomes = folded(
        *(TaskPlanned(task=task(label, index=index)) for index, label in enumerate("abc")),
        *(TaskEnded(label=label, status="done") for label in "cb"),
    )

    assert [outcome.label for outcome in outcomes.roots()] == ["b", "c"]
    assert outcomes.changed == {"a", "b", "c"}
    outcomes.changed.clear()
    outcomes(Stamped(run="r", number=9, at=200.0, event=TaskStarted(label="a", queued_s=1.0)))
    assert outcomes.changed == {"a"}


def spans_of(*events):
    outcomes = folded(TaskPlanned(task=task("a")), TaskStarted(label="a", queued_s=0.0), *events)
    assert outcomes.requests == 0
    return [(span.kind, span.name, span.started_at - 100, span.ended_at - 100) for span in outcomes.all()[0].spans]


def test_a_retry_and_a_pause_of_the_account_are_told_apart_from_the_calls_around_them():
    retry = {"label": "a", "turn": 1, "delay_s": 1.0, "error": "e"}
    assert spans_of(
        RequestSent(label="a", turn=1, attempt=1),
        RetryScheduled(attempt=1, error_type="rate_limited", **retry),
        RequestSent(label="a", turn=1, attempt=2),
        RetryScheduled(attempt=2, error_type="network", **retry),
        RequestSent(label="a", turn=1, attempt=3),
        TurnEnded(label="a", turn=TURN),
        TaskEnded(label="a", status="done"),
    ) == [
        ("call", "", 2, 3),
        ("rate_limited", "", 3, 4),
        ("call", "", 4, 5),
        ("retry", "", 5, 6),
        ("call", "", 6, 7),
        ("queued", "", 7, 8),
    ]


def test_pauses_follow_one_another_where_an_attempt_never_came_to_a_request():
    retry = {"label": "a", "turn": 1, "delay_s": 1.0, "error": "e"}
    assert spans_of(
        RetryScheduled(attempt=1, error_type="rate_limited", **retry),
        RetryScheduled(attempt=2, error_type="network", **retry),
        TurnEnded(label="a", turn=TURN),
        TaskEnded(label="a", status="failed"),
    ) == [("rate_limited", "", 2, 3), ("retry", "", 3, 4), ("queued", "", 4, 5)]


def test_tools_children_and_what_a_stop_cut_off_have_their_spans():
    calls = [ToolCall(id=name, name=name, arguments="{}") for name in ("search", "subagent", "slow")]
    assert spans_of(
        RequestSent(label="a", turn=1, attempt=1),
        TurnEnded(label="a", turn=TURN),
        *(ToolCalled(label="a", turn=1, call=call) for call in calls),
        ToolAnswered(label="a", turn=1, call_id="search", tool="search", duration_s=1.0),
        ToolAnswered(label="a", turn=1, call_id="subagent", tool="subagent", duration_s=1.0),
        TaskEnded(label="a", status="cancelled"),
    ) == [
        ("call", "", 2, 3),
        ("tool", "search", 4, 7),
        ("children", "subagent", 5, 8),
        ("tool", "slow", 6, 9),
    ]


def test_a_request_is_under_way_from_its_sending_to_its_answer_or_the_end_of_its_task():
    sent = [
        TaskPlanned(task=task("a")),
        TaskStarted(label="a", queued_s=0.0),
        RequestSent(label="a", turn=1, attempt=1),
    ]

    assert folded(*sent).requests == 1
    assert folded(*sent, TaskEnded(label="a", status="cancelled")).requests == 0


def test_a_pause_that_is_prolonged_is_one_and_accounts_pause_apart():
    outcomes = folded(
        AccountPaused(account="x", delay_s=5.0),
        AccountPaused(account="x", delay_s=9.0),
        AccountPaused(account="y", delay_s=1.0),
    )

    assert [(pause.name, pause.started_at, pause.ended_at) for pause in outcomes.pauses] == [
        ("x", 100.0, 110.0),
        ("y", 102.0, 103.0),
    ]
    assert outcomes.resumes_at == 110.0


async def test_a_run_that_is_read_again_has_the_same_outcomes():
    providers = {"scripted:": answering(Step(status=429, retry_after_s=0.01), Step(answer="hi", chunks=2), "short")}
    ran = Ran([task("a", summary_prompt="Sum up."), task("b", max_tokens=200)], providers, max_concurrent=1)
    outcomes = await ran.to_the_end()

    again = Outcomes()
    for stamped in from_json(to_json(tuple(ran.events))):
        again(stamped)

    assert again.all() == outcomes
    assert (again.tokens, again.duration_s) == (ran.outcomes.tokens, ran.outcomes.duration_s)


def test_what_is_reused_cost_nothing_with_all_below_it():
    outcomes = folded(TaskPlanned(task=task("a")), TaskEnded(label="a", status="done", reused=REUSED))

    (outcome,) = outcomes.all()

    assert (outcome.tree_tokens, outcome.tree_cost_usd) == (outcome.total_tokens, outcome.cost_usd) == (0, 0.0)
