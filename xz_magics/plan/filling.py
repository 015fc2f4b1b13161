"""The templates of a draft filled in with what the notebook, the row and the arms hold."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xz_magics.errors import SpecError
from xz_magics.fanout import Combination, Row
from xz_magics.keys import shown
from xz_magics.records import Insert, Task
from xz_magics.specs.nodes import named
from xz_magics.templates import RESULTS, fill_around, fill_value, names_in

TEXTS: tuple[Literal["prompt", "system", "summary_prompt"], ...] = ("prompt", "system", "summary_prompt")
EXPECT = "expect"
"""The column that says what a row's tasks are expected to answer, where they do not say so themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """`names` are the notebook's, `labels` those of the tasks as written; no template inserts one of the `secrets`."""

    names: Mapping[str, object]
    labels: Collection[str]
    secrets: Collection[str]

    def fill(self, draft: Task, used: Collection[str], row: Row, combination: Combination) -> dict[str, Any]:
        """The fields of the draft that come out otherwise. `used` are the names in its templates. Raises SpecError.

        The outputs of other tasks are left to `with_results`, and it comes after them.
        """
        own = {**row.names, **self._arms(used, row, combination)}
        filled: dict[str, Any] = {}
        inserts: list[Insert] = []
        for name in TEXTS:
            written = getattr(draft, name)
            if written and "{{" in written:
                filled[name], gaps = self._text(written, own, row)
                inserts += [Insert(field=name, at=at, label=label) for at, label in gaps]
        if not filled.get("prompt", draft.prompt).strip() and not any(insert.field == "prompt" for insert in inserts):
            raise SpecError("the prompt is empty once its templates are filled in", "give a value to what they insert")
        after = dict.fromkeys([*draft.after, *(insert.label for insert in inserts)])
        expect = self._expected(draft, own, row)
        return filled | {"after": tuple(after), "inserts": tuple(inserts), "expect": expect}

    def _arms(self, used: Collection[str], row: Row, combination: Combination) -> dict[str, Any]:
        """What templates use of the variables. A value that is text is a part of what is written, as a prompt is: it

        may itself hold templates. Data belongs into a table, whose values are never looked at again.
        """
        values = {}
        for name in combination.arms.keys() & used:
            value = combination.arms[name].value
            try:
                values[name] = fill_value(value, self.names, own=row.names, secrets=self.secrets)
            except SpecError as error:
                of_a_task = RESULTS in names_in(str(value))
                hint = (
                    "an output goes into the prompt itself, not into a value of the matrix" if of_a_task else error.hint
                )
                raise SpecError(f"{named(name)}: {error.message}", hint) from error
        return values

    def _text(self, written: str, own: Mapping[str, Any], row: Row) -> tuple[str, tuple[tuple[int, str], ...]]:
        try:
            return fill_around(written, self.names, own=own, labels=self.labels, secrets=self.secrets)
        except SpecError as error:
            empty = [name for name in names_in(written) if row.columns.get(name, ...) is None]
            if not empty:
                raise
            told = f"row {shown(row.index or 0)} has nothing in the column {shown(empty[0])}, which goes into a prompt"
            raise SpecError(told, f"fill it in, or leave such rows out: df.dropna(subset=[{empty[0]!r}])") from error

    def _expected(self, draft: Task, own: Mapping[str, Any], row: Row) -> Any:
        if draft.expect is None:
            return row.columns.get(EXPECT)
        return fill_value(draft.expect, self.names, own=own, secrets=self.secrets)


def names_used(draft: Task) -> set[str]:
    """The root names in its templates."""
    texts = [getattr(draft, name) or "" for name in TEXTS]
    return {name for text in (*texts, str(draft.expect)) for name in names_in(text)}
