"""Both wires against a model server that nobody here wrote: answers, streams, refusals, cuts and chaos."""

import asyncio
import json

import pytest
from aimock import ANSWER, CALLED, FORECAST
from calling import WIRES, a_provider, called

from xz_magics.errors import ProviderError
from xz_magics.providers import Exchange
from xz_magics.providers.answer import Answer
from xz_magics.providers.endpoint import Endpoint, redactor
from xz_magics.providers.failures import Failures
from xz_magics.records import Message, Request, ToolSpec, Usage

pytestmark = pytest.mark.parametrize("wire", ["openai", "anthropic"])


WEATHER = ToolSpec(
    name="get_weather",
    description="The weather of a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def ask(aimock, wire, prompt, *, later=(), stream=True, **changes):
    messages = (Message(role="system", content="You count"), Message(role="user", content=prompt), *later)
    request = Request(messages=messages, max_tokens=50, stream=stream, **changes)

    async def scenario():
        provider = a_provider(aimock.base_url(wire), wire=wire)
        try:
            return await called(provider, request)
        finally:
            await provider.aclose()

    return asyncio.run(scenario())


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_has_its_text_end_usage_and_request_id(aimock, wire, stream):
    ended = ask(aimock, wire, "count", stream=stream)

    assert (ended.reply.text, ended.reply.finish) == (ANSWER, "stop")
    assert ended.reply.usage == Usage(input_tokens=11, output_tokens=4)
    assert ended.reply.model == "m"
    assert ended.reply.request_id.startswith("req-")
    assert ended.exchange.text == ended.reply.text


def test_the_request_arrives_as_this_api_writes_it(aimock, wire):
    ask(aimock, wire, "count", temperature=0.5, stop=("END",), params={"user": "me"})

    arrived = aimock.ask("/__aimock/journal")[-1]
    assert arrived["path"] == ("/v1/chat/completions" if wire == "openai" else "/v1/messages")
    assert arrived["response"]["status"] == 200
    body, headers = arrived["body"], arrived["headers"]
    assert (body["model"], body["max_tokens"], body["temperature"], body["stream"]) == ("m", 50, 0.5, True)
    assert {"role": "user", "content": "count"} in body["messages"]
    assert headers["accept-encoding"] == "identity"
    assert ("authorization" in headers, "x-api-key" in headers) == (wire == "openai", wire == "anthropic")


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_ran_out_of_tokens_says_length(aimock, wire, stream):
    ended = ask(aimock, wire, "long", stream=stream)

    assert (ended.reply.text, ended.reply.finish) == (ANSWER, "length")


def test_a_stream_that_the_server_breaks_off_is_cut(aimock, wire):
    ended = ask(aimock, wire, "break")

    assert (ended.reply.finish, ended.reply.usage) == ("cut", None)
    assert ended.reply.text
    assert ANSWER.startswith(ended.reply.text)
    assert ended.reply.text != ANSWER


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("prompt", "error_type", "status"),
    [
        ("limit", "rate_limited", 429),
        ("too much", "bad_response", 529),
        ("key", "auth", 401),
        ("unheard of", "bad_request", 404),
    ],
)
def test_a_refusal_is_its_kind_of_error_and_costs_nothing(aimock, wire, prompt, error_type, status, stream):
    ended = ask(aimock, wire, prompt, stream=stream)

    assert (ended.error.error_type, ended.error.status, ended.error.charge) == (error_type, status, "nothing")
    assert (ended.error.retry_after_s == 1.0) == (status == 429)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("chaos", "error_type", "charge"),
    [
        ("dropRate", "bad_response", "all"),
        ("malformedRate", "bad_response", "all"),
        ("disconnectRate", "network", "all"),
        ("rateLimitRate", "rate_limited", "nothing"),
    ],
)
def test_chaos_is_an_error_that_may_be_tried_again(aimock, wire, chaos, error_type, charge, stream):
    aimock.ask("/__aimock/chaos", "POST", {chaos: 1})

    ended = ask(aimock, wire, "count", stream=stream)

    assert (ended.error.error_type, ended.error.charge) == (error_type, charge)


@pytest.mark.parametrize("stream", [True, False])
def test_tools_are_called_side_by_side_and_their_results_are_answered(aimock, wire, stream):
    called_for = ask(aimock, wire, "weather", stream=stream, tools=(WEATHER,))

    reply = called_for.reply
    assert (reply.text, reply.finish, reply.usage) == ("", "tool_calls", Usage(input_tokens=11, output_tokens=4))
    assert as_called(reply) == [(call["id"], call["name"], call["arguments"]) for call in CALLED]
    assert called_for.exchange.text == ""
    assert (called_for.exchange.received_bytes > 0) == stream

    later = answered(reply, "rainy", "sunny")
    done = ask(aimock, wire, "weather", later=later, stream=stream, tools=(WEATHER,))
    last = ask(aimock, wire, "weather", later=later, stream=stream, tools=(WEATHER,), may_call=False)

    assert (done.reply.text, done.reply.finish) == (FORECAST, "stop")
    assert (last.reply.text, last.reply.finish) == (FORECAST, "stop")
    first, *_, final = (entry["body"] for entry in aimock.ask("/__aimock/journal")[-3:])
    assert [tool["function"] for tool in first["tools"]] == [
        {"name": WEATHER.name, "description": WEATHER.description, "parameters": WEATHER.parameters}
    ]
    assert [message["tool_call_id"] for message in final["messages"] if message["role"] == "tool"] == [
        "call_one",
        "call_two",
    ]
    assert bool(final.get("tools")) == (wire == "anthropic")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("prompt", "calls"), [("speak and call", CALLED), ("call and speak", CALLED[:1])])
def test_text_and_calls_of_one_answer_are_both_there_in_any_order(aimock, wire, prompt, calls, stream):
    ended = ask(aimock, wire, prompt, stream=stream, tools=(WEATHER,))

    assert (ended.reply.text, ended.reply.finish) == (ANSWER, "tool_calls")
    assert as_called(ended.reply) == [(call["id"], call["name"], call["arguments"]) for call in calls]


def test_a_stream_that_is_broken_off_in_its_calls_gives_none_of_them(aimock, wire):
    ended = ask(aimock, wire, "call and stop short", tools=(WEATHER,))

    assert ended.reply is None
    assert (ended.error.error_type, ended.error.charge) == ("network", "received")
    assert ended.exchange.received_bytes > 0


def as_called(reply):
    return [(call.id, call.name, json.loads(call.arguments)) for call in reply.tool_calls]


def answered(reply, *results):
    """The reply and the results of its calls, as the messages that follow."""
    results = [
        Message(role="tool", content=result, tool_call_id=call.id, tool=call.name)
        for call, result in zip(reply.tool_calls, results, strict=True)
    ]
    return (Message(role="assistant", content=reply.text, tool_calls=reply.tool_calls), *results)


def test_its_recorded_stream_cut_at_any_byte_is_whole_only_once_it_has_said_why_it_ends(aimock, wire):
    stream = asyncio.run(recorded(aimock, wire))
    reason = b'"finish_reason":"stop"' if wire == "openai" else b'"stop_reason":"end_turn"'
    finished_at = stream.index(b"\n\n", stream.index(reason)) + 2
    endpoint = Endpoint(name="test", wire=wire, base_url="http://127.0.0.1:1")

    for at in range(len(stream) + 1):
        exchange = Exchange()
        answer = Answer(WIRES[wire], exchange, Failures(endpoint, redactor(None)), stream=True)
        answer.feed(stream[:at])
        try:
            finish = answer.reply().finish
        except ProviderError:
            finish = "none"
        assert finish == ("stop" if at >= finished_at else "cut" if exchange.text else "none"), at


async def recorded(aimock, wire):
    """The bytes of a streamed answer, without their HTTP framing."""
    provider = a_provider(aimock.base_url(wire), wire=wire)
    request = Request(messages=(Message(role="user", content="count"),), max_tokens=50)
    body = json.dumps(WIRES[wire].encode(request, "m", official=False)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(aimock.url.rpartition(":")[2]))
    head = f"POST {provider._url.raw_path.decode()} HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]
