"""Results as plain text: what a terminal, a log and a notebook without a page show."""

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from xz_magics.metrics import Bin, duration_bins, token_bins
from xz_magics.records import LimitUse, Outcome, Status
from xz_magics.records.scores import Scores
from xz_magics.views.scored import kept_words, score_cells, score_lines
from xz_magics.views.spans import most_by_column, most_words
from xz_magics.views.wording import (
    SIGNS,
    families,
    harmless,
    left_out_words,
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

AT_MOST_ROWS = 200
LABEL_CELLS = 24
ERROR_LINES = 3
COMBINED_CHARACTERS = 2_000
NO_SCORES: Scores = {}
BAR_CELLS = 30
HEIGHTS = " ▁▂▃▄▅▆▇█"
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def page(
    outcomes: Sequence[Outcome],
    duration_s: float | None,
    uses: Sequence[LimitUse] = (),
    warnings: Sequence[str] = (),
    *,
    scores: Scores = NO_SCORES,
    combined: Any = None,
) -> str:
    """All: summary, scores, warnings, table, what the outputs were combined to, histograms, requests at once, limits.

    `duration_s` is None while the run goes on.

    `outcomes` hold nested subagents, too: each after its parent. They are counted, and have no row of their own.
    """
    roots = [outcome for outcome in outcomes if outcome.written]
    told = [*map(_one_line, score_lines(outcomes, scores)), *(f"! {_one_line(warning)}" for warning in warnings)]
    parts = ["\n".join([summary_line(outcomes, duration_s), *told])]
    if roots:
        parts += [
            table(outcomes, scores=scores),
            _combined(combined, len(roots)),
            *histograms(roots),
        ]
    parts += [curve(outcomes), quota_bars(uses)]
    return "\n\n".join(part for part in parts if part)


def summary_line(outcomes: Sequence[Outcome], duration_s: float | None) -> str:
    """Such as "5 tasks: 4 done, 1 failed · 1,204 tokens · $0.0012 · 3.2 s"; tokens and cost are everybody's."""
    roots = [outcome for outcome in outcomes if outcome.written]
    counts = ", ".join(f"{count:,} {status_word(status)}" for status, count in status_counts(roots).items())
    tasks = f"{tasks_words(len(roots))}: {counts}" if roots else "no tasks"
    return " · ".join([tasks, *totals_words(outcomes, duration_s)])


def table(outcomes: Sequence[Outcome], width: int = 100, rows: int = AT_MOST_ROWS, scores: Scores = NO_SCORES) -> str:
    """A line per task that fits a terminal of `width` columns, with the answer's beginning; an error may need more."""
    found = families(outcomes)
    shown = found[:rows]
    roots = [family[0] for family in shown]
    numbers = [*score_cells(roots, scores), *number_columns(shown, costs=False)]
    columns = [
        aligned(["task", *(_cut(_one_line(root.label), LABEL_CELLS) for root in roots)]),
        aligned(["status", *(f"{SIGNS[root.status]} {status_words(root)}" for root in roots)]),
        *(aligned([_cut(_one_line(head), LABEL_CELLS), *cells], right=True) for head, cells in numbers),
    ]
    head, *starts = ("  ".join(row) for row in zip(*columns, strict=True))
    lines = [f"{head}  answer"]
    for start, root in zip(starts, roots, strict=True):
        lines += _row(start, root, width)
    if len(shown) < len(found):
        lines.append(f"… and {len(found) - len(shown):,} more in .df")
    nested = nested_words(outcomes)
    return "\n".join([*lines, nested] if nested else lines)


def histograms(outcomes: Sequence[Outcome]) -> list[str]:
    """Both, and how many tasks are in neither; none where all are reused."""
    if not any(outcome.reused is None for outcome in outcomes):
        return []
    bars = [
        histogram_bars(duration_bins(outcomes), "Seconds per task"),
        histogram_bars(token_bins(outcomes), "Tokens per task"),
    ]
    return [*bars, *filter(None, [left_out_words(outcomes)])]


def histogram_bars(bins: Sequence[Bin[Status]], title: str) -> str:
    """A line per bin: its edges, a bar, how many, and how many of these did not end as done."""
    most = max((one.total for one in bins), default=0)
    lines = [
        f"{edges}  {_bar(one.total / most)}  {_count(one)}"
        for edges, one in zip(aligned(_edges(bins), right=True), bins, strict=True)
    ]
    return "\n".join([title, *lines])


def curve(outcomes: Sequence[Outcome]) -> str:
    """How many requests were under way over time, in one line; empty where nothing was sent."""
    most = most_by_column(outcomes, BAR_CELLS)
    highest = max(most, default=0)
    if not highest:
        return ""
    heights = "".join(HEIGHTS[math.ceil(count / highest * (len(HEIGHTS) - 1))] for count in most)
    return f"Requests over time  {heights}  {most_words(highest)}"


def quota_bars(uses: Sequence[LimitUse]) -> str:
    """A line per limit of each level; where there is no limit, there is no bar."""
    names = aligned([limit_name(use) for use in uses])
    bars = aligned([_quota_bar(use) for use in uses])
    return "\n".join(f"{name}  {bar}  {limit_words(use)}" for name, bar, use in zip(names, bars, uses, strict=True))


def _row(start: str, outcome: Outcome, width: int) -> list[str]:
    """One line; an error that does not fit stands below it in up to three, for its end says how to mend it."""
    told = _one_line(outcome.output or (outcome.error or "").replace("\n", " – "))
    room = max(20, width - _cells(start) - 2)
    if outcome.output or _cells(told) <= room:
        return [f"{start}  {_cut(told, room)}".rstrip()]
    return [start.rstrip(), *(f"    {line}" for line in _wrapped(told, width - 4, ERROR_LINES))]


def _combined(combined: Any, tasks: int) -> str:
    """The beginning of a text, and how long it is where that is not all; what filters have kept is one line."""
    if combined is None:
        return ""
    if not isinstance(combined, str):
        return f"Combined: {_one_line(kept_words(combined, tasks))}"
    more = f" … of {len(combined):,} characters: see .combined" if len(combined) > COMBINED_CHARACTERS else ""
    return f"Combined\n{harmless(combined[:COMBINED_CHARACTERS])}{more}"


def _wrapped(text: str, columns: int, most: int) -> list[str]:
    """The text in lines broken at spaces where there are any, the last of them cut where it is too long."""
    lines: list[str] = []
    while _cells(text) > columns and len(lines) < most - 1:
        fits = _fitting(text, columns)
        space = text.rfind(" ", 1, fits + 1)
        end = fits if space < 0 else space
        lines.append(text[:end])
        text = text[end:].lstrip(" ")
    return [*lines, _cut(text, columns)]


def _one_line(text: str) -> str:
    return harmless(" ".join(text[:1_000].split()))


def aligned(texts: Sequence[str], *, right: bool = False) -> list[str]:
    """The texts, padded to the terminal columns of the widest."""
    widest = max(map(_cells, texts), default=0)
    pads = [" " * (widest - _cells(text)) for text in texts]
    return [pad + text if right else text + pad for text, pad in zip(texts, pads, strict=True)]


def _cut(text: str, columns: int) -> str:
    """The text, or as much of it as leaves room for an ellipsis."""
    return text if _cells(text) <= columns else text[: _fitting(text, columns - 1)] + "…"


def _fitting(text: str, columns: int) -> int:
    """How many of its characters fit into so many columns."""
    return bisect_right(list(accumulate(map(_char_cells, text))), columns)


def _cells(text: str) -> int:
    return sum(map(_char_cells, text))


def _char_cells(char: str) -> int:
    """How many columns of a terminal a character takes: East Asian wide ones two, combining ones and joiners none."""
    if unicodedata.combining(char) or char in "\u200c\u200d":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _edges(bins: Sequence[Bin[Status]]) -> list[str]:
    """Each bin's edges, with as many decimals as tell them apart."""
    pairs = [(one.left, one.right) for one in bins if one.left is not None and one.right is not None]
    whole = all(float(edge).is_integer() for pair in pairs for edge in pair)
    decimals = 0 if whole else max(0, 1 - math.floor(math.log10(min(right - left for left, right in pairs))))
    left = aligned([f"{left:,.{decimals}f}" for left, _ in pairs], right=True)
    right = aligned([f"{right:,.{decimals}f}" for _, right in pairs], right=True)
    known = [f"{low} – {high}" for low, high in zip(left, right, strict=True)]
    return known if len(known) == len(bins) else [*known, "no value"]


def _count(one: Bin[Status]) -> str:
    other = one.total - one.counts.get("done", 0)
    return f"{one.total:,} ({other:,} not done)" if other else f"{one.total:,}"


def _bar(share: float) -> str:
    whole, eighth = divmod(math.ceil(share * BAR_CELLS * 8), 8)
    return ("█" * whole + EIGHTHS[eighth]).ljust(BAR_CELLS)


def _quota_bar(use: LimitUse) -> str:
    shares = limit_shares(use)
    if shares is None:
        return ""
    used, reserved = (round(share * BAR_CELLS) for share in shares)
    return ("█" * used + "▒" * reserved).ljust(BAR_CELLS, "░")[:BAR_CELLS]
