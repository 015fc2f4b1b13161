"""Results as HTML: what it shows, what it never lets through, and how large it gets."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from xz_magics.records import STATUSES, LimitUse, Outcome, Span, Turn
from xz_magics.views import plots, static
from xz_magics.views.wording import COLOURS, harmless

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
TURN = Turn(
    number=1,
    attempts=1,
    max_tokens=64,
    started_at=0.0,
    duration_s=1.0,
    input_tokens=1_000,
    output_tokens=204,
    cost_usd=0.0,
)
DONE = Outcome(
    index=0,
    label="capital",
    status="done",
    model="openai:m",
    max_tokens=64,
    output="Paris",
    turns=(TURN,),
    duration_s=2.0,
)
FAILED = replace(DONE, status="failed", error_type="rate_limited", output=None, error="wait 95 s\nset rpm")
UNSENT = replace(DONE, turns=(), duration_s=None)
"""Nothing to draw: the tests of words alone need no picture."""
MADE = {
    "div": {"class", "style", "dir"},
    "span": {"style"},
    "table": {"cellpadding", "style"},
    "thead": set(),
    "tbody": set(),
    "tr": {"style"},
    "th": {"style"},
    "td": {"style"},
    "b": set(),
    "bdi": set(),
    "br": set(),
    "i": set(),
    "small": {"style"},
    "img": {"alt", "width", "style", "src"},
    "details": set(),
    "summary": set(),
    "pre": {"dir", "style"},
}
"""Each tag that the view makes, with the attributes that it makes."""


class Page(HTMLParser):
    """Counts what a page consists of; raises on what the view does not make."""

    def __init__(self, html):
        super().__init__()
        self.tags = Counter()
        self.texts = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert tag in MADE, tag
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), attrs
        assert set(names) <= MADE[tag], (tag, attrs)
        for name, value in attrs:
            assert name != "src" or re.fullmatch("data:image/png;base64,[A-Za-z0-9+/=]+", value)
            assert name != "style" or re.fullmatch(r"[a-zA-Z0-9#%;:. -]*", value), value
            assert name != "class" or value == "tex2jax_ignore mathjax_ignore"
            assert name != "dir" or value == "auto"
        self.tags[tag] += 1

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment

    @property
    def text(self):
        return "".join(self.texts)


def limit(limit=10_000, used=8_204, reserved=400, level="run", name="max_total_tokens"):
    return LimitUse(level=level, name=name, limit=limit, used=used, reserved=reserved)


def spans(*some):
    """Each is a kind with its start and end."""
    return tuple(Span(kind=kind, started_at=start, ended_at=end) for kind, start, end in some)


def hostile_everywhere(words):
    """One outcome per hostile text, which stands in every field that is shown."""
    return [
        replace(UNSENT, label=one, model=one, output=one, error=one, finish_reason=one, status=STATUSES[index % 7])
        for index, one in enumerate(words)
    ]


def corpus(*names):
    for name in names:
        path = CORPORA / name
        if not path.exists():
            pytest.skip("the public corpora are absent: expected them in ../shared/corpora")
        if path.suffix == ".json":
            yield from json.loads(path.read_text(encoding="utf-8"))
        else:
            yield from path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


@pytest.mark.parametrize(
    "name", ["xss/payloadbox.txt", "xss/PayloadsAllTheThings.txt", "ssti/ssti-payloads.txt", "strings/blns.json"]
)
def test_no_text_of_a_corpus_makes_a_tag_or_an_attribute(name):
    words = list(corpus(name))

    for start in range(0, len(words), 100):
        some = words[start : start + 100]
        html = static.page(hostile_everywhere(some), 1.0, [limit(level=one, name=one) for one in some[:9]], some[:9])
        page = Page(html)
        assert page.tags["tr"] == len(some) + 1
        assert html.encode()
        assert harmless(some[0]).split("\n")[0] in page.text


@given(st.text(st.characters()) | st.text("<>&\"'/=\x00\x1b\n\u202e\ud800 abc"))
def test_a_page_shows_any_text_as_that_text(words):
    html = static.page([replace(UNSENT, label=words, output=words)], 1.0)

    assert Page(html).text.count(harmless(words)) >= 2
    assert html.encode()


def test_dollar_signs_are_no_formula_and_hidden_or_turning_characters_are_shown():
    html = static.page([replace(UNSENT, output="$x^2$ \u202egnp.exe \U000e0041 \x00 \ud800")], 1.0)

    assert html.startswith('<div class="tex2jax_ignore mathjax_ignore"')
    assert r"$x^2$ \u202egnp.exe \U000e0041 \x00 \ud800" in Page(html).text


def test_a_page_tells_the_run_in_a_line_and_each_task_in_a_row():
    page = Page(static.page([DONE, FAILED], 3.21, [limit()], ["no tools exist yet"]))

    for words in ("2 tasks", "✓ 1 done", "✗ 1 failed", "2,408 tokens · free · 3.2 s · openai:m", "no tools exist yet"):
        assert words in page.text
    for words in ("capital", "Paris", "✗ failed: rate limited", "wait 95 s\nset rpm", "1,204", "2.0\u00a0s"):
        assert words in page.text
    assert "8,204 of 10,000 used, 400 reserved, 1,396 left" in page.text


def test_an_incomplete_answer_wears_a_badge_with_its_reason_and_estimates_are_marked():
    cut = replace(DONE, status="incomplete", error_type="length", turns=(replace(TURN, estimated=True),))

    page = Page(static.page([cut], 1.0))

    assert "◐ incomplete: length" in page.text
    assert page.text.count("≈") == 2


def test_costs_have_a_column_where_there_are_some_and_models_a_line_where_there_are_several():
    paid = replace(DONE, model="openai:other", turns=(replace(TURN, cost_usd=0.5),))

    both, free = Page(static.page([DONE, paid], 1.0)), Page(static.page([DONE], 1.0))

    assert (both.tags["th"], both.tags["small"]) == (6, 2)
    assert "$0.5000" in both.text
    assert (free.tags["th"], free.tags["small"]) == (5, 0)


def test_nested_subagents_are_counted_and_what_they_spent_stands_beside_the_tasks_own():
    paid = replace(DONE, turns=(replace(TURN, tool_calls=3, cost_usd=0.5), replace(TURN, cost_usd=0.5)))
    nested = replace(DONE, label="capital/<b>1", parent="capital", depth=1, turns=(replace(TURN, cost_usd=None),))

    page = Page(static.page([paid, nested, replace(DONE, label="other")], 3.0))

    assert page.text.count("1 task") == 0
    for words in ("2 tasks", "4,816 tokens · $1.00 + unpriced", "and 1 nested subagent (1 done): see .all_df"):
        assert words in page.text
    assert "taskstatusanswerturnstoolstokenswith nestedcostwith nestedtime" in page.text
    assert "232,4083,612$1.00$1.00\u00a0+\u00a0unpriced2.0\u00a0s" in page.text
    assert "capital/" not in page.text
    assert page.tags["tr"] == 3


def test_a_long_answer_is_shown_in_part_and_says_so():
    whole, part = "y" * 1_900, "z" * 5_000

    page = Page(static.page([replace(UNSENT, output=whole), replace(UNSENT, output=part)], 1.0))

    assert whole in page.text
    assert "z" * 2_000 + " … of 5,000 characters" in page.text
    assert "z" * 2_001 not in page.text


@given(st.text("a&<é👩\x00\u202e", max_size=300), st.integers(min_value=0, max_value=200))
def test_a_text_is_cut_to_its_bytes_between_characters(words, room):
    shown, _, rest = static.beginning(words, room).partition("<i>")

    assert len(shown.encode()) <= room
    assert bool(rest) == (len(static.safe(words).encode()) > room)
    assert harmless(words).startswith(Page(shown).text)


def busy(count, **fields):
    """So many tasks of several turns, with tools and tries, at fifty at once; every tenth failed."""
    for index in range(count):
        start, third = index // 50 * 9.0, 2.0 + index % 7 / 7
        times = [start + third * part for part in range(4)]
        some = [("queued", 0, start), ("call", times[0], times[1]), ("tool", times[1], times[2])]
        some += [("retry" if index % 9 == 0 else "call", times[2], times[3]), ("call", times[3], times[3] + 1)]
        failed = {"status": "failed", "error": "rate limited: wait 95 s\nset rpm"} if index % 10 == 0 else {}
        one = replace(DONE, label=f"task-{index}", output="A long answer. " * 200, duration_s=1.0 + index % 37)
        yield replace(one, spans=spans(*some), **(fields | failed))


def test_a_thousand_tasks_take_less_than_200_kilobytes_and_show_200_rows():
    html = static.page(list(busy(1_000)), 60.0, [limit()], pauses=spans(("rate_limited", 5, 20)))

    assert len(html.encode()) < 200_000
    assert Page(html).tags["img"] == 2
    assert Page(html).tags["tr"] == 201
    assert "… and 800 more in .df" in html


@pytest.mark.parametrize(("words", "rows"), [("$<&'" * 20, 50), ("日本" * 40, 100)])
def test_where_rows_are_large_there_are_fewer_and_a_page_stays_below_200_kilobytes(words, rows):
    turns = (replace(TURN, tool_calls=3, cost_usd=0.01),) * 3
    outcomes = list(busy(1_000, turns=turns, output=words * 50, model=words))
    outcomes[0] = replace(outcomes[0], label=words, model="other")

    html = static.page([replace(one, label=words) for one in outcomes], 60.0, [limit()] * 4)

    shown = Page(html).tags["tr"] - 1
    assert rows <= shown < 200
    assert f"… and {1_000 - shown} more in .df" in html
    assert len(html.encode()) < 200_000


@pytest.mark.parametrize(
    ("used", "colour"), [(79, COLOURS["done"]), (80, COLOURS["incomplete"]), (100, COLOURS["failed"])]
)
def test_a_limits_bar_changes_its_colour_at_80_and_at_100_percent(used, colour):
    html = static.page([], 0.0, [limit(100, used, 0)])

    assert f"width:{used}.0%;background:{colour}" in html


def test_no_limit_has_no_bar_and_a_limit_of_nothing_is_full():
    assert "width:" not in static.page([], 0.0, [limit(None)])
    assert "width:100.0%" in static.page([], 0.0, [limit(0, 0, 0)])


def test_the_picture_is_told_in_words_too():
    html = static.page([DONE, replace(DONE, duration_s=4.0)], 1.0)

    assert Page(html).tags["img"] == 1
    assert (
        'alt="Histograms of 2 tasks by status. Durations from 2.0 s to 4.0 s, median 3.0 s. '
        'Tokens from 1,204 to 1,204, median 1,204."' in html
    )


def test_the_timeline_is_told_in_words_too():
    nested = replace(DONE, label="capital/1", parent="capital", depth=1, spans=spans(("call", 1, 2), ("tool", 2, 2.5)))
    lead = replace(DONE, spans=spans(("queued", 0, 0.5), ("call", 0.5, 1), ("children", 1, 3), ("call", 1.5, 4)))

    html = static.page([lead, nested], 4.0, pauses=spans(("rate_limited", 1, 2)))

    assert Page(html).tags["img"] == 2
    assert (
        'alt="Timeline of 2 subagents over 4.0 s: at most 2 requests at once. Time of all together: model call 4.0 s, '
        'tool call 0.50 s, waits for its subagents 2.0 s, queued 0.50 s. Rate limits paused the account once."' in html
    )


def test_nothing_sent_draws_no_picture():
    assert "<img" not in static.page([replace(FAILED, turns=(), duration_s=None)], 1.0)
    assert static.page([DONE], 1.0).count("<img") == 1
    assert Page(static.page([], 0.0)).text == "no tasks  0.00 s"


def test_where_a_picture_fails_the_results_are_shown_with_text_in_its_place(monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(plots, "histograms", broken)
    monkeypatch.setattr(plots, "timeline", broken)

    html = static.page([replace(DONE, spans=spans(("call", 0, 1)))], 1.0)

    assert "Paris" in html
    assert "<pre>Seconds per task" in html
    assert "<pre>Requests over time  ███" in html
    assert "no font" in caplog.text
