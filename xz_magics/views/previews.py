"""What would be sent, as text and as HTML that stays: a prompt only ever as escaped text."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

from xz_magics.views.static import safe
from xz_magics.views.wording import harmless

MOST_CHARACTERS = 1_500
FAINT = "#80808040"
CELL = "text-align:left;vertical-align:top"
NUMBER = "text-align:right;vertical-align:top;white-space:nowrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A task as it would be sent. `prompts` are named; the others are what it may come to at most, in words."""

    label: str
    model: str
    prompts: Sequence[tuple[str, str]]
    calls: str
    tokens: str
    cost: str


def text(facts: Sequence[str], previews: Sequence[Preview], more: int) -> str:
    parts = ["\n".join(map(harmless, facts))]
    for one in previews:
        head = f"{one.label} · {one.model} · at most: {one.calls}, {one.tokens}, {one.cost}"
        told = [f"{name}: {_beginning(prompt)}" for name, prompt in one.prompts]
        parts.append("\n".join([harmless(head), *(indent(harmless(line), "    ") for line in told)]))
    return "\n\n".join([*parts, *_more(more)])


def page(facts: Sequence[str], previews: Sequence[Preview], more: int) -> str:
    """The classes keep MathJax from taking what stands between two dollar signs for a formula."""
    first, *others = facts
    heads = [("task", CELL), ("what would be sent", CELL), ("at most", NUMBER)]
    head = "".join(f'<th style="{style}">{name}</th>' for name, style in heads)
    table = (
        '<table cellpadding="5" style="width:100%;margin:8px 0;border-collapse:collapse;table-layout:auto">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, previews))}</tbody></table>"
    )
    lines = [f'<div style="margin:2px 0">{safe(fact)}</div>' for fact in others]
    below = "".join(f'<div style="opacity:.7">{safe(line)}</div>' for line in _more(more))
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="line-height:1.4">'
        f'<div style="margin:6px 0"><b>{safe(first)}</b></div>{"".join(lines)}{table if previews else ""}{below}</div>'
    )


def _row(one: Preview) -> str:
    prompts = [
        f'<div style="opacity:.7">{safe(name)}</div>'
        f'<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere;max-height:12em;overflow:auto">'
        f"{safe(_beginning(prompt))}</div>"
        for name, prompt in one.prompts
    ]
    model = f'<br><small style="opacity:.7;white-space:nowrap"><bdi>{safe(one.model)}</bdi></small>'
    most = "<br>".join(map(safe, (one.calls, one.tokens, one.cost)))
    return (
        f'<tr style="border-top:1px solid {FAINT}"><td style="{CELL}"><b><bdi>{safe(one.label)}</bdi></b>{model}</td>'
        f'<td style="{CELL};width:100%">{"".join(prompts)}</td><td style="{NUMBER}">{most}</td></tr>'
    )


def _beginning(prompt: str) -> str:
    if len(prompt) <= MOST_CHARACTERS:
        return prompt
    return f"{prompt[:MOST_CHARACTERS]} … of {len(prompt):,} characters"


def _more(more: int) -> list[str]:
    return [f"… and {more:,} more in .df"] if more else []
