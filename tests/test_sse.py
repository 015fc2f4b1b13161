"""Server-sent events: the public vectors, at every split, and without ever holding more than one event."""

import json
import random
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from xz_magics.providers.sse import EventDecoder, EventTooLarge

VECTORS = Path(__file__).parents[2] / "shared" / "corpora" / "sse" / "wpt_vectors.json"


def vectors():
    if not VECTORS.exists():
        return [pytest.param(b"", [], marks=pytest.mark.skip(reason=f"the public vectors are not at {VECTORS}"))]
    return [
        pytest.param(stream_of(vector), expected_of(vector), id=vector["file"])
        for vector in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    ]


def stream_of(vector):
    stream = vector.get("stream") or "".join(vector["chunks"])
    for short in vector.get("expand", {}):
        stream = stream.replace(short, "x" * 2048)
    return stream.encode()


def expected_of(vector):
    return [(event.get("event", "message"), event["data"]) for event in vector["events"]]


def decoded(pieces, decoder=None):
    decoder = decoder or EventDecoder()
    return [tuple(event) for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(("stream", "expected"), vectors())
def test_a_public_vector_is_decoded_whole_in_single_bytes_and_at_every_split(stream, expected):
    assert decoded([stream]) == expected
    assert decoded([bytes([byte]) for byte in stream]) == expected
    for at in range(len(stream) + 1):
        assert decoded([stream[:at], stream[at:]]) == expected, at


@given(
    st.lists(
        st.sampled_from(["data: a", "data:b", "event: x", ": c", "data", "", "datum: z", "data: \u20ac", "\ufeff"])
    ),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.randoms(use_true_random=False),
)
def test_no_splitting_changes_what_is_decoded(lines, end, chance):
    stream = "".join(line + end for line in lines).encode()
    cuts = [0, *sorted(chance.choices(range(len(stream) + 1), k=chance.randrange(8))), len(stream)]

    assert decoded([stream[start:stop] for start, stop in pairwise(cuts)]) == decoded([stream])


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise(stream):
    decoded([stream])


def test_an_event_has_its_name_and_the_next_one_has_it_no_more():
    assert decoded([b"event: ping\ndata: 1\n\ndata: 2\n\nevent: lost\n\ndata: 3\n\n"]) == [
        ("ping", "1"),
        ("message", "2"),
        ("message", "3"),
    ]


def test_a_character_split_over_two_pieces_is_whole_and_only_real_faults_are_replaced():
    stream = "data: \u20ac\n\n".encode() + b"data: \xff!\n\n"

    assert decoded([stream[:7], stream[7:8], stream[8:]]) == [("message", "\u20ac"), ("message", "\ufffd!")]


@pytest.mark.parametrize("fill", [b"data: ", b": ", b"", b"event: "])
def test_a_line_that_never_ends_is_refused_and_not_kept(fill):
    decoder = EventDecoder(max_event_bytes=1000)
    list(decoder.feed(b"data: fine\n\n" + fill))

    with pytest.raises(EventTooLarge, match="larger than 1,000 bytes"):
        decoded([b"x" * 100] * 20, decoder)


def test_many_lines_of_one_event_count_together_and_many_events_do_not():
    decoder = EventDecoder(max_event_bytes=1000)
    line = b"data: " + b"x" * 500 + b"\n"

    assert len(decoded([line + b"\n"] * 20, decoder)) == 20
    with pytest.raises(EventTooLarge):
        decoded([line] * 20, decoder)


def test_events_before_one_that_is_too_large_are_still_given():
    events = []
    decoder = EventDecoder(max_event_bytes=10)

    with pytest.raises(EventTooLarge):
        events.extend(decoder.feed(b"data: 1\n\ndata: 2\n\ndata: far too large\n\n"))

    assert [event.data for event in events] == ["1", "2"]


def test_a_large_event_in_tiny_pieces_is_decoded_in_linear_time():
    """600,000 pieces: with work that grows with what has come before, this would take hours and hit the time limit."""
    data = b"data: " + b"x" * (4 * 2**20) + b"\n\n"

    events = decoded(data[at : at + 7] for at in range(0, len(data), 7))

    assert [len(text) for _, text in events] == [4 * 2**20]


@pytest.mark.parametrize("event_bytes", [200, 2**20])
def test_fifty_megabytes_of_events_are_decoded_in_bounded_memory(event_bytes):
    decoder, seen = EventDecoder(), 0
    event = b"data: " + b"x" * event_bytes + b"\n\n"
    pieces = (event * (1 + 16384 // len(event)),) * (50 * 2**20 // (len(event) * (1 + 16384 // len(event))))
    chance = random.Random(0)
    tracemalloc.start()
    try:
        for piece in pieces:
            at = chance.randrange(len(piece))
            seen += sum(1 for _ in decoder.feed(piece[:at])) + sum(1 for _ in decoder.feed(piece[at:]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert seen * len(event) > 49 * 2**20
    assert peak < 12 * event_bytes + 2**20
