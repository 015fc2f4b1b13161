"""A subagent over several turns: the tools that it calls, when it has to come to an end, and what is kept."""

import asyncio
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.agent import WITHOUT_SUMMARY
from xz_magics.events import ToolAnswered, ToolCalled
from xz_magics.prices import FlatPrice
from xz_magics.providers.scripted import Step
from xz_magics.records import Quota
from xz_magics.tools import ToolError


def echo(text: str) -> str:
    """Gives the text back."""
    return f"echo of {text}"


def broken(text: str) -> str:
    """Never works."""
    raise ToolError(f"{text} is out of order", "go on without it")


async def slow(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return f"slept {seconds}"


TOOLS = (echo, broken, slow)
NAMES = tuple(tool.__name__ for tool in TOOLS)


def calling(name="echo", /, *, answer="", **arguments):
    return Step(answer=answer, tool_calls=({"name": name, "arguments": arguments or {"text": "hi"}},))


def calling_several(*calls, answer=""):
    return Step(answer=answer, tool_calls=tuple({"name": name, "arguments": given} for name, given in calls))


async def ran_with(*steps, **options):
    fields = {"allowed_tools": NAMES, "max_tokens": 100} | options.pop("fields", {})
    ran = Ran([task(**fields)], {"scripted:": answering(*steps)}, tools=TOOLS, **options)
    (outcome,) = await ran.to_the_end()
    assert ran.session.reserved == (0, 0, 0)
    return outcome, ran


async def outcome_of(*steps, **options):
    return (await ran_with(*steps, **options))[0]


def told(outcome):
    """What the tools gave back, in order."""
    return [message.content for message in outcome.messages if message.role == "tool"]


# Turns and tools


async def test_a_model_that_calls_a_tool_gets_its_result_and_answers():
    outcome, ran = await ran_with(calling(answer="Let me see.", text="one"), "It was one.")

    assert (outcome.status, outcome.output, len(outcome.turns)) == ("done", "It was one.", 2)
    assert [turn.tool_calls for turn in outcome.turns] == [1, 0]
    assert [(m.role, m.content, m.tool) for m in outcome.messages] == [
        ("user", "Say hi.", None),
        ("assistant", "Let me see.", None),
        ("tool", "echo of one", "echo"),
        ("assistant", "It was one.", None),
    ]
    assert outcome.messages[1].tool_calls[0].id == outcome.messages[2].tool_call_id
    events = [s.event for s in ran.events if isinstance(s.event, ToolCalled | ToolAnswered)]
    assert [type(event) for event in events] == [ToolCalled, ToolAnswered]
    assert not events[1].error


async def test_calls_of_one_turn_run_at_the_same_time_and_answer_in_their_order():
    calls = calling_several(*[("slow", {"seconds": 0.3 - n / 100}) for n in range(10)])

    outcome = await asyncio.wait_for(outcome_of(calls, "done"), 2)

    assert told(outcome) == [f"slept {0.3 - n / 100}" for n in range(10)]


async def test_a_task_without_tools_has_none_and_one_that_calls_one_all_the_same_fails():
    outcome = await outcome_of(Step(finish="tool_calls", answer="call"), fields={"allowed_tools": ()})

    assert (outcome.status, outcome.error_type) == ("failed", "tool_protocol")
    assert outcome.output == "call"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step(tool_calls=({"name": "echo", "arguments": "{"},)), "no JSON"),
        (Step(tool_calls=({"name": "echo", "arguments": '["hi"]'},)), "object"),
        (calling(text=["no", "text"]), "text"),
        (calling(words="hi"), "words"),
        (calling("ecko"), "ecko"),
        (calling("subagent", task_prompt="x"), "subagent"),
        (calling("broken", text="This"), "This is out of order"),
    ],
    ids=["no JSON", "no object", "wrong type", "unknown argument", "unknown tool", "tool not granted", "tool error"],
)
async def test_what_is_wrong_with_a_call_is_told_to_the_model_which_goes_on(step, words):
    outcome = await outcome_of(step, "I see.")

    assert (outcome.status, outcome.output) == ("done", "I see.")
    assert outcome.messages[2].error
    assert words in told(outcome)[0]


async def test_three_faulty_turns_in_a_row_are_told_and_the_fourth_ends_the_task():
    outcome = await outcome_of(*[calling(f"tool{n}", answer=f"try {n}") for n in range(9)])

    assert (outcome.status, outcome.error_type) == ("failed", "tool_protocol")
    assert len(outcome.turns) == 4
    assert outcome.output == "try 3"


async def test_a_call_that_works_in_between_begins_the_count_of_faults_anew():
    wrong = [calling(f"tool{n}") for n in range(6)]

    outcome = await outcome_of(*wrong[:3], calling(), *wrong[3:], "at last")

    assert (outcome.status, outcome.output, len(outcome.turns)) == ("done", "at last", 8)


async def test_one_good_call_of_a_turn_makes_it_a_good_turn():
    mixed = [calling_several(("echo", {"text": str(n)}), ("nothing", {})) for n in range(6)]

    outcome = await outcome_of(*mixed, "done")

    assert (outcome.status, len(outcome.turns)) == ("done", 7)


async def test_a_turn_that_ends_with_calls_that_cannot_be_read_is_told_so():
    outcome = await outcome_of(Step(finish="tool_calls", answer="well"), "done after all")

    assert (outcome.status, outcome.output) == ("done", "done after all")
    assert "no call came" in outcome.messages[2].content


# When it has to come to an end


async def test_the_last_of_max_turns_is_told_so_and_has_no_tools():
    steps = [calling(answer=f"step {n}", text=str(n)) for n in range(10)]

    outcome = await outcome_of(*steps, fields={"max_turns": 3})

    assert (outcome.status, outcome.error_type) == ("incomplete", "turn_limit")
    assert "max_turns = 3" in outcome.error
    assert outcome.output == "step 2"
    assert [turn.tool_calls for turn in outcome.turns] == [1, 1, 0]
    assert outcome.messages[-2].role == "user"
    assert "last turn" in outcome.messages[-2].content


async def test_a_model_that_is_done_in_its_last_turn_but_one_is_done():
    outcome = await outcome_of(calling(), "done", fields={"max_turns": 3})

    assert (outcome.status, outcome.error_type) == ("done", None)


async def test_with_a_single_turn_there_are_no_tools():
    outcome = await outcome_of(calling(answer="alone"), fields={"max_turns": 1})

    assert (outcome.status, outcome.output, len(outcome.turns)) == ("done", "alone", 1)


async def test_a_last_turn_without_text_leaves_what_was_said_before():
    outcome = await outcome_of(calling(answer="so far"), Step(finish="stop"), fields={"max_turns": 2})

    assert (outcome.status, outcome.output) == ("incomplete", "so far")
    assert "last turn failed" in outcome.error


async def test_the_same_call_three_times_in_a_row_is_told_and_ends_the_loop():
    calls = [Step(answer=f"step {n}", tool_calls=({"name": "echo", "arguments": '{"text":  "a"}'},)) for n in range(9)]

    outcome = await outcome_of(*calls)

    assert (outcome.status, outcome.error_type) == ("incomplete", "turn_limit")
    assert "echo was called 3 times in a row with the same arguments" in outcome.error
    assert [text.startswith("not called") for text in told(outcome)] == [False, False, True]
    assert len(outcome.turns) == 4


async def test_equal_calls_side_by_side_are_no_circle():
    outcome = await outcome_of(calling_several(*[("echo", {"text": "dice"})] * 5), "done")

    assert (outcome.status, told(outcome)) == ("done", ["echo of dice"] * 5)


async def test_a_turn_has_a_bound_of_calls():
    outcome = await outcome_of(calling_several(*[("echo", {"text": str(n)}) for n in range(100)]), "done")

    assert outcome.status == "done"
    assert [text.startswith("not called: at most 64") for text in told(outcome)] == [False] * 64 + [True] * 36


async def test_other_arguments_are_another_call():
    calls = [calling(text="ab"[n % 2]) for n in range(8)]

    outcome = await outcome_of(*calls, "done")

    assert (outcome.status, len(outcome.turns)) == ("done", 9)


# Under a quota


async def test_where_the_room_is_enough_for_one_more_reply_only_it_is_told_to_answer():
    steps = [
        Step(answer=f"step {n}", input_tokens=300, output_tokens=100, tool_calls=calling(text=str(n)).tool_calls)
        for n in range(20)
    ]

    outcome, ran = await ran_with(*steps, quota=Quota(max_total_tokens=4000), fields={"max_turns": 20})

    assert (outcome.status, outcome.error_type) == ("incomplete", "quota_exceeded")
    assert "room for one more reply only" in outcome.error
    assert outcome.output.startswith("step")
    assert 1 < len(outcome.turns) < 20
    assert ran.session.usage.tokens <= 4000


async def test_the_last_turn_takes_what_the_quota_has_left():
    first = Step(answer="first", input_tokens=1100, output_tokens=1000, tool_calls=calling().tool_calls)
    last = Step(answer="last", input_tokens=2000, output_tokens=5)

    outcome, ran = await ran_with(first, last, quota=Quota(max_total_tokens=5500), fields={"max_tokens": 1000})

    assert (outcome.status, outcome.error_type, outcome.output) == ("incomplete", "quota_exceeded", "last")
    assert outcome.turns[0].max_tokens == 1000
    assert 16 <= outcome.turns[1].max_tokens < 1000
    assert ran.session.usage.tokens == 4105


async def test_room_that_others_hold_for_a_moment_does_not_shorten_a_last_turn():
    waiting = answering(Step(answer="x", latency_s=0.5, input_tokens=5, output_tokens=5))
    working = answering(
        Step(tool_calls=calling().tool_calls, input_tokens=10, output_tokens=5),
        Step(answer="the answer", input_tokens=20, output_tokens=5),
    )
    tasks = [
        task("waiting", "waiting", max_tokens=7800),
        task("working", index=1, allowed_tools=NAMES, max_tokens=400, max_turns=2),
    ]
    providers = {"scripted:": working, "waiting": waiting}

    _, outcome = await Ran(tasks, providers, tools=TOOLS, quota=Quota(max_total_tokens=10_000)).to_the_end()

    assert [turn.max_tokens for turn in outcome.turns] == [400, 400]


async def test_a_tool_result_that_is_larger_than_the_room_is_cut_and_answered():
    def big(text: str) -> str:
        """Gives much."""
        return text * 9000

    first = Step(input_tokens=100, output_tokens=10, tool_calls=({"name": "big", "arguments": {"text": "x"}},))
    model = answering(first, Step(answer="the answer", input_tokens=500, output_tokens=5))
    fields = {"allowed_tools": ("big",), "max_tokens": 500}

    (outcome,) = await Ran(
        [task(**fields)], {"scripted:": model}, tools=[big], quota=Quota(max_total_tokens=8000)
    ).to_the_end()

    assert outcome.output == "the answer"
    assert told(outcome)[0].endswith("…[cut]")


async def test_one_alone_never_ends_without_an_answer_for_want_of_room():
    last = Step(answer="ok", when="last turn", input_tokens=100, output_tokens=20)
    for limit in range(800, 4000, 50):
        steps = [Step(input_tokens=100, output_tokens=50, tool_calls=calling(text=str(n)).tool_calls) for n in range(9)]
        outcome, ran = await ran_with(last, *steps, quota=Quota(max_total_tokens=limit))

        assert bool(outcome.turns) == (outcome.output == "ok"), (limit, outcome)
        assert ran.session.usage.tokens <= limit


async def test_where_output_is_free_a_cost_limit_binds_the_prompts_alone():
    price = FlatPrice(input_usd=Decimal(1), output_usd=Decimal(0))
    ran = Ran(
        [task(allowed_tools=NAMES)],
        {"scripted:": answering(calling(), "the work", price=price)},
        tools=TOOLS,
        quota=Quota(max_total_cost=0.0001),
    )

    (outcome,) = await ran.to_the_end()

    assert outcome.error_type == "quota_exceeded"


async def test_a_run_out_of_time_is_timed_out_whenever_it_is_noticed():
    for latency_s in (0.11, 0.13, 0.15):
        steps = [Step(answer="x", latency_s=latency_s, tool_calls=calling(text=str(n)).tool_calls) for n in range(20)]
        outcome = await outcome_of(*steps, quota=Quota(max_total_time=0.22), fields={"max_turns": 20})

        assert (outcome.status, outcome.error_type) == ("timed_out", "quota_exceeded")


@settings(max_examples=80, deadline=None)
@given(
    limit=st.integers(0, 6000),
    tasks=st.integers(1, 4),
    max_turns=st.integers(1, 6),
    tokens=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 100)), min_size=1, max_size=5),
    max_tokens=st.integers(1, 100),
)
def test_no_conversation_passes_the_quota_and_none_that_began_ends_without_its_text(
    limit, tasks, max_turns, tokens, max_tokens
):
    steps = [
        Step(
            answer="text",
            input_tokens=given,
            output_tokens=min(out, max_tokens),
            tool_calls=calling(text=str(n)).tool_calls,
        )
        for n, (given, out) in enumerate(tokens)
    ]

    async def play():
        work = [
            task(f"t{n}", index=n, allowed_tools=NAMES, max_tokens=max_tokens, max_turns=max_turns)
            for n in range(tasks)
        ]
        ran = Ran(work, {"scripted:": answering(*steps)}, tools=TOOLS, quota=Quota(max_total_tokens=limit))
        return await ran.to_the_end(), ran

    outcomes, ran = asyncio.run(play())

    assert ran.session.usage.tokens <= limit
    assert ran.session.reserved == (0, 0, 0)
    for outcome in outcomes:
        assert len(outcome.turns) <= max_turns
        assert outcome.status in {"done", "incomplete", "skipped"} or outcome.error_type == "quota_exceeded"
        assert bool(outcome.turns) == (outcome.output == "text")


# What is kept


async def test_what_a_later_turn_loses_an_earlier_one_has_said():
    outcome = await outcome_of(calling(answer="found it"), Step(status=400))

    assert (outcome.status, outcome.error_type, outcome.output) == ("failed", "bad_request", "found it")
    assert told(outcome) == ["echo of hi"]


async def test_a_timeout_while_a_tool_works_keeps_the_text_and_the_conversation():
    outcome = await outcome_of(calling("slow", answer="wait for it", seconds=30), "never", fields={"timeout": 0.2})

    assert (outcome.status, outcome.error_type, outcome.output) == ("timed_out", "timeout", "wait for it")
    assert [message.role for message in outcome.messages] == ["user", "assistant"]


async def test_stop_while_a_tool_works_ends_the_tool_too():
    ended = []

    async def endless(text: str) -> str:
        """Never ends."""
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(text)

    step = Step(answer="wait", tool_calls=({"name": "endless", "arguments": {"text": "this"}},))
    ran = Ran([task(allowed_tools=("endless",))], {"scripted:": answering(step)}, tools=[endless]).start()
    await asyncio.sleep(0.1)

    ran.engine.stop()
    (outcome,) = await ran.ended()

    assert (outcome.status, outcome.output, ended) == ("cancelled", "wait", ["this"])


async def test_the_summary_comes_after_the_work_with_its_tools():
    outcome = await outcome_of(calling(), "the work", "the sum", fields={"summary_prompt": "Sum up."})

    assert (outcome.status, outcome.output, outcome.work) == ("done", "the sum", "the work")
    assert len(outcome.turns) == 3


async def test_a_summary_that_fails_leaves_the_work_of_all_turns():
    outcome = await outcome_of(calling(), "the work", Step(status=400), fields={"summary_prompt": "Sum up."})

    assert (outcome.status, outcome.output, outcome.work) == ("done", "the work", None)
    assert WITHOUT_SUMMARY in outcome.error


async def test_a_summary_that_fails_after_a_last_turn_hides_nothing_of_why_that_was_the_last():
    outcome = await outcome_of(
        calling(), "in haste", Step(status=400), fields={"summary_prompt": "Sum up.", "max_turns": 2}
    )

    assert (outcome.status, outcome.error_type, outcome.output) == ("incomplete", "turn_limit", "in haste")
    assert "max_turns = 2 is reached" in outcome.error
    assert WITHOUT_SUMMARY in outcome.error


async def test_a_summary_that_calls_a_tool_is_none():
    outcome = await outcome_of(calling(), "the work", Step(finish="tool_calls"), fields={"summary_prompt": "Sum up."})

    assert (outcome.status, outcome.output) == ("done", "the work")
    assert WITHOUT_SUMMARY in outcome.error


async def test_what_output_max_size_cuts_off_is_in_the_work():
    outcome = await outcome_of("a long answer " * 20, around={"output_max_size": 40}, fields={"allowed_tools": ()})

    assert len(outcome.output.encode()) <= 40
    assert outcome.output.endswith("…[cut]")
    assert outcome.work == "a long answer " * 20


async def test_conversations_know_nothing_of_one_another():
    model = answering(
        Step(tool_calls=calling(text="for alpha").tool_calls, when="I am alpha"),
        Step(tool_calls=calling(text="for beta").tool_calls, when="I am beta"),
        Step(answer="alpha ends", when="echo of for alpha"),
        Step(answer="beta ends", when="echo of for beta"),
    )
    names = ["alpha", "beta"]
    tasks = [task(name, index=n, prompt=f"I am {name}", allowed_tools=NAMES) for n, name in enumerate(names)]

    outcomes = await Ran(tasks, {"scripted:": model}, tools=TOOLS).to_the_end()

    assert [outcome.output for outcome in outcomes] == ["alpha ends", "beta ends"]
    for outcome, other in zip(outcomes, reversed(names), strict=True):
        assert other not in json.dumps([message.content for message in outcome.messages])
