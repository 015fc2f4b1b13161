"""Scores by rules and functions: what each rule compares with what. No answer is too odd for a score."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonpath

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.records import Outcome, Scorer
from xz_magics.records.scores import Score, scorer_of
from xz_magics.schemas import SchemaError
from xz_magics.schemas.json_answers import objects_in
from xz_magics.scores import patterns
from xz_magics.scores.functions import Faults, given_by

MOST_FOUND = 1_000
TOO_LONG = "the pattern takes too long here: avoid repeats within repeats, such as (a+)+"
NOTHING_EXPECTED = "it has nothing to compare with: give the task `expect`"

_NOTHING = object()

Work = Iterable[tuple[Outcome, Sequence[Scorer]]]
Led = dict[tuple[str, str], list[bool]]
"""By a scorer's name and its path: whether it led to something in each answer."""


def rule_scores(work: Work, faults: Faults) -> dict[str, dict[str, Score]]:
    """By label and name, in the order of the scorers. Only what is done has scores: all else is None, missing.

    So is what judges have to say.
    """
    scores: dict[str, dict[str, Score]] = {}
    searches: list[tuple[str, str, patterns.Search]] = []
    led: Led = {}
    for outcome, scorers in work:
        of_one: dict[str, Score] = {}
        for scorer in scorers:
            of_one[scorer.name] = None
            if outcome.status != "done" or scorer.kind == "judge":
                continue
            if scorer.function is not None:
                del of_one[scorer.name]
                of_one |= given_by(scorer.function, outcome, scorer.name, faults)
            elif _expected(scorer, outcome) is None:
                faults.add(scorer.name, outcome.label, NOTHING_EXPECTED)
            elif scorer.kind != "regex":
                of_one[scorer.name] = _holds(scorer, outcome, led)
            elif (pattern := _pattern(scorer, outcome, faults)) is not None:
                search = patterns.Search(pattern, scorer.ignore_case, outcome.output or "")
                searches.append((outcome.label, scorer.name, search))
        if of_one:
            scores[outcome.label] = of_one
    _search(searches, scores, faults)
    _tell_of_paths(led, faults)
    _name_alike(scores)
    return scores


@lru_cache(maxsize=64)
def compiled_path(path: str) -> Any:
    """`sentiment` is `$.sentiment`. Raises SpecError for what is no JSON path of RFC 9535."""
    written = path if path.startswith("$") else f"$.{path}"
    try:
        return _PATHS.compile(written)
    except (jsonpath.JSONPathError, RecursionError) as error:
        why = error.args[0] if error.args else type(error).__name__
        raise SpecError(
            f"{shown(path)} is no JSON path: {why}", "such as $.sentiment or $.items[0].name; no match() or search()"
        ) from error


class _Paths(jsonpath.JSONPathEnvironment):
    """Without functions that search by patterns: one could take for ever."""

    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        for name in ("match", "search"):
            self.function_extensions.pop(name, None)


_PATHS = _Paths(strict=True)


def same(found: Any, expected: Any, *, ignore_case: bool = False) -> bool:
    """Whether a value is the expected one: of a mapping, the fields that are expected; texts without space around them.

    True is no 1; numbers are the same where they are to 9 digits.
    """
    match expected:
        case dict():
            return isinstance(found, dict) and all(
                key in found and same(found[key], item, ignore_case=ignore_case) for key, item in expected.items()
            )
        case list():
            return (
                isinstance(found, list)
                and len(found) == len(expected)
                and all(same(one, item, ignore_case=ignore_case) for one, item in zip(found, expected, strict=True))
            )
        case str():
            return isinstance(found, str) and _folded(found, ignore_case) == _folded(expected, ignore_case)
        case bool() | None:
            return found is expected
        case int() | float():
            return isinstance(found, int | float) and not isinstance(found, bool) and _close(found, expected)
    return False


def _holds(scorer: Scorer, outcome: Outcome, led: Led) -> bool:
    expected = _expected(scorer, outcome)
    if scorer.kind == "contains":
        wanted = expected if isinstance(expected, list | tuple) else [expected]
        text = _folded(outcome.output or "", scorer.ignore_case)
        return all(_folded(_text_of(item), scorer.ignore_case) in text for item in wanted)
    if scorer.kind == "json_path":
        found = _at(scorer.path, _data(outcome))
        led.setdefault((scorer.name, scorer.path), []).append(found is not _NOTHING)
        return same(found, expected, ignore_case=scorer.ignore_case)
    if isinstance(expected, str) and outcome.value is None:
        return same(outcome.output, expected, ignore_case=scorer.ignore_case)
    return same(_data(outcome), expected, ignore_case=scorer.ignore_case)


def _expected(scorer: Scorer, outcome: Outcome) -> Any:
    return outcome.expect if scorer.given is None else scorer.given


def _data(outcome: Outcome) -> Any:
    """The answer as a value; of one without a schema the JSON that it is or holds."""
    if outcome.value is not None:
        return outcome.value
    text = (outcome.output or "").strip()
    try:
        return json.loads(text.lower() if text in {"True", "False"} else text)
    except (ValueError, RecursionError):
        pass
    try:
        return next(iter(objects_in(text)), _NOTHING)
    except SchemaError:
        return _NOTHING


def _at(path: str, data: Any) -> Any:
    """What the path leads to: the value, or a list where there are several."""
    if data is _NOTHING:
        return _NOTHING
    try:
        found = list(islice((match.obj for match in compiled_path(path).finditer(data)), MOST_FOUND))
    except (jsonpath.JSONPathError, RecursionError):  # nested too deeply for this path
        return _NOTHING
    return found[0] if len(found) == 1 else found or _NOTHING


def _pattern(scorer: Scorer, outcome: Outcome, faults: Faults) -> str | None:
    pattern = str(_expected(scorer, outcome))
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        faults.add(scorer.name, outcome.label, f"{shown(pattern)} is no regular expression: {error}")
        return None
    return pattern


def _search(
    searches: Sequence[tuple[str, str, patterns.Search]], scores: dict[str, dict[str, Score]], faults: Faults
) -> None:
    try:
        found = patterns.found([search for _, _, search in searches])
        why = TOO_LONG
    except OSError as error:
        found, why = [None] * len(searches), f"the search could not be started: {error.strerror}"
    for (label, name, _), holds in zip(searches, found, strict=True):
        scores[label][name] = holds
        if holds is None:
            faults.add(name, label, why)


def _tell_of_paths(led: Led, faults: Faults) -> None:
    for (name, path), leads in led.items():
        if not any(leads):
            answers = "the only answer" if len(leads) == 1 else f"any of {len(leads):,} answers"
            faults.add_line(name, f"json_path `{path}` found nothing in {answers}")


def _name_alike(scores: Mapping[str, dict[str, Score]]) -> None:
    """Where a function gave several numbers for some answers, those that it gave none for lack these numbers."""
    several: dict[str, dict[str, Score]] = {}
    for of_one in scores.values():
        for name in of_one:
            if "." in name:
                several.setdefault(scorer_of(name), {})[name] = None
    for of_one in scores.values():
        for name in several.keys() & of_one.keys():
            if of_one[name] is None:
                del of_one[name]
                of_one.update(several[name])


def _folded(text: str, ignore_case: bool) -> str:  # noqa: FBT001 - a scorer's own flag
    return text.strip().casefold() if ignore_case else text.strip()


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _close(one: float, other: float) -> bool:
    try:
        return one == other or math.isclose(one, other, rel_tol=1e-9)
    except OverflowError:  # a whole number that no float holds
        return False
