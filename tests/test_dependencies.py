"""Tasks that come after others: when they start, what they are given, and what becomes of them when those fail."""

import asyncio

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.events import TaskEnded, TaskStarted
from xz_magics.providers.scripted import Step
from xz_magics.records import Insert, Quota


def after(*labels, **fields):
    return {"after": labels} | fields


async def test_a_task_starts_when_what_it_comes_after_has_ended():
    tasks = [task("c", index=0, **after("a", "b")), task("a", index=1), task("b", index=2, **after("a"))]
    ran = Ran(tasks, {"scripted:": answering(Step(answer="x", latency_s=0.01))})

    outcomes = await ran.to_the_end()

    assert [o.label for o in outcomes] == ["c", "a", "b"]
    assert order(ran) == ["start a", "end a", "start b", "end b", "start c", "end c"]


async def test_independent_tasks_do_not_wait():
    tasks = [task("a", "slow"), task("b", index=1, **after("a")), task("c", index=2)]
    ran = Ran(tasks, {"slow": answering(Step(answer="x", latency_s=0.1)), "scripted:": answering("y")})

    await ran.to_the_end()

    assert order(ran).index("end c") < order(ran).index("end a") < order(ran).index("start b")


async def test_an_output_goes_into_the_prompt_of_a_later_task_as_it_is():
    first = answering("{{x}} and {{results.b}}")
    tasks = [
        task("a", "first"),
        task(
            "b", "echo", index=1, prompt="Improve: !", inserts=(Insert(field="prompt", at=9, label="a"),), **after("a")
        ),
    ]
    ran = Ran(tasks, {"first": first, "echo": answering(Step(answer="better"))})

    _, second = await ran.to_the_end()

    assert second.messages[0].content == "Improve: {{x}} and {{results.b}}!"


@pytest.mark.parametrize(
    ("step", "when", "status"),
    [
        (Step(answer="part", finish="length"), "text", "done"),
        (Step(answer="part", finish="length"), "done", "skipped"),
        (Step(answer="part", finish="length"), "ended", "done"),
        (Step(status=400), "text", "skipped"),
        (Step(status=400), "done", "skipped"),
        (Step(status=400), "ended", "done"),
        (Step(answer="no", finish="refused"), "text", "skipped"),
        (Step(answer="no", finish="refused"), "ended", "done"),
    ],
)
async def test_what_a_task_asks_of_those_before_it_decides_whether_it_starts(step, when, status):
    tasks = [task("a", "first"), task("b", index=1, **after("a", after_when=when))]

    first, second = await Ran(tasks, {"first": answering(step), "scripted:": answering("x")}).to_the_end()

    assert second.status == status
    if status == "skipped":
        assert second.error_type == "dependency"
        assert f"it comes after 'a', which ended as {first.status}" in second.error


async def test_an_incomplete_output_is_marked_where_it_goes_in():
    step = Step(answer="part", finish="length")
    insert = Insert(field="prompt", at=0, label="a")
    tasks = [task("a", "first"), task("b", index=1, prompt=" end", inserts=(insert,), **after("a"))]

    _, second = await Ran(tasks, {"first": answering(step), "scripted:": answering("x")}).to_the_end()

    assert second.messages[0].content == "part\n[incomplete: length] end"


async def test_a_failure_skips_the_whole_chain_behind_it():
    tasks = [task("a", "bad")] + [task(n, index=i, **after(p)) for i, (n, p) in enumerate(["ba", "cb", "dc"], 1)]
    bad = answering(Step(status=400))

    outcomes = await Ran(tasks, {"bad": bad, "scripted:": answering("x")}).to_the_end()

    assert [o.status for o in outcomes] == ["failed", "skipped", "skipped", "skipped"]
    assert {o.error_type for o in outcomes[1:]} == {"dependency"}


async def test_a_chain_of_thousands_is_skipped_to_its_end():
    tasks = [task("t0", "bad"), *(task(f"t{n}", index=n, **after(f"t{n - 1}")) for n in range(1, 3000))]

    outcomes = await Ran(tasks, {"bad": answering(Step(status=400)), "scripted:": answering("x")}).to_the_end()

    assert {o.status for o in outcomes[1:]} == {"skipped"}
    assert len(outcomes) == 3000


async def test_stop_is_the_reason_of_all_that_never_started():
    tasks = [task("a", "slow"), task("b", index=1, **after("a")), task("c", index=2, **after("b"))]
    ran = Ran(tasks, {"slow": answering(Step(answer="x", latency_s=5)), "scripted:": answering("y")}).start()
    await asyncio.sleep(0.05)

    ran.engine.stop()
    outcomes = await ran.ended()

    assert [o.status for o in outcomes] == ["cancelled", "skipped", "skipped"]
    assert {o.error.split("\n")[0] for o in outcomes} == {"stopped by you"}


async def test_cancelling_a_task_skips_what_comes_after_it():
    tasks = [task("a", "slow"), task("b", index=1, **after("a")), task("c", index=2)]
    ran = Ran(tasks, {"slow": answering(Step(answer="x", latency_s=5)), "scripted:": answering("y")}).start()
    await asyncio.sleep(0.05)

    ran.engine.cancel("a")
    outcomes = await ran.ended()

    assert [o.status for o in outcomes] == ["cancelled", "skipped", "done"]
    assert outcomes[1].error_type == "dependency"


async def test_cancelling_one_that_waits_skips_it_and_what_comes_after_it():
    tasks = [task("a", "slow"), task("b", index=1, **after("a")), task("c", index=2, **after("b"))]
    ran = Ran(tasks, {"slow": answering(Step(answer="x", latency_s=0.2)), "scripted:": answering("y")}).start()
    await asyncio.sleep(0.05)

    ran.engine.cancel("b")
    outcomes = await ran.ended()

    assert [(o.status, o.error_type) for o in outcomes] == [
        ("done", None),
        ("skipped", "cancelled"),
        ("skipped", "dependency"),
    ]


async def test_at_one_slot_a_long_chain_comes_to_its_end():
    tasks = [task(f"t{n}", index=n, **(after(f"t{n - 1}") if n else {})) for n in range(300)]

    outcomes = await Ran(tasks, max_concurrent=1).to_the_end()

    assert {o.status for o in outcomes} == {"done"}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(1, 10), slots=st.integers(1, 4))
def test_any_order_without_a_circle_is_kept_and_every_task_ends_once(data, count, slots):
    earlier = [data.draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set() for n in range(count)]
    written = data.draw(st.permutations(range(count)))
    kinds = data.draw(st.lists(st.sampled_from(["good", "bad", "short"]), min_size=count, max_size=count))
    whens = data.draw(st.lists(st.sampled_from(["text", "done", "ended"]), min_size=count, max_size=count))
    limit = data.draw(st.none() | st.integers(0, count))
    providers = {
        "good": answering("x"),
        "bad": answering(Step(status=400)),
        "short": answering(Step(answer="x", finish="length")),
    }

    async def play():
        tasks = [
            task(f"t{n}", kinds[n], index=at, after=tuple(f"t{m}" for m in earlier[n]), after_when=whens[n])
            for at, n in enumerate(written)
        ]
        ran = Ran(tasks, providers, max_concurrent=slots, quota=Quota(max_executions=limit))
        await ran.to_the_end()
        return ran

    ran = asyncio.run(play())

    steps = order(ran)
    assert sorted(step for step in steps if step.startswith("end")) == sorted(f"end t{n}" for n in range(count))
    for n in range(count):
        if f"start t{n}" in steps:
            assert all(steps.index(f"end t{m}") < steps.index(f"start t{n}") for m in earlier[n])
    assert ran.session.reserved == (0, 0, 0)


def order(ran):
    names = {TaskStarted: "start", TaskEnded: "end"}
    return [f"{names[type(s.event)]} {s.event.label}" for s in ran.events if type(s.event) in names]
