"""What each part of a run cost: its outcomes and turns put in groups, in one way or another."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.frames import DataFrame, table
from xz_magics.records import Outcome, Turn, known_sum

DTYPES = {
    "tasks": "Int64",
    "turns": "Int64",
    "input_tokens": "Int64",
    "cached_tokens": "Int64",
    "output_tokens": "Int64",
    "total_tokens": "Int64",
    "cost_usd": "Float64",
    "unpriced": "Int64",
}


@dataclass(slots=True)
class Group:
    value: Any
    tasks: int = 0
    turns: list[Turn] = field(default_factory=list)
    reused: int = 0


def costs_frame(runs: Iterable[Sequence[Outcome]], what: str) -> DataFrame:
    """A row per value of `what`, in the order in which they occur. A run's outcomes hold parents before their children.

    `what` is "model", "task", "input", "purpose", "turn", "tag" or a variable of the matrix. Nested subagents count for
    the task that led to them; what has no such value, as a judge has no input, stands in a row of NA. A task with two
    tags counts in the rows of both: by "tag" the rows do not add up to the run, by all else they do. `unpriced` counts
    the turns whose price is unknown, and which `cost_usd` does not hold. Raises SpecError for an unknown `what`.
    """
    if not isinstance(what, str):
        told = f"costs are told by one name, given as text, not a {type(what).__name__}"
        raise SpecError(told, "ask once for each name")
    outcomes = [pair for run in runs for pair in _with_roots(run)]
    parts = _parts(what, dict.fromkeys(name for _, root in outcomes if root.trial for name in root.trial.arms))
    groups: dict[str, Group] = {}
    for outcome, root in outcomes:
        for value, turns in parts(outcome, root):
            group = groups.setdefault(json.dumps(value, sort_keys=True, default=str), Group(value))
            group.tasks += 1
            group.turns += turns
            group.reused += outcome.reused is not None
    column = f"matrix.{what}" if what in DTYPES else what
    dtype, shown = _typed([group.value for group in groups.values()])
    rows = [{column: one} | _sums(group) for one, group in zip(shown, groups.values(), strict=True)]
    return table(rows, {column: dtype, **DTYPES})


Parts = Callable[[Outcome, Outcome], Iterable[tuple[Any, Sequence[Turn]]]]
"""The values under which an outcome counts, each with its turns that do; the second is the one that led to it."""


def _parts(what: str, variables: Iterable[str]) -> Parts:
    def each(value: Callable[[Outcome, Outcome], Any]) -> Parts:
        return lambda one, root: [(value(one, root), one.turns)]

    kinds: dict[str, Parts] = {
        "model": each(lambda one, _: one.model),
        "task": each(lambda _, root: root.label),
        "input": each(lambda _, root: root.trial and root.trial.input),
        "purpose": each(lambda _, root: root.purpose),
        "turn": lambda one, _: [(turn.number, [turn]) for turn in one.turns],
        "tag": lambda one, root: [(tag, one.turns) for tag in dict.fromkeys(root.tags) or (None,)],
    }
    known = {name: each(partial(_arm, name)) for name in variables} | kinds
    if what in known:
        return known[what]
    close = get_close_matches(what, known, n=1)
    mend = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
    raise SpecError(f"costs cannot be told by {what!r}", mend)


def _arm(variable: str, _: Outcome, root: Outcome) -> Any:
    return None if root.trial is None else root.trial.arms.get(variable)


def _with_roots(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, Outcome]]:
    """Each with the task that led to it, or itself, as a judge does, and a child whose parent has not ended."""
    roots: dict[str, Outcome] = {}
    for one in outcomes:
        roots[one.label] = roots.get(one.parent or "", one) if one.purpose == "task" else one
        yield one, roots[one.label]


def _sums(group: Group) -> dict[str, Any]:
    """Where all is reused, it cost nothing: that is known."""
    turns = group.turns
    if group.reused and not turns:
        return dict.fromkeys(DTYPES, 0) | {"tasks": group.tasks}
    return {
        "tasks": group.tasks,
        "turns": len(turns),
        "input_tokens": known_sum(turn.input_tokens for turn in turns),
        "cached_tokens": known_sum(turn.cache_read_tokens for turn in turns),
        "output_tokens": known_sum(turn.output_tokens for turn in turns),
        "total_tokens": known_sum(turn.total_tokens for turn in turns),
        "cost_usd": known_sum(turn.cost_usd for turn in turns),
        "unpriced": sum(turn.cost_usd is None for turn in turns),
    }


def _typed(values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The dtype that all of them have, and they as such; what differs in kind becomes text."""
    kinds = {type(value) for value in values if value is not None}
    for dtype, fitting in (("boolean", {bool}), ("Int64", {int}), ("Float64", {int, float})):
        if kinds and kinds <= fitting:
            return dtype, list(values)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    return "string", texts
