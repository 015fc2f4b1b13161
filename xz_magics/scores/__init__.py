"""Scores: how answers are judged by rules, functions and models, and how many are put together."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.records import Scorer, Task
from xz_magics.scores.combining import Combine
from xz_magics.scores.functions import checked_function, named_function
from xz_magics.specs.scoring import WORDS, Summarise

__all__ = ["check", "models", "resolved"]

_FIRST_NAME = re.compile(r"(?:\$\.)?([^\W\d]\w*)(?![\w(])")
_MOST_LISTED = 10


def resolved(written: Sequence[Scorer], names: Mapping[str, object], *, model: str) -> tuple[Scorer, ...]:
    """The scorers with the notebook's functions and, where a judge has none, the task's model. Raises SpecError."""
    return tuple(_complete(scorer, names, model) for scorer in written)


def check(tasks: Iterable[Task]) -> None:
    """Raises SpecError where a score can never come to anything: nothing to compare with, or another kind of thing."""
    lacking: dict[str, Task] = {}
    compared: set[str] = set()
    for task in tasks:
        for scorer in task.scores:
            if scorer.kind in {"function", "judge"}:
                continue
            if scorer.kind == "json_path" and task.schema is not None:
                _check_path(task, scorer, task.schema.json)
            expected = task.expect if scorer.given is None else scorer.given
            if expected is None:
                lacking.setdefault(scorer.name, task)
            else:
                compared.add(scorer.name)
                _check_kind(task, scorer, expected)
    for name in lacking.keys() - compared:
        told = f"task {lacking[name].label!r}: score {name} compares with `expect`, and no task has one"
        raise SpecError(told, "give the tasks `expect`, or the foreach table a column of that name")


def models(tasks: Iterable[Task], combine: Combine | None) -> tuple[str, ...]:
    """The models that judges and summaries need, each once."""
    judges = (scorer.judge for task in tasks for scorer in task.scores if scorer.judge is not None)
    steps = () if combine is None else combine.steps
    summaries = (step.model for step in steps if isinstance(step, Summarise))
    return tuple(dict.fromkeys([*(judge.model for judge in judges), *summaries]))


def _complete(scorer: Scorer, names: Mapping[str, object], model: str) -> Scorer:
    if scorer.judge is not None and not scorer.judge.model:
        return replace(scorer, judge=replace(scorer.judge, model=model))
    if scorer.kind == "json_path":
        from xz_magics.scores.rules import compiled_path

        compiled_path(scorer.path)
    if scorer.kind != "function":
        return scorer
    if scorer.function is None:
        return replace(scorer, function=named_function(scorer.name, names, WORDS))
    checked_function(scorer.function, scorer.name)
    return scorer


def _check_kind(task: Task, scorer: Scorer, expected: Any) -> None:
    if scorer.kind == "equals" and task.schema is not None and not isinstance(expected, Mapping):
        told = f"task {task.label!r}: its answer has fields, and score {scorer.name} compares all of it with one value"
        raise SpecError(told, "expect {field: value}, or score by {json_path: field}")
    if scorer.kind == "regex":
        try:
            re.compile(expected)
        except (re.error, OverflowError, RecursionError, TypeError) as error:
            told = f"task {task.label!r}: {shown(str(expected))} is no regular expression: {error}"
            raise SpecError(told, "escape it: \\( \\[ \\.") from error


def _check_path(task: Task, scorer: Scorer, schema: Mapping[str, Any]) -> None:
    """Raises SpecError where the path begins with a field that the answer cannot have."""
    fields, closed = schema.get("properties", {}), schema.get("additionalProperties") is False
    first = _FIRST_NAME.match(scorer.path)
    if first is None or first[1] in fields or not closed:
        return
    close = get_close_matches(first[1], fields, n=1)
    known = f"it has: {', '.join(shown(name) for name in [*fields][:_MOST_LISTED])}"
    told = f"task {task.label!r}: score {scorer.name} looks for {shown(first[1])}, which no answer by its schema has"
    raise SpecError(told, f"did you mean {close[0]}?" if close else known)
