"""From tasks as written to trials: which rows, arms and repeats there are, and what each trial is called."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.fanout.combinations import Combination, combinations_of, variables_of
from xz_magics.fanout.labels import MOST, cut, each_once, row_words
from xz_magics.keys import shown
from xz_magics.specs.designs import Arm, in_value
from xz_magics.specs.documents import DESIGN, MOST_TASKS
from xz_magics.specs.tables import Table, is_table, table_of

__all__ = ["Combination", "Fanout", "Row", "fan_out"]

ROW = "row"
"""The whole row, in templates."""

_MOST_SUGGESTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the foreach table, or in its place nothing at all. `word` stands for it in labels."""

    index: str | int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    word: str = ""

    @property
    def names(self) -> Mapping[str, Any]:
        """What templates may use of it."""
        return self.columns if self.index is None else {**self.columns, ROW: self.columns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """All of each with all of the others: for each row each task as written, with each combination, as often as said.

    `varied`: there is a matrix, a table or a number of repeats, so that each task is a trial. `dtypes` are those of the
    table's columns.
    """

    rows: tuple[Row, ...]
    combinations: tuple[Combination, ...]
    repeats: tuple[int | None, ...]
    varied: bool
    dtypes: Mapping[str, str]

    @property
    def together(self) -> int:
        """How many trials of one row come of one task as written."""
        return len(self.combinations) * len(self.repeats)

    def inputs(self, written: Sequence[str]) -> Iterator[str]:
        """What the tasks with these labels are called before arms and repeats, row by row."""
        bases = self._bases(written)
        return each_once(f"{label}{row}" for row in self._row_tails() for label in bases)

    def labels(self, written: Sequence[str]) -> Iterator[str]:
        """Those of all trials, in their order: what was written, and what tells the trial apart."""
        if not self.varied:
            return iter(written)
        bases, tails = self._bases(written), self._trial_tails()
        return each_once(f"{label}{row}{tail}" for row in self._row_tails() for label in bases for tail in tails)

    def _row_tails(self) -> list[str]:
        return [f"[{row.word}]" if row.word else "" for row in self.rows]

    def _trial_tails(self) -> list[str]:
        arms = [f" {combination.word}" if combination.word else "" for combination in self.combinations]
        return [f"{arm} #{repeat}" if len(self.repeats) > 1 else arm for arm in arms for repeat in self.repeats]

    def _bases(self, written: Sequence[str]) -> list[str]:
        """So short that each has room for the longest of what follows it."""
        most = MOST - max(map(len, self._row_tails())) - max(map(len, self._trial_tails()))
        return [*each_once((cut(label, most) for label in written), most)]


def fan_out(
    head: Mapping[str, Any], options: Mapping[str, Any], names: Mapping[str, object], *, written: int
) -> Fanout:
    """Options win over the head. `written` tasks are to be multiplied. Raises SpecError."""
    shared = {**head, **options}
    variables = variables_of(head, options)
    table = _table(shared.get("foreach"), names)
    repeat = shared.get("repeat")
    if table is not None:
        _refuse_taken(table, variables)
    exclude, include = shared.get("exclude", ()), shared.get("include", ())
    arms = {name: len(values) for name, values in variables.items()}
    _check_number(arms)
    combinations = combinations_of(variables, exclude, include)
    rows = len(table.rows) if table else 1
    if exclude or include:
        arms = {"combination": len(combinations)}
    _check_number({"task": written, "row": rows, **arms, "repeat": repeat or 1})
    return Fanout(
        rows=(Row(),) if table is None else tuple(_rows(table)),
        combinations=combinations,
        repeats=(None,) if repeat is None else tuple(range(1, repeat + 1)),
        varied=bool(variables) or any(shared.get(name) is not None for name in DESIGN),
        dtypes={} if table is None else table.dtypes,
    )


def _table(written: Table | str | None, names: Mapping[str, object]) -> Table | None:
    if not isinstance(written, str):
        return written
    if written in names:
        return table_of(names[written], in_value(written))
    close = get_close_matches(written, [name for name in names if not name.startswith("_")], n=1)
    tables = [name for name, value in names.items() if not name.startswith("_") and is_table(value)]
    if close:
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"tables here are: {', '.join(tables[-_MOST_SUGGESTED:])}" if tables else "run the cell that makes it"
    raise SpecError(f"foreach: nothing in the notebook is called {shown(written)}", hint)


def _rows(table: Table) -> Iterator[Row]:
    for index, columns, word in zip(table.index, table.rows, row_words(table.index), strict=True):
        yield Row(index=index, columns=columns, word=word)


def _refuse_taken(table: Table, variables: Mapping[str, Sequence[Arm]]) -> None:
    for name, arms in variables.items():
        if name == ROW:
            raise arms[0].place.error("`row` is the whole row of the table", "give the variable another name")
        if name in table.columns:
            told = f"a column of the table and a variable of the matrix are both called {shown(name)}"
            raise arms[0].place.error(told, "give one of them another name")


def _check_number(factors: Mapping[str, int]) -> None:
    tasks = prod(factors.values())
    if tasks > MOST_TASKS:
        formula = " x ".join(f"{number:,} {_plural(name)}" for name, number in factors.items() if number > 1)
        raise SpecError(f"{formula} = {tasks:,} tasks, which are too many", f"at most {MOST_TASKS:,} in one run")


def _plural(name: str) -> str:
    return name if name.endswith("s") else f"{name}s"
