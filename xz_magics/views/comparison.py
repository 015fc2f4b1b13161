"""A comparison as text and as HTML that stays: verdict, arms, pairs, notes, picture."""

import logging
from collections.abc import Sequence

from xz_magics.stats import Arm, Compared, Pair
from xz_magics.views import verdicts
from xz_magics.views.static import FAINT, NO_BREAK, NUMBER, WORDS, bar_beside, isolated, safe
from xz_magics.views.text import aligned
from xz_magics.views.wording import harmless

logger = logging.getLogger("xz_magics")

MOST_ROWS = 60
"""Of arms and of pairs; those in a page or a terminal are for the eye."""
PROSE = frozenset({"of", "method", "verdict"})
"""Columns of words; all others hold numbers and stand to the right."""

Column = tuple[str, list[str]]
"""A head, and a cell for each row."""


def told(compared: Compared) -> str:
    """As plain text."""
    parts = [
        f"{verdicts.title(compared)}\n{verdicts.of_all(compared)}",
        _text_table(compared.variable, _arm_names(compared.arms), _arm_columns(compared), ".arms"),
        _text_table("pair", _pair_names(compared.pairs), _pair_columns(compared.pairs), ".pairs"),
        "\n".join(f"! {_line(note)}" for note in compared.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def page(compared: Compared) -> str:
    """As HTML without script or style sheet. The classes keep MathJax from reading what stands between dollar signs."""
    notes = "".join(f'<div style="opacity:.7">{safe(_line(note))}</div>' for note in compared.notes)
    parts = [
        f'<div style="margin:6px 0"><b>{safe(verdicts.title(compared))}</b></div>',
        f'<div style="margin:6px 0;{bar_beside("done")}">{safe(verdicts.of_all(compared))}</div>',
        _html_table(compared.variable, _arm_names(compared.arms), _arm_columns(compared), ".arms"),
        _html_table("pair", _pair_names(compared.pairs), _pair_columns(compared.pairs), ".pairs"),
        notes,
        _drawn(compared),
    ]
    return f'<div class="tex2jax_ignore mathjax_ignore" style="line-height:1.4">{"".join(parts)}</div>'


def _line(words: str) -> str:
    return harmless(" ".join(words.split()))


def _arm_names(arms: Sequence[Arm]) -> list[str]:
    return [verdicts.name_words(arm.name) for arm in arms]


def _arm_columns(compared: Compared) -> list[Column]:
    """Only what tells something has a column."""
    arms = compared.arms
    columns: list[Column] = [
        ("inputs", [f"{arm.inputs:,}" for arm in arms]),
        ("answers", [f"{arm.answers:,}" for arm in arms]),
        ("without answer", [_count(arm.failed) for arm in arms]),
        ("without score", [_count(arm.missing_scores) for arm in arms]),
        *(
            (head, [verdicts.estimate_words(arm.estimates[measure], measure) for arm in arms])
            for measure, head in verdicts.HEADS.items()
        ),
        ("sd of repeats", [_sd(arm.estimates["score"].within_sd) for arm in arms]),
        ("sd of inputs", [_sd(arm.estimates["score"].between_sd) for arm in arms]),
    ]
    return [(head, cells) for head, cells in columns if any(cells)]


def _pair_names(pairs: Sequence[Pair]) -> list[str]:
    return [f"{verdicts.name_words(pair.first)} - {verdicts.name_words(pair.second)}" for pair in pairs]


def _pair_columns(pairs: Sequence[Pair]) -> list[Column]:
    several = len({pair.measure for pair in pairs}) > 1
    columns: list[Column] = [
        ("of", [verdicts.HEADS[pair.measure] if several else "" for pair in pairs]),
        ("inputs", [f"{pair.difference.inputs:,}" for pair in pairs]),
        ("left out", [_count(pair.left_out) for pair in pairs]),
        ("difference", [verdicts.difference_words(pair.difference, pair.measure) for pair in pairs]),
        ("after Holm" if len(pairs) > 1 else "p", [verdicts.p_words(pair.p_holm) for pair in pairs]),
        ("method", [pair.difference.method for pair in pairs]),
        ("needs inputs", [_count(pair.difference.needed_inputs) for pair in pairs]),
        ("verdict", [verdicts.of_pair(pair) for pair in pairs]),
    ]
    return [(head, cells) for head, cells in columns if any(cells)]


def _count(number: int | None) -> str:
    return f"{number:,}" if number else ""


def _sd(number: float | None) -> str:
    return "" if number is None else verdicts.score_words(number)


def _text_table(head: str, names: Sequence[str], columns: Sequence[Column], whole: str) -> str:
    shown = names[:MOST_ROWS]
    if not shown:
        return ""
    cells = [aligned([head, *shown])]
    cells += [aligned([other, *column[:MOST_ROWS]], right=other not in PROSE) for other, column in columns]
    lines = ["  ".join(row).rstrip() for row in zip(*cells, strict=True)]
    return "\n".join([*lines, *_more(names, whole)])


def _html_table(head: str, names: Sequence[str], columns: Sequence[Column], whole: str) -> str:
    shown = names[:MOST_ROWS]
    if not shown:
        return ""
    styles = [WORDS, *(WORDS if other in PROSE else NUMBER for other, _ in columns)]
    heads = "".join(
        f'<th style="{style}">{safe(word)}</th>'
        for style, word in zip(styles, [head, *(h for h, _ in columns)], strict=True)
    )
    rows = zip(shown, *(column[:MOST_ROWS] for _, column in columns), strict=True)
    body = "".join(f'<tr style="border-top:1px solid {FAINT}">{_html_cells(row, styles)}</tr>' for row in rows)
    return (
        '<div style="max-height:40em;overflow:auto;margin:8px 0">'
        '<table cellpadding="5" style="margin:0;border-collapse:collapse">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        + "".join(f'<div style="opacity:.7">{words}</div>' for words in _more(names, whole))
    )


def _html_cells(row: Sequence[str], styles: Sequence[str]) -> str:
    name, *cells = row
    shown = [isolated(cell) if style == WORDS else _number(cell) for cell, style in zip(cells, styles[1:], strict=True)]
    return "".join(
        f'<td style="{style}">{cell}</td>'
        for style, cell in zip(styles, [f"<b>{isolated(name)}</b>", *shown], strict=True)
    )


def _number(words: str) -> str:
    """An interval stands below its mean."""
    number, _, interval = safe(words).replace(" ", NO_BREAK).partition(f"{NO_BREAK}(")
    return f'{number}<br><small style="opacity:.7">({interval}</small>' if interval else number


def _more(names: Sequence[str], whole: str) -> list[str]:
    return [f"… and {len(names) - MOST_ROWS:,} more in {whole}"] if len(names) > MOST_ROWS else []


def _drawn(compared: Compared) -> str:
    """The picture, or nothing where it cannot be drawn: the numbers stand above."""
    try:
        from xz_magics.views.plots.arms import arms

        return arms(compared).img()
    except Exception:
        logger.exception("A picture could not be drawn")
        return ""
