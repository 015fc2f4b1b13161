"""The JSON objects in what a model wrote: it alone knows where to look for them. No text is too odd or too large."""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from xz_magics.characters import whole
from xz_magics.keys import shown
from xz_magics.schemas.faults import SchemaError

MOST_BYTES = 262_144
"""More than any answer that is read field by field; the check of a megabyte takes seconds."""

MOST_DEPTH = 64
MOST_BLOCKS = 8

_FENCED = re.compile(r"```[^\n`]{0,40}\n(.*?)```", re.DOTALL)


def objects_in(text: str) -> Iterator[Any]:
    """The JSON that the text is; else that of its fenced blocks; else that between its outermost braces.

    At least one value; raises SchemaError where none of these is JSON.
    """
    text = text.strip().removeprefix("\ufeff")
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > MOST_BYTES:
        raise SchemaError(f"the answer has {size_bytes:,} bytes, of which {MOST_BYTES:,} are read at most")
    found, trouble = False, None
    for candidate in _candidates(text):
        try:
            value = _parsed(candidate)
        except SchemaError as error:
            trouble = error
        else:
            found = True
            yield value
    if not found:
        raise trouble or SchemaError(f"the answer holds no JSON object: {shown(text)}", "answer with one JSON object")


def _candidates(text: str) -> Iterator[str]:
    if text.startswith("{") and text.endswith("}"):
        yield text
    yield from (block[1] for block in islice(_FENCED.finditer(text), MOST_BLOCKS))
    begin, end = text.find("{"), text.rfind("}")
    if 0 <= begin < end and not (begin == 0 and end == len(text) - 1):
        yield text[begin : end + 1]


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        told = f"the answer is no JSON: {error.msg}, at character {error.pos + 1} of {shown(text)}"
        raise SchemaError(told, "answer with one JSON object") from error
    except ValueError as error:
        raise SchemaError(f"the answer is no JSON: {error}"[:200], "answer with one JSON object") from error
    except RecursionError as error:
        raise SchemaError("the answer is nested too deeply") from error
    return _whole(value, MOST_DEPTH)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{shown(twice)} is there twice")
    return entries


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{shown(digits)} is too large a number")
    return number


def _whole(value: Any, depth: int) -> Any:
    """The same value with whole characters alone: half of one could be neither kept nor sent."""
    if depth == 0:
        raise SchemaError(f"the answer is nested deeper than {MOST_DEPTH} levels")
    match value:
        case str():
            return whole(value)
        case dict():
            return {whole(key): _whole(item, depth - 1) for key, item in value.items()}
        case list():
            return [_whole(item, depth - 1) for item in value]
    return value
