"""One answer as its bytes come in: at no byte is a cut one taken for a whole one."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.errors import ProviderError
from xz_magics.providers import Exchange, answer as rooms
from xz_magics.providers.answer import Answer
from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.providers.endpoint import Endpoint, redactor
from xz_magics.providers.failures import Failures
from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import ToolCall, Usage

KEY = "sk-proj-Ab3dEf6hIj9Kl2"
TEXT = 'Grüße, 世界 🌍! "quoted" \\ and\nnew line'
RESET = ProviderError("it broke off", "", "network", "all")


def openai_stream(text=TEXT, finish_reason="stop"):
    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-x", "choices": [choice]})

    pieces = [chunk({"role": "assistant", "content": "", "refusal": None})]
    pieces += [chunk({"content": text[at : at + 5]}) for at in range(0, len(text), 5)]
    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    pieces += [chunk({}, finish_reason), event({"id": "chatcmpl-1", "choices": [], "usage": usage}), "data: [DONE]\n\n"]
    return "".join(pieces).encode()


def anthropic_stream(text=TEXT, stop_reason="end_turn"):
    def named(kind, **fields):
        return f"event: {kind}\n" + event({"type": kind, **fields})

    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    pieces = [
        named("message_start", message=message | {"usage": {"input_tokens": 9, "output_tokens": 1}}),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        named("ping"),
    ]
    deltas = [{"type": "text_delta", "text": text[at : at + 5]} for at in range(0, len(text), 5)]
    pieces += [named("content_block_delta", index=0, delta=delta) for delta in deltas]
    pieces += [
        named("content_block_stop", index=0),
        named("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage={"output_tokens": 12}),
        named("message_stop"),
    ]
    return "".join(pieces).encode()


def event(data):
    return f"data: {json.dumps(data)}\n\n"


STREAMS = pytest.mark.parametrize(
    ("wire", "stream", "reason"),
    [
        (OpenAIWire(), openai_stream(), b'"finish_reason": "stop"'),
        (AnthropicWire(), anthropic_stream(), b'"stop_reason"'),
    ],
    ids=["openai", "anthropic"],
)


def answer_of(wire=None, *, stream=True, exchange=None):
    endpoint = Endpoint(name="example", wire="openai", base_url="https://api.example.com", key_env="EXAMPLE_KEY")
    failures = Failures(endpoint, redactor(KEY))
    return Answer(wire or OpenAIWire(), exchange or Exchange(), failures, stream=stream)


def outcome(*pieces, wire=None, stream=True, trouble=None, exchange=None):
    """The reply, or the error in its place."""
    answer = answer_of(wire, stream=stream, exchange=exchange)
    try:
        for piece in pieces:
            answer.feed(piece)
    except ProviderError as error:
        trouble = error
    try:
        return answer.reply(trouble)
    except ProviderError as error:
        return error


def whole_body(content="Hello", **changes):
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}} | changes).encode()


@STREAMS
@pytest.mark.parametrize("trouble", [None, RESET], ids=["closed", "reset"])
def test_a_stream_cut_at_any_byte_is_whole_only_once_it_has_said_why_it_ends(wire, stream, reason, trouble):
    finished_at = stream.index(b"\n\n", stream.index(reason)) + 2
    texts = []
    for at in range(len(stream) + 1):
        exchange = Exchange()
        cut = outcome(stream[:at], wire=wire, trouble=trouble, exchange=exchange)
        if at >= finished_at:
            assert (cut.finish, cut.text) == ("stop", TEXT), at
        elif exchange.text:
            assert (cut.finish, cut.usage, cut.text) == ("cut", None, exchange.text), at
            assert cut.note
            assert TEXT.startswith(cut.text)
            texts.append(cut.text)
        else:
            assert isinstance(cut, ProviderError), at
            assert cut.charge == "all"
    assert len(set(texts)) > 5


@STREAMS
def test_a_whole_stream_has_all_its_text_and_usage_at_every_split(wire, stream, reason):
    for at in range(len(stream) + 1):
        exchange = Exchange()
        reply = outcome(stream[:at], stream[at:], wire=wire, exchange=exchange)
        assert (reply.text, reply.finish) == (TEXT, "stop")
        assert reply.usage == exchange.usage == Usage(input_tokens=9, output_tokens=12)
        assert exchange.finish_reason == reply.finish_reason
        assert exchange.received_bytes == len(TEXT.encode())


def test_text_that_came_in_one_piece_with_a_fault_is_kept():
    reply = outcome(openai_stream()[:900] + b"\n\ndata: {broken\n\n")

    assert reply.finish == "cut"
    assert TEXT.startswith(reply.text)
    assert "no JSON" in reply.note


@pytest.mark.parametrize("wire", [OpenAIWire(), AnthropicWire()], ids=["openai", "anthropic"])
def test_an_error_inside_a_stream_fails_before_text_and_cuts_after_it(wire):
    stream = openai_stream() if isinstance(wire, OpenAIWire) else anthropic_stream()
    report = (
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n'
    )

    early = outcome(report, wire=wire)
    late = outcome(stream[: stream.index(b"\n\n", -700) + 2], report, wire=wire)

    assert (early.error_type, early.status, early.charge) == ("bad_response", 529, "all")
    assert "Overloaded" in early.message
    assert late.finish == "cut"
    assert "Overloaded" in late.note


@pytest.mark.parametrize(
    ("reported", "error_type"),
    [
        ({"type": "rate_limit_error", "message": "slow down"}, "rate_limited"),
        ({"code": 429, "message": "slow down"}, "rate_limited"),
        ({"type": "authentication_error", "message": "no"}, "auth"),
        ({"code": "invalid_api_key", "message": "no"}, "auth"),
        ({"code": "insufficient_quota", "message": "no"}, "spent_account"),
        ({"type": "invalid_request_error", "code": "context_length_exceeded", "message": "no"}, "context_length"),
        ({"type": "invalid_request_error", "message": "prompt is too long: 300000 tokens"}, "context_length"),
        ({"type": "invalid_request_error", "message": "no"}, "bad_request"),
        ({"message": "oops"}, "bad_response"),
        ("oops", "bad_response"),
        ([1], "bad_response"),
    ],
)
def test_an_error_with_status_200_is_told_apart_by_its_words(reported, error_type):
    for stream in (True, False):
        error = outcome(json.dumps({"error": reported}).encode(), stream=stream)
        assert (error.error_type, error.charge) == (error_type, "all")
        assert error.hint


def test_no_error_is_no_error():
    assert outcome(whole_body(error=None), stream=False).finish == "stop"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("blanks", [b"", b"\n\n  ", b"\xef\xbb\xbf", b"  \n" * 100])
def test_a_whole_reply_is_taken_whether_or_not_a_stream_was_asked_for(stream, blanks):
    exchange = Exchange()
    reply = outcome(blanks, whole_body()[:10], whole_body()[10:], stream=stream, exchange=exchange)

    assert (reply.text, reply.finish) == ("Hello", "stop")
    assert exchange.text == "Hello"
    assert exchange.usage == Usage(input_tokens=9, output_tokens=3)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "got an empty answer"),
        (b"[1, 2]", "got JSON that is no object: '[1, 2]'"),
        (whole_body()[:-20], "got no JSON: "),
        (b'{"choices": "\xff\xfe"}', "got no JSON: "),
        (b"[" * 100_000, "got no JSON: "),
        (b'{"a": ' + b"9" * 5000 + b"}", "got no JSON: "),
        (b'{"object": "list"}', "got JSON that is no reply, for it has no list of choices"),
        (b"<!DOCTYPE html><title>Sign in &amp; pay</title>", "got an HTML page titled 'Sign in & pay'"),
        (b"\n<html><body>hi", "got an HTML page titled '(none)'"),
    ],
)
def test_a_body_that_is_no_reply_is_quoted(body, told):
    error = outcome(body, stream=False)

    assert told in error.message
    assert error.message.startswith("api.example.com: ")
    assert (error.error_type, error.charge) == ("bad_response", "all")
    assert "base URL" in error.hint
    assert len(error.message) < 400


def test_a_stream_without_an_event_is_quoted():
    error = outcome(b"upstream connect error or disconnect")

    assert "got a stream without any event: 'upstream connect error" in error.message


def test_a_body_that_broke_off_is_quoted_with_what_broke_it():
    error = outcome(whole_body()[:30], stream=False, trouble=RESET)

    assert (error.error_type, error.charge) == ("bad_response", "all")
    assert "the answer broke off: '{" in error.message
    assert error.__cause__ is RESET


def test_what_is_quoted_is_short_on_one_line_and_without_the_key():
    error = outcome(("{" + f"\x1b[31m{KEY}\n" * 500).encode(), stream=False)

    assert KEY not in str(error)
    assert "\n" not in error.message
    assert "\x1b" not in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("start", range(165, 205))
def test_no_part_of_the_key_is_left_where_a_quotation_is_cut_off(start):
    for body in (b"x" * start + KEY.encode(), json.dumps({"error": {"message": "x" * start + KEY}}).encode()):
        assert KEY[:4] not in str(outcome(body, stream=False))


@pytest.mark.parametrize(
    "body",
    [whole_body(choices=[]), whole_body(content=None), whole_body(content=""), whole_body(choices=[None])],
)
def test_an_empty_answer_is_an_error_with_its_usage_known(body):
    exchange = Exchange()
    error = outcome(body, stream=False, exchange=exchange)

    assert (error.error_type, error.charge) == ("empty_answer", "all")
    assert exchange.usage == Usage(input_tokens=9, output_tokens=3)


def test_an_empty_stream_that_used_up_its_tokens_says_so():
    exchange = Exchange()
    error = outcome(openai_stream("", "length"), exchange=exchange)

    assert error.error_type == "empty_answer"
    assert "raise max_tokens" in error.hint
    assert exchange.usage == Usage(input_tokens=9, output_tokens=12)


def test_a_refusal_without_text_is_a_refusal():
    assert outcome(openai_stream("", "content_filter")).finish == "refused"
    assert outcome(anthropic_stream("", "refusal"), wire=AnthropicWire()).finish == "refused"


def test_a_strange_finish_reason_is_a_cut_that_names_it():
    reply = outcome(openai_stream(finish_reason="error"))

    assert reply.finish == "cut"
    assert "'error'" in reply.note


def test_comments_and_pings_are_no_progress_and_everything_else_is():
    answer = answer_of(AnthropicWire())
    begun = anthropic_stream().split(b"event: ping")[0]

    assert answer.feed(begun)
    assert not answer.feed(b": keep-alive\n\n" * 100)
    assert not answer.feed(b'event: ping\ndata: {"type": "ping"}\n\n')
    assert answer.feed(b'data: {"type": "content_block_delta", "delta": {"thinking": "Hm"}}\n\n')


@STREAMS
def test_a_stream_knows_its_last_event(wire, stream, reason):
    answer = answer_of(wire)

    answer.feed(stream[:-1])
    assert not answer.ended
    answer.feed(stream[-1:])
    assert answer.ended


def test_too_large_an_answer_is_given_up_and_not_tried_again(monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ANSWER_BYTES", 1000)

    body = outcome(b"{" + b" " * 1001, stream=False)
    blanks = outcome(b" " * 1001)
    long = openai_stream("x" * 3000)
    stream = outcome(*(long[at : at + 1000] for at in range(0, len(long), 1000)))

    assert "larger than 1,000 bytes" in body.message
    assert body.should_retry is blanks.should_retry is False
    assert stream.finish == "cut"
    assert "larger than 1,000 bytes" in stream.note


def test_a_stream_may_be_much_longer_than_its_text(monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ANSWER_BYTES", 1000)

    assert outcome(openai_stream("x" * 900)).finish == "stop"


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"\n\n", b"{", b"[DONE]", b'{"choices":[{}]}'])))
def test_no_bytes_whatever_are_more_than_a_cut_reply_or_a_provider_error(pieces):
    for stream in (True, False):
        ended = outcome(*pieces, stream=stream)
        assert isinstance(ended, ProviderError) or ended.finish in {"cut", "stop"}


def call_delta(arguments, **opening):
    call = {"index": 0, "function": {"arguments": arguments}} | opening
    return event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}).encode()


OPENING = call_delta("", id="call_a", function={"name": "look_up", "arguments": ""})
FINISHED = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}).encode()


def test_an_answer_of_tool_calls_alone_is_not_empty():
    exchange = Exchange()

    reply = outcome(OPENING, call_delta("{}"), FINISHED, exchange=exchange)

    assert (reply.text, reply.finish) == ("", "tool_calls")
    assert reply.tool_calls == (ToolCall(id="call_a", name="look_up", arguments="{}"),)
    assert (exchange.text, exchange.received_bytes) == ("", len("look_up{}"))


def test_pieces_of_tool_calls_are_progress_and_no_text():
    heard = []
    answer = answer_of(exchange=Exchange(on_text=heard.append))

    assert answer.feed(OPENING)
    assert answer.feed(call_delta("{"))
    assert heard == []


@pytest.mark.parametrize(
    ("rest", "trouble", "error_type"),
    [
        (b"", None, "network"),
        (b"", RESET, "network"),
        (b"", ProviderError("it was silent", "", "timeout", "received"), "timeout"),
        (b"data: {broken\n\n", None, "bad_response"),
        (b'data: {"error": {"type": "rate_limit_error", "message": "slow down"}}\n\n', None, "rate_limited"),
    ],
    ids=["closed", "reset", "silent", "no JSON", "reported"],
)
def test_a_stream_that_breaks_off_in_a_tool_call_failed_and_is_charged_by_its_bytes(rest, trouble, error_type):
    exchange = Exchange()

    error = outcome(OPENING, call_delta('{"word": "x'), rest, trouble=trouble, exchange=exchange)

    assert isinstance(error, ProviderError)
    assert (error.error_type, error.charge) == (error_type, "received")
    assert exchange.received_bytes == len('look_up{"word": "x')
    assert exchange.usage is None


def test_text_before_a_tool_call_that_broke_off_is_kept_without_the_call():
    text = event({"choices": [{"index": 0, "delta": {"content": "Let me see"}}]}).encode()

    reply = outcome(text, OPENING, call_delta('{"word": "x"}'))

    assert (reply.text, reply.finish, reply.tool_calls) == ("Let me see", "cut", ())


def test_a_tool_call_that_ran_out_of_tokens_is_no_call():
    cut_short = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}).encode()

    error = outcome(OPENING, call_delta('{"word": "x'), cut_short)

    assert (error.error_type, error.charge) == ("empty_answer", "all")
    assert "raise max_tokens" in error.hint


def test_tool_calls_that_are_too_many_or_too_long_are_given_up(monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ANSWER_BYTES", 100_000)
    many = b"".join(call_delta("", id=str(at), index=at) for at in range(1001))
    long = call_delta("x" * 60_000)

    assert "more than 1,000 tool calls" in outcome(many).message
    assert "is larger than 100,000 bytes" in outcome(long, long).message
    assert outcome(many).should_retry is outcome(long, long).should_retry is False


def test_no_depth_of_arguments_is_more_than_a_call_or_a_provider_error():
    """Between them may be a depth that can just be read and, a few calls further in, not be written."""
    block = event({"type": "content_block_start", "content_block": {"type": "tool_use", "input": []}})
    finished = event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}).encode()
    ended = {}
    for depth in (50, *range(800, 1000), 100_000):
        nested = block.replace("[]", "[" * depth + "]" * depth).encode()
        ended[depth] = outcome(nested, finished, wire=AnthropicWire())

    assert ended[50].tool_calls[0].arguments == "[" * 50 + "]" * 50
    assert ended[100_000].error_type == "bad_response"
    assert all(isinstance(end, ProviderError) or end.tool_calls for end in ended.values())


def test_a_tool_call_in_very_many_pieces_is_put_together_in_linear_time():
    """200,000 pieces: with work that grows with what has come before, this would hit the time limit."""
    piece = call_delta("xxxxxxxxxx")

    reply = outcome(OPENING, *[piece * 100] * 2000, FINISHED)

    assert len(reply.tool_calls[0].arguments) == 2_000_000


def test_fifty_megabytes_of_events_without_text_leave_nothing_behind():
    thought = event({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "x" * 1000}})
    piece, answer = thought.encode() * 64, answer_of(AnthropicWire())
    answer.feed(piece)
    tracemalloc.start()
    try:
        for _ in range(50 * 2**20 // len(piece)):
            answer.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2**20
