"""Streams of text and of tool calls, cut at every byte on their way through the real provider: none is taken for whole."""

import asyncio
import json
from itertools import accumulate, pairwise

import fault_server as fs
import httpx
import pytest
from calling import a_provider, called, nothing_left
from fault_server import FaultServer

from xz_magics.records import ToolCall, Usage

pytestmark = pytest.mark.slow

TEXT = "Grüße! I'll look both up. 🌍"
CALLS = (
    ToolCall(id="toolu_01A", name="get_weather", arguments='{"city": "München", "unit": "°C"}'),
    ToolCall(id="toolu_02B", name="get_time", arguments='{"zone": "Europe/Berlin"}'),
)
CHUNKED = b"transfer-encoding: chunked\r\n"
USED = Usage(input_tokens=82, output_tokens=17)


def openai_stream(text, calls):
    """Each event with the text and with the part of a call that is in it."""

    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return fs.event(json.dumps(named | {"choices": [choice], "usage": None}))

    yield chunk({"role": "assistant", "content": "" if text else None, "refusal": None}), "", ""
    for piece in pieces(text):
        yield chunk({"content": piece}), piece, ""
    for at, call in enumerate(calls):
        function = {"name": call.name, "arguments": ""}
        yield (
            chunk({"tool_calls": [{"index": at, "id": call.id, "type": "function", "function": function}]}),
            "",
            call.name,
        )
        for piece in pieces(call.arguments):
            yield chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]}), "", piece
    yield chunk({}, "tool_calls" if calls else "stop"), "", ""
    usage = {"prompt_tokens": 82, "completion_tokens": 17, "total_tokens": 99}
    yield fs.event(json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [], "usage": usage})), "", ""
    yield fs.event("[DONE]"), "", ""


def anthropic_stream(text, calls):
    """Each event with the text and with the part of a call that is in it."""

    def named(kind, **fields):
        return f"event: {kind}\n".encode() + fs.event(json.dumps({"type": kind} | fields))

    def block(at, opening, deltas):
        yield named("content_block_start", index=at, content_block=opening), "", opening.get("name", "")
        for delta in deltas:
            event = named("content_block_delta", index=at, delta=delta)
            yield event, delta.get("text", ""), delta.get("partial_json", "")
        yield named("content_block_stop", index=at), "", ""

    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
    yield named("message_start", message=message | {"usage": {"input_tokens": 82, "output_tokens": 1}}), "", ""
    yield named("ping"), "", ""
    if text:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        yield from block(0, {"type": "text", "text": ""}, deltas)
    for at, call in enumerate(calls, start=1 if text else 0):
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(call.arguments)]]
        yield from block(at, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas)
    ended = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield named("message_delta", delta=ended, usage={"output_tokens": 17}), "", ""
    yield named("message_stop"), "", ""


def pieces(text):
    return [text[at : at + 9] for at in range(0, len(text), 9)]


class Cut:
    """A streamed answer of which only so many bytes come, and what is to be made of them."""

    def __init__(self, wire, text, calls):
        self.wire = wire
        self._text = text
        self._calls = calls
        self._events = list({"openai": openai_stream, "anthropic": anthropic_stream}[wire](text, calls))
        self.stream = b"".join(event for event, *_ in self._events)
        self.ends = list(accumulate(len(event) for event, *_ in self._events))
        self._finished_at = self.ends[-3 if wire == "openai" else -2]
        self._counted_at = self.ends[-2]

    def check(self, at, ended):
        reply, error, exchange = ended.reply, ended.error, ended.exchange
        whole = [event for end, event in zip(self.ends, self._events, strict=True) if end <= at]
        text, of_calls = "".join(text for _, text, _ in whole), "".join(part for *_, part in whole)
        assert (exchange.sent, exchange.text, exchange.received_bytes) == (True, text, len((text + of_calls).encode()))
        if at >= self._finished_at:
            finish = "tool_calls" if self._calls else "stop"
            assert (reply.text, reply.finish, reply.tool_calls) == (self._text, finish, self._calls)
            assert reply.usage == (USED if at >= self._counted_at else None)
        elif text:
            assert (reply.text, reply.finish, reply.tool_calls, reply.usage) == (text, "cut", (), None)
            assert reply.note
        else:
            assert error.error_type in ({"network"} if whole else {"network", "bad_response"})
            assert (error.charge, error.should_retry) == ("received" if of_calls else "all", None)


class Resetting(httpx.AsyncByteStream):
    def __init__(self, data):
        self._data = data

    async def __aiter__(self):
        yield self._data
        raise httpx.ReadError("reset")


ANSWERS = pytest.mark.parametrize(
    "cut",
    [
        pytest.param(Cut(wire, text, calls), id=f"{wire} {name}")
        for wire in ("openai", "anthropic")
        for name, text, calls in (("text", TEXT, ()), ("text and calls", TEXT, CALLS), ("calls", "", CALLS))
    ],
)


@ANSWERS
@pytest.mark.parametrize("breaking", [httpx.ByteStream, Resetting], ids=["closed", "reset"])
async def test_no_answer_cut_at_any_byte_is_whole_before_it_has_said_why_it_ends(cut, breaking):
    sent = b""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=breaking(sent)))
    provider = a_provider("https://api.example.com/v1", wire=cut.wire, transport=transport)

    for at in range(len(cut.stream) + 1):
        sent = cut.stream[:at]
        cut.check(at, await called(provider))


@ANSWERS
@pytest.mark.parametrize("action", ["close", "reset"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "to its end"])
def test_no_answer_cut_on_a_real_connection_is_whole_before_it_has_said_why_it_ends(cut, action, chunked):
    """Just before the end of an event, and just after it."""
    at = 0

    async def fault(call):
        data = cut.stream[:at]
        if chunked and data:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        await call.send(fs.HEAD % (200, fs.SSE + (CHUNKED if chunked else fs.CLOSING)) + data)
        for _ in range(10):
            await asyncio.sleep(0.001)  # the client, on this loop too, reads what was sent before the connection breaks
        getattr(call, action)()

    async def scenario():
        nonlocal at
        async with FaultServer(fault) as server, nothing_left(server):
            provider = a_provider(f"http://127.0.0.1:{server.port}/v1", wire=cut.wire)
            for end in (*cut.ends[:-4:3], *cut.ends[-4:]):
                at = end - 1
                cut.check(at, await called(provider))
                at = end
                cut.check(at, await called(provider))
            await provider.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_stream_that_falls_silent_in_a_tool_call_is_charged_by_its_bytes(wire):
    cut = Cut(wire, "", CALLS)

    class Silent(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield cut.stream[: cut.ends[-6]]
            await asyncio.sleep(30)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Silent()))
    provider = a_provider("https://api.example.com/v1", wire=wire, transport=transport)

    ended = await called(provider, idle_timeout_s=0.2)

    assert (ended.error.error_type, ended.error.charge) == ("timeout", "received")
    assert ended.exchange.received_bytes > 0


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_the_pieces_of_a_tool_call_keep_a_slow_stream_alive(wire):
    cut = Cut(wire, "", CALLS)

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self):
            for start, end in pairwise([0, *cut.ends]):
                await asyncio.sleep(0.1)
                yield cut.stream[start:end]

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Slow()))

    ended = await called(a_provider("https://api.example.com/v1", wire=wire, transport=transport), idle_timeout_s=0.9)

    cut.check(len(cut.stream), ended)
    assert len(cut.ends) * 0.1 > 0.9


@ANSWERS
@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_whole_answer_is_whole_in_pieces_of_any_size(cut, size):
    class Trickling(httpx.AsyncByteStream):
        async def __aiter__(self):
            for at in range(0, len(cut.stream), size):
                yield cut.stream[at : at + size]

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickling()))

    ended = await called(a_provider("https://api.example.com/v1", wire=cut.wire, transport=transport))

    cut.check(len(cut.stream), ended)
