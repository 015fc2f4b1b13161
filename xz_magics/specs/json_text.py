"""JSON text as nodes: RFC 8259 to the letter, since `json` knows no places and takes NaN and duplicate keys."""

import math
import re
from collections.abc import Callable
from json import JSONDecodeError, JSONDecoder

from xz_magics.specs.nodes import MOST_DEPTH, Node, Place, Value, sendable, too_deep, written_twice

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_NO_NUMBER = re.compile(r"-?Infinity|NaN")
_WORDS = {"true": True, "false": False, "null": None}
_MOST_DIGITS = 300  # so many still fit a float
_STRINGS = JSONDecoder()


def read_json(text: str, place_at: Callable[[int], Place]) -> Node:
    """`place_at` says where a character of the text stands in the cell.

    Raises JSONDecodeError where the text is no JSON, SpecError for what JSON should not hold: a duplicate key, NaN,
    a number out of range, half a character, more than MOST_DEPTH levels.
    """
    reader = _Reader(text, place_at)
    node, at = reader.value(reader.past_space(0), depth=1, key=None)
    if at != len(text):
        raise JSONDecodeError("the text should end here", text, at)
    return node


class _Reader:
    """Each method takes where a thing begins and returns it with where the next one does."""

    def __init__(self, text: str, place_at: Callable[[int], Place]) -> None:
        self._text = text
        self._place_at = place_at

    def past_space(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def value(self, at: int, depth: int, key: Place | None) -> tuple[Node, int]:
        place = self._place_at(at)
        if depth > MOST_DEPTH:
            raise too_deep(place)
        text: str | None = None
        value: Value
        match self._text[at : at + 1]:
            case "{":
                value, at = self._mapping(at + 1, depth)
            case "[":
                value, at = self._list(at + 1, depth)
            case '"':
                text, at = self._string(at)
                value = text
            case _:
                value, at = self._word(at)
        return Node(place=place, value=value, text=text, key=key), self.past_space(at)

    def _mapping(self, at: int, depth: int) -> tuple[dict[str, Node], int]:
        entries: dict[str, Node] = {}
        at = self.past_space(at)
        while self._text[at : at + 1] != "}":
            if entries:
                at = self._past(",", at)
            if self._text[at : at + 1] != '"':
                raise JSONDecodeError("a key in double quotes should stand here", self._text, at)
            place = self._place_at(at)
            name, at = self._string(at)
            if name in entries:
                raise written_twice(name, place, entries[name].start)
            at = self._past(":", self.past_space(at))
            entries[name], at = self.value(at, depth + 1, place)
        return entries, at + 1

    def _list(self, at: int, depth: int) -> tuple[list[Node], int]:
        items: list[Node] = []
        at = self.past_space(at)
        while self._text[at : at + 1] != "]":
            if items:
                at = self._past(",", at)
            item, at = self.value(at, depth + 1, None)
            items.append(item)
        return items, at + 1

    def _past(self, mark: str, at: int) -> int:
        if self._text[at : at + 1] != mark:
            raise JSONDecodeError(f"a `{mark}` should stand here", self._text, at)
        return self.past_space(at + 1)

    def _string(self, at: int) -> tuple[str, int]:
        text, end = _STRINGS.raw_decode(self._text, at)
        return sendable(text, self._place_at(at)), end

    def _word(self, at: int) -> tuple[bool | float | None, int]:
        for word, value in _WORDS.items():
            if self._text.startswith(word, at):
                return value, at + len(word)
        if found := _NO_NUMBER.match(self._text, at):
            raise self._place_at(at).error(f"JSON has no {found[0]}", "write a finite number, or leave the field out")
        found = _NUMBER.match(self._text, at)
        if found is None:
            raise JSONDecodeError("a value should stand here", self._text, at)
        number = number_of(found[0], whole=not found["fraction"])
        if math.isinf(number):
            raise self._place_at(at).error("this number is too large", "write a number that a computer can hold")
        return number, found.end()


def number_of(text: str, *, whole: bool) -> float:
    """The number; infinite where it is too large. -0 is a float: only that can tell it from 0."""
    if not whole or len(text) > _MOST_DIGITS:
        return float(text)
    number = int(text)
    return -0.0 if number == 0 and text.startswith("-") else number
