"""Texts for a model to read: a tool's arguments as it wrote them, results and errors; this file alone bounds them."""

import json
from dataclasses import dataclass
from typing import Any

from xz_magics.errors import SpecError, XzMagicsError
from xz_magics.specs.json_text import read_json
from xz_magics.specs.nodes import HALF, Node
from xz_magics.tools import ToolError

MOST_ARGUMENT_CHARACTERS = 1_000_000
MOST_RESULT_BYTES = 65_536
MOST_ERROR_CHARACTERS = 2_000
MOST_JSON_CHARACTERS = 4_000_000

_TAIL_BYTES = 16_384
_MARK_BYTES = 100
_MEND = "send one JSON object whose keys are the tool's arguments"


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments that a model wrote: strict JSON, as `read_json` takes it. Raises ToolError."""
    if len(text) > MOST_ARGUMENT_CHARACTERS:
        raise ToolError(f"the arguments have {len(text):,} characters", f"at most {MOST_ARGUMENT_CHARACTERS:,} go")
    try:
        arguments = _plain(read_json(text.strip() or "{}", _At))
    except json.JSONDecodeError as error:
        around = text.strip()[max(0, error.pos - 20) : error.pos + 20]
        raise ToolError(f"the arguments are no JSON: {error.msg}, near {around!r}", _MEND) from error
    except SpecError as error:
        raise ToolError(f"the arguments are no JSON that can be taken: {error.message}", _MEND) from error
    if not isinstance(arguments, dict):
        raise ToolError(f"the arguments are no JSON object but {type(arguments).__name__}", _MEND)
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


def whole_characters(text: str) -> str:
    """Without halves of characters (lone surrogates), which no request can carry."""
    return HALF.sub("\ufffd", text)


def capped(text: str) -> str:
    """At most MOST_RESULT_BYTES of UTF-8: the head and the tail, and between them how much is left out."""
    raw = text.encode()
    if len(raw) <= MOST_RESULT_BYTES:
        return text
    head = raw[: MOST_RESULT_BYTES - _TAIL_BYTES - _MARK_BYTES].decode(errors="ignore")
    tail = raw[-_TAIL_BYTES:].decode(errors="ignore")
    left_out_bytes = len(raw) - len(head.encode()) - len(tail.encode())
    return f"{head}\n…[{left_out_bytes:,} of {len(raw):,} bytes left out]…\n{tail}"


@dataclass(frozen=True, slots=True)
class _At:
    """A character of the arguments."""

    offset: int

    @property
    def line(self) -> None:
        return None

    def error(self, message: str, hint: str) -> SpecError:
        return SpecError(f"{message}, at character {self.offset}", hint)


def _plain(node: Node) -> Any:
    """JSON does not tell 3.0 from 3, and some models write whole numbers so."""
    match node.value:
        case dict() as entries:
            return {name: _plain(entry) for name, entry in entries.items()}
        case list() as items:
            return [_plain(item) for item in items]
        case float() as number if number.is_integer() and abs(number) < 2**53:
            return int(number)
    return node.value


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
