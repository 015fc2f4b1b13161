"""The scripted provider: what a script may hold, and that its failures are those of a real one."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest

from xz_magics.errors import ConfigError, ProviderError
from xz_magics.prices import FREE, FlatPrice
from xz_magics.providers import Exchange
from xz_magics.providers.scripted import Script, ScriptedProvider, Step, script_of
from xz_magics.records import Message, Request, ToolCall, Usage


def a_request(prompt="Say hi to us.", **changes):
    return Request(messages=(Message(role="user", content=prompt),), **({"max_tokens": 50} | changes))


def playing(*steps, **script):
    return ScriptedProvider("test", Script(steps=steps, **script))


async def failure_of(step, exchange=None):
    with pytest.raises(ProviderError) as caught:
        await playing(step).call(a_request(), exchange or Exchange())
    return caught.value


async def test_steps_are_taken_in_turn_and_the_last_one_again_and_again():
    provider = playing(Step(answer="one"), Step(answer="two"))

    replies = [await provider.call(a_request(), Exchange()) for _ in range(4)]

    assert [reply.text for reply in replies] == ["one", "two", "two", "two"]


async def test_an_answer_has_its_tokens_and_says_which_script_it_is_from():
    exchange = Exchange()

    reply = await playing(Step(answer="hi there", finish="length")).call(a_request(), exchange)

    assert (reply.text, reply.finish, reply.finish_reason, reply.model) == (
        "hi there",
        "length",
        "length",
        "scripted:test",
    )
    assert reply.usage == exchange.usage == Usage(input_tokens=4, output_tokens=2)
    assert exchange.sent


@pytest.mark.parametrize(("asked", "counted"), [(0, 0), (7, 7), (70, 50)])
async def test_output_never_passes_what_the_request_allows(asked, counted):
    reply = await playing(Step(answer="x", input_tokens=0, output_tokens=asked)).call(a_request(), Exchange())

    assert reply.usage == Usage(input_tokens=0, output_tokens=counted)


@pytest.mark.parametrize(("stream", "pieces"), [(True, ["ab", "cd", "e"]), (False, ["abcde"])])
async def test_a_stream_comes_in_pieces_and_a_plain_answer_whole(stream, pieces):
    heard = []

    await playing(Step(answer="abcde", chunks=3)).call(a_request(stream=stream), Exchange(on_text=heard.append))

    assert heard == pieces


async def test_cancelling_keeps_the_pieces_that_have_come():
    exchange = Exchange()
    call = asyncio.ensure_future(playing(Step(answer="ab", chunks=2, latency_s=0.1)).call(a_request(), exchange))
    while not exchange.parts:
        await asyncio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert exchange.text == "a"


async def test_a_stream_that_breaks_off_after_some_text_is_cut_and_its_usage_unknown():
    reply = await playing(Step(answer="abcdef", chunks=3, cut=1)).call(a_request(), Exchange())

    assert (reply.text, reply.finish, reply.finish_reason, reply.usage) == ("ab", "cut", None, None)
    assert reply.note == "the script breaks it off"


@pytest.mark.parametrize(
    ("step", "error_type", "charge"),
    [
        (Step(status=400), "bad_request", "nothing"),
        (Step(status=401), "auth", "nothing"),
        (Step(status=402), "spent_account", "nothing"),
        (Step(status=403), "auth", "nothing"),
        (Step(status=404), "bad_request", "nothing"),
        (Step(status=408), "bad_response", "nothing"),
        (Step(status=409), "bad_response", "nothing"),
        (Step(status=425), "bad_response", "nothing"),
        (Step(status=429), "rate_limited", "nothing"),
        (Step(status=500), "bad_response", "all"),
        (Step(status=503), "bad_response", "nothing"),
        (Step(status=529), "bad_response", "nothing"),
        (Step(answer="x", cut=0), "network", "all"),
        (Step(answer=""), "empty_answer", "all"),
        (Step(answer="", finish="length"), "empty_answer", "all"),
    ],
)
async def test_failures_are_classed_and_charged_as_a_real_providers(step, error_type, charge):
    error = await failure_of(step)

    assert (error.error_type, error.charge) == (error_type, charge)
    assert error.hint == "this failure is part of the script"


async def test_a_failure_comes_after_its_latency_with_what_the_server_asks_for():
    exchange = Exchange()

    error = await failure_of(Step(status=429, retry_after_s=1.5, latency_s=0.01), exchange)

    assert (error.status, error.retry_after_s, exchange.sent) == (429, 1.5, True)


async def test_a_refusal_may_be_without_text():
    reply = await playing(Step(finish="refused")).call(a_request(), Exchange())

    assert (reply.text, reply.finish) == ("", "refused")


DELEGATION = {"name": "parallel_subagent", "arguments": {"tasks": ["part one", "part two"]}}


async def test_a_step_with_tool_calls_and_no_text_is_a_whole_reply():
    exchange = Exchange()
    step = Step(tool_calls=(DELEGATION, {"name": "now", "arguments": "{not json", "id": "x"}, {"name": "rest"}))

    reply = await playing(step).call(a_request(), exchange)

    assert (reply.text, reply.finish, reply.finish_reason) == ("", "tool_calls", "tool_calls")
    assert reply.tool_calls == (
        ToolCall(id="call-1", name="parallel_subagent", arguments='{"tasks": ["part one", "part two"]}'),
        ToolCall(id="x", name="now", arguments="{not json"),
        ToolCall(id="call-3", name="rest", arguments="{}"),
    )
    assert reply.usage == exchange.usage == Usage(input_tokens=4, output_tokens=6 + 3 + 2)
    assert exchange.received_bytes == sum(len(call.arguments) for call in reply.tool_calls)


async def test_a_step_may_say_something_beside_its_calls():
    heard = []

    reply = await playing(Step(answer="I ask.", chunks=2, tool_calls=(DELEGATION,))).call(
        a_request(), Exchange(on_text=heard.append)
    )

    assert (reply.text, heard, len(reply.tool_calls)) == ("I ask.", ["I a", "sk."], 1)


@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
async def test_where_no_tool_may_be_called_any_more_the_steps_answer_alone_is_given(finish):
    step = Step(answer="All I know.", tool_calls=(DELEGATION,), finish=finish)

    reply = await playing(step).call(a_request(may_call=False), Exchange())

    assert (reply.text, reply.finish, reply.tool_calls) == ("All I know.", "stop", ())
    assert reply.usage.output_tokens == 3


@pytest.mark.parametrize(("changes", "finish", "calls"), [({"finish": "length"}, "length", 1), ({"cut": 1}, "cut", 0)])
async def test_a_finish_other_than_stop_stays_and_a_cut_drops_the_calls(changes, finish, calls):
    reply = await playing(Step(answer="I ask.", tool_calls=(DELEGATION,), **changes)).call(a_request(), Exchange())

    assert (reply.text, reply.finish, len(reply.tool_calls)) == ("I ask.", finish, calls)


async def test_a_step_with_when_is_taken_each_time_the_last_message_holds_its_text():
    provider = playing(
        Step(answer="one"),
        Step(when="part", answer="a part"),
        Step(when="part two", answer="never"),
        Step(answer="two"),
    )
    prompts = ["Begin.", "Do part two.", "Go on.", "Do part one.", "And on."]

    replies = [await provider.call(a_request(prompt), Exchange()) for prompt in prompts]

    assert [reply.text for reply in replies] == ["one", "a part", "two", "a part", "two"]


async def test_where_all_steps_have_a_when_and_none_fits_it_echoes():
    reply = await playing(Step(when="part", answer="x"), latency_s=0).call(a_request("Hello"), Exchange())

    assert reply.text == "(no real model) You wrote: Hello"


async def test_one_script_plays_a_lead_that_delegates_and_its_children():
    provider = playing(
        Step(when="part one", answer="child says 1"),
        Step(when="child says 1", answer="All parts are done."),
        Step(tool_calls=(DELEGATION,)),
    )
    prompt = Message(role="user", content="Write the report.")

    first = await provider.call(a_request("Write the report."), Exchange())
    child = await provider.call(a_request("Do part one."), Exchange())
    asked = Message(role="assistant", content="", tool_calls=first.tool_calls)
    result = Message(role="tool", content=f"result: {child.text}", tool_call_id="call-1", tool="parallel_subagent")
    last = await provider.call(Request(messages=(prompt, asked, result), max_tokens=50), Exchange())

    assert [reply.finish for reply in (first, child, last)] == ["tool_calls", "stop", "stop"]
    assert last.text == "All parts are done."
    assert last.usage.input_tokens == 3 + 4, "words of tool results count"


async def test_without_steps_it_echoes_the_same_every_time():
    async def drawn(prompt, seed):
        exchange = Exchange()
        reply = await ScriptedProvider("", Script(seed=seed, latency_s=0.001)).call(a_request(prompt), exchange)
        return reply, len(exchange.parts)

    first, again = await drawn("Hello \ud83d", 1), await drawn("Hello \ud83d", 1)
    other_seed, other_prompt = await drawn("Hello \ud83d", 2), await drawn("Bye", 1)

    assert first == again
    assert first[0].text == "(no real model) You wrote: Hello \ufffd"
    assert first[1] == 4
    assert len({reply.usage for reply, _ in (first, other_seed, other_prompt)}) == 3


async def test_it_is_free_unless_its_script_has_a_price_and_needs_no_opening():
    provider = ScriptedProvider("", Script())
    told = []

    await provider.open(told.append)
    await provider.aclose()

    assert (provider.model, provider.price, told) == ("scripted:", FREE, [])
    assert "no real model" in provider.note


def test_a_script_is_read_as_it_is_written():
    written = {
        "steps": [
            {"answer": "Hello", "latency_s": 0.5},
            {"status": 429, "retry_after_s": 2},
            {"when": "sum", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]},
        ],
        "price": {"input": 1, "output": 2.5},
        "seed": 3,
        "latency_s": 0,
    }

    assert script_of(written, where="lesson") == Script(
        steps=(
            Step(answer="Hello", latency_s=0.5),
            Step(status=429, retry_after_s=2),
            Step(when="sum", tool_calls=[{"name": "add", "arguments": {"a": 1}}]),
        ),
        price=FlatPrice(input_usd=Decimal(1), output_usd=Decimal("2.5")),
        seed=3,
        latency_s=0,
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"step": []}, "unexpected keyword argument 'step'"),
        ({"steps": None}, "not iterable"),
        ({"steps": "Hello"}, "must be a mapping"),
        ({"steps": [{"anwser": "x"}]}, "unexpected keyword argument 'anwser'"),
        ({"steps": [{"answer": 3}]}, "answer is 3, which is no text"),
        ({"steps": [{"finish": "end"}]}, "finish is 'end', none of stop, length, refused"),
        ({"steps": [{"status": "429"}]}, "status is '429', which is no number from 200 up"),
        ({"steps": [{"latency_s": -1}]}, "latency_s is -1, which is no number from 0 up"),
        ({"steps": [{"chunks": 0}]}, "chunks is 0, which is no number from 1 up"),
        ({"steps": [{"cut": 1.5}]}, "cut is 1.5, which is no number from 0 up"),
        ({"steps": [{"output_tokens": True}]}, "output_tokens is True, which is no number from 0 up"),
        ({"steps": [{"when": 3}]}, "when is 3, which is no text"),
        ({"steps": [{"tool_calls": DELEGATION}]}, "tool_calls is {'name': 'parallel_subagent'"),
        ({"steps": [{"tool_calls": None}]}, "tool_calls is None, which is no list of mappings"),
        ({"steps": [{"tool_calls": ["add"]}]}, "tool_calls is ['add'], which is no list of mappings"),
        ({"steps": [{"tool_calls": [{}]}]}, "a tool call's name is None, which is no text"),
        ({"steps": [{"tool_calls": [{"name": "a", "args": {}}]}]}, "a tool call holds 'args', none of name, arg"),
        (
            {"steps": [{"tool_calls": [{"name": "a", "arguments": [1]}]}]},
            "the arguments of a are [1], which is neither",
        ),
        ({"steps": [{"tool_calls": [{"name": "a", "arguments": {"at": date(2026, 1, 1)}}]}]}, "type date is not JSON"),
        ({"steps": [{"tool_calls": [{"name": "a", "id": 1}]}]}, "the id of the call of a is 1, which is no text"),
        ({"steps": [{"tool_calls": [{"name": "a", "id": "call-2"}, {"name": "b"}]}]}, "two tool calls have one id"),
        ({"latency_s": float("nan")}, "latency_s is nan, which is no number from 0 up"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_before_it_is(written, message):
    with pytest.raises(ConfigError) as caught:
        script_of(written, where="lesson")

    assert caught.value.message.startswith("the script lesson cannot be read: ")
    assert message in caught.value.message
    assert caught.value.hint == (
        "a script and its steps have: steps, seed, latency_s, price, answer, tool_calls, when, latency_s, "
        "input_tokens, output_tokens, finish, status, retry_after_s, chunks, cut"
    )


def test_a_price_that_is_none_is_told_as_in_the_table_of_prices():
    with pytest.raises(ConfigError, match="the price of the script lesson is") as caught:
        script_of({"price": {"input": 1}}, where="lesson")

    assert caught.value.hint.startswith("give dollars per million tokens")
