import asyncio
from collections import Counter
from functools import partialmethod

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.engine import Run
from xz_magics.events import RunEnded, TaskEnded, TaskPlanned, TaskStarted, from_json, to_json
from xz_magics.providers.scripted import Script, ScriptedProvider, Step
from xz_magics.quotas import Tracker
from xz_magics.records import Quota


def statuses(outcomes):
    return [(outcome.label, outcome.status, outcome.error_type) for outcome in outcomes]


async def test_rows_stand_in_the_order_written_whoever_ends_first():
    steps = [Step(answer=f"answer {at}", latency_s=0.05 - at / 100) for at in range(4)]
    ran = Ran([task(f"t{at}", index=at) for at in range(4)], {"scripted:": answering(*steps)})

    outcomes = await ran.to_the_end()

    assert [outcome.label for outcome in outcomes] == ["t0", "t1", "t2", "t3"]
    assert [outcome.output for outcome in outcomes] == ["answer 0", "answer 1", "answer 2", "answer 3"]


async def test_no_more_than_max_concurrent_subagents_are_at_work():
    ran = Ran(
        [task(f"t{at}") for at in range(20)],
        {"scripted:": answering(Step(answer="x", latency_s=0.005))},
        max_concurrent=3,
    )

    await ran.to_the_end()

    at_work, highest = 0, 0
    for stamped in ran.events:
        at_work += isinstance(stamped.event, TaskStarted) - isinstance(stamped.event, TaskEnded)
        highest = max(highest, at_work)
    assert highest == 3


async def test_fail_fast_stops_the_others_and_keeps_all_rows_and_texts():
    providers = {
        "bad": answering(Step(status=400, latency_s=0.02)),
        "slow": answering(Step(answer="half an answer" * 100, latency_s=5, chunks=1000)),
        "never": answering("x"),
    }
    tasks = [task("a", "bad"), task("b", "slow"), task("c", "never")]

    outcomes = await Ran(tasks, providers, fail_fast=True, max_concurrent=2).to_the_end()

    assert statuses(outcomes) == [
        ("a", "failed", "bad_request"),
        ("b", "cancelled", "fail_fast"),
        ("c", "skipped", "fail_fast"),
    ]
    assert ("half an answer" * 100).startswith(outcomes[1].output)


async def test_without_fail_fast_a_failure_is_a_row_and_the_others_go_on():
    providers = {"bad": answering(Step(status=400)), "good": answering("yes")}

    outcomes = await Ran([task("a", "bad"), task("b", "good")], providers).to_the_end()

    assert statuses(outcomes) == [("a", "failed", "bad_request"), ("b", "done", None)]


async def test_stop_ends_everything_at_once_and_tells_each_row_apart():
    slow = answering("quick", Step(answer="long answer", latency_s=20, chunks=2000))
    ran = Ran([task(f"t{at}") for at in range(4)], {"scripted:": slow}, max_concurrent=2).start()
    await asyncio.sleep(0.1)

    ran.engine.stop()
    outcomes = await ran.ended()

    assert [outcome.status for outcome in outcomes] == ["done", "cancelled", "cancelled", "skipped"]
    assert {outcome.error_type for outcome in outcomes[1:]} == {"cancelled"}
    assert ran.engine.stopped
    assert ran.session.reserved == (0, 0, 0)


async def test_cancelling_one_task_leaves_the_others_alone():
    slow = answering(Step(answer="x", latency_s=0.2))
    ran = Ran([task("a"), task("b"), task("c")], {"scripted:": slow}, max_concurrent=2).start()
    await asyncio.sleep(0.02)

    ran.engine.cancel("a")
    ran.engine.cancel("c")
    ran.engine.cancel("nobody")
    outcomes = await ran.ended()

    assert [outcome.status for outcome in outcomes] == ["cancelled", "done", "skipped"]
    assert not ran.engine.stopped


async def test_the_time_of_a_quota_ends_what_runs_and_skips_what_waits():
    slow = answering(Step(answer="abcdefgh" * 100, latency_s=20, chunks=400))
    ran = Ran([task("a"), task("b")], {"scripted:": slow}, quota=Quota(max_total_time=0.15), max_concurrent=1)

    first, second = await ran.to_the_end()

    assert (first.status, first.error_type, second.status) == ("timed_out", "quota_exceeded", "skipped")
    assert first.output.startswith("abcd")
    assert "max_total_time of the run is 0.15 s" in first.error


async def test_sixty_tasks_under_a_limit_of_ten_executions_run_ten():
    ran = Ran([task(f"t{at}") for at in range(60)], quota=Quota(max_executions=10), max_concurrent=60)

    outcomes = await ran.to_the_end()

    assert Counter(outcome.status for outcome in outcomes) == {"done": 10, "skipped": 50}
    assert [outcome.status for outcome in outcomes[:10]] == ["done"] * 10
    assert ran.session.usage.executions == 10


async def test_twenty_parallel_calls_never_pass_a_limit_of_tokens():
    steps = answering(Step(answer="x", input_tokens=50, output_tokens=50, latency_s=0.01))
    ran = Ran([task(f"t{at}") for at in range(20)], {"scripted:": steps}, quota=Quota(max_total_tokens=300))

    outcomes = await ran.to_the_end()

    assert Counter(outcome.status for outcome in outcomes) == {"done": 2, "skipped": 18}
    assert ran.tracker.usage.tokens == 200
    assert "this needs up to 171 more" in outcomes[5].error


async def test_a_view_that_fails_is_not_drawn_again_and_the_run_goes_on(caplog):
    drawn = []

    def beat():
        drawn.append(1)
        raise ZeroDivisionError

    ran = Ran([task()], {"scripted:": answering(Step(answer="x", latency_s=0.25))}, beat=beat)

    outcomes = await ran.to_the_end()

    assert outcomes[0].success
    assert len(drawn) == 1
    assert "the live view failed" in caplog.text


async def test_the_view_is_drawn_once_more_after_the_end():
    drawn = []

    def beat():
        drawn.append(ran.outcomes.duration_s)

    ran = Ran([task()], {"scripted:": answering("x")}, beat=beat)
    await ran.to_the_end()

    assert drawn[-1] == ran.outcomes.duration_s is not None


async def test_a_provider_that_goes_on_opening_after_stop_is_not_heard_any_more():
    model = answering("x")
    told = asyncio.Event()

    async def open_slowly(tell):
        def note_late():
            tell("still starting")
            loop.call_soon_threadsafe(told.set)

        loop = asyncio.get_running_loop()
        loop.call_later(0.1, note_late)
        await asyncio.sleep(30)

    model.open = open_slowly
    ran = Ran([task()], {"scripted:": model})
    ran.start()
    await asyncio.sleep(0.02)
    ran.engine.stop()
    await ran.job
    await told.wait()
    await asyncio.sleep(0)

    assert ran.outcomes.note == ""
    assert isinstance(ran.events[-1].event, RunEnded)


async def test_cancelling_the_coroutine_itself_still_ends_every_task():
    ran = Ran(
        [task(f"t{at}") for at in range(4)], {"scripted:": answering(Step(answer="x", latency_s=9))}, max_concurrent=2
    )
    ran.start()
    await asyncio.sleep(0.02)

    ran.job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ran.job

    assert [outcome.status for outcome in ran.outcomes.roots()] == ["cancelled", "cancelled", "skipped", "skipped"]
    assert [job for job in asyncio.all_tasks() if job is not asyncio.current_task()] == []


async def test_nothing_is_left_running_in_the_loop():
    before = asyncio.all_tasks()

    await Ran([task(f"t{at}") for at in range(10)]).to_the_end()

    assert asyncio.all_tasks() == before


async def test_a_provider_that_cannot_be_opened_is_an_error_before_anything_is_sent():
    from xz_magics.errors import ModelError

    class Closed:
        account = model = "closed"

        async def open(self, tell):
            tell("opening")
            raise ModelError("no such model", "name another")

    ran = Ran([task(model="closed")], {"closed": Closed()}).start()

    with pytest.raises(ModelError):
        await ran.job
    assert {type(stamped.event).__name__ for stamped in ran.events} <= {"Noted"}


class Opening(ScriptedProvider):
    """Ready only once it is told so."""

    def __init__(self):
        super().__init__("", Script(steps=(Step(answer="hi"),)))
        self.ready = asyncio.Event()
        self.given_up = False

    async def open(self, tell):
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            self.given_up = True
            raise


async def test_a_task_that_is_cancelled_while_its_model_is_made_ready_has_its_row_all_the_same():
    provider = Opening()
    ran = Ran([task("a"), task("b")], {"scripted:": provider}).start()
    await asyncio.sleep(0.01)

    ran.engine.cancel("a")
    await asyncio.sleep(0.01)
    provider.ready.set()
    outcomes = await ran.ended()

    assert statuses(outcomes) == [("a", "skipped", "cancelled"), ("b", "done", None)]


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_stopping_while_a_model_is_made_ready_waits_until_that_has_ended(way):
    provider = Opening()
    ran = Ran([task("a"), task("b")], {"scripted:": provider}).start()
    await asyncio.sleep(0.01)

    ran.engine.stop() if way == "stop" else ran.job.cancel()
    await asyncio.wait({ran.job})

    assert provider.given_up
    assert asyncio.all_tasks() == {asyncio.current_task()}
    skipped = [("a", "skipped", "cancelled"), ("b", "skipped", "cancelled")]
    assert statuses(ran.outcomes.roots()) == (skipped if way == "stop" else [])


STEPS = st.builds(
    Step,
    answer=st.sampled_from(["", "yes", "a longer answer"]),
    status=st.sampled_from([200, 200, 200, 400, 401, 429, 500, 503]),
    latency_s=st.sampled_from([0, 0.001, 0.002]),
    chunks=st.integers(1, 3),
    cut=st.none() | st.integers(0, 2),
    finish=st.sampled_from(["stop", "stop", "length", "refused"]),
    input_tokens=st.integers(1, 60),
    output_tokens=st.integers(0, 40),
    retry_after_s=st.just(0.001),
)


@settings(deadline=None, max_examples=120)
@given(
    steps=st.lists(STEPS, min_size=1, max_size=8),
    count=st.integers(0, 12),
    slots=st.integers(1, 6),
    limit=st.none() | st.integers(0, 900),
    executions=st.none() | st.integers(0, 8),
    fail_fast=st.booleans(),
    summary=st.booleans(),
    cancels=st.dictionaries(st.integers(0, 12), st.integers(0, 5), max_size=4),
    stop_at=st.none() | st.integers(0, 6),
)
def test_whatever_fails_or_is_cancelled_each_task_ends_once_and_no_limit_is_passed(
    steps, count, slots, limit, executions, fail_fast, summary, cancels, stop_at
):
    session = Tracker(Quota(max_total_tokens=limit, max_executions=executions))
    tasks = [task(f"t{at}", summary_prompt="Sum up." if summary else None, max_tokens=40) for at in range(count)]

    async def everything():
        ran = Ran(
            tasks,
            {"scripted:": answering(*steps)},
            session=session,
            retries=1,
            max_concurrent=slots,
            fail_fast=fail_fast,
        )
        ran.start()
        for turn in range(8):
            await asyncio.sleep(0.0005)
            assert limit is None or session.usage.tokens + session.reserved.tokens <= limit
            for label, when in cancels.items():
                if when == turn:
                    ran.engine.cancel(f"t{label}")
            if stop_at == turn:
                ran.engine.stop()
        await ran.ended()
        return ran, asyncio.all_tasks() - {asyncio.current_task()}

    ran, left = asyncio.run(everything())

    ended = Counter(stamped.event.label for stamped in ran.events if isinstance(stamped.event, TaskEnded))
    assert ended == {f"t{at}": 1 for at in range(count)}
    assert session.reserved == (0, 0, 0)
    assert left == set()
    assert limit is None or session.usage.tokens <= limit
    assert executions is None or session.usage.executions <= executions
    charged = sum(outcome.total_tokens or 0 for outcome in ran.outcomes.all())
    assert charged == session.usage.tokens == ran.tracker.usage.tokens
    assert from_json(to_json(tuple(ran.events))) == tuple(ran.events)


def test_stop_is_heard_before_the_run_has_begun():
    async def stopped_first():
        ran = Ran([task()])
        ran.start()
        ran.engine.stop()
        return await ran.ended()

    assert [outcome.status for outcome in asyncio.run(stopped_first())] == ["skipped"]


async def test_ten_thousand_tasks_do_not_stand_open_at_once():
    most = []
    ran = Ran(
        [task(f"t{at}") for at in range(10_000)],
        {"scripted:": answering(Step(answer="x"))},
        max_concurrent=50,
        around={"emit_text": False},
    )
    ran.start()
    while not ran.job.done():
        most.append(len(asyncio.all_tasks()))
        await asyncio.sleep(0.02)
    await ran.job

    assert max(most) < 60
    assert sum(isinstance(stamped.event, TaskPlanned) for stamped in ran.events) == 10_000
    assert ran.outcomes.counts["done"] == 10_000
    assert isinstance(ran.engine, Run)


# What a run does after its tasks


def furthered(monkeypatch, further, *given, **run):
    """A run that goes further in this way once its tasks have ended."""
    monkeypatch.setattr(Run, "execute", partialmethod(Run.execute, further=further))
    return Ran(*given, **run)


def extra(label, model="scripted:"):
    return task(label, model, purpose="combine")


async def test_more_tasks_are_worked_on_after_those_as_written_and_come_back_in_their_order(monkeypatch):
    endings = []

    async def further(work):
        assert [row.state for row in ran.outcomes.written] == ["done", "done"]
        endings.extend(await work([extra("late"), task("j", purpose="judge", of="a"), extra("quick")]))

    provider = answering("1", "2", Step(answer="3", latency_s=0.05), "4", "5")
    ran = furthered(monkeypatch, further, [task("a"), task("b")], {"scripted:": provider})
    outcomes = await ran.to_the_end()

    assert [outcome.label for outcome in outcomes] == ["a", "b"]
    assert [(ended.label, ended.status) for ended in endings] == [("late", "done"), ("j", "done"), ("quick", "done")]
    judge = ran.outcomes.rows["j"].outcome
    assert (judge.parent, judge.depth, judge.purpose) == ("a", 1, "judge")
    assert ran.outcomes.rows["a"].outcome.tree_tokens == ran.outcomes.rows["a"].outcome.total_tokens
    assert ran.events[-1].event == RunEnded(duration_s=ran.outcomes.duration_s)


async def test_a_label_that_is_taken_gets_a_number(monkeypatch):
    endings = []

    async def further(work):
        endings.extend(await work([extra("a"), extra("a"), extra("b")]))
        endings.extend(await work([extra("b")]))

    await furthered(monkeypatch, further, [task("a")]).to_the_end()

    assert [ended.label for ended in endings] == ["a (2)", "a (3)", "b", "b (2)"]


async def test_what_fails_after_the_tasks_is_logged_and_the_run_ends_as_it_would(monkeypatch, caplog):
    async def further(work):
        raise ValueError("odd")

    ran = furthered(monkeypatch, further, [task("a")])
    (outcome,) = await ran.to_the_end()

    assert outcome.status == "done"
    assert "ValueError: odd" in caplog.text
    assert isinstance(ran.events[-1].event, RunEnded)


async def test_stop_ends_what_works_after_the_tasks_and_what_follows_is_skipped(monkeypatch):
    endings = []

    async def further(work):
        endings.extend(await work([extra(label, "slow") for label in ("j1", "j2", "j3")]))
        endings.extend(await work([extra("k")]))

    providers = {"scripted:": answering("hi"), "slow": answering(Step(answer="long answer", latency_s=20, chunks=2000))}
    ran = furthered(monkeypatch, further, [task("a")], providers, max_concurrent=2).start()
    while not any(row.started for row in ran.outcomes.rows.values() if row.task.label.startswith("j")):
        await asyncio.sleep(0.01)

    ran.engine.stop()
    (outcome,) = await ran.ended()

    assert outcome.status == "done"
    assert [ended.status for ended in endings] == ["cancelled", "cancelled", "skipped", "skipped"]
    assert {ended.error_type for ended in endings} == {"cancelled"}
    assert ran.session.reserved == (0, 0, 0)


async def test_stop_ends_what_waits_for_no_task(monkeypatch):
    waits = asyncio.Event()

    async def further(work):
        waits.set()
        await asyncio.sleep(60)

    ran = furthered(monkeypatch, further, [task("a")]).start()
    await waits.wait()

    ran.engine.stop()
    (outcome,) = await ran.ended()

    assert outcome.status == "done"
    assert ran.engine.stopped


async def test_after_a_stop_nothing_more_is_begun(monkeypatch):
    async def further(work):
        raise AssertionError("nothing may follow a Stop")

    slow = answering(Step(answer="long answer", latency_s=20, chunks=2000))
    ran = furthered(monkeypatch, further, [task("a")], {"scripted:": slow}).start()
    await asyncio.sleep(0.05)

    ran.engine.stop()
    (outcome,) = await ran.ended()

    assert outcome.status == "cancelled"


@pytest.mark.parametrize(
    ("run", "error_type"),
    [({"fail_fast": True}, "fail_fast"), ({"quota": Quota(max_total_time=0.1)}, "quota_exceeded")],
)
async def test_after_another_end_of_all_what_is_asked_for_is_skipped(monkeypatch, run, error_type):
    endings = []

    async def further(work):
        endings.extend(await work([extra("j")]))

    providers = {
        "bad": answering(Step(status=400)),
        "slow": answering(Step(answer="x" * 99, latency_s=20, chunks=99)),
        "scripted:": answering("hi"),
    }
    ran = furthered(monkeypatch, further, [task("a", "bad"), task("b", "slow")], providers, **run)
    await ran.to_the_end()

    assert [(ended.status, ended.error_type) for ended in endings] == [("skipped", error_type)]


async def test_the_time_of_a_quota_holds_after_the_tasks_too(monkeypatch):
    endings = []

    async def further(work):
        endings.extend(await work([extra("j", "slow"), extra("k", "slow")]))

    providers = {"scripted:": answering("hi"), "slow": answering(Step(answer="x" * 99, latency_s=20, chunks=99))}
    ran = furthered(monkeypatch, further, [task("a")], providers, quota=Quota(max_total_time=0.3), max_concurrent=1)
    (outcome,) = await ran.to_the_end()

    assert outcome.status == "done"
    assert [(ended.status, ended.error_type) for ended in endings] == [
        ("timed_out", "quota_exceeded"),
        ("skipped", "quota_exceeded"),
    ]
    assert "max_total_time" in ran.outcomes.stop_reason
