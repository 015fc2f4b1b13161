"""What each fault of a call comes to: the kind of error or reply, what is charged, what is said, and nothing left open."""

import asyncio
import socket
import time
from pathlib import Path

import fault_server as fs
import pytest
from calling import KEY, a_provider, a_request, called, nothing_left, play
from fault_server import FaultServer

from xz_magics.providers import Exchange
from xz_magics.records import Usage

USED = Usage(input_tokens=9, output_tokens=3)
COMMENT = b": keep-alive\n\n"
PAGE = b"<!doctype html><html><head><title>Sign in to\n Wi-Fi</title></head><body>hello</body></html>"


def failed(ended, error_type, charge):
    assert ended.error is not None, ended.reply
    assert (ended.error.error_type, ended.error.charge) == (error_type, charge), ended.error
    assert ended.error.hint
    assert KEY not in str(ended.error)
    return ended.error


# Whole answers, however they come


@pytest.mark.parametrize(
    "fault",
    [
        fs.answering,
        fs.ending(fs.stream(fs.WHOLE)),
        fs.ending(fs.stream(fs.TOKENS + fs.FINISH + fs.COUNTED)),
        fs.then("reset", fs.stream(fs.WHOLE)),
        fs.then("until_gone", fs.stream(fs.WHOLE)),
        fs.ending(fs.stream(b"\xef\xbb\xbf" + fs.WHOLE)),
        fs.ending(fs.stream(fs.WHOLE.replace(b"\n", b"\r"))),
        fs.ending(fs.stream(fs.WHOLE.replace(b"\n", b"\r\n"))),
        fs.ending(
            fs.stream(b"retry: 10\nid: 7\nunknown: x\n" + COMMENT + fs.WHOLE.replace(b"\n\n", b"\n\n" + COMMENT))
        ),
        fs.trickled(fs.HEAD % (200, fs.SSE + fs.CLOSING), fs.WHOLE, every_s=0.001, size=3),
        fs.ending(fs.stream(fs.WHOLE, headers=b"content-type: application/json\r\n")),
        fs.ending(fs.stream(fs.WHOLE, headers=b"")),
        fs.response(fs.document()),
        fs.response(fs.document(), headers=b"content-type: text/plain\r\n"),
        fs.response(b"\n\n" + fs.document(), headers=b"content-type: text/event-stream\r\n"),
    ],
    ids=[
        "kept connection",
        "stream then close",
        "no [DONE]",
        "reset after [DONE]",
        "left open after [DONE]",
        "BOM",
        "CR",
        "CRLF",
        "comments and unknown fields",
        "3 bytes at a time",
        "stream called JSON",
        "no content type",
        "JSON in place of a stream",
        "JSON called text",
        "JSON called stream",
    ],
)
def test_a_whole_answer_is_whole_in_whatever_form(fault):
    ended = play(fault)

    assert ended.error is None
    assert (ended.reply.text, ended.reply.finish, ended.reply.usage) == (fs.TEXT, "stop", USED)
    assert ended.exchange.text == fs.TEXT
    assert ended.exchange.sent


def test_without_a_stream_the_answer_is_one_document():
    ended = play(fs.answering, stream=False)

    assert (ended.reply.text, ended.reply.finish, ended.reply.usage) == (fs.TEXT, "stop", USED)
    assert b"stream" not in ended.server.bodies[0]


def test_a_packed_answer_is_unpacked_though_none_was_asked_for():
    packed = fs.gzip.compress(fs.document())
    ended = play(fs.response(packed, headers=b"content-encoding: gzip\r\n"))

    assert ended.reply.text == fs.TEXT
    assert b"accept-encoding: identity\r\n" in ended.server.heads[0].lower()


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -1, "completion_tokens": 3}, {"prompt_tokens": "9"}])
def test_missing_or_senseless_usage_is_unknown(usage):
    ended = play(fs.response(fs.document(usage=usage)), stream=False)

    assert ended.reply.usage is None
    assert ended.reply.finish == "stop"


# Cut streams


@pytest.mark.parametrize(
    "fault",
    [
        fs.then("reset", fs.stream(fs.TOKENS)),
        fs.ending(fs.stream(fs.TOKENS)),
        fs.ending(fs.stream(fs.TOKENS + fs.DONE)),
        fs.ending(fs.HEAD % (200, fs.SSE + b"transfer-encoding: chunked\r\n") + b"fff\r\n" + fs.TOKENS),
        fs.ending(fs.stream(fs.TOKENS + fs.FINISH[:-1])),
        fs.ending(fs.stream(fs.TOKENS + fs.event('{"error": {"message": "Overloaded", "code": 529}}'))),
        fs.ending(fs.stream(fs.TOKENS + fs.event("{broken"))),
        fs.endless(fs.stream(fs.TOKENS + b"data: "), b"x" * 2**20),
    ],
    ids=["reset", "end", "[DONE] alone", "cut chunk", "cut finish", "error event", "broken event", "200 MB event"],
)
def test_a_stream_that_breaks_off_after_text_is_cut_and_keeps_it(fault):
    ended = play(fault)

    assert ended.error is None, ended.error
    assert (ended.reply.finish, ended.reply.text, ended.reply.usage) == ("cut", fs.TEXT, None)
    assert ended.reply.note
    assert ended.exchange.text == fs.TEXT


@pytest.mark.parametrize(
    "fault",
    [
        fs.then("reset", fs.stream(b"")),
        fs.ending(fs.stream(fs.chunk("") + COMMENT)),
        fs.ending(fs.HEAD % (200, fs.SSE + b"transfer-encoding: chunked\r\n") + b"fff\r\n" + COMMENT),
    ],
    ids=["reset", "end", "cut chunk"],
)
def test_a_stream_that_breaks_off_before_text_may_be_tried_again_and_is_charged(fault):
    failed(play(fault), "network", "all")


# Silence


@pytest.mark.parametrize(
    ("fault", "charge"),
    [
        (fs.then("until_gone"), "all"),
        (fs.then("until_gone", fs.stream(b"")), "all"),
        (fs.then("until_gone", fs.stream(fs.TOKENS)), "received"),
        (fs.endless(fs.stream(b""), COMMENT, every_s=0.01), "all"),
        (fs.endless(fs.stream(fs.TOKENS), COMMENT, every_s=0.01), "received"),
        (fs.endless(fs.stream(b""), b"\n", every_s=0.01), "all"),
        (fs.endless(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n", every_s=0.05), "all"),
        (fs.trickled(fs.HEAD % (200, b"content-length: 5000\r\n"), fs.document() * 20, every_s=0.05), "all"),
    ],
    ids=["hang", "no event", "no more", "comments", "comments after text", "blanks", "endless headers", "slow loris"],
)
def test_a_stream_that_brings_nothing_new_times_out(fault, charge):
    ended = play(fault, idle_timeout_s=0.3)

    error = failed(ended, "timeout", charge)
    assert "nothing new for 0.3 s" in error.message
    assert "idle_timeout" in error.hint
    assert (ended.exchange.text == fs.TEXT) == (charge == "received")


def test_text_that_keeps_coming_is_no_silence_however_slow():
    ended = play(fs.trickled(fs.stream(b""), fs.WHOLE, every_s=0.12, size=len(fs.chunk("One "))), idle_timeout_s=0.6)

    assert ended.reply.finish == "stop"


def test_a_finish_reason_before_the_silence_makes_the_answer_whole():
    ended = play(fs.then("until_gone", fs.stream(fs.TOKENS + fs.FINISH)), idle_timeout_s=0.3)

    assert (ended.reply.finish, ended.reply.usage) == ("stop", None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        fs.then("until_gone"),
        fs.then("until_gone", fs.stream(fs.TOKENS)),
        fs.trickled(fs.HEAD % (200, b"content-length: 5000\r\n"), fs.document() * 20, every_s=0.05),
    ],
    ids=["hang", "stream", "slow loris"],
)
def test_a_call_that_its_caller_cancels_ends_at_once_and_leaves_nothing(fault, stream):
    async def scenario():
        async with FaultServer(fault) as server, nothing_left(server):
            provider = a_provider(f"http://127.0.0.1:{server.port}")
            exchange = Exchange()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await provider.call(a_request(stream=stream), exchange)
            await provider.aclose()
            return exchange

    exchange = asyncio.run(scenario())

    assert exchange.sent


# Broken bodies


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (fs.response(PAGE, headers=b"content-type: text/html\r\n"), "got an HTML page titled 'Sign in to Wi-Fi'"),
        (fs.response(b'[{"a": 1}]'), "got JSON that is no object"),
        (fs.response(fs.document()[:-9]), "got no JSON"),
        (fs.response(b'{"choices": "\xff"}'), "got no JSON"),
        (fs.response(b'{"object": "list"}'), "got JSON that is no reply"),
        (fs.ending(fs.HEAD % (200, b"content-length: 5000\r\n") + fs.document()), "the answer broke off"),
        (fs.then("reset", fs.HEAD % (200, b"content-length: 5000\r\n") + fs.document()), "the answer broke off"),
        (fs.response(b"\x1f\x8b not gzip", headers=b"content-encoding: gzip\r\n"), "no HTTP answer"),
        (fs.ending(b"\x15\x03\x03 what is this\r\n\r\n"), "no HTTP answer"),
        (fs.ending(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"), "no HTTP answer"),
    ],
    ids=[
        "HTML",
        "array",
        "cut JSON",
        "invalid UTF-8",
        "other JSON",
        "FIN in the body",
        "reset in the body",
        "no gzip",
        "no HTTP",
        "huge header",
    ],
)
def test_what_is_no_answer_is_a_bad_response_that_shows_what_came(fault, told, stream):
    ended = play(fault, stream=stream)

    assert told in failed(ended, "bad_response", "all").message


def test_an_echoed_key_is_not_shown():
    ended = play(fs.response(f"no: {KEY}".encode()), stream=False)

    assert "got no JSON: 'no: ***'" in failed(ended, "bad_response", "all").message


def test_no_body_at_all_is_no_answer():
    assert "got an empty answer" in failed(play(fs.response(b""), stream=False), "bad_response", "all").message
    assert "ended before any text" in failed(play(fs.response(b"")), "network", "all").message


@pytest.mark.parametrize("stream", [True, False])
def test_an_empty_answer_is_charged_as_reported(stream):
    ended = play(fs.response(fs.document(choices=[])), stream=stream)

    failed(ended, "empty_answer", "all")
    assert ended.exchange.usage == USED


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        fs.bomb(300 * 2**20),
        fs.endless(fs.HEAD % (200, b""), b" " * 2**20),
        fs.endless(fs.stream(b"data: "), b"x" * 2**20),
    ],
    ids=["gzip bomb", "endless body", "endless event"],
)
def test_too_large_an_answer_is_given_up_in_bounded_memory(fault):
    before = resident_bytes()

    error = failed(play(fault, stream=fault_is_stream(fault)), "bad_response", "all")

    assert "is larger than" in error.message
    assert error.should_retry is False
    assert resident_bytes() - before < 128 * 2**20


# Refusals


@pytest.mark.parametrize(
    ("status", "error_type", "charge"),
    [
        (400, "bad_request", "nothing"),
        (401, "auth", "nothing"),
        (402, "spent_account", "nothing"),
        (403, "auth", "nothing"),
        (404, "bad_request", "nothing"),
        (408, "bad_response", "nothing"),
        (409, "bad_response", "nothing"),
        (413, "bad_request", "nothing"),
        (418, "bad_request", "nothing"),
        (422, "bad_request", "nothing"),
        (425, "bad_response", "nothing"),
        (429, "rate_limited", "nothing"),
        (500, "bad_response", "all"),
        (502, "bad_response", "all"),
        (503, "bad_response", "nothing"),
        (504, "bad_response", "all"),
        (529, "bad_response", "nothing"),
    ],
)
def test_each_status_is_its_kind_of_error(status, error_type, charge):
    ended = play(fs.refusal(status, "the reason", b"x-request-id: req_7\r\n"))

    error = failed(ended, error_type, charge)
    assert error.status == status
    assert f"127.0.0.1:{ended.server.port} answered {status}" in error.message
    assert "the reason (request req_7)" in error.message
    assert len(ended.server.bodies) == 1


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (fs.refusal(429, code="insufficient_quota"), "spent_account"),
        (fs.refusal(429, code="credit_balance_exhausted"), "spent_account"),
        (fs.refusal(429, details={"error_code": "enforced_spend_limit_reached"}), "spent_account"),
        (fs.refusal(400, "Your credit balance is too low to access the API"), "spent_account"),
        (fs.refusal(400, code="context_length_exceeded"), "context_length"),
        (fs.refusal(400, "prompt is too long: 210000 tokens > 200000 maximum"), "context_length"),
        (fs.refusal(400, "This model's maximum context length is 8192 tokens"), "context_length"),
        (fs.refusal(400, type="exceed_context_size_error"), "context_length"),
        (fs.response(b'{"error": "model not found"}', status=404), "bad_request"),
        (fs.response(b'[{"error": {"code": 429, "message": "slow"}}]', status=429), "rate_limited"),
    ],
)
def test_a_refusal_is_told_apart_by_its_words(fault, error_type):
    failed(play(fault), error_type, "nothing")


def test_a_refused_key_names_the_variable_that_was_looked_at_and_shows_nothing_of_it():
    ended = play(fs.refusal(401, f"Incorrect API key provided: {KEY[:6]}******{KEY[-4:]}. Yours is {KEY}."))

    error = failed(ended, "auth", "nothing")
    assert "TEST_KEY" in error.hint
    assert KEY[:6] not in str(error)
    assert KEY[-4:] not in str(error)

    assert "is given no key" in failed(play(fs.refusal(401), key=None, key_env=None), "auth", "nothing").hint


@pytest.mark.parametrize(
    ("headers", "retry_after_s", "should_retry"),
    [
        (b"retry-after: 7\r\n", 7.0, None),
        (b"retry-after: 7\r\nretry-after-ms: 250\r\n", 0.25, None),
        (b"retry-after: nan\r\n", None, None),
        (b"retry-after: Fri, 01 Jan 100000 00:00:00 GMT\r\n", None, None),
        (b"x-should-retry: false\r\n", None, False),
        (b"x-should-retry: true\r\n", None, True),
    ],
)
def test_what_the_server_says_about_trying_again_is_passed_on(headers, retry_after_s, should_retry):
    error = failed(play(fs.refusal(429, headers=headers)), "rate_limited", "nothing")

    assert (error.retry_after_s, error.should_retry) == (retry_after_s, should_retry)


def test_a_refusal_by_a_page_names_its_title():
    error = failed(play(fs.response(PAGE, status=502)), "bad_response", "all")

    assert "502 Bad Gateway: an HTML page titled 'Sign in to Wi-Fi'" in error.message


@pytest.mark.parametrize(
    "fault", [fs.then("reset", fs.HEAD % (429, b"content-length: 99\r\n")), fs.ending(fs.HEAD % (429, b""))]
)
def test_a_refusal_whose_body_breaks_off_is_still_that_refusal(fault):
    failed(play(fault), "rate_limited", "nothing")


def test_a_refusal_whose_body_never_ends_is_that_refusal():
    failed(play(fs.endless(fs.HEAD % (500, b""), b"x" * 1000)), "bad_response", "all")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_host_named(status):
    async def scenario():
        async with FaultServer(fs.answering) as elsewhere:
            location = b"location: http://user:word@127.0.0.1:%d/x?key=1\r\n" % elsewhere.port
            async with FaultServer(fs.response(b"", status=status, headers=location)) as server:
                provider = a_provider(f"http://127.0.0.1:{server.port}")
                ended = await called(provider)
                await provider.aclose()
                return ended, elsewhere

    ended, elsewhere = asyncio.run(scenario())

    error = failed(ended, "bad_response", "nothing")
    assert f"it redirects to 127.0.0.1:{elsewhere.port}, which is not followed" in error.message
    assert error.should_retry is False
    assert elsewhere.connections == 0


# Connections


def test_a_closed_port_is_named_and_costs_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    ended = play(fs.answering, base_url=f"http://127.0.0.1:{port}")

    error = failed(ended, "network", "nothing")
    assert f"nothing answers at 127.0.0.1:{port}: Connection refused" in error.message
    assert "is the local server running?" in error.hint
    assert not ended.exchange.sent


def test_an_unknown_host_is_named_and_costs_nothing(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    ended = play(fs.answering, base_url="http://no-such-host.localhost:80")

    error = failed(ended, "network", "nothing")
    assert "no host is called no-such-host.localhost" in error.message
    assert not ended.exchange.sent


def test_a_name_server_that_hangs_is_bounded_and_costs_nothing(monkeypatch):
    def slow(*_, **__):
        time.sleep(0.8)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    async def scenario():
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        provider = a_provider("http://slow-host.localhost:80")
        ended = await called(provider, idle_timeout_s=0.2)
        await provider.aclose()
        return ended

    failed(asyncio.run(scenario()), "timeout", "nothing")


@pytest.mark.parametrize("fault", [fs.then("reset"), fs.then("close")], ids=["reset", "close"])
def test_a_fresh_connection_that_breaks_before_an_answer_is_charged_and_not_tried_again_here(fault):
    ended = play(fault)

    error = failed(ended, "network", "all")
    assert "closed the connection" in error.message
    assert len(ended.server.bodies) == 1


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_kept_connection_that_was_closed_is_replaced_without_a_word(keep_alive):
    async def scenario():
        async with FaultServer(fs.sudden_goodbye) as server, nothing_left(server):
            provider = a_provider(f"http://127.0.0.1:{server.port}", keep_alive=keep_alive)
            replies = [(await called(provider)).reply for _ in range(4)]
            await provider.aclose()
            return replies, server

    replies, server = asyncio.run(scenario())

    assert [reply.finish for reply in replies] == ["stop"] * 4
    assert len(server.bodies) == (6 if keep_alive else 4)


def test_a_kept_connection_is_replaced_once_and_not_again():
    async def first_only(call):
        if call.number == 1:
            await fs.answering(call)
        else:
            call.close()

    async def scenario():
        async with FaultServer(first_only) as server:
            provider = a_provider(f"http://127.0.0.1:{server.port}")
            ended = [await called(provider) for _ in range(2)]
            await provider.aclose()
            return ended, server

    ended, server = asyncio.run(scenario())

    assert ended[0].reply.finish == "stop"
    failed(ended[1], "network", "all")
    assert len(server.bodies) == 3


def test_connections_are_kept_for_the_next_call_and_closed_at_the_end():
    async def scenario():
        async with FaultServer(fs.answering) as server, nothing_left(server):
            provider = a_provider(f"http://127.0.0.1:{server.port}")
            for _ in range(5):
                assert (await called(provider)).reply.finish == "stop"
            kept = server.connections
            await provider.aclose()
            assert (await called(provider)).reply.finish == "stop"
            await provider.aclose()
            return kept

    assert asyncio.run(scenario()) == 1


def fault_is_stream(fault):
    return not isinstance(fault, bytes)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def test_a_kept_connection_that_breaks_while_the_server_works_is_charged_and_not_sent_again_for_free():
    async def fault(call):
        if call.of_connection == 1:
            await fs.answering(call)
        else:
            await asyncio.sleep(0.8)
            call.reset()

    async def scenario():
        async with FaultServer(fault) as server, nothing_left(server):
            provider = a_provider(f"http://127.0.0.1:{server.port}")
            await provider.open(print)
            first, second = await called(provider), await called(provider)
            await provider.aclose()
            return first, second, len(server.bodies)

    first, second, requests = asyncio.run(scenario())

    assert first.error is None
    failed(second, "network", "all")
    assert requests == 2
