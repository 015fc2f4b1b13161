"""Runs that are journalled: intents before calls, replies before they are shown, and nothing lost by a kill."""

import asyncio
import json
import re
import resource
import time
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from journal_runs import journalled, tasks_of
from strategies import Ran, answering, task
from test_events import events_of

from xz_magics.errors import JournalError
from xz_magics.events import (
    CallIntended,
    Event,
    RequestSent,
    Stamped,
    TableRead,
    TaskEnded,
    TextReceived,
    from_json,
    to_json,
)
from xz_magics.observers.journal import About, Journal, Past
from xz_magics.observers.journal.checking import check
from xz_magics.observers.journal.cleaning import without_content
from xz_magics.observers.journal.placing import NAME
from xz_magics.outcomes import Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.records import AnswerSchema, Trial

KEY = "sk-proj-0123456789abcdefghij"
EVENTS = st.one_of(*(events_of(kind) for kind in Event.__args__ if kind is not TextReceived))


@pytest.fixture
def journal(tmp_path):
    journal = Journal.open(tmp_path / "state")
    yield journal
    journal.close()


def reusable(journal, **past):
    """What of the journal serves two tasks that ask the same, by their labels."""
    return journal.recalling(Past(**(past or {"since": 0.0}))).foresee([("same", "t0"), ("same", "t1")]).reused


def stamped(event, number=0, run="r"):
    return Stamped(run=run, number=number, at=time.time(), event=event)


async def test_the_events_of_a_run_fold_into_the_same_outcomes_when_they_are_read_again(journal):
    live = await journalled(journal, "r", tasks_of(3), answering("one", "two", Step(status=500), "three"))

    again = Outcomes()
    for event in journal.events("r"):
        again(event)

    assert again.roots() == live.roots()
    assert [(run.id, run.tasks, run.goes_on) for run in journal.runs()] == [("r", 3, False)]


async def test_an_intent_comes_before_each_request_and_tells_the_most_that_it_may_cost(journal):
    await journalled(journal, "r", tasks_of(1), answering(Step(status=503, retry_after_s=0.01), "fine"))

    events = [event.event for event in journal.events("r")]
    calls = [event for event in events if isinstance(event, CallIntended | RequestSent)]
    assert [(type(call).__name__, call.turn, call.attempt) for call in calls] == [
        ("CallIntended", 1, 1),
        ("RequestSent", 1, 1),
        ("CallIntended", 1, 2),
        ("RequestSent", 1, 2),
    ]
    assert calls[0].bound_tokens > 50
    assert calls[0].worst_cost_usd == 0.0


async def test_nothing_is_sent_before_its_intent_is_on_disk():
    kept = asyncio.Event()
    ran = Ran([task()], around={"kept": kept.wait}).start()

    await asyncio.sleep(0.05)
    before = [type(event.event).__name__ for event in ran.events]
    kept.set()
    outcomes = await ran.ended()

    assert before == ["RunStarted", "TaskPlanned", "CallIntended"]
    assert outcomes[0].success


async def test_where_the_intent_cannot_be_kept_nothing_is_sent_and_the_row_says_why():
    async def failing():
        raise JournalError("the journal fails: its disk is full", "make room on it")

    provider = answering("hi")
    outcomes = await Ran([task()], {"scripted:": provider}, around={"kept": failing, "settled": failing}).to_the_end()

    assert [(o.status, o.error_type, o.total_tokens) for o in outcomes] == [("skipped", "cancelled", None)]
    assert outcomes[0].error == "it was not sent: the journal fails: its disk is full\nmake room on it"
    assert provider._taken == 0


async def test_work_stays_where_its_summary_cannot_be_kept():
    calls = 0

    async def failing_later():
        nonlocal calls
        calls += 1
        if calls > 1:
            raise JournalError("the journal fails: its disk is full", "make room on it")

    outcomes = await Ran([task(summary_prompt="In short.")], around={"kept": failing_later}).to_the_end()

    assert (outcomes[0].status, outcomes[0].output) == ("done", "hi")
    assert "the summary failed (it was not sent: the journal fails" in outcomes[0].error


async def test_a_disk_that_fills_up_in_mid_run_ends_the_sending_and_keeps_what_was_paid(journal, tmp_path):
    """And what the journal lacks is written as soon as there is room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    sent = []

    def fill(event):
        if isinstance(event.event, RequestSent):
            sent.append(event)
        if len(sent) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))

    provider = answering(Step(answer="paid", latency_s=0.2))
    try:
        live = await journalled(journal, "r", tasks_of(6), provider, first=[fill], max_concurrent=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.close()
    again = Outcomes()
    for event in journal.events("r"):
        again(event)

    assert [o.output for o in live.roots() if o.status == "done"] == ["paid", "paid"]
    assert {o.status for o in live.roots() if not o.success} == {"skipped"}
    assert again.roots() == live.roots()


async def test_a_view_is_drawn_only_of_what_is_on_disk(journal):
    lost = []

    def look(outcomes):
        on_disk = {event.event.label for event in journal.events("r") if isinstance(event.event, TaskEnded)}
        lost.append({label for label, row in outcomes.rows.items() if row.outcome} - on_disk)

    await journalled(journal, "r", tasks_of(40), answering(Step(answer="x", latency_s=0.05)), beat=look)

    assert len(lost) > 2
    assert not any(lost)


async def test_a_call_that_was_sent_and_never_seen_is_unknown_with_the_most_that_it_may_have_cost(journal):
    async def stopped():
        await journal.kept()
        raise asyncio.CancelledError

    observe = journal.observer("r")
    for number, event in enumerate(
        [
            CallIntended(label="a", turn=1, attempt=1, bound_tokens=70, worst_cost_usd=0.5),
            CallIntended(label="a", turn=1, attempt=2, bound_tokens=70, worst_cost_usd=0.5),
            CallIntended(label="b", turn=1, attempt=1, bound_tokens=10),
            CallIntended(label="c", turn=1, attempt=1, bound_tokens=10),
            TaskEnded(label="c", status="failed"),
        ]
    ):
        observe(stamped(event, number))
    await journal.kept()

    unknowns = {unknown.label: unknown for unknown in journal.unknowns("r")}
    assert list(unknowns) == ["a", "b"]
    assert (unknowns["a"].calls, unknowns["a"].most_tokens, unknowns["a"].most_cost_usd) == (2, 140, 1.0)
    assert unknowns["b"].most_cost_usd is None


async def test_answers_serve_other_tasks_each_once(journal):
    about = About(tasks=3, key_of=lambda label: "other" if label == "t2" else "same")
    await journalled(journal, "r", tasks_of(3), answering("one", "two", "three"), about=about)

    found = journal.recalling(Past(resumes="r")).foresee(
        [("same", "new"), ("same", "t1"), ("same", "more"), ("none", "x")]
    )

    assert {label: ref.label for label, ref in found.reused.items()} == {"t1": "t1", "new": "t0"}
    assert found.reused["new"].tokens > 0
    assert reusable(journal, resumes="another") == {}


async def test_only_tasks_that_are_done_serve_others(journal):
    about = About(tasks=1, key_of=lambda label: "same")
    await journalled(journal, "r", tasks_of(1), answering(Step(answer="x", finish="length")), about=about)

    assert reusable(journal) == {}


async def test_an_answer_in_which_a_key_was_masked_serves_nobody(journal):
    about = About(tasks=2, key_of=lambda label: "same")

    await journalled(journal, "r", tasks_of(2), answering(f"It is {KEY}.", "********* a line of stars"), about=about)

    assert [ref.label for ref in reusable(journal).values()] == ["t1"]


async def test_no_key_reaches_the_disk_and_the_run_itself_is_not_changed(journal, tmp_path):
    secret = "hunter2-of-the-user"
    tasks = [replace(tasks_of(1)[0], prompt=f"Say {KEY} and {secret}.", params={KEY: [secret]})]
    about = About(tasks=1, secrets=(secret,))

    live = await journalled(journal, "r", tasks, answering(f"It is {KEY}; the token: is a word"), about=about)
    raw = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())

    assert KEY in live.roots()[0].output
    assert KEY.encode() not in raw
    assert secret.encode() not in raw
    ended = [event.event for event in journal.events("r") if isinstance(event.event, TaskEnded)]
    assert ended[0].output == f"It is {'*' * len(KEY)}; the token: is a word"


async def test_in_the_mode_hashes_no_content_reaches_the_disk_and_nothing_serves_again(tmp_path):
    journal = Journal.open(tmp_path)
    about = About(tasks=1, key_of=lambda label: "same")
    trial = Trial(
        input="Input7",
        arms={"name": "Arm7", "n": 7777},
        columns={"name": "Cell7", "Column7": 7777},
        row=7777,
    )
    schema = AnswerSchema(name="Answer", json={"properties": {"Field7": {"title": "name", "id": "Id7", "const": 7777}}})
    tasks = [
        replace(
            tasks_of(1)[0],
            prompt="Prompt7 {}",
            system="System7",
            expect=[7777, {"name": "Expect7"}],
            params={"name": "Params7", "metadata": {"id": "Nested7", "tags": ["Listed7"], "n": 7777}},
            trial=trial,
            schema=schema,
        )
    ]

    live = await journalled(journal, "r", tasks, answering('{"Name7": "Answer7"}'), about=about, content=False)
    journal.observer("r", content=False)(stamped(TableRead(dtypes={"Column7": "int64", "name": "string"}), 100))
    journal.close()
    again = Outcomes()
    for event in journal.events("r"):
        again(event)
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert set(re.findall(rb"[A-Z][a-z]+7\b|\b7777\b", raw)) == set()
    assert again.roots()[0].output.startswith("sha256:")
    assert (again.roots()[0].status, again.roots()[0].total_tokens) == ("done", live.roots()[0].total_tokens)
    assert reusable(journal) == {}


@given(EVENTS)
def test_any_event_without_content_is_still_an_event_of_its_kind(event):
    hidden = from_json(json.loads(json.dumps(without_content(to_json(event)))))

    assert type(hidden) is type(event)
    assert getattr(hidden, "label", None) == getattr(event, "label", None)
    check(hidden)


async def test_old_runs_are_deleted_and_what_they_held_is_gone_from_the_file(journal, tmp_path):
    await journalled(journal, "old", tasks_of(1), answering("an old answer"))
    await asyncio.sleep(0.3)
    await journalled(journal, "new", tasks_of(1), answering("a new answer"))

    assert journal.purge(older_than_s=time.time() - journal.runs()[0].started_at + 0.15) == 1

    raw = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir())
    assert [run.id for run in journal.runs()] == ["new"]
    assert list(journal.events("old")) == []
    assert b"an old answer" not in raw
    assert b"a new answer" in raw


async def test_the_oldest_runs_make_room_where_the_journal_is_too_large(journal, tmp_path):
    for name in ("first", "second", "third"):
        await journalled(journal, name, tasks_of(4), answering("long " * 2_000))

    deleted = journal.purge(larger_than_bytes=250_000)

    assert 1 <= deleted < 3
    assert journal.runs()[0].id == "third"
    assert (tmp_path / "state" / NAME).stat().st_size <= 250_000


async def test_a_run_that_goes_on_is_never_deleted(journal):
    journal.observer("r")(stamped(CallIntended(label="a", turn=1, attempt=1, bound_tokens=1)))
    await journal.kept()

    assert journal.purge(older_than_s=-1.0, larger_than_bytes=0) == 0
    assert [run.goes_on for run in journal.runs()] == [True]
