"""What the spans of subagents tell together."""

import math

from hypothesis import given, strategies as st

from xz_magics.records import Outcome, Span
from xz_magics.views.spans import kind_seconds, most_by_column, most_words, requests_under_way, whole_time


def outcome(*spans):
    """Each span is a kind with its start and end."""
    made = tuple(Span(kind=kind, started_at=start, ended_at=end) for kind, start, end in spans)
    return Outcome(index=0, label="a", status="done", model="m", max_tokens=1, spans=made)


def under_way_at(outcomes, at):
    """Counted one by one: the other way to know it."""
    calls = [span for one in outcomes for span in one.spans if span.kind == "call"]
    return sum(call.started_at <= at < call.ended_at for call in calls)


quarters = st.integers(0, 200).map(lambda quarter: 1_700_000_000 + quarter / 4)
spans = st.tuples(st.sampled_from(["call", "tool", "queued"]), quarters, quarters)
runs = st.lists(st.lists(spans, max_size=6).map(lambda some: outcome(*some)), max_size=8)


@given(runs)
def test_the_requests_under_way_are_those_that_began_and_did_not_end(outcomes):
    found = requests_under_way(outcomes)

    assert [count for _, count in found] == [under_way_at(outcomes, at) for at, _ in found]
    assert [at for at, _ in found] == sorted({at for at, _ in found})
    assert not found or found[-1][1] == 0


@given(runs, st.integers(1, 50))
def test_no_column_hides_the_most_or_makes_more_of_it(outcomes, columns):
    starts = [span.started_at for one in outcomes for span in one.spans]
    most = most_by_column(outcomes, columns)

    assert len(most) == (columns if starts else 0)
    assert max(most, default=0) == max((under_way_at(outcomes, at) for at in starts), default=0)


def test_a_column_holds_the_most_of_its_time_and_a_blink_is_no_dip():
    one = outcome(("call", 0, 4.99), ("call", 5.01, 6), ("queued", 6, 10))

    assert most_by_column([one], 10) == [1] * 6 + [0] * 4
    assert most_by_column([one, outcome(("call", 2.5, 2.6))], 5) == [1, 2, 1, 0, 0]


def test_a_request_that_begins_as_another_ends_is_not_beside_it():
    assert requests_under_way([outcome(("call", 0, 1)), outcome(("call", 1, 2))]) == [(0, 1), (1, 1), (2, 0)]


def test_times_that_are_no_numbers_count_for_nothing():
    odd = outcome(("call", math.nan, 1), ("call", 0, math.inf))

    assert requests_under_way([odd]) == []
    assert whole_time([odd]) is None
    assert kind_seconds([odd, outcome(("tool", 1, 3), ("tool", 2, 2.5))]) == {"tool": 2.5}


def test_a_most_is_worded():
    assert most_words(1) == "at most 1 request at once"
    assert most_words(1_000) == "at most 1,000 requests at once"
