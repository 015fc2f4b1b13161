"""The wire of Chat Completions: what goes out, and what comes back in one piece or as a stream."""

import json

import pytest
from hypothesis import given, strategies as st

from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import Message, Request, ToolCall, ToolSpec, Usage

WIRE = OpenAIWire()
FIELDS = ["choices", "delta", "content", "refusal", "usage", "index", "finish_reason", "message"]
FIELDS += ["tool_calls", "function", "name", "arguments", "id"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def request(**changes):
    return Request(messages=(Message(role="user", content="Hi"),), max_tokens=50, **changes)


def body_of(content="Hello", finish_reason="stop", **changes):
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice], "usage": usage} | changes


def chunk(content=None, finish_reason=None, **delta):
    delta = delta | ({"content": content} if content is not None else {})
    return {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def streamed(*chunks):
    decoder = WIRE.decoder()
    texts = [decoder.feed(chunk) for chunk in chunks]
    return texts, decoder.reply("".join(text or "" for text in texts))


def test_a_plain_request_holds_only_what_was_set():
    assert WIRE.encode(request(stream=False), "gpt-x", official=False) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 50,
    }


def test_a_full_request_holds_everything_and_a_stream_asks_for_its_usage():
    full = Request(
        messages=(Message(role="system", content="Be brief"), Message(role="user", content="Hi")),
        max_tokens=50,
        temperature=0.0,
        top_p=0.5,
        seed=0,
        stop=("END",),
        params={"logprobs": True, "temperature": 2},
    )

    assert WIRE.encode(full, "gpt-x", official=True) == {
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 50,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 0,
        "stop": ["END"],
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("official", [True, False])
def test_params_never_touch_what_the_reservation_rests_on(official):
    params = dict.fromkeys(WIRE.reserved, 99)

    assert WIRE.encode(request(params=params), "gpt-x", official=official) == WIRE.encode(
        request(), "gpt-x", official=official
    )


def test_the_key_is_a_bearer_token():
    assert WIRE.headers("sk-1") == {"authorization": "Bearer sk-1"}
    assert WIRE.headers(None) == {}


def test_a_whole_reply_has_text_usage_and_names():
    reply = WIRE.reply_of(body_of())

    assert (reply.text, reply.finish, reply.finish_reason) == ("Hello", "stop", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3)
    assert (reply.model, reply.request_id) == ("gpt-x", "chatcmpl-1")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "refused"),
        ("tool_calls", "tool_calls"),
        (None, "stop"),
        ("error", "cut"),
        ("insufficient_system_resource", "cut"),
    ],
)
def test_finish_reasons_in_one_vocabulary(reason, finish):
    assert WIRE.reply_of(body_of(finish_reason=reason)).finish == finish


def test_a_refusal_is_its_text_and_refused_whatever_the_reason_says():
    whole = body_of(content=None)
    whole["choices"][0]["message"]["refusal"] = "I cannot"

    assert (WIRE.reply_of(whole).text, WIRE.reply_of(whole).finish) == ("I cannot", "refused")
    _, reply = streamed(chunk(refusal="I "), chunk(refusal="cannot"), chunk(finish_reason="stop"))
    assert (reply.text, reply.finish) == ("I cannot", "refused")


def test_content_may_be_a_list_of_parts():
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}, {"type": "image"}, None]

    assert WIRE.reply_of(body_of(content=parts)).text == "Hello"


def test_a_stream_gives_its_pieces_and_the_usage_of_its_last_chunk():
    texts, reply = streamed(
        chunk("", role="assistant"),
        chunk("Hel"),
        chunk("lo"),
        chunk(finish_reason="stop"),
        {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
    )

    assert texts == ["", "Hel", "lo", "", None]
    assert (reply.text, reply.finish, reply.finish_reason) == ("Hello", "stop", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3)
    assert (reply.model, reply.request_id) == ("gpt-x", "chatcmpl-1")


def test_usage_that_grows_with_every_chunk_is_taken_from_the_last():
    counts = [{"prompt_tokens": 9, "completion_tokens": number} for number in (1, 2)]
    _, reply = streamed(chunk("a") | {"usage": counts[0]}, chunk("b", "stop") | {"usage": counts[1]})

    assert reply.usage == Usage(input_tokens=9, output_tokens=2)


def test_a_stream_without_a_finish_reason_is_cut_and_its_usage_is_unknown():
    _, reply = streamed(chunk("Hel") | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}})

    assert (reply.finish, reply.usage) == ("cut", None)


def test_other_choices_than_the_first_are_not_mixed_in():
    second = chunk("B")
    second["choices"][0]["index"] = 1

    texts, _ = streamed(chunk("A"), second)

    assert texts == ["A", None]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"prompt_tokens": 9},
        {"prompt_tokens": -9, "completion_tokens": 3},
        {"prompt_tokens": 9, "completion_tokens": -3},
        {"prompt_tokens": "9", "completion_tokens": 3},
        {"prompt_tokens": float("nan"), "completion_tokens": 3},
        {"prompt_tokens": 9, "completion_tokens": float("inf")},
        {"prompt_tokens": 9.5, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 10**40, "completion_tokens": 3},
    ],
)
def test_usage_that_makes_no_sense_is_unknown_and_never_0(usage):
    assert WIRE.reply_of(body_of(usage=usage)).usage is None


def test_cached_tokens_are_a_part_of_the_prompt_or_nonsense():
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    more = usage | {"prompt_tokens_details": {"cached_tokens": 10}}

    assert WIRE.reply_of(body_of(usage=usage)).usage == Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4)
    assert WIRE.reply_of(body_of(usage=more)).usage == Usage(input_tokens=9, output_tokens=3)


def test_a_body_without_choices_is_no_reply():
    with pytest.raises(ValueError, match="no list of choices"):
        WIRE.reply_of({"object": "list"})


@given(st.lists(ANY_JSON, max_size=4), st.sampled_from(["choices", "usage", "id"]))
def test_no_shape_whatever_breaks_the_decoder(values, name):
    decoder = WIRE.decoder()
    for value in values:
        decoder.feed({name: value})
        decoder.feed({"choices": [value]})
        decoder.feed({"choices": [{"delta": value, "finish_reason": value}]})

    assert decoder.reply("").finish_reason is None or decoder.finish is not None


@given(ANY_JSON)
def test_no_shape_whatever_breaks_a_whole_reply(value):
    WIRE.reply_of({"choices": [value], "usage": value})
    WIRE.reply_of({"choices": [{"message": value}], "id": value})


LOOK_UP = ToolSpec(
    name="look_up", description="Looks a word up", parameters={"type": "object", "properties": {"word": {}}}
)
CALL = ToolCall(id="call_a", name="look_up", arguments='{"word": "é"}')
OTHER = ToolCall(id="call_b", name="look_up", arguments='{"word": 2}')
TALK = (
    Message(role="user", content="Hi"),
    Message(role="assistant", content="", tool_calls=(CALL, OTHER)),
    Message(role="tool", content="a letter", tool_call_id="call_a", tool="look_up"),
    Message(role="tool", content="no word", tool_call_id="call_b", tool="look_up", error=True),
)


def part(index=0, ident=None, name=None, arguments=None):
    """One piece of a tool call, with only what is given."""
    function = {"name": name, "arguments": arguments}
    fields = {"index": index, "id": ident, "function": {key: v for key, v in function.items() if v is not None}}
    return {key: value for key, value in fields.items() if value is not None}


def calls_in(*deltas, finish_reason="tool_calls"):
    """The tool calls of a stream with these lists of pieces."""
    _, reply = streamed(*(chunk(tool_calls=delta) for delta in deltas), chunk(finish_reason=finish_reason))
    return reply.tool_calls


def whole_calls(*entries, finish_reason="tool_calls", content=None):
    whole = body_of(content=content, finish_reason=finish_reason)
    whole["choices"][0]["message"]["tool_calls"] = list(entries)
    return WIRE.reply_of(whole)


def test_tools_calls_and_results_go_out_as_this_api_writes_them():
    body = WIRE.encode(Request(messages=TALK, max_tokens=50, tools=(LOOK_UP,)), "gpt-x", official=False)

    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look_up", "description": "Looks a word up", "parameters": LOOK_UP.parameters},
        }
    ]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "look_up", "arguments": CALL.arguments}},
                {"id": "call_b", "type": "function", "function": {"name": "look_up", "arguments": OTHER.arguments}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "a letter"},
        {"role": "tool", "tool_call_id": "call_b", "content": "no word"},
    ]


def test_text_beside_tool_calls_goes_out_with_them():
    spoken = Message(role="assistant", content="Let me see", tool_calls=(CALL,))

    body = WIRE.encode(Request(messages=(spoken,), max_tokens=50), "gpt-x", official=True)

    assert body["messages"][0]["content"] == "Let me see"


@pytest.mark.parametrize("changes", [{}, {"tools": (LOOK_UP,), "may_call": False}])
def test_without_tools_or_where_none_may_be_called_nothing_is_said_of_tools(changes):
    params = {"parallel_tool_calls": False}
    body = WIRE.encode(Request(messages=TALK, max_tokens=50, params=params, **changes), "gpt-x", official=True)

    assert set(body) == {"model", "messages", "max_completion_tokens", "stream", "stream_options"}
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize(
    ("name", "arguments", "sent"),
    [
        ("a b.ü", "{}", ("a_b__", {})),
        ("", '{"a": 1}', ("_", {"a": 1})),
        ("x" * 90, "{}", ("x" * 64, {})),
        ("f", '{"a":', ("f", {"INVALID_JSON": '{"a":'})),
        ("f", "[1]", ("f", {"INVALID_JSON": "[1]"})),
        ("f", '{"a": 1e999}', ("f", {"INVALID_JSON": '{"a": 1e999}'})),
        ("f", '{"a": NaN}', ("f", {"INVALID_JSON": '{"a": NaN}'})),
        ("f", "[" * 100_000, ("f", {"INVALID_JSON": "[" * 100_000})),
    ],
)
def test_calls_that_no_server_would_read_again_are_made_readable(name, arguments, sent):
    call = ToolCall(id="call_a", name=name, arguments=arguments)
    history = (Message(role="assistant", content="", tool_calls=(call,)),)

    body = WIRE.encode(Request(messages=history, max_tokens=50), "gpt-x", official=False)

    function = body["messages"][0]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == sent


def test_a_whole_reply_has_its_tool_calls_in_order():
    reply = whole_calls(
        part(ident="call_a", name="look_up", arguments=CALL.arguments),
        part(ident="call_b", name="look_up", arguments=OTHER.arguments),
    )

    assert (reply.text, reply.finish, reply.tool_calls) == ("", "tool_calls", (CALL, OTHER))


def test_a_stream_puts_each_call_together_by_its_index():
    texts, reply = streamed(
        chunk("Let me"),
        chunk(tool_calls=[part(0, "call_a", "look_up", "")]),
        chunk(tool_calls=[part(0, arguments='{"word":')]),
        chunk(tool_calls=[part(1, "call_b", "look_up", '{"wo')]),
        chunk(tool_calls=[part(0, arguments=' "é"}'), part(1, arguments='rd": 2}')]),
        chunk(finish_reason="tool_calls"),
    )

    assert texts == ["Let me", "", "", "", "", ""]
    assert (reply.text, reply.finish, reply.tool_calls) == ("Let me", "tool_calls", (CALL, OTHER))


ONE, TWO = '{"a": 1}', '{"a": 2}'


@pytest.mark.parametrize(
    "deltas",
    [
        [[part(0, "1", "f", ONE), part(1, "2", "g", TWO)]],
        [[part(0, "1", "f", ONE)], [part(0, "2", "g", TWO)]],
        [[part(None, "1", "f", ONE)], [part(None, "2", "g", TWO)]],
        [[part(None, "1", "f", ONE), part(None, "2", "g", TWO)]],
        [
            [part(None, "1", "f", "{")],
            [part(None, arguments=ONE[1:])],
            [part(None, "2", "g")],
            [part(None, None, None, TWO)],
        ],
        [[part(0, "1", "f", {"a": 1})], [part(1, "2", "g", {"a": 2})]],
        [[part(0, "1", "f", {}), part(0, arguments=ONE)], [part(1, "2", "g", TWO)]],
        [[part(0, "1", "f")], [part(0, "x", None, ONE[:3])], [part(0, "y", None, ONE[3:])], [part(1, "2", "g", TWO)]],
        [[part(0, "1", "f", "{")], [part(0, "1", "f", ONE[1:])], [part(1, "2", "g", TWO)]],
        [[part(3, "1", "f", ONE)], [part(1, "2", "g", TWO)]],
        [[part(0, "1", "f", ONE), {}, None, "x"], [part(1, "2", "g", TWO)]],
    ],
    ids=[
        "whole in one delta",
        "one index for all",
        "no index",
        "no index in one delta",
        "no index in pieces",
        "objects",
        "an empty object first",
        "another id with each piece",
        "name and id with each piece",
        "indexes out of order",
        "nonsense among them",
    ],
)
def test_however_servers_send_two_calls_they_are_two(deltas):
    assert calls_in(*deltas) == (
        ToolCall(id="1", name="f", arguments=ONE),
        ToolCall(id="2", name="g", arguments=TWO),
    )


def test_calls_without_index_and_id_are_told_apart_by_their_names():
    assert calls_in([part(None, None, "f", ONE)], [part(None, "", "g", TWO)]) == (
        ToolCall(id="call-1", name="f", arguments=ONE),
        ToolCall(id="call-2", name="g", arguments=TWO),
    )


def test_ids_that_are_missing_or_doubled_are_made_up_and_differ_from_all():
    entries = [part(ident=ident, name="f") for ident in ("x", None, "x", "call-1", "", 7)]

    assert [call.id for call in whole_calls(*entries).tool_calls] == [
        "x",
        "call-2",
        "call-3",
        "call-1",
        "call-4",
        "call-5",
    ]
    assert [call.id for call in calls_in([part(0, "x", "f"), part(1, "x", "f"), part(2, None, "f")])] == [
        "x",
        "call-1",
        "call-2",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (None, "{}"),
        ("", "{}"),
        (" \n", "{}"),
        ({}, "{}"),
        ({"a": "ü"}, '{"a": "ü"}'),
        ([1], "[1]"),
        (5, "5"),
        ('{"a": 1', '{"a": 1'),
        (' {"a": 1} ', ' {"a": 1} '),
    ],
)
def test_arguments_are_text_whatever_the_server_sends(arguments, text):
    assert whole_calls(part(name="f", arguments=arguments)).tool_calls[0].arguments == text
    assert calls_in([part(0, "x", "f", arguments)])[0].arguments == text


def test_a_call_without_a_name_has_an_empty_one():
    assert whole_calls({"id": "x"}).tool_calls == (ToolCall(id="x", name="", arguments="{}"),)


@pytest.mark.parametrize(
    ("reason", "finish", "kept"),
    [
        ("tool_calls", "tool_calls", 1),
        ("function_call", "tool_calls", 1),
        ("stop", "tool_calls", 1),
        ("length", "length", 0),
        ("content_filter", "refused", 0),
        ("error", "cut", 0),
    ],
)
def test_calls_win_over_stop_and_over_nothing_else(reason, finish, kept):
    pieces = part(0, "x", "f", ONE)
    _, reply = streamed(chunk("Hm", tool_calls=[pieces]), chunk(finish_reason=reason))
    whole = whole_calls(pieces, finish_reason=reason, content="Hm")

    assert (reply.finish, len(reply.tool_calls), reply.finish_reason) == (finish, kept, reason)
    assert (whole.finish, len(whole.tool_calls), whole.finish_reason) == (finish, kept, reason)


def test_a_refusal_beside_calls_is_a_refusal():
    _, reply = streamed(chunk(refusal="No", tool_calls=[part(0, "x", "f", ONE)]), chunk(finish_reason="stop"))

    assert (reply.finish, reply.tool_calls) == ("refused", ())


def test_a_stream_without_a_finish_reason_has_no_calls_however_whole_they_look():
    _, reply = streamed(chunk("Hm"), chunk(tool_calls=[part(0, "x", "f", ONE)]))

    assert (reply.finish, reply.tool_calls) == ("cut", ())


def test_the_bytes_of_names_and_arguments_are_counted_as_they_come():
    decoder = WIRE.decoder()
    seen = []
    for delta in ([part(0, "id", "naïve")], [part(0, arguments='"ü\ud83d"')], [part(0, "id", "naïve", {"a": 1})]):
        decoder.feed(chunk(tool_calls=delta))
        seen.append(decoder.call_bytes)

    assert seen == [6, 13, 21]


def test_more_calls_than_any_answer_has_are_refused():
    decoder = WIRE.decoder()

    for index in range(1000):
        decoder.feed(chunk(tool_calls=[part(index, str(index), "f")]))

    with pytest.raises(ValueError, match="more than 1,000 tool calls"):
        decoder.feed(chunk(tool_calls=[part(1000, "1000", "f")]))
    with pytest.raises(ValueError, match="more than 1,000 tool calls"):
        whole_calls(*[part(name="f")] * 1001)
