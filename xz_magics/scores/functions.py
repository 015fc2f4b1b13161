"""Functions of the notebook that score or filter: found by name, and called so that none can end a run."""

import inspect
import logging
import math
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.keys import masked, shown
from xz_magics.records import Outcome
from xz_magics.records.scores import Score

logger = logging.getLogger("xz_magics")

MOST_SHOWN_CHARACTERS = 200

Function = Callable[..., Any]


class Faults:
    """What went wrong, told once per scorer: in how many answers, and how it did in the first."""

    def __init__(self, what: str = "score {name} is missing for") -> None:
        self._what = what
        self._first: dict[str, tuple[str, str]] = {}
        self._counts: dict[str, int] = {}
        self._lines: dict[str, str] = {}

    def add(self, name: str, label: str, message: str, error: BaseException | None = None) -> None:
        if error is not None and name not in self._first:
            logger.error("%s failed on the answer of %s", name, label, exc_info=error)
        self._first.setdefault(name, (label, message))
        self._counts[name] = self._counts.get(name, 0) + 1

    def add_line(self, name: str, line: str) -> None:
        """What is no fault of single answers."""
        self._lines[name] = line

    def told(self) -> Iterator[tuple[str, str]]:
        """The scorer's name and a line about it; of two the one that says more."""
        yield from self._lines.items()
        for name, (label, message) in self._first.items():
            if name in self._lines:
                continue
            count = self._counts[name]
            answers = f"the answer of {label}" if count == 1 else f"{count:,} answers, first in that of {label}"
            told = " ".join(masked(message).split())[:MOST_SHOWN_CHARACTERS]
            yield name, f"{self._what.format(name=name)} {answers}: {told}"


def named_function(name: str, names: Mapping[str, object], words: Sequence[str] = ()) -> Function:
    """The notebook's function of this name; `words` may have been meant, too. Raises SpecError."""
    found = names.get(name)
    if name not in names:
        callables = [other for other, value in names.items() if callable(value)]
        close = get_close_matches(name, [*words, *callables], n=1)
        mend = f"did you mean {close[0]}?" if close else "run the cell that defines it first, or give the function"
        raise SpecError(f"no function of this notebook is called {shown(name)}", mend)
    if not callable(found) or isinstance(found, type):
        raise SpecError(f"{shown(name)} is no function, but {type(found).__name__}", "write it with `def`")
    return checked_function(found, name)


def checked_function(function: Function, name: str) -> Function:
    """Raises SpecError for one that would have to be awaited."""
    if inspect.iscoroutinefunction(function):
        raise SpecError(f"{name} is an async function, and nothing awaits it here", "write it with `def`")
    return function


def given_by(function: Function, outcome: Outcome, name: str, faults: Faults) -> dict[str, Score]:
    """What the function says of an outcome, by name, or by `name.key` where it gives several numbers."""
    try:
        given = function(outcome)
        several = {f"{name}.{key}": value for key, value in given.items()} if isinstance(given, Mapping) else {}
    except (Exception, SystemExit, CancelledError) as error:  # noqa: BLE001 - whatever the notebook's code raises
        faults.add(name, outcome.label, f"{type(error).__name__}: {error}", error)
        return {name: None}
    values = several or {name: None if isinstance(given, Mapping) else given}
    return {each: _score_of(value, outcome, name, faults) for each, value in values.items()}


def _score_of(given: object, outcome: Outcome, name: str, faults: Faults) -> Score:
    try:
        return plain_score(given)
    except Exception as error:  # noqa: BLE001 - whatever a class of the notebook raises is told
        faults.add(name, outcome.label, str(error) if isinstance(error, ValueError) else type(error).__name__)
        return None


def plain_score(given: Any) -> Score:
    """A bool, a finite number, or None for NaN and NA. Raises ValueError, and whatever a class of the notebook does."""
    if getattr(given, "ndim", None) == 0 and hasattr(given, "item"):
        given = given.item()  # a number of numpy's
    if given is None or type(given).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(given, bool):
        return given
    if not isinstance(given, int | float) and not hasattr(type(given), "__float__"):
        told = shown(given) if isinstance(given, str) else f"a value of type {type(given).__name__}"
        raise ValueError(f"it gave {told}, and no number, true or false")
    number = float(given)
    if math.isinf(number):
        raise ValueError(f"it gave {number}, and a score is finite")
    return None if math.isnan(number) else number
