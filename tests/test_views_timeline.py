"""Who ran when, as a picture: what is drawn for few and for many subagents."""

import asyncio
import io
import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.image import imread
from matplotlib.patches import StepPatch
from strategies import Ran, answering, task

from xz_magics.providers.scripted import Step
from xz_magics.records import STATUSES, Outcome, Span
from xz_magics.views.plots import png, timeline
from xz_magics.views.spans import KIND_WORDS

START = 1_700_000_000.0


def outcome(label, *spans, status="done", **fields):
    """Each span is a kind with its start and end in seconds since the run's start."""
    made = tuple(Span(kind=kind, started_at=START + start, ended_at=START + end) for kind, start, end in spans)
    return Outcome(
        **({"index": 0, "label": label, "status": status, "model": "m", "max_tokens": 1, "spans": made} | fields)
    )


def pause(start, end):
    return Span(kind="rate_limited", started_at=START + start, ended_at=START + end, name="account")


def many(count, slots=20):
    """Subagents of two seconds each, one after another in every slot; every tenth failed after a second try."""
    made = []
    for number in range(count):
        start = 2.0 * (number // slots)
        calls = [("call", start, start + 0.5), ("retry", start + 0.5, start + 1), ("call", start + 1, start + 2)]
        spans = calls if number % 10 == 0 else [("call", start, start + 2)]
        status = "failed" if number % 10 == 0 else "done"
        made.append(outcome(f"task-{number}", ("queued", 0, start), *spans, status=status))
    return made


def bars(axes):
    """How many bars of each colour there are."""
    return [len(drawn.get_paths()) for drawn in axes.collections if isinstance(drawn, PolyCollection)]


def labels(axes):
    return [words.get_text() for words in axes.get_yticklabels()]


def legend_of(picture):
    (legend,) = picture.legends
    return [words.get_text() for words in legend.get_texts()]


def edges(drawn):
    """Left and right of each bar, in the order drawn."""
    return [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in drawn.get_paths()]


async def look_up(city: str) -> str:
    """Takes its time."""
    await asyncio.sleep(0.05)
    return city


async def a_run_of_everything():
    children = {"name": "parallel_subagent", "arguments": {"tasks": [{"task_prompt": f"Count {n}"} for n in range(3)]}}
    model = answering(
        Step(tool_calls=(children,), when="Lead", latency_s=0.03),
        Step(answer="merged", when='"status"', latency_s=0.03),
        Step(answer="counted", when="Count", latency_s=0.06),
        Step(tool_calls=({"name": "look_up", "arguments": {"city": "Lima"}},), when="Look", latency_s=0.03),
        Step(answer="there", when="Lima", latency_s=0.03),
        Step(status=400, when="Break", latency_s=0.03),
        Step(status=500),
        Step(status=429, retry_after_s=0.2),
        Step(answer="at last", latency_s=0.03),
    )
    prompts = {"trip": "Lead.", "town $x$": "Look.", "broken": "Break.", "flaky": "Try.", "after": "Try."}
    tools = ("look_up", "parallel_subagent")
    tasks = [
        task(label, prompt=prompt, index=index, allowed_tools=tools)
        for index, (label, prompt) in enumerate(prompts.items())
    ]
    ran = Ran(tasks, {"scripted:": model}, tools=[look_up], max_concurrent=3)
    await ran.to_the_end()
    return ran.outcomes


async def test_a_real_run_is_drawn_with_everything_that_happened_in_it_told_apart():
    outcomes = await a_run_of_everything()

    picture = timeline(outcomes.all(), outcomes.pauses)

    above, below = picture.axes
    assert labels(above) == [
        "trip",
        *(f"    trip/{number}" for number in (1, 2, 3)),
        "town $x$",
        "broken",
        "flaky",
        "after",
    ]
    assert legend_of(picture) == [*KIND_WORDS.values(), "account paused by a rate limit", "done", "failed"]
    looks = {(drawn.get_facecolor().tobytes(), drawn.get_hatch()) for drawn in above.collections}
    assert len(looks) == len(KIND_WORDS) + 1
    calls = sum(span.kind == "call" for one in outcomes.all() for span in one.spans)
    assert bars(above)[0] == calls
    assert below.get_title(loc="right").startswith("at most ")
    assert png(picture)


def test_bars_stand_where_their_spans_are():
    lanes = [outcome("a", ("call", 0, 3), ("tool", 3, 5)), outcome("b", ("call", 2, 4))]

    above, below = timeline(lanes).axes

    calls, tools = above.collections
    assert edges(calls) == [(0, 3), (2, 4)]
    assert edges(tools) == [(3, 5)]
    assert [path.vertices[:, 1].mean().round() for path in calls.get_paths()] == [0, 1]
    assert above.get_ylim() == (1.5, -0.5)
    assert below.get_xlabel() == "seconds since the start"


def test_where_each_lane_ends_there_is_the_sign_of_its_status():
    lanes = [outcome(status, ("call", 0, place + 1), status=status) for place, status in enumerate(STATUSES)]

    picture = timeline([*lanes, outcome("more", ("call", 0, 9))])

    signs = {line.get_color(): list(zip(*line.get_data(), strict=True)) for line in picture.axes[0].lines}
    assert list(signs.values()) == [[(1, 0), (9, len(STATUSES))], *([(at + 1, at)] for at in range(1, len(STATUSES)))]
    assert len({line.get_marker().vertices.tobytes() for line in picture.axes[0].lines}) == len(STATUSES)
    assert legend_of(picture)[1:] == [status.replace("_", " ") for status in STATUSES]


def test_the_curve_below_tells_how_many_requests_were_under_way_and_the_most_in_words():
    below = timeline([outcome("a", ("call", 0, 4)), outcome("b", ("call", 1, 2)), outcome("c", ("call", 3, 4))]).axes[1]

    _, line = (drawn for drawn in below.patches if isinstance(drawn, StepPatch))
    values, places, _ = line.get_data()
    assert (places[0], places[-1]) == (0, 4)
    assert [values[int(at * len(values) / 4)] for at in (0.5, 1.5, 2.5, 3.5)] == [1, 2, 1, 2]
    assert below.get_title(loc="right") == "at most 2 requests at once"


def test_a_pause_is_a_band_over_all_lanes_that_ends_with_the_run():
    pauses = [pause(2, 60), pause(-5, 1), pause(30, 40), pause(math.nan, math.nan)]

    picture = timeline([outcome("a", ("call", 0, 10))], pauses)

    for axes in picture.axes:
        (bands,) = [drawn for drawn in axes.collections if drawn.get_transform() != axes.transData]
        assert edges(bands) == [(2, 10), (0, 1)]
    assert "account paused by a rate limit" in legend_of(picture)
    assert "account paused by a rate limit" not in legend_of(timeline([outcome("a", ("call", 0, 1))], [pause(5, 6)]))


def test_what_is_short_is_wide_enough_to_be_seen_and_queueing_that_nobody_noticed_is_left_out():
    above = timeline([outcome("a", ("queued", 0, 0.1), ("call", 0.1, 0.101), ("call", 1, 100))]).axes[0]

    (calls,) = above.collections
    assert edges(calls)[0] == (pytest.approx(0.1), pytest.approx(0.1 + 100 / 1_200))


def test_a_long_run_is_told_in_minutes():
    picture = timeline([outcome("a", ("call", 0, 600))])

    assert picture.axes[1].get_xlabel() == "minutes since the start"
    assert edges(picture.axes[0].collections[0]) == [(0, 10)]


def test_many_lanes_have_no_labels_no_hatches_and_a_sign_only_where_something_went_wrong():
    picture = timeline(many(100))

    above = picture.axes[0]
    assert labels(above) == []
    assert above.get_ylabel() == "100 subagents, by start"
    assert bars(above) == [110, 80, 10]
    assert {drawn.get_hatch() for drawn in above.collections} <= {None, ""}
    (signs,) = above.lines
    assert len(signs.get_xdata()) == 10
    assert legend_of(picture) == ["model call", "queued", "waits to try again", "failed"]


def test_many_lanes_stand_in_the_order_of_their_start_with_children_under_their_parents():
    late = outcome("late", ("queued", 0, 50), ("call", 50, 51))
    child = outcome("late/1", ("call", 60, 61), parent="late", depth=1)
    never = outcome("never", ("queued", 0, 70), status="skipped")
    early = [outcome(f"early-{number}", ("call", number, number + 1)) for number in range(40)]

    above = timeline([never, late, child, *reversed(early)]).axes[0]

    calls = next(drawn for drawn in above.collections if len(drawn.get_paths()) == 42)
    assert [left for left, _ in edges(calls)] == [*range(40), 50, 60]
    (skipped,) = above.lines
    assert list(zip(*skipped.get_data(), strict=True)) == [(70, 42)]


def test_children_whose_parent_still_runs_are_drawn_too():
    orphans = [outcome(f"lead/{n}", ("call", n, n + 1), parent="lead", depth=1) for n in range(40)]

    assert bars(timeline(orphans).axes[0]) == [40]
    assert labels(timeline(orphans[:2]).axes[0]) == ["    lead/0", "    lead/1"]


def test_the_queue_of_thousands_is_one_even_colour():
    above = timeline([outcome(f"t{n}", ("queued", 0, 50), ("call", 50, 51)) for n in range(3_000)]).axes[0]

    queued = next(drawn for drawn in above.collections if len(drawn.get_paths()) < 3_000)
    heights = [(path.vertices[:, 1].min(), path.vertices[:, 1].max()) for path in queued.get_paths()]
    assert 400 < len(heights) < 1_000
    assert all(bottom == top for (_, bottom), (top, _) in pairwise(heights))


@pytest.mark.parametrize("count", [3, 12, 32, 33, 200, 3_000])
def test_a_picture_is_as_wide_as_a_page_not_too_tall_and_small_in_bytes(count):
    data = png(timeline(many(count, slots=min(count, 60)), [pause(1, 2)]))

    height, width, _ = imread(io.BytesIO(data)).shape
    assert width == 9 * 96 * 1.5
    assert height < 9 * 96 * 1.5
    assert len(data) < 60_000


@pytest.mark.parametrize(
    "lanes",
    [
        [],
        [outcome("never")],
        [outcome("odd", ("call", math.nan, math.nan), ("call", 0, math.inf))],
    ],
)
def test_where_nothing_ran_the_picture_says_so(lanes):
    picture = timeline(lanes, [pause(0, 1)])

    assert [words.get_text() for words in picture.texts] == ["nothing ran"]
    assert png(picture)


@pytest.mark.parametrize("span", [("call", 0, 0), ("queued", 0, 0), ("call", 5, 3), ("children", 0, 1e9)])
def test_one_instant_a_clock_set_back_and_an_age_are_drawn(span):
    assert png(timeline([outcome("a", span), outcome("b")]))


def test_labels_of_any_kind_are_written_literally_shortened_in_their_middle_and_without_a_warning():
    words = ["$\\frac{1", "_x", "", "日本語", "👩‍🔬 lab", "a\tb\nc", "x\u202egnp", "\ud800", "beginning " * 5 + "end"]
    lanes = [outcome(label, ("call", 0, 1)) for label in words]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = timeline(lanes)
        data = png(picture)

    assert data
    shown = labels(picture.axes[0])
    assert shown[:4] == ["$\\frac{1", "_x", "", "□□□"]
    assert shown[5:8] == ["a b c", "x\\u202egnp", "\\ud800"]
    assert shown[8] == "beginning beginning b…inning end"
    assert not any(label.get_parse_math() for label in picture.axes[0].get_yticklabels())


times = st.floats(-1e6, 1e6) | st.sampled_from([0.0, math.nan, math.inf, -math.inf])
spans = st.tuples(st.sampled_from(list(KIND_WORDS)), times, times)
lanes = st.builds(
    lambda label, some, status, parent: outcome(label, *some, status=status, parent=parent, depth=int(bool(parent))),
    st.text(max_size=90),
    st.lists(spans, max_size=4),
    st.sampled_from(STATUSES),
    st.none() | st.text(max_size=3),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(lanes, max_size=6), st.booleans(), st.lists(st.tuples(times, times), max_size=3))
def test_a_timeline_never_raises_whatever_the_times_and_labels_are(some, as_many, pauses):
    shown = [replace(one, index=number) for number in range(8) for one in some] if as_many else some

    picture = timeline(shown, [pause(*ends) for ends in pauses])

    assert picture.axes or picture.texts
