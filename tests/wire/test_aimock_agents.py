"""Whole runs of subagents with tools, over both wires, against a model server that nobody here wrote."""

import asyncio
import json

import pytest

import xz_magics

pytestmark = [
    pytest.mark.parametrize("wire", ["openai", "anthropic"]),
    pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"]),
]

USAGES = [(211, 34), (307, 12)]
CALLS = [
    {"id": "call_lima", "name": "population", "arguments": {"city": "Lima"}},
    {"id": "call_oslo", "name": "population", "arguments": {"city": "Oslo"}},
    {"id": "call_area", "name": "area", "arguments": {"city": "Lima", "unit": "km²"}},
]
ANSWER = "Lima has 10 million people on 2672 km², Oslo 700,000"


def usage(turn):
    prompt_tokens, completion_tokens = USAGES[turn]
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


FIXTURES = [
    {
        "match": {"userMessage": "Compare", "hasToolResult": False},
        "response": {"content": "I look it up.", "toolCalls": CALLS, "usage": usage(0)},
    },
    {
        "match": {"userMessage": "Compare", "toolResultContains": "2672 km²"},
        "response": {"content": ANSWER, "usage": usage(1)},
    },
    {
        "match": {"userMessage": "Err", "hasToolResult": False},
        "response": {"toolCalls": [{"name": "area", "arguments": {"town": "Lima"}}], "usage": usage(0)},
    },
    {
        "match": {"userMessage": "Err", "toolResultContains": "`city` is missing"},
        "response": {"content": "I was wrong.", "usage": usage(1)},
    },
    {
        "match": {"userMessage": "For ever"},
        "response": {"toolCalls": [{"name": "area", "arguments": {"city": "Lima"}}], "usage": usage(0)},
    },
    {"match": {"userMessage": "last turn"}, "response": {"content": "I must stop.", "usage": usage(1)}},
    {
        "match": {"userMessage": "Lead", "hasToolResult": False},
        "response": {
            "toolCalls": [
                {
                    "name": "parallel_subagent",
                    "arguments": {"tasks": [{"label": "one", "task_prompt": "Work"}, {"task_prompt": "Work, too"}]},
                }
            ],
            "usage": usage(0),
        },
    },
    {
        "match": {"userMessage": "Lead", "toolResultContains": "worked"},
        "response": {"content": "Both have worked.", "usage": usage(1)},
    },
    {"match": {"userMessage": "Work"}, "response": {"content": "I worked.", "usage": usage(1)}},
]


@pytest.fixture
def served(aimock, monkeypatch):
    """The server, with the conversations of this file and no memory of what was said to it before."""
    monkeypatch.setenv("XZ_MAGICS_CONFIG", "/dev/null")
    aimock.ask("/__aimock/reset/journal", "POST", {})
    aimock.ask("/__aimock/fixtures", "POST", {"fixtures": FIXTURES})
    return aimock


class Looking:
    """Two tools, one sync and one async: `population` waits until all three calls are there."""

    def __init__(self):
        self.asked = []

    async def population(self, city: str) -> str:
        """How many people live in a city."""
        self.asked.append(city)
        async with asyncio.timeout(10):
            while len(self.asked) < len(CALLS):
                await asyncio.sleep(0.005)
        return {"Lima": "10 million", "Oslo": "700,000"}[city]

    def area(self, city: str, unit: str = "km²") -> str:
        """How large a city is."""
        self.asked.append(city)
        return f"2672 {unit}"


async def run(server, wire, prompt, **options):
    tools = Looking()
    return await xz_magics.run(
        {"a": prompt},
        model=f"{wire}:m",
        base_url=server.base_url(wire),
        tools=[tools.population, tools.area, *xz_magics.toolbox.only(["parallel_subagent"]).values()],
        **{"max_tokens": 50, "allowed_tools": ["population", "area"]} | options,
    )


async def test_tools_are_called_at_the_same_time_and_their_results_become_the_answer(served, wire, stream):
    results = await run(served, wire, "Compare them", stream=stream)

    outcome = results["a"]
    assert (outcome.status, outcome.output, outcome.error) == ("done", ANSWER, None)
    assert said(outcome) == [
        ("user", "Compare them", []),
        ("assistant", "I look it up.", CALLS),
        ("tool", "10 million", "call_lima"),
        ("tool", "700,000", "call_oslo"),
        ("tool", "2672 km²", "call_area"),
        ("assistant", ANSWER, []),
    ]
    first, second = bodies(served)
    assert names_of_tools(first) == names_of_tools(second) == ["area", "population"]
    assert [body.get("stream", False) for body in (first, second)] == [stream, stream]


async def test_the_charges_are_what_the_server_reported(served, wire, stream):
    used = xz_magics.quota.usage.tokens

    results = await run(served, wire, "Compare them", stream=stream, max_total_tokens=20_000)

    outcome = results["a"]
    assert [(turn.input_tokens, turn.output_tokens) for turn in outcome.turns] == USAGES
    assert (outcome.total_tokens, outcome.tree_tokens, outcome.estimated) == (564, 564, False)
    assert xz_magics.quota.usage.tokens - used == 564
    assert xz_magics.quota.reserved.tokens == 0
    assert results.df["tool_calls"].tolist() == [3]
    assert results.turns_df["tool_calls"].tolist() == [3, 0]


async def test_a_call_with_wrong_arguments_is_told_to_the_model_which_goes_on(served, wire, stream):
    results = await run(served, wire, "Err once", stream=stream)

    assert (results["a"].status, results["a"].output) == ("done", "I was wrong.")
    assert [message.error for message in results["a"].messages if message.role == "tool"] == [True]


async def test_a_model_that_calls_for_ever_is_stopped_after_its_turns(served, wire, stream):
    results = await run(served, wire, "For ever", stream=stream, max_turns=2)

    outcome = results["a"]
    assert (outcome.status, outcome.error_type, outcome.output) == ("incomplete", "turn_limit", "I must stop.")
    assert [(turn.input_tokens, turn.output_tokens) for turn in outcome.turns] == USAGES
    assert names_of_tools(bodies(served)[-1]) == ([] if wire == "openai" else ["area", "population"])


async def test_a_lead_hands_work_out_and_pays_for_all_of_it_in_its_tree(served, wire, stream):
    results = await run(served, wire, "Lead", stream=stream, allowed_tools=["parallel_subagent"], max_concurrent=1)

    assert results["a"].output == "Both have worked."
    frame = results.all_df.set_index("label")
    assert frame["output"].to_dict() == {"a": "Both have worked.", "a/one": "I worked.", "a/2": "I worked."}
    assert frame["total_tokens"].to_dict() == {"a": 564, "a/one": 319, "a/2": 319}
    assert frame.loc["a", "tree_tokens"] == results.summary["total_tokens"] == 1202
    assert [names_of_tools(body) for body in bodies(served)] == [["parallel_subagent"], [], [], ["parallel_subagent"]]


def said(outcome):
    return [
        (
            message.role,
            message.content,
            message.tool_call_id
            or [
                {"id": call.id, "name": call.name, "arguments": json.loads(call.arguments)}
                for call in message.tool_calls
            ],
        )
        for message in outcome.messages
    ]


def bodies(server):
    return [entry["body"] for entry in server.ask("/__aimock/journal")]


def names_of_tools(body):
    """Anthropic's form is put into the other one by the server before it writes it down."""
    return [tool["function"]["name"] for tool in body.get("tools") or []]
