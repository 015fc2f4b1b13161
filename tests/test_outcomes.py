"""The fold of events: what each event does to a row and to the sums, live and at the end."""

from dataclasses import fields

import pytest
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
    TurnEnded,
    from_json,
    to_json,
)
from xz_magics.outcomes import Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.records import Message, Outcome, Quota, Turn

STARTED = RunStarted(tasks=1, max_concurrent=5, quota=Quota())
TURN = Turn(number=1, attempts=2, max_tokens=100, started_at=3.0, duration_s=1.0, input_tokens=5, output_tokens=7)


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
    assert [row.task.label for row in folded(*running).running()] == ["a"]
    assert dict(+folded(*ended).counts) == {"done": 1}
    assert (folded(*running).ended, folded(*ended).ended) == (0, 1)
    assert list(folded(*ended).running()) == []


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
    outcomes = folded(
        TaskPlanned(task=task("a", index=4), parent="p", depth=1),
        TaskStarted(label="a", queued_s=0.5),
        RequestSent(label="a", turn=1, attempt=1, spawn_s=0.25),
        TurnEnded(label="a", turn=TURN),
        TaskEnded(
            label="a",
            status="incomplete",
            output="sum",
            error="cut",
            error_type="length",
            finish_reason="length",
            duration_s=2.0,
            queued_s=9.0,
            work="work",
            messages=messages,
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
            turns=(TURN,),
            queued_s=0.5,
            spawn_s=0.25,
            duration_s=2.0,
            started_at=102.0,
            finish_reason="length",
            work="work",
            messages=messages,
        )
    ]
    assert all(getattr(outcomes.all()[0], field.name) is not None for field in fields(Outcome))
    assert outcomes.roots() == [], "a nested subagent is no task as written"
    assert (outcomes.duration_s, outcomes.stop_reason) == (3.0, "because")


def test_a_task_that_never_started_has_waited_until_its_end():
    outcomes = folded(TaskPlanned(task=task("a")), TaskEnded(label="a", status="skipped", queued_s=7.0))

    (outcome,) = outcomes.all()
    assert (outcome.queued_s, outcome.started_at, outcome.turns, outcome.total_tokens) == (7.0, None, (), None)


def test_rows_stand_in_the_order_planned_however_they_end():
    outcomes = folded(
        *(TaskPlanned(task=task(label, index=index)) for index, label in enumerate("abc")),
        *(TaskEnded(label=label, status="done") for label in "cb"),
    )

    assert [outcome.label for outcome in outcomes.roots()] == ["b", "c"]
    assert outcomes.changed == {"b", "c"}


async def test_a_run_that_is_read_again_has_the_same_outcomes():
    providers = {"scripted:": answering(Step(status=429, retry_after_s=0.01), Step(answer="hi", chunks=2), "short")}
    ran = Ran([task("a", summary_prompt="Sum up."), task("b", max_tokens=200)], providers, max_concurrent=1)
    outcomes = await ran.to_the_end()

    again = Outcomes()
    for stamped in from_json(to_json(tuple(ran.events))):
        again(stamped)

    assert again.all() == outcomes
    assert (again.tokens, again.duration_s) == (ran.outcomes.tokens, ran.outcomes.duration_s)
