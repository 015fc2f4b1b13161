"""Answers side by side as HTML that stays: a row per input, a column per arm, scores under each answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xz_magics.records import Outcome
from xz_magics.views.static import FAINT, WORDS, beginning, isolated, safe
from xz_magics.views.verdicts import name_words, score_words
from xz_magics.views.wording import SIGNS, status_words

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame

MOST_ROWS, MOST_ARMS = 50, 12
MOST_COLUMNS, MOST_BYTES_OF_A_COLUMN = 8, 200
MOST_BYTES_OF_A_TEXT, MOST_BYTES_OF_TEXTS = 2_000, 120_000
TALL = "max-height:12.6em;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere"

Below = Mapping[tuple[Any, str], str]
"""What stands below an answer, by its row in the index and its arm."""
Rows = Mapping[Any, Mapping[str, Any]]
"""The columns of the foreach row, by the row in the index."""


def page(table: "DataFrame", below: Below, rows: Rows) -> str:
    """So much of the table as a notebook should keep: the rest is told."""
    shown = table.iloc[:MOST_ROWS, :MOST_ARMS]
    texts = shown.astype(object).where(shown.notna(), "")
    room = min(MOST_BYTES_OF_A_TEXT, MOST_BYTES_OF_TEXTS // max(1, shown.size))
    keys = [name for name in shown.index.names if name is not None]
    arms = [str(arm) for arm in shown.columns]
    heads = "".join(f'<th style="{WORDS}">{isolated(name_words(str(word)))}</th>' for word in [*keys, *arms])
    body = "".join(
        f'<tr style="border-top:1px solid {FAINT}">{_keys(key, rows.get(key, {}))}'
        + "".join(_cell(value, below.get((key, arm), ""), room) for value, arm in zip(values, arms, strict=True))
        + "</tr>"
        for key, values in zip(shown.index, texts.itertuples(index=False, name=None), strict=True)
    )
    left = [
        f"{len(table) - MOST_ROWS:,} more rows" if len(table) > MOST_ROWS else "",
        f"{table.shape[1] - MOST_ARMS:,} more arms" if table.shape[1] > MOST_ARMS else "",
    ]
    more = " and ".join(words for words in left if words)
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="line-height:1.4">'
        '<div style="max-height:60em;overflow:auto;margin:8px 0">'
        '<table cellpadding="5" style="width:100%;margin:0;border-collapse:collapse;table-layout:auto">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        + (f'<div style="opacity:.7">… and {more} in this table</div>' if more else "")
        + "</div>"
    )


def below_words(outcome: Outcome, scores: Mapping[str, float | bool | None]) -> str:
    """Such as "accuracy 1", "✗ failed: network"; empty where there is nothing to add."""
    ended = [] if outcome.success else [f"{SIGNS[outcome.status]} {status_words(outcome)}"]
    return " · ".join([*ended, *(f"{name} {_score(score)}" for name, score in scores.items())])


def _keys(key: Any, row: Mapping[str, Any]) -> str:
    first, *others = [
        f"<b>{isolated(name_words(str(part)))}</b>" for part in (key if isinstance(key, tuple) else (key,))
    ]
    told = "".join(
        f'<div dir="auto">{beginning(f"{name_words(name)}: {value}", MOST_BYTES_OF_A_COLUMN)}</div>'
        for name, value in list(row.items())[:MOST_COLUMNS]
    )
    under = f'<div style="{TALL};opacity:.7;font-size:smaller">{told}</div>' if told else ""
    return "".join(f'<td style="{WORDS}">{cell}</td>' for cell in [first + under, *others])


def _cell(value: Any, below: str, room: int) -> str:
    under = f'<div style="opacity:.7"><small>{safe(below)}</small></div>' if below else ""
    answer = f'<div dir="auto" style="{TALL}">{beginning(str(value), room)}</div>'
    return f'<td style="{WORDS};min-width:10em">{answer}{under}</td>'


def _score(score: float | None) -> str:
    if score is None:
        return "missing"
    return {True: "yes", False: "no"}[score] if isinstance(score, bool) else score_words(score)
