"""Results as plain text, and how numbers and a model's text are worded."""

import json
import math
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from xz_magics.metrics import Bin, duration_bins, histogram
from xz_magics.records import STATUSES, LimitUse, Outcome, Reused, Span, Turn
from xz_magics.views import text
from xz_magics.views.wording import COLOURS, SIGNS, harmless, limit_shares, seconds_words, status_words

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
TURN = Turn(
    number=1,
    attempts=1,
    max_tokens=64,
    started_at=0.0,
    duration_s=1.0,
    input_tokens=1_000,
    output_tokens=204,
    cost_usd=0.0012,
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
FAILED = replace(
    DONE, label="flaky", status="failed", error_type="rate_limited", output=None, error="wait 95 s\nset rpm", turns=()
)
SKIPPED = replace(FAILED, status="skipped", error_type="quota_exceeded", duration_s=None)


def limit(name="max_total_tokens", limit=10_000, used=8_204, reserved=400):
    return LimitUse(level="run", name=name, limit=limit, used=used, reserved=reserved)


def columns_of(line):
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def naughty_strings():
    path = CORPORA / "strings" / "blns.json"
    if not path.exists():
        pytest.skip("the public corpora are absent: expected them in ../shared/corpora")
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_summary_line_says_tasks_tokens_cost_and_time():
    assert text.summary_line([DONE, FAILED], 3.21) == "2 tasks: 1 done, 1 failed · 1,204 tokens · $0.0012 · 3.2 s"


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([], "1 task: 1 done · 3.0 s"),
        ([replace(TURN, cost_usd=0.0)], "1,204 tokens · free · 3.0 s"),
        ([replace(TURN, cost_usd=None)], "1,204 tokens · unpriced · 3.0 s"),
        ([TURN, replace(TURN, cost_usd=None)], "2,408 tokens · $0.0012 + unpriced · 3.0 s"),
        ([replace(TURN, cost_usd=0.00001)], "< $0.0001"),
        ([replace(TURN, cost_usd=1234.5)], "$1,234.50"),
        ([TURN, replace(TURN, estimated=True)], "≈ 2,408 tokens"),
        ([replace(TURN, input_tokens=None, output_tokens=None)], "unknown tokens"),
    ],
)
def test_what_is_free_unpriced_estimated_or_unknown_is_said(turns, words):
    assert words in text.summary_line([replace(DONE, turns=tuple(turns))], 3.0)


def test_a_run_without_tasks_and_one_that_goes_on_have_summaries_too():
    assert text.summary_line([], 0.0) == "no tasks · 0.00 s"
    assert text.summary_line([DONE], None) == "1 task: 1 done · 1,204 tokens · $0.0012"


def test_times_are_worded_by_their_size():
    assert [seconds_words(seconds) for seconds in (math.nan, 0.054, 3.21, 59.94, 75.3, 4_000)] == [
        "nan s",
        "0.05 s",
        "3.2 s",
        "59.9 s",
        "1 min 15 s",
        "66 min 40 s",
    ]


def test_a_status_is_worded_with_its_reason_where_it_needs_one():
    cut = replace(DONE, status="incomplete", error_type="length")
    late = replace(DONE, status="timed_out", error_type="timeout")

    assert [status_words(one) for one in (DONE, cut, late, FAILED)] == [
        "done",
        "incomplete: length",
        "timed out",
        "failed: rate limited",
    ]


def test_every_status_has_a_sign_and_a_colour_of_its_own():
    assert list(SIGNS) == list(COLOURS) == list(STATUSES)
    assert len(set(SIGNS.values())) == len(set(COLOURS.values())) == len(STATUSES)


def test_a_row_shows_the_answer_or_else_the_error_on_one_line():
    lines = text.table([DONE, FAILED, SKIPPED]).splitlines()

    assert lines[0].split() == ["task", "status", "tokens", "time", "answer"]
    assert lines[1].split() == ["capital", "✓", "done", "1,204", "2.0", "s", "Paris"]
    assert lines[2].endswith("wait 95 s – set rpm")
    assert lines[3].split()[1:4] == ["○", "skipped:", "quota"]


def test_an_error_that_does_not_fit_stands_below_its_row_in_up_to_three_lines():
    words = [f"word{number}" for number in range(100)]
    errors = [" ".join(words[:15]), " ".join(words), "東" * 300]

    _, *lines, last = text.table([*(replace(FAILED, error=error) for error in errors), DONE], width=80).splitlines()

    assert all(columns_of(line) <= 80 for line in lines)
    assert [line.startswith("flaky") for line in lines] == [True, False, False, *[True, False, False, False] * 2]
    assert lines[0].split() == ["flaky", "✗", "failed:", "rate", "limited", "2.0", "s"]
    assert " ".join(line.strip() for line in lines[1:3]) == errors[0]
    shown = " ".join(line.strip() for line in lines[4:7])
    assert shown.endswith("…")
    assert errors[1].startswith(shown[:-1])
    assert lines[8:] == ["    " + "東" * 38, "    " + "東" * 38, "    " + "東" * 37 + "…"]
    assert last.endswith("Paris")


def test_turns_tool_calls_and_nested_ones_have_columns_where_there_is_something_to_tell():
    busy = replace(DONE, label="busy", turns=(replace(TURN, tool_calls=1_200), TURN))
    nested = replace(DONE, label="busy/1", parent="busy", depth=1, turns=(replace(TURN, estimated=True),))
    deeper = replace(nested, label="busy/1/1", parent="busy/1", depth=2, status="failed")

    plain, full = text.table([DONE]), text.table([busy, nested, deeper, DONE, SKIPPED])

    assert plain.splitlines()[0].split() == ["task", "status", "tokens", "time", "answer"]
    head, first, second, _, last = full.splitlines()
    assert head.split() == ["task", "status", "turns", "tools", "tokens", "with", "nested", "time", "answer"]
    assert first.split() == ["busy", "✓", "done", "2", "1,200", "2,408", "≈", "4,816", "2.0", "s", "Paris"]
    assert second.split() == ["capital", "✓", "done", "1", "1,204", "2.0", "s", "Paris"]
    assert last == "and 2 nested subagents (1 done, 1 failed): see .all_df"


def test_nested_ones_are_no_tasks_but_their_tokens_count():
    nested = replace(DONE, label="capital/1", parent="capital", depth=1)
    of_a_running_task = replace(DONE, label="other/1", parent="other", depth=1)

    shown = text.page([DONE, nested, of_a_running_task], 3.0)

    assert shown.startswith("1 task: 1 done · 3,612 tokens · $0.0036 · 3.0 s")
    assert "2,408" in shown
    assert "and 2 nested subagents (2 done): see .all_df" in shown
    assert shown.count("capital") == 1


def test_columns_stand_under_one_another_whatever_script_the_text_is_in():
    labels = ["日本語のラベル", "naïve", "e\u0301te\u0301", "مهمة"]
    outcomes = [replace(DONE, label=label, output="東京" * 100) for label in labels]

    lines = text.table(outcomes, width=80).splitlines()

    assert all(columns_of(unicodedata.normalize("NFC", line)) <= 80 for line in lines)
    starts = {columns_of(unicodedata.normalize("NFC", line.partition("✓")[0])) for line in lines[1:]}
    assert len(starts) == 1
    assert all(line.endswith("…") for line in lines[1:])


def test_rows_beyond_the_limit_are_counted():
    lines = text.table([DONE] * 7, rows=3).splitlines()

    assert len(lines) == 5
    assert lines[-1] == "… and 4 more in .df"


@given(st.text(st.characters()))
def test_no_control_no_hidden_and_no_turning_character_is_left(words):
    shown = harmless(words)

    left = {char for char in shown if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert left <= {"\n", "\t", "\u200c", "\u200d"}


def test_terminal_sequences_and_bidi_controls_are_shown_as_escapes():
    hostile = "\x1b[31mred \x1b]8;;http://x\x07link \x9b2J a\rb \u202egnp.exe\u202c \U000e0041 \ud800"

    shown = text.table([replace(DONE, label="x\x1b[0m", output=hostile)], width=300)

    assert "\x1b" not in shown
    assert r"\x1b[31mred \x1b]8;;http://x\x07link \x9b2J a b \u202egnp.exe\u202c \U000e0041 \ud800" in shown


def test_ordinary_text_of_all_scripts_stays_as_it_is():
    for words in ("Zürich, 東京\u3000都", "می\u200cخواهم", "👩\u200d🔬 ok", "a\tb\nc", "1\u00a0000"):
        assert harmless(words) == words
    assert harmless("a\r\nb") == "a\nb"


def test_naughty_strings_keep_every_row_on_its_line():
    strings = naughty_strings()

    shown = text.page([replace(DONE, label=one, output=one, error=one) for one in strings], 1.0, [limit()], strings)

    table = text.table([replace(DONE, label=one, output=one) for one in strings], rows=1_000)
    assert len(table.split("\n")) == len(strings) + 1
    assert shown.encode()
    assert harmless(shown) == shown


def test_bars_have_edges_counts_and_what_is_not_done():
    bins = histogram([1.0, 1.0, 2.0, 5.0, None], ["done", "done", "failed", "done", "skipped"], whole=False)

    lines = text.histogram_bars(bins, "Seconds per task").splitlines()

    assert lines[0] == "Seconds per task"
    assert [line.split()[-1] for line in lines[1:3]] == ["done)", "0"]
    assert lines[1].startswith("1.0 – 2.3  " + "█" * 30)
    assert lines[1].endswith("3 (1 not done)")
    assert lines[-1].split() == ["no", "value", "█" * 10, "1", "(1", "not", "done)"]


def test_bars_of_tokens_have_whole_edges():
    bins = [Bin(left=1_000, right=1_003, counts={"done": 1}), Bin(left=1_003, right=1_006, counts={"done": 1_000})]

    lines = text.histogram_bars(bins, "Tokens").splitlines()

    assert lines[1].split() == ["1,000", "–", "1,003", "▏", "1"]
    assert lines[2].split() == ["1,003", "–", "1,006", "█" * 30, "1,000"]


def test_requests_over_time_are_one_line_and_say_how_many_there_were_at_once():
    spans = [Span(kind="call", started_at=0.0, ended_at=6.0), Span(kind="tool", started_at=6.0, ended_at=10.0)]
    other = replace(DONE, spans=(Span(kind="call", started_at=0.0, ended_at=2.0),))

    line = text.curve([replace(DONE, spans=tuple(spans)), other])

    assert line == "Requests over time  " + "█" * 6 + "▄" * 12 + " " * 12 + "  at most 2 requests at once"
    assert text.curve([DONE]) == ""
    assert line in text.page([replace(DONE, spans=tuple(spans)), other], 10.0)


def test_every_limit_has_a_line_and_a_bar_where_it_is_a_limit():
    uses = [limit(), limit("max_executions", None, 5, 0), limit("max_total_cost", 0.01, 0.0012, 0)]

    lines = text.quota_bars(uses).splitlines()

    assert (
        lines[0] == "run tokens      " + "█" * 25 + "▒" + "░" * 4 + "  8,204 of 10,000 used, 400 reserved, 1,396 left"
    )
    assert lines[1].split() == ["run", "executions", "5", "used,", "no", "limit"]
    assert lines[2].endswith("$0.0012 of $0.0100 used, $0.0088 left")


@pytest.mark.parametrize(("most", "used", "reserved"), [(0, 0, 0), (10, 25, 3), (10, 9, 4)])
def test_a_bar_is_never_longer_than_full(most, used, reserved):
    shares = limit_shares(limit(limit=most, used=used, reserved=reserved))

    assert sum(shares) == 1
    assert "█" in text.quota_bars([limit(limit=most, used=used, reserved=reserved)])


def test_the_page_holds_all_parts_and_an_empty_run_needs_none_of_them():
    shown = text.page([DONE, SKIPPED], 3.0, [limit()], ["no tools exist yet"])

    for part in (
        text.summary_line([DONE, SKIPPED], 3.0) + "\n! no tools exist yet",
        text.table([DONE, SKIPPED]),
        text.histogram_bars(duration_bins([DONE, SKIPPED]), "Seconds per task"),
        "Tokens per task",
        text.quota_bars([limit()]),
    ):
        assert part in shown
    assert text.page([], 0.0) == "no tasks · 0.00 s"


def test_what_is_reused_stands_in_no_histogram_and_is_said_to_be_left_out():
    reused = replace(
        DONE, turns=(), duration_s=None, reused=Reused(run="r", label="a", ended_at=0.0, tokens=9, cost_usd=0.1)
    )

    shown = text.page([DONE, reused, reused], 3.0)
    seconds, tokens = shown.split("Seconds per task")[1].split("Tokens per task")

    assert [len(part.strip().splitlines()) for part in (seconds, tokens.split("2 reused")[0])] == [1, 1]
    assert "2 reused are in neither" in tokens
    assert "reused" not in text.page([DONE], 3.0)
    assert "per task" not in text.page([reused], 3.0)
