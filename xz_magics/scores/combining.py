"""How the outputs of many tasks become one result: merged, filtered, or summarised chunk by chunk."""

import operator
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xz_magics.characters import whole
from xz_magics.errors import SpecError
from xz_magics.records import Outcome, Scorer, Task
from xz_magics.records.scores import Scores, score_columns
from xz_magics.scores.fencing import FENCE_BYTES, TOLD, cut, fenced, mark, room_bytes
from xz_magics.scores.functions import Faults, checked_function, named_function
from xz_magics.specs.scoring import Filter, Merge, Step, Summarise

SYSTEM = "You put texts together that others wrote."

_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Combine:
    """The steps, complete: each takes what the one before it gives, the first one all that is done."""

    steps: tuple[Step, ...]


def resolved(
    written: Sequence[Step], names: Mapping[str, object], *, model: str, tasks: Sequence[Task] | None = None
) -> Combine:
    """With the functions of the notebook, and a model where a summary has none.

    Raises SpecError, also for a filter by a score that the tasks, where they are given, cannot come to.
    """
    steps = tuple(_complete(step, names, model) for step in written)
    if tasks is not None:
        scorers = {scorer.name: scorer for task in tasks for scorer in task.scores}
        for step in steps:
            if isinstance(step, Filter) and step.sign:
                _check_score(step.name, [*scorers.values()])
    return Combine(steps=steps)


def whole_ones(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """What is combined: a text that is cut or that a filter refused is none."""
    return [outcome for outcome in outcomes if outcome.status == "done" and outcome.output]


def merged(step: Merge, texts: Iterable[str]) -> str:
    return step.between.join(texts)


def kept(step: Filter, outcomes: Iterable[Outcome], scores: Scores, faults: Faults) -> list[Outcome]:
    """Those that pass: a function that fails keeps nothing, nor does a score that is missing.

    Raises SpecError for a score that there is not.
    """
    if step.function is not None:
        return [outcome for outcome in outcomes if _holds(step.function, outcome, step.name, faults)]
    name = _scored(step.name, score_columns(scores))
    found = []
    for outcome in outcomes:
        score = scores.get(outcome.label, {}).get(name)
        if score is None:
            faults.add(step.name, outcome.label, "its score is missing")
        elif _SIGNS[step.sign](score, step.bound):
            found.append(outcome)
    return found


def chunks(texts: Sequence[str], most_bytes: int) -> list[list[str]]:
    """The texts in order, in lists that with their fences have at most so many bytes; a longer one comes in parts."""
    found: list[list[str]] = []
    room = 0
    for part in (part for text in texts for part in _parts(text, most_bytes - FENCE_BYTES)):
        size = len(part.encode()) + FENCE_BYTES
        if not found or size > room:
            found.append([])
            room = most_bytes
        found[-1].append(part)
        room -= size
    return found


def summaries(step: Summarise, texts: Sequence[str], *, level: int) -> list[Task]:
    """A task for each chunk; their answers are the texts of the next level, until there is one task only."""
    asked = [_prompt(step.prompt, chunk) for chunk in chunks(texts, room_bytes(step.model))]
    return [
        Task(
            index=index,
            label="summary" if len(asked) == 1 else f"summary {level}.{index + 1}",
            prompt=prompt,
            system=SYSTEM,
            model=step.model,
            max_tokens=step.max_tokens,
            purpose="combine",
        )
        for index, prompt in enumerate(asked)
    ]


def shortened(summary: str, step: Summarise) -> str:
    """At most a third of a chunk, so that each level has fewer texts than the one before."""
    return cut(summary, room_bytes(step.model) // 3)


def _complete(step: Step, names: Mapping[str, object], model: str) -> Step:
    match step:
        case Summarise(model=""):
            return replace(step, model=model)
        case Filter(sign="", function=None):
            return replace(step, function=named_function(step.name, names))
        case Filter(function=function) if function is not None:
            checked_function(function, step.name)
    return step


def _holds(function: Callable[..., Any], outcome: Outcome, name: str, faults: Faults) -> bool:
    try:
        return bool(function(outcome))
    except (Exception, SystemExit, CancelledError) as error:  # noqa: BLE001 - whatever the notebook's code raises
        faults.add(name, outcome.label, f"{type(error).__name__}: {error}", error)
        return False


def _check_score(name: str, scorers: Sequence[Scorer]) -> None:
    """A function may give scores by any key, which nobody knows before."""
    alone = len(scorers) == 1
    known = {scorer.name: "score" if alone else f"score.{scorer.name}" for scorer in scorers}
    functions = [scorer.name for scorer in scorers if scorer.kind == "function"]
    beginnings = {f"{prefix}{function}." for function in functions for prefix in ("", "score.")}
    if alone and functions:
        beginnings.add("score.")
    if not name.startswith(tuple(beginnings)):
        _scored(name, known)


def _scored(name: str, columns: Mapping[str, str]) -> str:
    """The scorer's name for its own name, that of its column, or `score.name`."""
    for scorer, column in columns.items():
        if name in {scorer, column, f"score.{scorer}"}:
            return scorer
    there = ", ".join(columns.values()) or "none: give the tasks `score`"
    raise SpecError(f"no score is called {name!r}", f"there are: {there}")


def _parts(text: str, most_bytes: int) -> Iterator[str]:
    """The text, cut between characters where it has more bytes than that."""
    raw, at = whole(text).encode(), 0
    while at < len(raw):
        part = raw[at : at + most_bytes].decode("utf-8", "ignore")
        yield part
        at += len(part.encode())


def _prompt(asked: str, chunk: Sequence[str]) -> str:
    line = mark(*chunk)
    texts = [fenced(f"Text {number}", text, line) for number, text in enumerate(chunk, 1)]
    return "\n\n".join([TOLD.format(mark=line), *texts, asked])
