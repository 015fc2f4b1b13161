"""A table of rows, given as a DataFrame, a Series or a list: this file alone knows the look of the first two."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, TypeGuard
from uuid import UUID

from xz_magics.keys import shown
from xz_magics.specs.nodes import HALF, MOST_DEPTH, Place, half_character, too_deep

MOST_ROWS = 10_000
MOST_CELLS = 1_000_000
ITEM = "item"
"""The one column of a list of plain values, or of a Series without a name."""

PlaceAt = Callable[..., Place]
"""Where the table, one of its rows, or a cell of a row stands: called with nothing, the row, or row and column."""

Where = tuple[int] | tuple[int, str]

_MEND = "give a DataFrame, a Series, a list of mappings, or a list of plain values"
_TOLD_BY_TEXT = (Decimal, UUID, PurePath, timedelta)
_TOLD_BY_TEXT_IN_PANDAS = frozenset({"Period", "Interval"})
_PLAIN = "give texts, numbers, true or false, dates, or lists and mappings of these; or leave the column out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Each row holds every column, in plain JSON values: a missing one is None, a date its ISO text, a Decimal or
    a path its text.

    `index` names each row, `dtypes` tell what a DataFrame's columns were.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    index: tuple[str | int, ...]
    dtypes: Mapping[str, str] = field(default_factory=dict)


def table_of(thing: object, at: PlaceAt) -> Table:
    """Raises SpecError for what is no table, has no rows, or holds what no prompt could."""
    if _is_frame(thing):
        return _Cells(at).of_frame(thing)
    if _is_series(thing):
        return _Cells(at).of_frame(thing.to_frame(thing.name if isinstance(thing.name, str) else ITEM))
    if is_list(thing):
        return _Cells(at).of_list(thing)
    raise at().error(f"a table was expected, not a value of type {type(thing).__name__}", _MEND)


def is_table(thing: object) -> bool:
    """Whether it looks like one: a DataFrame, a Series, or a list that holds something."""
    return _is_frame(thing) or _is_series(thing) or (is_list(thing) and len(thing) > 0)


def is_list(thing: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(thing, Sequence) and not isinstance(thing, str | bytes | bytearray | memoryview)


def _is_frame(thing: object) -> bool:
    kind = type(thing)
    return all(hasattr(kind, name) for name in ("columns", "index", "isna", "ndim")) and getattr(thing, "ndim", 0) == 2


def _is_series(thing: object) -> TypeGuard[Any]:
    kind = type(thing)
    return all(hasattr(kind, name) for name in ("name", "index", "isna", "to_frame")) and getattr(thing, "ndim", 0) == 1


class _Cells:
    """Makes values plain, and counts them: lists that hold one another many times over grow without end."""

    def __init__(self, at: PlaceAt) -> None:
        self._at = at
        self._count = 0

    def of_frame(self, frame: Any) -> Table:
        columns = list(frame.columns)
        self._check_columns(columns)
        self._check_size(len(frame))
        cells = [self._column(frame[column], column) for column in columns]
        return Table(
            columns=tuple(columns),
            rows=tuple(dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)),
            index=_index(frame.index),
            dtypes={column: str(frame[column].dtype) for column in columns},
        )

    def of_list(self, items: Sequence[Any]) -> Table:
        """Columns in the order in which they first occur; a row that lacks one has nothing there."""
        self._check_size(len(items))
        mappings = [isinstance(item, Mapping) for item in items]
        if not any(mappings):
            rows = [{ITEM: self._plain(item, (row,), 1)} for row, item in enumerate(items)]
            return Table(columns=(ITEM,), rows=tuple(rows), index=tuple(range(len(rows))))
        if not all(mappings):
            odd = mappings.index(not mappings[0])
            told = f"this row is {_kind(items[odd])}, and the first is {_kind(items[0])}"
            raise self._at(odd).error(told, "make all rows mappings, or none")
        columns = list(dict.fromkeys(column for item in items for column in item))
        self._check_columns(columns)
        rows = [
            {column: self._plain(item.get(column), (row, column), 1) for column in columns}
            for row, item in enumerate(items)
        ]
        return Table(columns=tuple(columns), rows=tuple(rows), index=tuple(range(len(rows))))

    def _check_columns(self, columns: Sequence[Any]) -> None:
        if not columns:
            raise self._at().error("this table has no columns", _MEND)
        for column in columns:
            if not isinstance(column, str):
                told = f"a column is called {column!r}, of type {type(column).__name__}"
                raise self._at().error(told, "a column's name must be text: df.columns = [...]")
            self._whole(column)
        twice = [column for column, count in Counter(columns).items() if count > 1]
        if twice:
            raise self._at().error(f"two columns are called {shown(twice[0])}", "give each a name of its own")

    def _check_size(self, rows: int) -> None:
        if not rows:
            raise self._at().error("this table has no rows", "give at least one")
        if rows > MOST_ROWS:
            raise self._at().error(f"{rows:,} rows are too many", f"a row is a task, and one run has {MOST_ROWS:,}")

    def _column(self, series: Any, column: str) -> list[Any]:
        values, missing = series.tolist(), series.isna().tolist()
        return [
            None if gone else self._plain(value, (row, column), 1)
            for row, (value, gone) in enumerate(zip(values, missing, strict=True))
        ]

    def _plain(self, value: Any, where: Where, depth: int) -> Any:  # noqa: C901, PLR0911 - one case per kind is plainest
        self._count += 1
        if self._count > MOST_CELLS:
            raise self._at(*where).error(f"more than {MOST_CELLS:,} values", "leave out the columns that no task needs")
        if depth > MOST_DEPTH:
            raise too_deep(self._at(*where))
        if _is_missing(value):
            return None
        match value:
            case str():
                return self._whole(str.__str__(value), where)
            case bool():
                return value
            case int():
                return int(value)
            case float() if math.isfinite(value):
                return float(value)
            case Mapping():
                return dict(self._entries(value, where, depth))
            case list() | tuple():
                return [self._plain(item, where, depth + 1) for item in value]
        kind = type(value)
        if (text := _own_text(value)) is not None:
            return text
        if hasattr(kind, "tolist") and hasattr(kind, "dtype") and value.dtype.kind not in "mM":
            return self._plain(value.tolist(), where, depth + 1)
        told = repr(value) if isinstance(value, float) else f"a value of type {kind.__name__}"
        raise self._at(*where).error(f"{told} cannot go into a prompt", _PLAIN)

    def _entries(self, entries: Mapping[Any, Any], where: Where, depth: int) -> Iterator[tuple[str, Any]]:
        for key, item in entries.items():
            if not isinstance(key, str):
                raise self._at(*where).error(f"a key must be text, not {type(key).__name__}", "make a str of it")
            yield self._whole(key, where), self._plain(item, where, depth + 1)

    def _whole(self, text: str, where: Where | tuple[()] = ()) -> str:
        if half := HALF.search(text):
            raise half_character(half[0], self._at(*where))
        return text


def _is_missing(value: Any) -> bool:
    """None, NaN, and pandas' NA and NaT: the last has a date's look, and NA cannot be asked whether it is true."""
    unknown = value is None or type(value).__name__ in {"NAType", "NaTType"}
    return unknown or (isinstance(value, float) and math.isnan(value))


def _own_text(value: Any) -> str | None:
    """Of what is told by one plain text: a date's ISO form, and what str makes of a few other kinds."""
    if hasattr(type(value), "isoformat"):
        return str(value.isoformat())
    told_so = isinstance(value, _TOLD_BY_TEXT) or type(value).__name__ in _TOLD_BY_TEXT_IN_PANDAS
    return str(value) if told_so else None


def _index(index: Any) -> tuple[str | int, ...]:
    """The rows' own names, where these are texts or whole numbers and tell the rows apart; else their places."""
    names = index.tolist()
    plain = all(isinstance(name, str | int) and not isinstance(name, bool) for name in names)
    return tuple(names if plain and len(set(names)) == len(names) else range(len(names)))


def _kind(item: object) -> str:
    return "a mapping" if isinstance(item, Mapping) else f"a value of type {type(item).__name__}"
