"""Scores, judges and combined results in the text and on the page."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from test_views_static import DONE, FAILED, UNSENT, Page, busy

from xz_magics.views import static, text
from xz_magics.views.scored import kept_words, score_cells, score_lines
from xz_magics.views.wording import families, harmless, nested_words, number_columns

A, B, C = (replace(UNSENT, label=label) for label in "abc")
JUDGE = replace(DONE, label="a/judge", parent="a", depth=1, purpose="judge")
SUMMARY = replace(DONE, label="summary", purpose="combine")


@pytest.mark.parametrize(
    ("scores", "lines"),
    [
        ({}, []),
        ({"a": {"f": 0.5}, "b": {"f": 1.0}, "c": {"f": None}}, ["score: mean 0.75 over 2 answers, 1 missing"]),
        ({"a": {"f": True}}, ["score: mean 1 over 1 answer"]),
        ({"a": {"f": None}, "b": {"f": None}}, ["score: 2 missing"]),
        ({"a": {"f": 1234.5}}, ["score: mean 1,234 over 1 answer"]),
        (
            {label: {"f.x": 1.0, "g": False} for label in "abc"},
            ["score.f.x: mean 1 over 3 answers", "score.g: mean 0 over 3 answers"],
        ),
    ],
)
def test_each_score_has_a_line_with_its_mean_over_how_many_and_what_is_missing(scores, lines):
    assert score_lines([A, B, C], scores) == lines


def test_of_many_scores_the_first_have_a_line_and_a_column():
    scores = {"a": {f"f.{number:02}": float(number) for number in range(20)}}

    assert score_lines([A], scores)[-2:] == ["score.07: mean 7 over 1 answer", "… and 12 more in .scores"]
    assert [head for head, _ in score_cells([A], scores)] == ["score.00", "score.01", "score.02"]


def test_a_score_stands_beside_its_answer_and_a_missing_one_says_so():
    scores = {"a": {"f": 0.123456, "g": True}, "b": {"f": None, "g": False}}

    assert score_cells([A, B, C], scores) == [
        ("score.f", ["0.123", "missing", ""]),
        ("score.g", ["yes", "no", ""]),
    ]


def test_the_text_holds_the_scores_their_columns_and_what_was_combined():
    shown = text.page([DONE, JUDGE], 1.0, (), ["a warning"], scores={"capital": {"f": 0.5}}, combined="All\nof it")

    first, second, third, _, head, row, *_ = shown.splitlines()
    assert first.startswith("1 task: 1 done")
    assert (second, third) == ("score: mean 0.5 over 1 answer", "! a warning")
    assert head.split() == ["task", "status", "score", "tokens", "time", "answer"]
    assert row.split()[3] == "0.5"
    assert "Combined\nAll\nof it\n" in shown
    assert "Combined" not in text.page([DONE], 1.0)


def test_the_page_holds_them_too_and_the_combined_text_is_closed():
    page = Page(static.page([DONE, FAILED], 1.0, scores={"capital": {"f": True}}, combined="All of it"))

    for words in ("score: mean 1 over 2 answers", "yes", "Combined: 9 characters", "All of it"):
        assert words in page.text
    assert page.tags["details"] == page.tags["pre"] == 1
    assert "details" not in Page(static.page([DONE], 1.0)).tags


@given(st.text(st.characters()) | st.text("<>&\"'/=\x00\x1b\n\u202e\ud800 abc", min_size=1))
def test_a_page_shows_any_score_and_any_combined_text_as_that_text(words):
    scores = {words: {f"f.{words}": 1.0}}

    html = static.page([replace(UNSENT, label=words)], 1.0, scores=scores, combined=f"<{words}>")
    shown = text.page([replace(UNSENT, label=words)], 1.0, scores=scores, combined=f"<{words}>")

    assert f"<{harmless(words)}>" in Page(html).text
    assert f"<{harmless(words)}>" in shown
    assert html.encode()
    assert shown.encode()


def test_a_page_with_many_scores_and_a_long_combined_text_stays_below_200_kilobytes():
    outcomes = list(busy(1_000))
    scores = {one.label: {f"f.{'<' * 500}{key}": 1.0 for key in range(9)} for one in outcomes}

    html = static.page(outcomes, 60.0, scores=scores, combined="<é" * 1_000_000)

    assert len(html.encode()) < 200_000
    assert "of 2,000,000 characters" in html
    assert Page(html).tags["tr"] > 100


def test_what_a_filter_has_kept_is_named():
    assert kept_words([A, C], 3) == "2 of 3 kept: a, c"
    assert kept_words([], 3) == "0 of 3 kept"
    assert kept_words([A] * 60, 3_000).endswith("a, a and 10 more")


@pytest.mark.parametrize(("combined", "line"), [([A, C], "2 of 3 kept: a, c"), ([], "0 of 3 kept")])
def test_both_views_say_in_one_line_what_a_filter_has_kept(combined, line):
    shown = text.page([A, B, C], 1.0, combined=combined)
    page = Page(static.page([A, B, C], 1.0, combined=combined))

    assert f"Combined: {line}" in shown.splitlines()
    assert f"Combined: {line}" in page.text
    assert "details" not in page.tags


def test_judges_and_summaries_are_counted_apart_and_cost_no_task_anything():
    child = replace(DONE, label="a/1", parent="a", depth=1)
    skipped = replace(JUDGE, label="b/judge", parent="b", status="skipped")

    assert nested_words([A, child, JUDGE, skipped, SUMMARY]) == (
        "and 1 nested subagent (1 done), 2 judges (1 done, 1 skipped), 1 summary (1 done): see .all_df"
    )
    assert families([A, child, JUDGE, SUMMARY]) == [(A, child)]
    assert "with nested" not in dict(number_columns(families([A, JUDGE]), costs=True))
