"""What was written, as a tree of nodes that know their place; this file alone turns a place into an error."""

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Protocol

from xz_magics.errors import SpecError
from xz_magics.keys import masked, shown

MOST_DEPTH = 32
MOST_TEXT_BYTES = 1_000_000
HALF = re.compile("[\ud800-\udfff]")


class Place(Protocol):
    @property
    def line(self) -> int | None:
        """Counts from 1 within the cell's body; None where there is no cell."""
        ...

    def error(self, message: str, hint: str) -> SpecError: ...


class Source:
    """A cell's body and its lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def line_at(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def error(self, offset: int, message: str, hint: str) -> SpecError:
        line = self.line_at(offset)
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        shown_line = masked(self.text[start:end].rstrip("\r\n"))
        return SpecError(message, hint, line=line, column=offset - start + 1, source=shown_line)


@dataclass(frozen=True, slots=True)
class InText:
    """A character of a cell's body."""

    source: Source
    offset: int

    @property
    def line(self) -> int:
        return self.source.line_at(self.offset)

    def error(self, message: str, hint: str) -> SpecError:
        return self.source.error(self.offset, message, hint)


@dataclass(frozen=True, slots=True)
class InValue:
    """A part of a Python value, as the expression that leads to it: `work[3]['model']`."""

    path: str

    @property
    def line(self) -> None:
        return None

    def error(self, message: str, hint: str) -> SpecError:
        return SpecError(f"{self.path}: {message}" if self.path else message, hint)


@dataclass(frozen=True, slots=True)
class Given:
    """A Python object that no text can hold: a function, a class or a table."""

    value: Any


Value = None | bool | int | float | str | list["Node"] | dict[str, "Node"] | Given


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value as written.

    `text` is what a text field takes: a string, or the source of an unquoted YAML scalar such as `1.10`; None: no text.
    `key` is the place of the key that it stands under, `comment` that of a `#` which cuts it off. Nodes that
    say the same are equal, wherever they stand.
    """

    place: Place = field(compare=False)
    value: Value
    text: str | None = None
    key: Place | None = field(default=None, compare=False)
    comment: Place | None = field(default=None, compare=False)

    @property
    def start(self) -> Place:
        """Where it begins, its key included."""
        return self.key or self.place

    @property
    def left_out(self) -> bool:
        """An explicit null is a field left out; a YAML key with nothing after it (text "") is not."""
        return self.value is None and self.text != ""

    def error(self, message: str, hint: str) -> SpecError:
        return self.place.error(message, hint)

    def __str__(self) -> str:
        """The value for an error message, short and on one line."""
        if isinstance(self.value, Given):
            return f"a value of type {type(self.value.value).__name__}"
        if isinstance(self.value, dict | list):
            return "a mapping" if isinstance(self.value, dict) else "a list"
        if self.value is None or isinstance(self.value, bool):
            return {None: "nothing" if self.text == "" else "null", True: "true", False: "false"}[self.value]
        return shown(self.value)


def named(name: str) -> str:
    """A field's name for an error message."""
    return f"`{shown(name)[1:-1]}`"


def sendable(text: str, place: Place) -> str:
    """The same text; raises SpecError where it is too long, or holds what no request could carry."""
    if half := HALF.search(text):
        raise half_character(half[0], place)
    size_bytes = len(text.encode())
    if size_bytes > MOST_TEXT_BYTES:
        raise place.error(f"this text has {size_bytes:,} bytes", f"at most {MOST_TEXT_BYTES:,} are taken")
    return text


def half_character(half: str, place: Place) -> SpecError:
    return place.error(
        f"U+{ord(half):04X} is half a character (a lone surrogate), which cannot be sent",
        "write the whole character, or take it out",
    )


def too_deep(place: Place) -> SpecError:
    return place.error(f"nested deeper than {MOST_DEPTH} levels", "a task needs three or four: take the rest apart")


def written_twice(name: str, place: Place, first: Place) -> SpecError:
    where = f", first on line {first.line}" if first.line else ""
    return place.error(f"{named(name)} is written twice{where}", "give each a name of its own, or take one out")
