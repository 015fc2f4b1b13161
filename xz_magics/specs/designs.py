"""Checks of what makes many tasks of one: the variables of a matrix, combinations of them, the table of foreach."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xz_magics.keys import shown
from xz_magics.specs.checks import Check, line, plain
from xz_magics.specs.nodes import Given, InValue, Node, Place, named, written_twice
from xz_magics.specs.tables import Table, table_of

Scalar = str | int | float | bool | None

Varied = Callable[[str, Place], tuple[str, Check | None]]
"""Of a variable as written: its own name, and the check of the task's field that it sets, if it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One value of a variable: `value` is what templates insert, `set_to` what the task's field of that name becomes.

    `named`: by `name`, which the matrix gave it; else `name` is the value, or the JSON text of a list or mapping.
    """

    name: Scalar
    value: Any
    set_to: Any = None
    named: bool = False
    place: Place = field(compare=False, repr=False)


def matrix(node: Node, name: str, varied: Varied) -> dict[str, tuple[Arm, ...]]:
    """A mapping of variables, each with a list of values or a mapping of names to values."""
    if not isinstance(node.value, dict) or not node.value:
        told = "is empty" if node.value == {} else f"must be a mapping, not {node}"
        raise node.error(f"{name} {told}", "write variables with their values: {model: [one, two]}")
    variables: dict[str, tuple[Arm, ...]] = {}
    for written, values in node.value.items():
        variable, check = varied(written, values.start)
        if variable in variables:
            raise written_twice(variable, values.start, variables[variable][0].place)
        variables[variable] = _arms(variable, values, check)
    return variables


def combinations(node: Node, name: str) -> tuple[Mapping[str, Node], ...]:
    """A list of mappings, each of variables to one value."""
    if not isinstance(node.value, list):
        raise node.error(f"{name} must be a list of mappings, not {node}", "write [{model: one, wording: plain}]")
    for item in node.value:
        if not isinstance(item.value, dict) or not item.value:
            told = "is empty" if item.value == {} else f"must be a mapping, not {item}"
            raise item.error(f"a combination in {name} {told}", "write variables with a value each: {model: one}")
        for variable, value in item.value.items():
            plain(value, named(variable))
    return tuple(item.value for item in node.value if isinstance(item.value, dict))


def foreach(node: Node, name: str) -> Table | str:
    """A table, or the name of one in the notebook."""
    match node.value:
        case Given(value=thing):
            return table_of(thing, in_value(getattr(node.place, "path", "") or "foreach"))
        case list() as items:
            return table_of([plain(item, f"a value in {name}") for item in items], _in_nodes(node, items))
        case str() as written if written.strip().isidentifier():
            return written.strip()
    mend = "first give it a name in the notebook: rows = …; then foreach: rows"
    raise node.error(f"{name} must be a table's name in the notebook, or a list of rows, not {node}", mend)


def in_value(path: str) -> Callable[..., Place]:
    """Where the parts of a Python table stand."""

    def at(row: int | None = None, column: str | None = None) -> Place:
        steps = ("" if row is None else f"[{row}]") + ("" if column is None else f"[{shown(column)}]")
        return InValue(f"{path}{steps}")

    return at


def arm(variable: str, node: Node, check: Check | None, name: str | None = None) -> Arm:
    """Raises SpecError where the task's field may not have this value."""
    value = None if isinstance(node.value, Given) else plain(node, f"a value of {named(variable)}")
    set_to = None if check is None or node.left_out else check(node, named(variable))
    if isinstance(set_to, str):
        value = set_to
    if name is not None:
        return Arm(name=name, value=value, set_to=set_to, named=True, place=node.place)
    if check is None and isinstance(node.value, Given):
        raise node.error(f"a value of {named(variable)} must be text or a number, not {node}", "make a str of it")
    return Arm(name=_name_of(node, value), value=value, set_to=set_to, place=node.place)


def _arms(variable: str, node: Node, check: Check | None) -> tuple[Arm, ...]:
    match node.value:
        case dict() as entries:
            arms = [arm(variable, item, check, _named(name, item)) for name, item in entries.items()]
        case list() as items:
            arms = [arm(variable, item, check) for item in items]
        case _:
            told = f"{named(variable)} must have a list of values, or a mapping that names each, not {node}"
            raise node.error(told, f"write {variable}: [one, two]")
    if not arms:
        raise node.error(f"{named(variable)} has no values", "give it at least one, or take it out")
    firsts: dict[Scalar, Arm] = {}
    for one in arms:
        if one.name in firsts:
            told = f"{named(variable)} has two values that are equal: {_told(firsts[one.name])} and {_told(one)}"
            raise one.place.error(told, "take one of them out")
        firsts[one.name] = one
    return tuple(arms)


def _named(name: str, node: Node) -> str:
    found: str = line(80)(Node(place=node.start, value=name, text=name), "the name of a value")
    return found


def _name_of(node: Node, value: Any) -> Scalar:
    if isinstance(node.value, Given):
        return str(getattr(node.value.value, "__name__", type(node.value.value).__name__))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _told(one: Arm) -> str:
    return "null" if one.name is None else shown(one.name)


def _in_nodes(table: Node, rows: list[Node]) -> Callable[..., Place]:
    def at(row: int | None = None, column: str | None = None) -> Place:
        if row is None:
            return table.place
        cells = rows[row].value
        cell = cells.get(column) if isinstance(cells, dict) and column is not None else None
        return (cell or rows[row]).place

    return at
