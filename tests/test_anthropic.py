"""The wire of Messages: what goes out, and what comes back in one piece or as a stream."""

import pytest
from hypothesis import given, strategies as st

from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.records import Message, Request, ToolCall, ToolSpec, Usage

WIRE = AnthropicWire()
FIELDS = ["text", "usage", "id", "type", "name", "input", "partial_json"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
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
    decoder.feed({"type": kind, "index": value, name: {"type": "tool_use", "id": value, "name": value, "input": value}})
    decoder.feed({"type": kind, "index": value, name: {"partial_json": value}})
    decoder.reply("")
    WIRE.reply_of({"content": [value], "usage": value, "stop_reason": value})


LOOK_UP = ToolSpec(name="look_up", description="Looks a word up", parameters={"type": "object"})
CALL = ToolCall(id="toolu_a", name="look_up", arguments='{"word": "é"}')
OTHER = ToolCall(id="toolu_b", name="look_up", arguments='{"word": 2}')
TALK = (
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Let me see", tool_calls=(CALL, OTHER)),
    Message(role="tool", content="a letter", tool_call_id="toolu_a", tool="look_up"),
    Message(role="tool", content="no word", tool_call_id="toolu_b", tool="look_up", error=True),
)
TOOLS = [{"name": "look_up", "description": "Looks a word up", "input_schema": {"type": "object"}}]
ANSWERS = [
    {"type": "tool_result", "tool_use_id": "toolu_a", "content": "a letter"},
    {"type": "tool_result", "tool_use_id": "toolu_b", "content": "no word", "is_error": True},
]


def encoded(*messages, **changes):
    return WIRE.encode(Request(messages=messages, max_tokens=50, **changes), "claude-x", official=True)


def use(index, ident, name="look_up", **fields):
    block = {"type": "tool_use", "id": ident, "name": name, "input": {}} | fields
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index, text):
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def test_tools_calls_and_results_go_out_as_this_api_writes_them():
    body = encoded(*TALK, tools=(LOOK_UP,))

    assert body["tools"] == TOOLS
    assert "tool_choice" not in body
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see"},
                {"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {"word": "é"}},
                {"type": "tool_use", "id": "toolu_b", "name": "look_up", "input": {"word": 2}},
            ],
        },
        {"role": "user", "content": ANSWERS},
    ]


def test_what_the_user_says_after_results_is_one_message_with_them_and_comes_last():
    asked, answered = Message(role="user", content="And now?"), Message(role="assistant", content="Done")

    sent = encoded(*TALK, asked, answered, asked, tools=(LOOK_UP,))["messages"]

    assert [message["role"] for message in sent] == ["user", "assistant", "user", "assistant", "user"]
    assert sent[2]["content"] == [*ANSWERS, {"type": "text", "text": "And now?"}]
    assert sent[4]["content"] == "And now?"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_block_is_sent_without_a_visible_character(text):
    spoken = Message(role="assistant", content=text, tool_calls=(CALL,))
    nothing = Message(role="tool", content="", tool_call_id="toolu_a", tool="look_up")

    sent = encoded(spoken, nothing, Message(role="user", content=text))["messages"]

    assert [block["type"] for block in sent[0]["content"]] == ["tool_use"]
    assert sent[1]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_a"}]


def test_where_no_tool_may_be_called_any_more_a_conversation_with_calls_still_has_their_definitions():
    last = encoded(*TALK, tools=(LOOK_UP,), may_call=False)
    fresh = encoded(*TALK[:1], tools=(LOOK_UP,), may_call=False)

    assert (last["tools"], last["tool_choice"]) == (TOOLS, {"type": "none"})
    assert set(fresh) == {"model", "messages", "max_tokens", "stream"}


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", '{"a": 1e999}', "", "[" * 100_000])
def test_arguments_that_are_no_object_are_wrapped_up_in_one_when_they_go_back(arguments):
    call = ToolCall(id="toolu_a", name="no such tool", arguments=arguments)

    (block,) = encoded(Message(role="assistant", content="", tool_calls=(call,)))["messages"][0]["content"]

    assert (block["name"], block["input"]) == ("no_such_tool", {"INVALID_JSON": arguments})


def test_a_whole_reply_has_its_text_and_its_tool_calls():
    content = [{"type": "text", "text": "Let me see"}]
    content += [{"type": "tool_use", "id": "toolu_a", "name": "look_up", "input": {"word": "é"}}]
    content += [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}]
    content += [{"type": "tool_use", "id": "toolu_b", "name": "look_up", "input": {"word": 2}}]

    reply = WIRE.reply_of(body_of("tool_use", content=content))

    assert (reply.text, reply.finish, reply.tool_calls) == ("Let me see", "tool_calls", (CALL, OTHER))


def test_a_stream_puts_each_call_together_by_its_block():
    texts, reply, ended = streamed(
        START,
        delta("Let me"),
        stop(0),
        use(1, "toolu_a"),
        piece(1, ""),
        {"type": "ping"},
        piece(1, '{"word":'),
        use(2, "toolu_b"),
        piece(2, '{"wo'),
        piece(1, ' "é"}'),
        stop(1),
        piece(2, 'rd": 2}'),
        stop(2),
        ending("tool_use"),
        {"type": "message_stop"},
    )

    assert [text for text in texts if text] == ["Let me"]
    assert [at for at, text in enumerate(texts) if text is None] == [5]
    assert ended
    assert (reply.text, reply.finish, reply.tool_calls) == ("Let me", "tool_calls", (CALL, OTHER))


@pytest.mark.parametrize(
    "events",
    [
        [use(0, "toolu_b", input={"word": 2})],
        [use(0, "toolu_b"), use(0, "toolu_b"), piece(0, '{"word": 2}')],
        [use(None, "toolu_b"), piece(None, '{"word"'), piece(None, ": 2}")],
        [use(0, "toolu_b", input={"word": 3}), piece(0, '{"word": 2}')],
    ],
    ids=["whole at its start", "started twice", "no index", "whole and in pieces"],
)
def test_however_servers_send_a_call_it_is_one(events):
    assert streamed(START, *events, ending("tool_use"))[1].tool_calls == (OTHER,)


def test_the_calls_of_the_provider_s_own_tools_are_none_of_ours():
    own = use(0, "srvtoolu_1", "web_search", type="server_tool_use")

    _, reply, _ = streamed(START, own, piece(0, '{"query": "x"}'), stop(0), delta("Found"), ending())

    assert (reply.text, reply.finish, reply.tool_calls) == ("Found", "stop", ())


def test_ids_that_are_missing_or_doubled_are_made_up():
    _, reply, _ = streamed(START, use(0, "x"), use(1, "x"), use(2, None), use(3, "call-1"), ending("tool_use"))

    assert [(call.id, call.arguments) for call in reply.tool_calls] == [
        ("x", "{}"),
        ("call-2", "{}"),
        ("call-3", "{}"),
        ("call-1", "{}"),
    ]


@pytest.mark.parametrize(
    ("reason", "finish", "kept"),
    [
        ("tool_use", "tool_calls", 1),
        ("end_turn", "tool_calls", 1),
        ("max_tokens", "length", 0),
        ("refusal", "refused", 0),
        ("pause_turn", "cut", 0),
        (None, "cut", 0),
    ],
)
def test_calls_win_over_a_plain_end_and_over_nothing_else(reason, finish, kept):
    _, reply, _ = streamed(START, use(0, "toolu_b"), piece(0, OTHER.arguments), stop(0), ending(reason))

    assert (reply.finish, len(reply.tool_calls)) == (finish, kept)


def test_the_bytes_of_names_and_arguments_are_counted_as_they_come():
    decoder = WIRE.decoder()
    for event in (START, delta("text"), use(1, "toolu_a"), piece(1, '{"word": "é"}')):
        decoder.feed(event)

    assert decoder.call_bytes == len("look_up") + len(CALL.arguments.encode())
