"""The embedded model as a provider, as far as it goes without the model: `tests/test_local.py` runs the real one."""

import asyncio
import fcntl
import threading
from dataclasses import replace

import pytest

from xz_magics.errors import ModelError, ProviderError
from xz_magics.prices import FREE
from xz_magics.providers import Exchange
from xz_magics.providers.embedded import EmbeddedProvider
from xz_magics.providers.emulated_tools import OVERHEAD_TOKENS
from xz_magics.providers.local import LOCAL_NOTE, LocalModel
from xz_magics.providers.weights import SMOLLM2
from xz_magics.records import Message, Reply, Request, ToolCall, ToolSpec, Usage
from xz_magics.schemas.answers import answer_schema


async def test_stopping_while_the_weights_are_on_their_way_ends_the_fetching_too(tmp_path):
    told = []
    earlier = set(threading.enumerate())  # other loops may have workers of that name, too
    provider = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    with (tmp_path / f"{SMOLLM2.file_name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process is fetching
        opening = asyncio.ensure_future(provider.open(told.append))
        while not told:
            await asyncio.sleep(0.01)

        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

        workers = [one for one in set(threading.enumerate()) - earlier if one.name.startswith("asyncio_")]
        await asyncio.get_running_loop().shutdown_default_executor()
        assert workers
        assert not any(worker.is_alive() for worker in workers)
    assert told == ["another process is fetching the model's weights: waiting for it"]


async def test_a_file_that_is_no_model_is_refused_when_it_is_opened(tmp_path):
    pytest.importorskip("xllamacpp", reason='needs the embedded engine: pip install "xz-magics[local]"')
    (tmp_path / "own.gguf").write_text("no model")
    provider = EmbeddedProvider("local:own.gguf", LocalModel(), tmp_path / "own.gguf", tmp_path)

    with pytest.raises(ModelError, match="is no GGUF file") as caught:
        await provider.open(lambda _: None)

    assert "local:/path/to/model.gguf" in caught.value.hint


async def test_before_it_is_opened_nothing_can_be_asked_of_it(tmp_path):
    provider = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    request = Request(messages=(Message(role="user", content="Hi"),), max_tokens=5)

    with pytest.raises(ModelError) as caught:
        await provider.call(request, Exchange())
    await provider.aclose()

    assert caught.value.hint == "await provider.open() first"


def test_it_is_free_and_says_how_good_it_is(tmp_path):
    built_in = EmbeddedProvider("local", LocalModel(), None, tmp_path)
    own = EmbeddedProvider("local:own.gguf", LocalModel(), tmp_path / "own.gguf", tmp_path)

    assert (built_in.price, built_in.note, own.note) == (FREE, LOCAL_NOTE, "")
    assert built_in.account == own.account
    assert built_in.overhead_tokens >= 64


NOW = ToolSpec(name="now", description="Tells the time.", parameters={"type": "object", "properties": {}})
WITH_TOOLS = Request(messages=(Message(role="user", content="What time is it?"),), max_tokens=9, tools=(NOW,))
USAGE = Usage(input_tokens=5, output_tokens=6)


class Server:
    """In place of the connection: streams these pieces of text, and then ends as it is told."""

    def __init__(self, *pieces, then=None):
        self.requests = []
        self.idle_timeout_s = None
        self._pieces = pieces
        self._then = then

    async def call(self, request, exchange):
        self.requests.append(request)
        self.idle_timeout_s = exchange.idle_timeout_s
        exchange.mark_sent()
        for piece in self._pieces:
            exchange.add_text(piece)
        if self._then is not None:
            await self._then()
        exchange.usage, exchange.finish_reason = USAGE, "stop"
        return Reply(text=exchange.text, finish="stop", finish_reason="stop", usage=USAGE)


@pytest.fixture
def answered_by(tmp_path):
    def provider(server):
        embedded = EmbeddedProvider("local", LocalModel(), None, tmp_path)
        embedded._http = server
        return embedded

    return provider


async def test_of_an_answers_json_the_page_is_shown_the_text_alone_as_it_comes(answered_by):
    server = Server('{"ans', 'wer": "It', " is \\ud83d", '\\ude00 late."', "}")
    heard, sent = [], []
    exchange = Exchange(on_sent=lambda: sent.append(True), on_text=heard.append)
    exchange.idle_timeout_s = 7.0

    reply = await answered_by(server).call(WITH_TOOLS, exchange)

    assert heard == ["It", " is ", "😀 late."]
    assert (reply.text, reply.finish) == ("It is 😀 late.", "stop")
    assert (exchange.sent, sent, exchange.usage, exchange.finish_reason) == (True, [True], USAGE, "stop")
    assert exchange.received_bytes == len('{"answer": "It is \\ud83d\\ude00 late."}')
    assert (server.idle_timeout_s, server.requests[0].stream) == (7.0, True)


async def test_a_call_is_no_text_of_the_exchange_but_its_bytes_are_received(answered_by):
    whole = '{"tool": "now", "arguments": {}}'
    exchange = Exchange()

    reply = await answered_by(Server(whole[:9], whole[9:])).call(WITH_TOOLS, exchange)

    assert reply.tool_calls == (ToolCall(id="call-1", name="now", arguments="{}"),)
    assert (reply.finish, exchange.text, exchange.received_bytes) == ("tool_calls", "", len(whole))


@pytest.mark.parametrize(("piece", "text"), [('{"tool": "no', ""), ('{"answer": "It is', "It is")])
async def test_a_cancelled_call_keeps_its_text_and_all_that_says_what_it_is_charged(answered_by, piece, text):
    exchange = Exchange()
    call = asyncio.ensure_future(answered_by(Server(piece, then=asyncio.Event().wait)).call(WITH_TOOLS, exchange))
    while not exchange.received_bytes:
        await asyncio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert (exchange.text, exchange.sent, exchange.usage) == (text, True, None)
    assert exchange.received_bytes == len(piece)


async def test_a_failure_amid_a_call_stays_as_it_is(answered_by):
    async def fail():
        raise ProviderError("idle", "", "timeout", "received")

    exchange = Exchange()

    with pytest.raises(ProviderError, match="idle"):
        await answered_by(Server('{"tool": "n', then=fail)).call(WITH_TOOLS, exchange)

    assert (exchange.text, exchange.received_bytes) == ("", 11)


async def test_where_tools_are_only_history_the_text_streams_as_it_is(answered_by):
    heard = []
    call = ToolCall(id="call-1", name="now", arguments="{}")
    history = (
        *WITH_TOOLS.messages,
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="12:00", tool_call_id="call-1", tool="now"),
    )
    server = Server('{"answer": ', "12}")
    request = Request(messages=history, max_tokens=9, tools=(NOW,), may_call=False)

    reply = await answered_by(server).call(request, Exchange(on_text=heard.append))

    assert (reply.text, heard) == ('{"answer": 12}', ['{"answer": ', "12}"])
    assert [message.role for message in server.requests[0].messages] == ["user"]


REVIEW = answer_schema({"sentiment": ["positive", "negative"]})


async def test_an_answer_with_a_schema_is_asked_for_in_words_and_held_to_a_grammar(answered_by):
    server = Server('{"sentiment": "positive"}')
    request = replace(WITH_TOOLS, tools=(), schema=REVIEW, params={"top_k": 4})

    reply = await answered_by(server).call(request, Exchange())

    (sent,) = server.requests
    assert reply.text == '{"sentiment": "positive"}'
    assert [message.role for message in sent.messages] == ["system", "user"]
    assert sent.params["response_format"]["json_schema"]["schema"]["properties"] == REVIEW.json["properties"]
    assert (sent.params["top_k"], sent.schema) == (4, None)


async def test_of_an_answer_beside_tools_its_object_alone_is_shown_as_it_comes(answered_by):
    server = Server('{"answer": {"sentiment"', ': "posi', 'tive"}}')
    heard = []

    reply = await answered_by(server).call(replace(WITH_TOOLS, schema=REVIEW), Exchange(on_text=heard.append))

    assert heard == ['{"sentiment"', ': "posi', 'tive"}']
    assert (reply.text, reply.finish) == ('{"sentiment": "positive"}', "stop")


def test_what_offering_tools_adds_covers_the_words_that_tell_of_them(tmp_path):
    provider = EmbeddedProvider("local", LocalModel(), None, tmp_path)

    assert provider.tools_overhead_tokens == OVERHEAD_TOKENS
