"""Texts for a model to read: a tool's arguments as it wrote them, results and errors; this file alone bounds them."""

import json
import math
from collections import Counter
from typing import Any

from xz_magics.errors import XzMagicsError
from xz_magics.keys import shown
from xz_magics.specs.nodes import HALF, MOST_DEPTH
from xz_magics.tools import ToolError

MOST_ARGUMENT_CHARACTERS = 500_000
MOST_RESULT_BYTES = 65_536
MOST_ERROR_CHARACTERS = 2_000
MOST_JSON_CHARACTERS = 4_000_000

_MOST_DIGITS = 300  # so many still fit a float
_TAIL_BYTES = 16_384
_MARK_BYTES = 100
_MEND = "send one JSON object whose keys are the tool's arguments"


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments that a model wrote: RFC 8259 to the letter, each key once. Raises ToolError."""
    if len(text) > MOST_ARGUMENT_CHARACTERS:
        raise ToolError(
            f"the arguments have {len(text):,} characters", f"at most {MOST_ARGUMENT_CHARACTERS:,} are taken"
        )
    text = text.strip() or "{}"
    try:
        written = json.loads(
            text, object_pairs_hook=_entries, parse_int=_whole, parse_float=_number, parse_constant=_no_number
        )
        arguments = _sendable(written, depth=1)
    except json.JSONDecodeError as error:
        around = text[max(0, error.pos - 20) : error.pos + 20]
        raise ToolError(f"the arguments are no JSON: {error.msg}, near {around!r}", _MEND) from error
    except RecursionError as error:
        raise _refused(f"are nested deeper than {MOST_DEPTH} levels") from error
    if not isinstance(arguments, dict):
        raise _refused(f"are {type(arguments).__name__}, not an object")
    return arguments


def result_text(value: object) -> str:
    """A tool's result: text as it is, JSON for what JSON knows, else what `str` makes of it. Raises ToolError."""
    match value:
        case None:
            return "(no result)"
        case str():
            return str.__str__(value)
        case bytes() | bytearray() | memoryview():
            raise ToolError(f"the tool gave {len(value):,} bytes, and only text can be read", "ask it for text")
        case dict() | list() | tuple() | bool() | int() | float():
            try:
                return _json(value)
            except (TypeError, ValueError, RecursionError):  # odd keys, a circle, or too deep
                return str(value)
    return str(value)


def error_text(error: BaseException) -> str:
    """What went wrong; ours say how to mend it, a tool's own exception is told with its type."""
    if isinstance(error, XzMagicsError):
        return str(error)[:MOST_ERROR_CHARACTERS]
    try:
        message = str(error)
    except BaseException as worse:  # noqa: BLE001 - told in its place: SystemExit here would end the loop
        message = f"(its message cannot be read: {type(worse).__name__})"
    told = f"the tool failed: {type(error).__name__}: {message}".removesuffix(": ")
    if len(told) > MOST_ERROR_CHARACTERS:
        told = told[:MOST_ERROR_CHARACTERS] + " …[cut]"
    return f"{told}\ncall it with other arguments, or go on without it"


def capped(text: str) -> str:
    """At most MOST_RESULT_BYTES of UTF-8: the head and the tail, and between them how much is left out."""
    raw = text.encode()
    if len(raw) <= MOST_RESULT_BYTES:
        return text
    head = raw[: MOST_RESULT_BYTES - _TAIL_BYTES - _MARK_BYTES].decode(errors="ignore")
    tail = raw[-_TAIL_BYTES:].decode(errors="ignore")
    left_out_bytes = len(raw) - len(head.encode()) - len(tail.encode())
    return f"{head}\n…[{left_out_bytes:,} of {len(raw):,} bytes left out]…\n{tail}"


def _entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _refused(f"have the key {shown(twice)} twice")
    return entries


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _refused(f"hold a number of {len(text):,} digits")
    return int(text)


def _number(text: str) -> float:
    """JSON does not tell 3.0 from 3, and some models write whole numbers so."""
    number = float(text)
    if math.isinf(number):
        raise _refused(f"hold a number that is too large: {shown(text)}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _no_number(text: str) -> float:
    raise _refused(f"hold {text}, which JSON does not know")


def _sendable(value: Any, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise RecursionError
    if isinstance(value, str) and HALF.search(value):
        raise _refused("hold half a character (a lone surrogate)")
    if isinstance(value, dict):
        return {_sendable(name, depth): _sendable(item, depth + 1) for name, item in value.items()}
    return [_sendable(item, depth + 1) for item in value] if isinstance(value, list) else value


def _refused(what: str) -> ToolError:
    return ToolError(f"the arguments {what}", _MEND)


def _json(value: object) -> str:
    parts: list[str] = []
    size = 0
    for part in json.JSONEncoder(ensure_ascii=False, default=_inner).iterencode(value):
        parts.append(part)
        size += len(part)
        if size > MOST_JSON_CHARACTERS:
            parts.append(" …[the rest is left out]")
            break
    return "".join(parts)


def _inner(value: object) -> object:
    """What stands within a result and is no JSON: a numpy scalar as Python's, else its text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value):,} bytes)"
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return str(value)
