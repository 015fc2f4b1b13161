"""How outcomes are scored and put together, as written: this file alone knows the forms of `score` and `combine`."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from xz_magics.keys import shown
from xz_magics.records import Judge, Scorer
from xz_magics.specs.checks import LARGEST, Check, flag, line, number, text, whole
from xz_magics.specs.nodes import Given, Node, named

MOST_PATTERN_CHARACTERS = 1_000
MOST_PATH_CHARACTERS = 200
MOST_OF_A_SCALE = 20
JUDGE_TOKENS = 300
SUMMARY_TOKENS = 512
ONE_TO_FIVE: Mapping[str, float] = {str(point): float(point) for point in range(1, 6)}
WORDS = ("equals", "contains", "regex")
SUMMARISE = "Summarise the texts below in one text. Keep what most of them say, and name what only a few say."

_KINDS = (*WORDS, "json_path", "judge")
_TEXT_KINDS = frozenset({*WORDS, "json_path"})
_MEND = "write equals, contains, regex, the name of a function, or a mapping such as {contains: Paris}"
_STEPS = ("merge", "summarise", "filter")
_COMBINE_MEND = "write merge, summarise, {filter: score >= 0.5}, or a list of these"
_SCALE_MEND = "for example [1, 2, 3, 4, 5], [bad, fair, good] or {wrong: 0, right: 1}"
_BOUND = re.compile(r"(?P<score>[^<>=!]*[^<>=!\s])\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<bound>[-+]?\d*\.?\d+(?:e-?\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """The texts, one after the other."""

    between: str = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Only outcomes for which a function holds, or of which a score is within a bound.

    `name`: the function's or the score's. Where there is a `sign`, it is a score's.
    """

    name: str
    sign: str = ""
    bound: float = 0.0
    function: Callable[..., Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarise:
    """One text about all, by a model; "" is that of the tasks."""

    prompt: str = SUMMARISE
    model: str = ""
    max_tokens: int = SUMMARY_TOKENS


Step = Merge | Filter | Summarise


def score(node: Node, name: str) -> tuple[Scorer, ...]:
    """A scorer or a list of them, each with a name of its own.

    A function that is named in text has none yet, and a judge without a model has "": `scores.resolved` fills them in.
    """
    items = node.value if isinstance(node.value, list) else [node]
    if not items:
        raise node.error(f"{name} is empty", _MEND)
    scorers: dict[str, Scorer] = {}
    for item in items:
        scorer = _scorer(item, name)
        if scorer.name in scorers and (isinstance(item.value, str) or _is_named(item)):
            raise item.start.error(f"two scores are called {shown(scorer.name)}", "give each a name of its own")
        number_of_it, own = 1, scorer.name
        while scorer.name in scorers:
            number_of_it += 1
            scorer = replace(scorer, name=f"{own}_{number_of_it}")
        scorers[scorer.name] = scorer
    return tuple(scorers.values())


def expect(node: Node, name: str) -> Any:
    """Text, a number, true or false, or lists and mappings of them."""
    if node.comment is not None:
        raise node.comment.error(f"this `#` begins a comment, so {name} would lose what follows", "quote the text")
    match node.value:
        case dict() as entries:
            return {key: expect(item, name) for key, item in entries.items()}
        case list() as items:
            return [expect(item, name) for item in items]
        case Given():
            raise node.error(f"{name} cannot hold {node}", "give text, numbers, or lists and dicts of them")
        case float() as real if not math.isfinite(real):
            raise node.error(f"{name} must be finite, not {node}", "write a number, or leave the field out")
    return node.value


def combine(node: Node, name: str) -> tuple[Step, ...]:
    """A step or a list of steps, each of which takes what the one before it gives."""
    items = node.value if isinstance(node.value, list) else [node]
    if not items:
        raise node.error(f"{name} is empty", _COMBINE_MEND)
    steps: list[Step] = []
    for item in items:
        step = _step(item, name)
        if isinstance(step, Filter) and not all(isinstance(earlier, Filter) for earlier in steps):
            raise item.start.error("`filter` finds one text only, and no outcomes any more", "write it first")
        steps.append(step)
    return tuple(steps)


def _scorer(node: Node, name: str) -> Scorer:
    match node.value:
        case Given(Scorer() as scorer):
            return scorer
        case Given(function) if callable(function) and not isinstance(function, type):
            return Scorer(name=_name_of(function), kind="function", function=function)
        case str() as word if word.strip() in WORDS:
            return Scorer(name=word.strip(), kind=word.strip())  # type: ignore[arg-type]  # the words are kinds
        case str() as word if word.strip() in _KINDS:
            written = "{json_path: $.field}" if word.strip() == "json_path" else "{judge: {rubric: Is it right?}}"
            raise node.error(f"{named(word.strip())} alone says too little", f"write {written}")
        case str() as word if word.strip().isidentifier():
            return Scorer(name=word.strip(), kind="function")
        case dict():
            return _scorer_of(node, name)
    raise node.error(f"{name} cannot be {node}", _MEND)


def _scorer_of(node: Node, name: str) -> Scorer:
    """The one that a mapping describes."""
    values = _checked(node, name, _SCORER, _MEND)
    kinds = [kind for kind in _KINDS if kind in values]
    if kinds == ["equals", "json_path"]:
        kinds = ["json_path"]
    if len(kinds) != 1:
        told = f"`{kinds[0]}` and `{kinds[1]}` cannot stand in one mapping" if kinds else "this says not how to score"
        raise node.error(told, "write a list of scores, each of one kind" if kinds else _MEND)
    kind = kinds[0]
    if "ignore_case" in values and kind not in _TEXT_KINDS:
        raise node.error("`ignore_case` does not go with `judge`", "take it out")
    return Scorer(
        name=values.get("name", kind),
        kind=kind,  # type: ignore[arg-type]  # one of the kinds
        given=values.get("equals") if kind == "json_path" else None if kind == "judge" else values[kind],
        path=values.get("json_path", ""),
        ignore_case=values.get("ignore_case", False),
        judge=values.get("judge"),
    )


def _step(node: Node, name: str) -> Step:
    match node.value:
        case "merge":
            return Merge()
        case "summarise":
            return Summarise()
        case dict() as entries if len(entries) == 1:
            (kind, item), *_ = entries.items()
            match kind:
                case "merge":
                    return Merge(**({} if item.value is None else _checked(item, "`merge`", _MERGE, _COMBINE_MEND)))
                case "summarise":
                    given = {} if item.value is None else _checked(item, "`summarise`", _SUMMARISE, _COMBINE_MEND)
                    return Summarise(**given)
                case "filter":
                    return _filter(item)
            raise node.error(f"{name} has no step {named(kind)}", _meant(kind))
        case str() as word:
            raise node.error(f"{name} cannot be {node}", _meant(word))
    raise node.error(f"{name} cannot be {node}", _COMBINE_MEND)


def _meant(step: str) -> str:
    close = get_close_matches(step, _STEPS, n=1)
    return f"did you mean {named(close[0])}?" if close and close[0] != step else _COMBINE_MEND


def _filter(node: Node) -> Filter:
    match node.value:
        case Given(function) if callable(function) and not isinstance(function, type):
            return Filter(name=_name_of(function), function=function)
        case str() as word if word.strip().isidentifier():
            return Filter(name=word.strip())
        case str() as word if found := _BOUND.fullmatch(word.strip()[:200]):
            return Filter(name=found["score"], sign=found["sign"], bound=float(found["bound"]))
    raise node.error(f"`filter` cannot be {node}", "write the name of a function, or a bound such as score >= 0.5")


def _judge(node: Node, name: str) -> Judge:
    mend = "for example {judge: {rubric: Is the answer polite?, scale: [1, 2, 3, 4, 5]}}"
    values = _checked(node, name, _JUDGE, mend)
    if "rubric" not in values:
        raise node.error(f"{name} has no rubric", mend)
    chosen: dict[str, Any] = {"model": "", "scale": ONE_TO_FIVE, "max_tokens": JUDGE_TOKENS}
    return Judge(**chosen | values)


def _scale(node: Node, name: str) -> dict[str, float]:
    """The number of each word. Words alone lie evenly between 0 and 1, from the first to the last."""
    match node.value:
        case dict() as entries:
            scale = {
                line(40)(_as_text(word, item), "a word"): _any_number(item, name) for word, item in entries.items()
            }
        case list() as items if all(_is_number(item) for item in items):
            scale = {f"{item.value:g}": _any_number(item, name) for item in items}
        case list() as items:
            words = [line(40)(item, f"a word of {name}") for item in items]
            scale = {word: place / max(1, len(words) - 1) for place, word in enumerate(words)}
        case _:
            raise node.error(f"{name} must be a list or a mapping, not {node}", _SCALE_MEND)
    if len(scale) < max(2, len(node.value)) or len(scale) > MOST_OF_A_SCALE:
        raise node.error(f"{name} needs 2 to {MOST_OF_A_SCALE} words, each another one", _SCALE_MEND)
    return scale


def _checked(node: Node, name: str, checks: Mapping[str, Check], mend: str) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise node.error(f"{name} must be a mapping, not {node}", mend)
    values = {}
    for key, item in node.value.items():
        if key not in checks:
            close = get_close_matches(key, checks, n=1)
            known = f"did you mean {named(close[0])}?" if close else f"known are: {', '.join(checks)}"
            raise item.start.error(f"{name} has no field {named(key)}", known)
        if not item.left_out:
            values[key] = checks[key](item, named(key))
    return values


def _contained(node: Node, name: str) -> tuple[str, ...]:
    items = node.value if isinstance(node.value, list) else [node]
    if not items:
        raise node.error(f"{name} is empty", "write a text, or a list of texts")
    return tuple(text(item, name) for item in items)


def _pattern(node: Node, name: str) -> str:
    pattern = text(node, name)
    if len(pattern) > MOST_PATTERN_CHARACTERS:
        raise node.error(f"{name} has {len(pattern):,} characters", f"at most {MOST_PATTERN_CHARACTERS:,} are taken")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise node.error(f"{name} is no regular expression: {error}", "escape it: \\( \\[ \\.") from error
    return pattern


def _name(node: Node, name: str) -> str:
    chosen: str = line(40)(node, name)
    if "." in chosen:
        raise node.error(f"{name} holds a dot", "take it out: dots part the names of columns")
    return chosen


def _between(node: Node, name: str) -> str:
    if node.text is None:
        raise node.error(f"{name} must be text, not {node}", 'for example {merge: {between: "\\n---\\n"}}')
    return node.text


def _is_named(node: Node) -> bool:
    return isinstance(node.value, dict) and "name" in node.value


def _is_number(node: Node) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _any_number(node: Node, name: str) -> float:
    found: float = number(-LARGEST)(node, f"a number of {name}")
    return found


def _as_text(word: str, item: Node) -> Node:
    return Node(place=item.start, value=word, text=word)


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "function" if name == "<lambda>" else str(name).replace(".", "_")


_SCORER: Mapping[str, Check] = {
    "equals": expect,
    "contains": _contained,
    "regex": _pattern,
    "json_path": line(MOST_PATH_CHARACTERS),
    "judge": _judge,
    "name": _name,
    "ignore_case": flag,
}
_JUDGE: Mapping[str, Check] = {"model": line(200), "rubric": text, "scale": _scale, "max_tokens": whole(1)}
_MERGE: Mapping[str, Check] = {"between": _between}
_SUMMARISE: Mapping[str, Check] = {"prompt": text, "model": line(200), "max_tokens": whole(1)}
