"""YAML text as nodes: the core schema of YAML 1.2, in which `no` and `1:30` are text; no anchors, aliases or tags."""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

from xz_magics.errors import SpecError
from xz_magics.keys import masked
from xz_magics.specs.json_text import number_of
from xz_magics.specs.nodes import MOST_DEPTH, InText, Node, Source, sendable, too_deep, written_twice

MOST_VALUES = 50_000  # the parser reads about 10,000 a second

_COLON_MEND = 'quote a text that ends in a colon, such as "scripted:", or write it as a block after `|`'
_LAST_COLON = re.compile(r":[ \t]*(?:#.*)?$", re.MULTILINE)
_MEND = "quote the text, or write it as a block after `|`; plain prompts stand below lines such as `--- label`"
_COMMENT = re.compile(r"[ \t]+(?=#)")
_WORDS = {
    form: value
    for word, value in (("true", True), ("false", False), ("null", None), ("~", None), ("", None))
    for form in (word, word.capitalize(), word.upper())
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(source: Source) -> Node:
    """An empty list where nothing but comments stands. Raises SpecError for no YAML, and for what no spec needs."""
    return _Reader(source).root()


class _Reader:
    """Builds nodes from the parser's events, whose marks say where each one stands."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._events = _events(source)
        self._values = 0

    def root(self) -> Node:
        root = Node(place=InText(self._source, 0), value=[])
        documents = 0
        for event in self._events:
            documents += isinstance(event, DocumentStartEvent)
            if documents > 1:
                raise self._begin(event).error(
                    "a second document begins here",
                    "write one document; without --format yaml, lines `---` separate plain prompts",
                )
            if isinstance(event, NodeEvent):
                root = self._node(event, depth=1, key=None)
        return root

    def _node(self, event: Event, depth: int, key: InText | None) -> Node:
        place = self._begin(event)
        _refuse_references(event, place)
        self._values += 1
        if self._values > MOST_VALUES:
            raise place.error(f"more than {MOST_VALUES:,} values", "give the tasks as Python values to xz_magics.run")
        if depth > MOST_DEPTH:
            raise too_deep(place)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, depth, key)
        value = self._mapping(depth) if isinstance(event, MappingStartEvent) else self._list(depth)
        return Node(place=place, value=value, key=key)

    def _mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            place = self._begin(event)
            _refuse_references(event, place)
            if not isinstance(event, ScalarEvent):
                raise place.error("a key must be text", _MEND)
            if event.value == "<<" and not event.style:
                raise place.error("merge keys (`<<`) are not allowed", "write the fields out")
            name = sendable(event.value, place)
            if name in entries:
                raise written_twice(name, place, entries[name].start)
            entries[name] = self._node(next(self._events), depth + 1, place)
        return entries

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, depth + 1, None))
        return items

    def _scalar(self, event: ScalarEvent, depth: int, key: InText | None) -> Node:
        place = self._begin(event)
        if event.style:
            text = sendable(event.value, place)
            return Node(place=place, value=text, text=text, key=key)
        alone = depth == 1  # then it keeps its line breaks, which YAML would fold, and no comment may stand beside it
        end = event.end_mark.index
        text = sendable(self._source.text[place.offset : end] if alone else event.value, place)
        comment = self._comment(place.offset, end, alone=alone)
        if not text and key:
            place = key  # the parser takes for the place of nothing that of whatever comes next
        return Node(place=place, value=_resolved(event.value), text=text, key=key, comment=comment)

    def _comment(self, start: int, end: int, *, alone: bool) -> InText | None:
        """The comment behind an unquoted text; before or below it, too, where the text is all that is written."""
        written = self._source.text
        if not alone:
            found = _COMMENT.match(written, end)
            return InText(self._source, found.end()) if found else None
        hashes = [offset for offset in (written.find("#", 0, start), written.find("#", end)) if offset >= 0]
        return InText(self._source, hashes[0]) if hashes else None

    def _begin(self, event: Event) -> InText:
        return InText(self._source, event.start_mark.index)


class _Scanner(Scanner):
    """Takes an unquoted value that begins with `{{` for text: a template, where YAML sees a mapping in a mapping."""

    def fetch_flow_mapping_start(self) -> None:
        if not self.flow_level and self.reader.prefix(2) == "{{":
            self.fetch_plain()
        else:
            super().fetch_flow_mapping_start()


def _events(source: Source) -> Iterator[Event]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    offset = 0
    try:
        for event in yaml.parse(source.text):
            offset = event.start_mark.index
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _no_yaml(source, mark.index if mark else offset, error.problem or error.context) from error
    except ReaderError as error:
        raise source.error(
            error.position,
            f"YAML may not hold the character U+{error.character:04X}",
            'take it out, or write it as an escape in double quotes, such as "\\x07"',
        ) from error
    except Exception as error:  # the parser lets a few AssertionErrors, TypeErrors and others through
        raise _no_yaml(source, offset, "something after this place cannot be read") from error


def _no_yaml(source: Source, offset: int, problem: str) -> SpecError:
    mend = _MEND
    if source.text[offset : offset + 1] == "\t":
        mend = "use spaces here, not a tab"
    elif _LAST_COLON.match(source.text, offset):
        mend = _COLON_MEND
    return source.error(offset, f"this is no YAML: {masked(problem)[:120]}", mend)


def _refuse_references(event: Any, place: InText) -> None:
    if isinstance(event, AliasEvent):
        raise place.error("aliases (`*name`) are not allowed", "write the value out, or quote a text that begins so")
    if event.anchor is not None:
        raise place.error("anchors (`&name`) are not allowed", "take it out, or quote a text that begins so")
    if event.ctag is not None:
        raise place.error("tags (`!name`) are not allowed", "take it out, or quote a text that begins so")


def _resolved(text: str) -> bool | float | str | None:
    """What an unquoted scalar is in the core schema, https://yaml.org/spec/1.2.2/#1032-tag-resolution."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return number_of(text.removeprefix("+"), whole=True)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
