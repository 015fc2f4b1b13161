"""Python values as nodes: what `run` takes in place of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Rational, Real
from typing import Any

from xz_magics.keys import shown
from xz_magics.records import Quota, Task
from xz_magics.specs.nodes import MOST_DEPTH, Given, InValue, Node, Place, Value, sendable, too_deep
from xz_magics.specs.tables import is_list, is_table

MOST_VALUES = 250_000

_OF_A_PLAN = frozenset({"index", "after_when", "inserts", "trial", "purpose", "of"})  # made of other fields


def read_value(value: object, path: str) -> Node:
    """`path` is the expression that stands for the value in an error. Raises SpecError for what no spec can hold."""
    return _Reader().node(value, path, depth=1, key=None)


def read_entries(values: Mapping[str, object], path: str) -> dict[str, Node]:
    return _Reader().entries(values, path, depth=1)


class _Reader:
    def __init__(self) -> None:
        self._values = 0

    def node(self, value: object, path: str, depth: int, key: Place | None) -> Node:
        place = key or InValue(path)
        self._values += 1
        if self._values > MOST_VALUES:
            raise place.error(f"more than {MOST_VALUES:,} values", "run the tasks in several calls")
        if depth > MOST_DEPTH:
            raise too_deep(place)
        found, text = self._value(_written(value), path, depth, place)
        return Node(place=place, value=found, text=text, key=key)

    def _value(  # noqa: PLR0911 - one case per kind of value is plainest
        self, value: object, path: str, depth: int, place: Place
    ) -> tuple[Value, str | None]:
        """The value, and the text that it is."""
        match value:
            case str() as written:
                text = sendable(str.__str__(written), place)
                return text, text
            case None | bool() | Given() as word:
                return word, None
            case Integral() as whole:
                number = int(whole)
                return number if number.bit_length() < 1024 else float("inf"), None
            case Real() as real if not isinstance(real, Rational):
                return float(real), None
            case Mapping() as entries:
                return self.entries(entries, path, depth), None
            case Sequence() as items if not isinstance(items, bytes | bytearray | memoryview):
                return [self.node(item, f"{path}[{i}]", depth + 1, None) for i, item in enumerate(items)], None
            case thing if callable(thing) or getattr(thing, "ndim", None) == 2:  # a function, a class, a table
                return Given(thing), None
        raise place.error(
            f"must be text, a number, true or false, a list or a mapping, not {type(value).__name__}",
            "make a str, a list or a dict of it",
        )

    def entries(self, entries: Mapping[Any, object], path: str, depth: int) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        for name, value in entries.items():
            if not isinstance(name, str):
                raise InValue(path).error(f"a key must be text, not {type(name).__name__}", "make a str of it")
            inner = InValue(f"{path}[{shown(name)}]" if path else "")
            rows = (
                depth == 1 and name == "foreach" and (is_list(value) or is_table(value))
            )  # may hold what no text can, such as dates
            nodes[sendable(name, inner)] = self.node(
                Given(value) if rows else value, inner.path or name, depth + 1, inner
            )
        return nodes


def _written(value: object) -> object:
    """A Task or a Quota as the mapping that would have been written for it; its schema and scores as they are."""
    if not isinstance(value, Task | Quota):
        return value
    chosen = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _OF_A_PLAN}
    if isinstance(value, Task):
        chosen |= {"schema": value.schema and Given(value.schema), "tags": value.tags or None}
        chosen["score"] = [Given(scorer) for scorer in chosen.pop("scores")] or None
        chosen |= {insert.field: _with_templates(value, insert.field) for insert in value.inserts}
        chosen |= {"done": {"after_strict": True}, "ended": {"after_any": True}}.get(value.after_when, {})
    return {name: item for name, item in chosen.items() if item is not None}


def _with_templates(task: Task, field: str) -> str:
    """The text with a template again where an output is to go in."""
    text: str = getattr(task, field)
    for insert in reversed([insert for insert in task.inserts if insert.field == field]):
        quote = "'" if '"' in insert.label else '"'
        text = f"{text[: insert.at]}{{{{results[{quote}{insert.label}{quote}]}}}}{text[insert.at :]}"
    return text
