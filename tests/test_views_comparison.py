"""Comparisons as text, HTML and pictures: what stays of them, what is cut, and that a name is only ever text."""

import io
import math
import warnings

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from xz_magics import stats
from xz_magics.stats import Compared
from xz_magics.views import comparison, verdicts
from xz_magics.views.plots import png
from xz_magics.views.plots.arms import arms as drawn_arms

names = st.text(max_size=80)
numbers = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-1e9, 1e9))


def compared(scores, *, score="accuracy", cost_usd=0.001, failed=0, notes=()):
    """`scores`: by arm, a number per input."""
    cells = {name: {str(place): {"": [number]} for place, number in enumerate(own)} for name, own in scores.items()}
    taken = {"tokens": 120.0, "cost_usd": cost_usd, "duration_s": 1.5}
    arms = [
        stats.Arm(
            name=name,
            inputs=len(own),
            answers=len(own),
            failed=failed,
            missing_scores=0,
            estimates={"score": stats.estimate(own)}
            | {
                measure: stats.estimate(
                    {place: {"": [value * (1 + number / 10)]} for number, place in enumerate(own)}
                    if value is not None
                    else {}
                )
                for measure, value in taken.items()
            },
        )
        for name, own in cells.items()
    ]
    found = list(cells.items())
    pairs = [
        stats.pair(one, two, "score", (first, second))
        for place, (one, first) in enumerate(found)
        for two, second in found[place + 1 :]
    ]
    return Compared(
        variable="wording", score=score, arms=tuple(arms), pairs=tuple(stats.corrected(pairs)), notes=tuple(notes)
    )


def lines(number, inputs=12):
    return {f"arm {arm}": [math.sin(place * (arm + 1)) + arm for place in range(inputs)] for arm in range(number)}


def test_text_and_page_hold_the_verdict_the_arms_the_pairs_and_the_notes():
    one = compared(lines(2), notes=["the run goes on"])

    text, page = comparison.told(one), comparison.page(one)

    for words in (
        verdicts.of_all(one),
        "wording compared by score accuracy, 2 arms",
        "arm 0 - arm 1",
        "the run goes on",
    ):
        assert words in text
        assert words.replace("<", "&lt;") in page
    assert "paired t" in text
    assert 'alt="wording compared by score accuracy' in page


def test_names_and_notes_are_escaped_and_no_formula():
    evil = "<script>alert(1)</script> $\\frac{1}$ \x1b[31m\u202e"
    one = compared({evil: [1.0, 2.0, 4.0] * 3, "b & c": [2.0, 3.0, 3.0] * 3}, score=evil[:20], notes=[evil])

    page, text = comparison.page(one), comparison.told(one)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "b &amp; c" in page
    assert "tex2jax_ignore" in page
    assert not {"\x1b", "\u202e"} & set(text + page)


def test_many_arms_are_cut_and_the_rest_is_told():
    one = compared(lines(70, inputs=6))

    for shown in (comparison.told(one), comparison.page(one)):
        assert "… and 10 more in .arms" in shown
        assert "… and 2,355 more in .pairs" in shown
    assert len(comparison.page(one)) < 250_000


def test_a_long_name_keeps_both_its_ends():
    name = verdicts.name_words(f"begin {'x' * 300}\n\nend")

    assert len(name) == 40
    assert name.startswith("begin x")
    assert name.endswith("x end")


@pytest.mark.parametrize(
    ("number", "measure", "words"),
    [
        (0.8333333, "score", "0.833"),
        (1.0, "score", "1"),
        (1234.5, "tokens", "1,234"),
        (3.25, "tokens", "3.2"),
        (0.0, "cost_usd", "free"),
        (0.000412345, "cost_usd", "$0.00041"),
        (12.5, "cost_usd", "$12.50"),
        (-0.25, "duration_s", "-0.25 s"),
    ],
)
def test_a_number_has_the_digits_that_tell_something(number, measure, words):
    assert verdicts.number_words(number, measure) == words


def test_a_score_has_two_digits_of_its_interval():
    interval = stats.Interval(low=0.6414, high=0.9332)

    assert verdicts.number_words(0.833333, "score", interval) == "0.83"
    assert verdicts.interval_words(interval, "score") == "0.64 to 0.93"


@pytest.mark.parametrize(
    ("p", "words"), [(1e-300, "p < 0.001"), (0.0123, "p = 0.012"), (0.4567, "p = 0.46"), (None, "")]
)
def test_no_p_is_said_to_be_0(p, words):
    assert verdicts.p_words(p) == words


@given(st.dictionaries(names, st.lists(numbers, max_size=8), min_size=1, max_size=4))
def test_whatever_is_compared_no_nan_is_told_and_no_warning_given(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = compared({f"{place} {name}": own for place, (name, own) in enumerate(scores.items())})
        text = comparison.told(compared({str(place): own for place, own in enumerate(scores.values())}))

    assert verdicts.of_all(one)
    assert "nan" not in text
    assert "inf" not in text.replace("input", "")


@pytest.mark.parametrize(("number", "inputs"), [(1, 12), (2, 1), (2, 0), (3, 2), (10, 12), (45, 6)])
@pytest.mark.parametrize("cost_usd", [0.001, 0.0, None])
def test_a_picture_is_drawn_of_any_number_of_arms_and_inputs(number, inputs, cost_usd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = drawn_arms(compared(lines(number, inputs), cost_usd=cost_usd))
        with Image.open(io.BytesIO(png(drawn))) as image:
            assert image.width == 1296

    score, spent, _ = drawn.axes
    assert [label.get_text() for label in score.get_yticklabels()] == [f"arm {arm}" for arm in range(min(number, 30))]
    assert spent.get_title(loc="left") == ("Cost" if cost_usd and inputs else "Tokens")
    assert score.get_title(loc="right") == ("and 15 more arms" if number == 45 else "")
    assert drawn.told.startswith("wording compared by score accuracy")


def test_every_input_and_every_interval_is_in_the_picture():
    one = compared(lines(2))

    score, *_ = drawn_arms(one).axes

    first = one.arms[0].estimates["score"]
    points, interval, mean, *_ = score.lines
    assert list(points.get_xdata()) == list(first.points)
    assert len(set(points.get_ydata())) == 12
    assert list(interval.get_xdata()) == [first.interval.low, first.interval.high]
    assert list(mean.get_xdata()) == [first.mean]


def test_thirty_arms_look_each_different():
    score, *_ = drawn_arms(compared(lines(30, inputs=2))).axes

    looks = [(line.get_color(), line.get_marker()) for line in score.lines if line.get_markersize() == 7]
    assert len(set(looks)) == len(looks) == 30


def test_without_a_score_there_is_a_panel_for_each_other_measure():
    drawn = drawn_arms(compared(lines(2), score=None))

    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["Tokens", "Cost", "Duration"]


@pytest.mark.parametrize("cost_usd", [0.0, None])
def test_where_all_is_free_there_is_no_panel_of_costs(cost_usd):
    drawn = drawn_arms(compared(lines(2), score=None, cost_usd=cost_usd))

    assert [axes.get_title(loc="left") for axes in drawn.axes] == ["Tokens", "Duration"]
    assert "cost" not in drawn.told


def test_signs_without_names_beside_them_have_a_legend():
    drawn = drawn_arms(compared(lines(12)))

    (legend,) = drawn.legends
    assert [words.get_text() for words in legend.get_texts()] == [f"arm {arm}" for arm in range(12)]
    assert len({line.get_marker() for line in legend.get_lines()}) == 12
    assert len({line.get_color() for line in legend.get_lines()}) == 12


def test_a_name_is_no_formula_in_a_picture():
    drawn = drawn_arms(compared({"$\\frac{1": [1.0, 2.0], "_b\n\u202e": [2.0, 2.5]}))

    assert png(drawn)
    assert not any(label.get_parse_math() for label in drawn.axes[0].get_yticklabels())
