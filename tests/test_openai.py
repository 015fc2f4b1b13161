"""The wire of Chat Completions: what goes out, and what comes back in one piece or as a stream."""

import pytest
from hypothesis import given, strategies as st

from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import Message, Request, Usage

WIRE = OpenAIWire()
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "refusal", "usage", "index", "finish_reason", "message"]),
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
