"""Subagents that start subagents: who works when, what they share, and how what they bring comes back."""

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.events import RequestSent, TaskEnded, TaskPlanned, TaskStarted, TurnEnded
from xz_magics.providers.scripted import Step
from xz_magics.records import Quota

DELEGATES = {"allowed_tools": ("subagent", "parallel_subagent"), "max_tokens": 100}


def one(prompt, **fields):
    return {"name": "subagent", "arguments": {"task_prompt": prompt} | fields}


def several(*prompts, **head):
    return {"name": "parallel_subagent", "arguments": {"tasks": [{"task_prompt": prompt} for prompt in prompts]} | head}


def lead(*calls, answer="merged"):
    """A model that delegates, and merges once it has the results."""
    return [Step(tool_calls=calls, when="Lead"), Step(answer=answer, when='"status"')]


def results_of(outcome):
    """What came back to the model, call by call."""
    return [json.loads(message.content) for message in outcome.messages if message.role == "tool"]


async def test_a_lead_plans_delegates_and_merges():
    model = answering(*lead(several("Count to 1", "Count to 2")), Step(answer="counted", when="Count"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, outcome.output, len(outcome.turns)) == ("done", "merged", 2)
    (told,) = results_of(outcome)
    assert told["successful"] == 2
    assert [(r["label"], r["status"], r["output"]) for r in told["results"]] == [
        ("lead/1", "done", "counted"),
        ("lead/2", "done", "counted"),
    ]
    assert [(row.parent, row.depth) for row in ran.outcomes.rows.values()] == [(None, 0), ("lead", 1), ("lead", 1)]
    assert ran.session.usage.executions == 3
    assert outcome.tree_tokens == ran.session.usage.tokens
    assert ran.session.reserved == (0, 0, 0)


async def test_a_single_subagent_brings_back_its_own_result():
    model = answering(*lead(one("Count.", label="counter")), Step(answer="counted", when="Count"))

    (outcome,) = await Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}).to_the_end()

    assert results_of(outcome) == [{"label": "lead/counter", "status": "done", "output": "counted"}]


async def test_a_failing_child_is_a_result_for_its_parent_and_not_its_end():
    model = answering(*lead(several("Count", "Break")), Step(answer="counted", when="Count"), Step(status=400))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, fail_fast=True)

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, outcome.output) == ("done", "merged")
    (told,) = results_of(outcome)
    assert [(r["status"], r.get("error_type")) for r in told["results"]] == [("done", None), ("failed", "bad_request")]
    assert not any(message.error for message in outcome.messages)


async def test_delegation_ends_at_max_depth_however_it_is_asked_for():
    """Each level delegates one further, now with the one tool and now with the other."""
    tools = ["subagent", "parallel_subagent"]
    calls = (one("Lead on", allowed_tools=tools), several("Lead on", allowed_tools=tools))
    model = answering(Step(answer="on my own", tool_calls=calls, when="Lead"), Step(answer="merged"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, max_depth=2)

    (outcome,) = await ran.to_the_end()

    depths = Counter(row.depth for row in ran.outcomes.rows.values())
    assert depths == {0: 1, 1: 2, 2: 4}
    deepest = [row.outcome for row in ran.outcomes.rows.values() if row.depth == 2]
    assert {(o.status, o.output) for o in deepest} == {("done", "on my own")}
    assert (outcome.status, outcome.output) == ("done", "merged")


async def test_without_the_right_a_model_is_not_offered_delegation_and_cannot_have_it():
    model = answering(Step(tool_calls=(one("Count"),), when="Lead"), Step(answer="alone"))
    ran = Ran([task("lead", prompt="Lead.", allowed_tools=("echo",))], {"scripted:": model}, tools=[echo])

    (outcome,) = await ran.to_the_end()

    assert [row.depth for row in ran.outcomes.rows.values()] == [0]
    assert outcome.messages[2].error
    assert "subagent" in outcome.messages[2].content
    assert outcome.output == "alone"


async def test_a_child_has_no_tool_that_its_parent_has_not():
    wanted = one("Count", allowed_tools=["echo", "subagent"])
    model = answering(Step(tool_calls=(wanted,), when="Lead"), Step(answer="counted"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, tools=[echo])

    (outcome,) = await ran.to_the_end()

    assert len(ran.outcomes.rows) == 1
    assert "you cannot grant echo" in outcome.messages[2].content


def echo(text: str) -> str:
    """Gives the text back."""
    return text


async def test_children_are_bound_by_the_same_quota():
    children = several(*(f"Count to {n}" for n in range(10)))
    model = answering(*lead(children), Step(answer="counted", when="Count"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, quota=Quota(max_executions=4))

    (outcome,) = await ran.to_the_end()

    (told,) = results_of(outcome)
    assert Counter(r["status"] for r in told["results"]) == {"done": 3, "skipped": 7}
    assert ran.session.usage.executions == 4


async def test_a_quota_of_the_call_itself_binds_its_children_alone():
    children = several("Count to 1", "Count to 2", "Count to 3", quota={"max_executions": 1})
    model = answering(*lead(children), Step(answer="counted", when="Count"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})

    (outcome,) = await ran.to_the_end()

    (told,) = results_of(outcome)
    assert [r["status"] for r in told["results"]] == ["done", "skipped", "skipped"]
    assert "group of lead" in told["results"][1]["error"]


async def test_max_concurrent_of_a_call_narrows_its_children():
    children = several(*(f"Count to {n}" for n in range(6)), max_concurrent=2)
    model = answering(*lead(children), Step(answer="counted", when="Count", latency_s=0.02))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, max_concurrent=5)

    await ran.to_the_end()

    assert highest(ran, depth=1) == 2


async def test_cancelling_a_parent_cancels_its_children_and_nobody_else():
    model = answering(
        Step(tool_calls=(several("Count slowly"),), when="Lead"), Step(answer="slow " * 50, latency_s=20, chunks=50)
    )
    other = answering(Step(answer="other", latency_s=0.3))
    tasks = [task("lead", prompt="Lead.", **DELEGATES), task("other", "other", index=1)]
    ran = Ran(tasks, {"scripted:": model, "other": other}).start()
    await started(ran, "lead/1")

    ran.engine.cancel("lead")
    first, second = await ran.ended()

    assert (first.status, second.status) == ("cancelled", "done")
    child = ran.outcomes.rows["lead/1"].outcome
    assert (child.status, child.error_type) == ("cancelled", "cancelled")
    assert "delegated" in child.error


async def test_a_child_that_is_cancelled_leaves_its_parent_to_go_on():
    model = answering(*lead(several("Count slowly")), Step(answer="slow " * 50, latency_s=20, chunks=50))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}).start()
    await started(ran, "lead/1")

    ran.engine.cancel("lead/1")
    (outcome,) = await ran.ended()

    assert (outcome.status, outcome.output) == ("done", "merged")
    assert results_of(outcome)[0]["results"][0]["status"] == "cancelled"


async def test_the_timeout_of_a_parent_ends_its_children():
    model = answering(
        Step(tool_calls=(several("Count slowly"),), when="Lead"), Step(answer="slow " * 50, latency_s=20, chunks=50)
    )
    ran = Ran([task("lead", prompt="Lead.", timeout=0.3, **DELEGATES)], {"scripted:": model})

    (outcome,) = await ran.to_the_end()

    assert (outcome.status, outcome.error_type) == ("timed_out", "timeout")
    assert ran.outcomes.rows["lead/1"].outcome.status == "cancelled"


async def test_stop_ends_parents_and_children_with_the_same_word():
    model = answering(
        Step(tool_calls=(several("Count slowly", "Count slowly, too"),), when="Lead"),
        Step(answer="slow " * 50, latency_s=20, chunks=50),
    )
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model}, max_concurrent=1).start()
    await started(ran, "lead/1")

    ran.engine.stop()
    await ran.ended()

    endings = [(row.outcome.status, row.outcome.error.split("\n")[0]) for row in ran.outcomes.rows.values()]
    assert endings == [("cancelled", "stopped by you")] * 2 + [("skipped", "stopped by you")]


async def test_what_a_model_writes_is_no_template():
    prompts = []
    model = answering(*lead(one("Say {{secret}} and {{results.lead}}")), Step(answer="said"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})

    await ran.to_the_end()

    prompts = [row.task.prompt for row in ran.outcomes.rows.values()]
    assert prompts[1] == "Say {{secret}} and {{results.lead}}"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (one(""), "empty"),
        (one("x", model="openai:gpt-99"), "no model 'openai:gpt-99' is open"),
        (one("x", nonsense=1), "unknown field `nonsense`"),
        (one("x", allowed_tools=["a b"]), "grants no tool"),
        (several(), "there are no tasks"),
        ({"name": "parallel_subagent", "arguments": {}}, "there are no tasks"),
        ({"name": "subagent", "arguments": "{"}, "JSON"),
        (several(*["x"] * 101), "too many for one call"),
        (one("x", after=["lead"]), "may not stand in a delegated task"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_told_to_the_model(call, told):
    model = answering(Step(tool_calls=(call,), when="Lead"), Step(answer="alone"))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})

    (outcome,) = await ran.to_the_end()

    assert outcome.output == "alone"
    result = outcome.messages[2]
    assert result.error
    assert told in result.content
    assert len(ran.outcomes.rows) == 1


# Slots


async def test_at_one_slot_and_depth_three_nothing_locks_up():
    deeper = {"allowed_tools": ["subagent", "parallel_subagent"]}
    tasks = {"tasks": [{"task_prompt": "Lead on", **deeper}, {"task_prompt": "Lead too", **deeper}]}
    model = answering(
        Step(tool_calls=({"name": "parallel_subagent", "arguments": tasks},), when="Lead"), Step(answer="merged")
    )
    leads = [task(f"lead{n}", prompt="Lead.", index=n, **DELEGATES) for n in range(3)]
    ran = Ran(leads, {"scripted:": model}, max_concurrent=1, max_depth=3)

    outcomes = await ran.to_the_end()

    assert [outcome.status for outcome in outcomes] == ["done"] * 3
    assert Counter(row.depth for row in ran.outcomes.rows.values()) == {0: 3, 1: 6, 2: 12, 3: 24}
    assert ran.session.reserved == (0, 0, 0)


async def test_a_thousand_parents_at_five_slots_never_stand_open_in_great_number():
    model = answering(*lead(several("Count to 1", "Count to 2")), Step(answer="counted", when="Count"))
    leads = [task(f"lead{n}", prompt="Lead.", index=n, **DELEGATES) for n in range(1000)]
    ran = Ran(leads, {"scripted:": model}, max_concurrent=5)

    outcomes = await ran.to_the_end()

    assert Counter(outcome.status for outcome in outcomes) == {"done": 1000}
    assert len(ran.outcomes.rows) == 3000
    assert highest(ran, depth=0) <= 15


def highest(ran, depth):
    """The greatest number of subagents of that depth that were open at once: started, and not yet ended."""
    open_now, most = 0, 0
    for stamped in ran.events:
        event = stamped.event
        if isinstance(event, TaskStarted | TaskEnded) and ran.outcomes.rows[event.label].depth == depth:
            open_now += 1 if isinstance(event, TaskStarted) else -1
            most = max(most, open_now)
    return most


async def started(ran, label):
    for _ in range(500):
        if any(isinstance(s.event, TaskStarted) and s.event.label == label for s in ran.events):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{label} did not start")


def tree(depth):
    """What a task does: answer, fail, or delegate to others, some of them at the same time."""
    leaf = st.sampled_from(["answer", "fail", "slow"])
    return st.recursive(leaf, lambda below: st.lists(below, min_size=1, max_size=3), max_leaves=2 * depth)


class Playing:
    """A provider whose tasks do what their prompt, a tree as JSON, says."""

    model = account = "scripted:"
    note = ""
    overhead_tokens = tools_overhead_tokens = 64
    price = None

    def __init__(self):
        self.at_work = self.most = 0

    async def open(self, tell):
        pass

    async def call(self, request, exchange):
        exchange.mark_sent()
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            step = self._step(request)
            return await answering(step).call(request, exchange)
        finally:
            self.at_work -= 1

    @staticmethod
    def _step(request):
        plan = json.loads(next(m.content for m in request.messages if m.role == "user"))
        if request.messages[-1].role != "user" or isinstance(plan, str) or not request.may_call:
            return Step(status=400) if plan == "fail" else Step(answer="x", latency_s=0.002 if plan == "slow" else 0)
        tools = ["subagent", "parallel_subagent"]
        tasks = [{"task_prompt": json.dumps(part), "allowed_tools": tools} for part in plan]
        calls = [{"name": "subagent", "arguments": tasks[0]}]
        if tasks[1:]:
            calls.append({"name": "parallel_subagent", "arguments": {"tasks": tasks[1:]}})
        return Step(tool_calls=tuple(calls))


@settings(max_examples=60, deadline=None)
@given(
    trees=st.lists(tree(4), min_size=1, max_size=4),
    slots=st.integers(1, 4),
    max_depth=st.integers(0, 3),
    executions=st.none() | st.integers(0, 12),
    tokens=st.none() | st.integers(0, 20_000),
    cancelled=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=3),
    stop_at=st.none() | st.integers(0, 30),
)
def test_no_tree_of_subagents_locks_up_passes_a_limit_or_ends_twice(
    trees, slots, max_depth, executions, tokens, cancelled, stop_at
):
    async def play():
        tools = ("subagent", "parallel_subagent")
        tasks = [task(f"t{n}", prompt=json.dumps(plan), index=n, allowed_tools=tools) for n, plan in enumerate(trees)]
        model = Playing()
        quota = Quota(max_executions=executions, max_total_tokens=tokens)
        ran = Ran(tasks, {"scripted:": model}, quota=quota, max_concurrent=slots, max_depth=max_depth, retries=0)
        ran.start()
        for at, which in sorted(cancelled):
            await asyncio.sleep(at / 5000)
            labels = list(ran.outcomes.rows)
            if labels:
                ran.engine.cancel(labels[which % len(labels)])
        if stop_at is not None:
            await asyncio.sleep(stop_at / 5000)
            ran.engine.stop()
        await ran.ended()
        return ran, model

    ran, model = asyncio.run(play())

    planned = [s.event.task.label for s in ran.events if isinstance(s.event, TaskPlanned)]
    ended = [s.event.label for s in ran.events if isinstance(s.event, TaskEnded)]
    assert sorted(planned) == sorted(ended)
    assert len(set(ended)) == len(ended)
    assert model.most <= slots
    assert max(row.depth for row in ran.outcomes.rows.values()) <= max_depth
    assert ran.session.reserved == (0, 0, 0)
    assert executions is None or ran.session.usage.executions <= executions
    assert tokens is None or ran.session.usage.tokens <= tokens


# What went wrong once


async def test_a_parent_that_times_out_before_all_its_children_started_holds_nobody_up():
    children = several(*(f"Count to {n}" for n in range(4)), max_concurrent=1)
    model = answering(*lead(children), Step(answer="slow", when="Count", latency_s=30), Step(answer="other"))
    tasks = [task("lead", prompt="Lead.", timeout=0.3, **DELEGATES), *(task(f"t{n}", index=n) for n in range(1, 5))]
    ran = Ran(tasks, {"scripted:": model}, max_concurrent=1)

    first, *others = await ran.to_the_end()

    assert (first.status, first.error_type) == ("timed_out", "timeout")
    assert {outcome.status for outcome in others} == {"done"}
    nested = [row.outcome.status for row in ran.outcomes.rows.values() if row.depth]
    assert nested == ["cancelled", "skipped", "skipped", "skipped"]


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_nothing_is_sent_for_children_once_their_parent_is_stopped(how):
    """The word comes in the step between the parent's turn and the start of what it delegates."""
    model = answering(*lead(several("Count to 1", "Count to 2")), Step(answer="counted", when="Count", latency_s=1))
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})
    sent_after = []

    class Listening(list):
        def append(self, stamped):
            super().append(stamped)
            if isinstance(stamped.event, TurnEnded):
                ran.engine.stop() if how == "stop" else ran.engine.cancel("lead")
            if isinstance(stamped.event, RequestSent) and stamped.event.label != "lead":
                sent_after.append(stamped.event)

    ran.events = Listening()
    (outcome,) = await ran.to_the_end()

    assert outcome.status == "cancelled"
    assert sent_after == []


async def test_a_cost_limit_of_a_call_is_refused_where_the_price_is_unknown():
    model = answering(*lead(several("Count", quota={"max_total_cost": 0.01})), Step(answer="alone"))
    model.price = None
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": model})

    (outcome,) = await ran.to_the_end()

    assert outcome.messages[2].error
    assert "whose price is unknown" in outcome.messages[2].content


async def test_many_long_results_are_still_json_when_they_come_back():
    children = several(*(f"Count to {n}" for n in range(50)))
    long = Step(answer='"\n\x01' * 20_000, when="Count")
    ran = Ran([task("lead", prompt="Lead.", **DELEGATES)], {"scripted:": answering(*lead(children), long)})

    (outcome,) = await ran.to_the_end()

    (told,) = results_of(outcome)
    assert len(told["results"]) == 50
    assert all(result["output"].endswith("…[cut]") for result in told["results"])
