"""The fields of answers that have a schema, as columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from xz_magics.characters import whole
from xz_magics.records import Outcome

LARGEST = 2**63
MOST_COLUMNS = 256
"""Of objects that are not closed a model may name any number of fields."""

DEEPEST = 64

Path = tuple[str, ...]


def answer_columns(outcomes: Sequence[Outcome]) -> dict[str, "pd.Series[Any]"]:
    """A column per field, nested ones by dotted names, in the order in which they first come; NA where none came.

    Fields of one kind are "boolean", "Int64", "Float64" or "string"; lists, and values of several kinds, are objects.
    Where nested fields would make too many columns, the outer ones are objects; at worst there is one, `value`.
    """
    columns = _columns(outcomes, DEEPEST) or _columns(outcomes, 1) or _columns(outcomes, 0) or {}
    names: dict[str, pd.Series[Any]] = {}
    for path, values in columns.items():
        if not (_are_empty(values) and (not path or _is_split(path, columns))):
            names[_free(".".join(path) or "value", names)] = pd.Series(values, dtype=_dtype(values))
    return names


def fields_frame(outcomes: Sequence[Outcome]) -> "pd.DataFrame":
    """A row per outcome: its label, and the fields of its answer; one that is called `label` is `answer.label`."""
    from xz_magics.frames import Table

    labels = pd.Series([whole(outcome.label) for outcome in outcomes], dtype="string")
    fields = answer_columns(outcomes)
    return Table({"label": labels} | {"answer.label" if name == "label" else name: fields[name] for name in fields})


def _columns(outcomes: Sequence[Outcome], depth: int) -> dict[Path, list[Any]] | None:
    """The values by the way to them, row by row; None for too many."""
    columns: dict[Path, list[Any]] = {}
    for row, outcome in enumerate(outcomes):
        for path, value in _leaves(outcome.value, (), depth):
            columns.setdefault(path, [None] * len(outcomes))[row] = value
            if len(columns) > MOST_COLUMNS:
                return None
    return columns


def _leaves(value: Any, path: Path, depth: int) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value and depth:
        for name, item in value.items():
            yield from _leaves(item, (*path, whole(name)), depth - 1)
    else:
        yield path, whole(value) if isinstance(value, str) else value


def _are_empty(values: Sequence[Any]) -> bool:
    return all(value is None for value in values)


def _is_split(path: Path, columns: Mapping[Path, Any]) -> bool:
    """Whether other answers have fields within this one."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in columns)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A field's own name may hold a dot, and look like a nested one's."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _dtype(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "boolean"
    if kinds == {str}:
        return "string"
    if kinds and kinds <= {int, float} and all(value is None or -LARGEST <= value < LARGEST for value in values):
        return "Int64" if kinds == {int} else "Float64"
    return "Float64" if kinds == {float} else "object"
