"""Results as HTML that stays: no script, no style sheet, and a model's words only ever as escaped text."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from html import escape
from itertools import accumulate
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xz_magics.records import LimitUse, Outcome, Span, Status
from xz_magics.records.scores import Scores
from xz_magics.views import text
from xz_magics.views.scored import kept_words, score_cells, score_lines
from xz_magics.views.spans import whole_time
from xz_magics.views.telling import histograms_told, timeline_told
from xz_magics.views.wording import (
    COLOURS,
    SIGNS,
    families,
    harmless,
    limit_name,
    limit_shares,
    limit_words,
    nested_words,
    number_columns,
    status_counts,
    status_word,
    status_words,
    tasks_words,
    totals_words,
)

if TYPE_CHECKING:
    from xz_magics.views.plots import Figure

logger = logging.getLogger("xz_magics")

AT_MOST_ROWS = 200
MOST_BYTES = 192_000
"""Of a whole page but the table's head and notes, so that a saved notebook stays small: rows give way to pictures."""
MOST_BYTES_OF_A_TEXT = 2_000
MOST_BYTES_OF_COMBINED = 12_000
MOST_BYTES_OF_TEXTS = 22_000
"""Shared by the rows."""
TALL_CHARACTERS, TALL_LINES = 500, 6

FAINT = "#80808040"
WORDS = "text-align:left;vertical-align:top"
NUMBER = "text-align:right;vertical-align:top"
"""Said of each cell, for a notebook's own style sheet says otherwise of each cell."""
NO_BREAK = "\u00a0"


def page(
    outcomes: Sequence[Outcome],
    duration_s: float | None,
    uses: Sequence[LimitUse] = (),
    warnings: Sequence[str] = (),
    pauses: Sequence[Span] = (),
    *,
    scores: Scores = text.NO_SCORES,
    combined: Any = None,
) -> str:
    """Everything: summary, scores, warnings, table, what the outputs were combined to, histograms, timeline, limits.

    `duration_s` is None while the run goes on.

    `outcomes` hold nested subagents, too: each after its parent. They are counted, and have no row of their own.
    The classes keep MathJax from taking what stands between two dollar signs for a formula.
    """
    roots = [outcome for outcome in outcomes if outcome.written]
    above = "".join(
        [_summary(outcomes, duration_s), *map(_line, score_lines(outcomes, scores)), *map(_warning, warnings)]
    )
    below = "".join(
        [_combined(combined, len(roots)), _histograms(roots), _timeline(outcomes, pauses), *map(_limit, uses)]
    )
    table = _table(outcomes, scores, MOST_BYTES - len(above.encode()) - len(below.encode())) if roots else ""
    return f'<div class="tex2jax_ignore mathjax_ignore" style="line-height:1.4">{above}{table}{below}</div>'


def _summary(outcomes: Sequence[Outcome], duration_s: float | None) -> str:
    roots = [outcome for outcome in outcomes if outcome.written]
    counts = status_counts(roots)
    badges = [_badge(status, f"{count:,} {status_word(status)}") for status, count in counts.items()]
    models = {outcome.model for outcome in outcomes}
    facts = [*totals_words(outcomes, duration_s), *(models if len(models) == 1 else ())]
    tasks = tasks_words(len(roots)) if roots else "no tasks"
    shares = [f'<span style="flex:{count};background:{COLOURS[status]}"></span>' for status, count in counts.items()]
    return (
        f'<div style="margin:6px 0"><b>{tasks}</b> {" ".join(badges)} {" · ".join(map(safe, facts))}</div>'
        f'<div style="display:flex;height:4px;border-radius:2px;overflow:hidden">{"".join(shares)}</div>'
    )


def _warning(warning: str) -> str:
    return f'<div style="margin:6px 0;{bar_beside("incomplete")}">{safe(warning)}</div>'


def _line(line: str) -> str:
    return f'<div style="margin:2px 0">{safe(line)}</div>'


def _combined(combined: Any, tasks: int) -> str:
    """A text is closed, so that it pushes nothing out of sight; what filters have kept is one line."""
    if combined is None:
        return ""
    if not isinstance(combined, str):
        return _line(f"Combined: {kept_words(combined, tasks)}")
    shown = beginning(combined, MOST_BYTES_OF_COMBINED)
    pre = f'<pre dir="auto" style="white-space:pre-wrap;max-height:24em;overflow:auto">{shown}</pre>'
    return f"<details><summary>Combined: {len(combined):,} characters</summary>{pre}</details>"


def _table(outcomes: Sequence[Outcome], scores: Scores, room: int) -> str:
    """A row per task, as many as there is room for, in bytes. Models are told only where there are several."""
    found = families(outcomes)
    first = found[:AT_MOST_ROWS]
    models = len({family[0].model for family in found}) > 1
    columns = [*score_cells([family[0] for family in first], scores), *number_columns(first, costs=True)]
    answer = f"{WORDS};min-width:14em"
    heads = [("task", WORDS), ("status", WORDS), ("answer", answer), *((safe(head), NUMBER) for head, _ in columns)]
    head = "".join(f'<th style="{style}">{word}</th>' for word, style in heads)
    room_of_a_text = min(MOST_BYTES_OF_A_TEXT, MOST_BYTES_OF_TEXTS // len(first))
    numbers = zip(*(cells for _, cells in columns), strict=True)
    rows = [_row(one[0], room_of_a_text, row, models=models) for one, row in zip(first, numbers, strict=True)]
    shown = max(1, bisect_right(list(accumulate(len(row.encode()) for row in rows)), room))
    more = len(found) - len(rows[:shown])
    notes = [f"… and {more:,} more in .df" if more else "", nested_words(outcomes)]
    return (
        '<div style="max-height:40em;overflow:auto;margin:8px 0">'
        '<table cellpadding="5" style="width:100%;margin:0;border-collapse:collapse;table-layout:auto">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows[:shown])}</tbody></table></div>"
        + "".join(f'<div style="opacity:.7">{note}</div>' for note in notes if note)
    )


def _row(outcome: Outcome, room: int, numbers: Sequence[str], *, models: bool) -> str:
    model = f'<br><small style="opacity:.7;white-space:nowrap">{isolated(outcome.model)}</small>' if models else ""
    return (
        f'<tr style="border-top:1px solid {FAINT}"><td style="{WORDS}"><b>{isolated(outcome.label)}</b>{model}</td>'
        f'<td style="{WORDS}">{_badge(outcome.status, status_words(outcome))}</td>'
        f'<td style="{WORDS};white-space:pre-wrap;overflow-wrap:anywhere">{_answer(outcome, room)}</td>'
        + "".join(f'<td style="{NUMBER}">{escape(number).replace(" ", NO_BREAK)}</td>' for number in numbers)
        + "</tr>"
    )


def _answer(outcome: Outcome, room: int) -> str:
    """The answer's beginning, which scrolls where it is long, and the error with its mend: so many bytes together."""
    shown = ""
    if outcome.error:
        error = beginning(outcome.error, room // 2 if outcome.output else room)
        room -= len(error.encode())
        shown = f'<div dir="auto" style="{bar_beside(outcome.status)}">{error}</div>'
    if outcome.output:
        tall = len(outcome.output) > TALL_CHARACTERS or outcome.output.count("\n") > TALL_LINES
        style = ' style="max-height:8.4em;overflow:auto"' if tall else ""
        shown = f'<div dir="auto"{style}>{beginning(outcome.output, room)}</div>{shown}'
    return shown


def _histograms(outcomes: Sequence[Outcome]) -> str:
    sent = [outcome for outcome in outcomes if outcome.reused is None]
    if all(outcome.duration_s is None and outcome.total_tokens is None for outcome in sent):
        return ""
    bars = text.histograms(outcomes)
    return _picture(lambda plots: plots.histograms(outcomes), histograms_told(outcomes), "\n\n".join(bars))


def _timeline(outcomes: Sequence[Outcome], pauses: Sequence[Span]) -> str:
    if whole_time(outcomes) is None:
        return ""
    told = timeline_told(outcomes, pauses)
    return _picture(lambda plots: plots.timeline(outcomes, pauses), told, text.curve(outcomes))


def _picture(draw: Callable[[ModuleType], "Figure"], told: str, as_text: str) -> str:
    """The picture, or the text where it cannot be drawn: what was paid for is shown in any case."""
    try:
        from xz_magics.views import plots

        picture = draw(plots)
        picture.told = told
        return picture.img()
    except Exception:
        logger.exception("A picture could not be drawn")
        return f"<pre>{safe(as_text)}</pre>"


def _limit(use: LimitUse) -> str:
    shares = limit_shares(use)
    bar = ""
    if shares is not None:
        used, reserved = shares
        colour = COLOURS["failed" if used >= 1 else "incomplete" if used >= 0.8 else "done"]
        bar = (
            f'<span style="width:{used:.1%};background:{colour}"></span>'
            f'<span style="width:{reserved:.1%};background:{colour};opacity:.4"></span>'
        )
    track = f"background:{FAINT}" if bar else ""
    return (
        '<div style="display:flex;align-items:center;margin:2px 0">'
        f'<span style="flex:0 0 11em">{safe(limit_name(use))}</span>'
        f'<span style="flex:0 0 14em;display:flex;height:8px;border-radius:4px;overflow:hidden;{track}">{bar}</span>'
        f'<span style="margin-left:12px">{safe(limit_words(use))}</span></div>'
    )


def _badge(status: Status, words: str) -> str:
    """`40` at the end of the colour: a quarter opaque, so that the text stays readable on light and dark."""
    style = f"padding:1px 8px;border-radius:9px;white-space:nowrap;background:{COLOURS[status]}40"
    return f'<span style="{style}">{SIGNS[status]} {escape(words)}</span>'


def bar_beside(status: Status) -> str:
    return f"padding-left:8px;border-left:3px solid {COLOURS[status]}"


def isolated(words: str) -> str:
    return f"<bdi>{safe(words)}</bdi>"


def beginning(words: str, room: int) -> str:
    """As much of a text as takes so many bytes of the page, and how long it is where that is not all."""
    ends = list(accumulate(len(safe(char).encode()) for char in words[: room + 1]))
    kept = bisect_right(ends, room)
    more = "" if kept == len(words) else f"<i> … of {len(words):,} characters</i>"
    return safe(words[:kept]) + more


def safe(words: str) -> str:
    return escape(harmless(words))
