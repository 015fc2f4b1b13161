"""The wire of Messages: what goes out, and what comes back in one piece or as a stream."""

import pytest
from hypothesis import given, strategies as st

from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.records import Message, Request, Usage

WIRE = AnthropicWire()
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "usage", "id"]), inner),
    max_leaves=10,
)
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude-x",
        "content": [],
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 300,
            "output_tokens": 1,
        },
    },
}


def request(**changes):
    return Request(messages=(Message(role="user", content="Hi"),), max_tokens=50, **changes)


def body_of(stop_reason="end_turn", **changes):
    usage = {"input_tokens": 9, "output_tokens": 3}
    content = [{"type": "text", "text": "Hello"}]
    return (
        {"id": "msg_1", "type": "message", "model": "claude-x", "content": content, "stop_reason": stop_reason}
        | {"usage": usage}
        | changes
    )


def delta(text):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def ending(stop_reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 7} | usage}


def streamed(*chunks):
    decoder = WIRE.decoder()
    texts = [decoder.feed(chunk) for chunk in chunks]
    return texts, decoder.reply("".join(text or "" for text in texts)), decoder.ended


def test_a_plain_request_holds_only_what_was_set():
    assert WIRE.encode(request(stream=False), "claude-x", official=True) == {
        "model": "claude-x",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 50,
    }


def test_a_full_request_holds_everything_with_the_system_text_apart():
    full = Request(
        messages=(
            Message(role="system", content="Be brief"),
            Message(role="system", content="Be kind"),
            Message(role="user", content="Hi"),
            Message(role="assistant", content="Hello"),
            Message(role="user", content="And?"),
        ),
        max_tokens=50,
        temperature=0.0,
        top_p=0.5,
        stop=("END",),
        params={"top_k": 5, "system": "no", "max_tokens": 9999, "temperature": 2},
    )

    assert WIRE.encode(full, "claude-x", official=True) == {
        "model": "claude-x",
        "system": "Be brief\n\nBe kind",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "And?"},
        ],
        "max_tokens": 50,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "top_k": 5,
        "stream": True,
    }


def test_a_seed_is_known_to_be_unsupported():
    assert "seed" in WIRE.unsupported


def test_the_headers_name_the_version_and_the_key():
    assert WIRE.headers("sk-1") == {"anthropic-version": "2023-06-01", "x-api-key": "sk-1"}
    assert WIRE.headers(None) == {"anthropic-version": "2023-06-01"}


def test_a_whole_reply_has_text_usage_and_names():
    reply = WIRE.reply_of(body_of())

    assert (reply.text, reply.finish, reply.finish_reason) == ("Hello", "stop", "end_turn")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3)
    assert (reply.model, reply.request_id) == ("claude-x", "msg_1")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refused"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "cut"),
        (None, "stop"),
    ],
)
def test_stop_reasons_in_one_vocabulary(reason, finish):
    assert WIRE.reply_of(body_of(reason)).finish == finish


def test_a_stream_gives_its_pieces_and_counts_cached_tokens_as_input():
    texts, reply, ended = streamed(
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        delta("Hel"),
        delta("lo"),
        {"type": "content_block_stop", "index": 0},
        ending(),
        {"type": "message_stop"},
    )

    assert texts == ["", "", None, "Hel", "lo", "", "", ""]
    assert ended
    assert (reply.text, reply.finish, reply.finish_reason) == ("Hello", "stop", "end_turn")
    assert reply.usage == Usage(input_tokens=325, output_tokens=7, cache_read_tokens=300, cache_write_tokens=20)
    assert (reply.model, reply.request_id) == ("claude-x", "msg_1")


def test_thinking_is_progress_but_no_text():
    thinking = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}}

    assert streamed(START, thinking)[0] == ["", ""]


def test_the_last_usage_wins_and_null_in_it_is_no_news():
    _, reply, _ = streamed(START, delta("x"), ending(input_tokens=6, cache_read_input_tokens=None))

    assert reply.usage == Usage(input_tokens=326, output_tokens=7, cache_read_tokens=300, cache_write_tokens=20)


def test_a_stream_without_a_stop_reason_is_cut_and_its_usage_is_unknown():
    _, reply, ended = streamed(START, delta("Hel"))

    assert (reply.finish, reply.usage, ended) == ("cut", None, False)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": 9},
        {"output_tokens": 9},
        {"input_tokens": -9, "output_tokens": 3},
        {"input_tokens": 9, "output_tokens": "3"},
        {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": -1},
        {"input_tokens": 0, "output_tokens": 0},
    ],
)
def test_usage_that_makes_no_sense_is_unknown_and_never_0(usage):
    assert WIRE.reply_of(body_of(usage=usage)).usage is None


def test_a_body_without_content_is_no_reply():
    with pytest.raises(ValueError, match="no list of content blocks"):
        WIRE.reply_of({"object": "list"})


@given(
    st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta", "other"]),
    st.sampled_from(["message", "delta", "usage", "content_block"]),
    ANY_JSON,
)
def test_no_shape_whatever_breaks_the_decoder_or_a_whole_reply(kind, name, value):
    decoder = WIRE.decoder()
    decoder.feed({"type": kind, name: value})
    decoder.feed({"type": value, name: value})
    decoder.reply("")
    WIRE.reply_of({"content": [value], "usage": value, "stop_reason": value})
