"""Where outcomes stand in a matrix: in which arm of a variable, and under which values of all the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.records import Outcome, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`others` holds every other variable of the matrix, None where the task has none of it."""

    outcome: Outcome
    trial: Trial
    arm: str
    others: Mapping[str, Any]

    @property
    def answered(self) -> bool:
        return self.outcome.status in {"done", "incomplete"}

    @property
    def unit(self) -> str:
        """What is one observation: all that shares it is averaged."""
        return self.trial.unit or self.trial.input

    @property
    def setting(self) -> str:
        """All that tells it apart from the others of its arm and unit, but the repeat."""
        return _key([self.trial.input, self.others])

    @property
    def row(self) -> tuple[Any, ...]:
        """All that tells it apart from the others of its arm, in the form of an index."""
        return self.trial.input, *map(_plain, self.others.values()), self.trial.repeat


def places_of(outcomes: Sequence[Outcome], variable: str) -> list[Place]:
    """Of all outcomes that have the variable. Raises SpecError where there are none."""
    demand_name(variable, "variable")
    trials = [(outcome, outcome.trial) for outcome in outcomes if outcome.trial is not None]
    found = [(outcome, trial) for outcome, trial in trials if variable in trial.arms]
    if not found:
        raise _unknown_variable([trial for _, trial in trials], variable)
    names = _names([trial.arms[variable] for _, trial in found])
    others = dict.fromkeys(name for _, trial in found for name in trial.arms if name != variable)
    return [
        Place(
            outcome=outcome,
            trial=trial,
            arm=names[_key(trial.arms[variable])],
            others=others | {name: value for name, value in trial.arms.items() if name != variable},
        )
        for outcome, trial in found
    ]


def demand_name(given: Any, what: str) -> None:
    """Raises SpecError for several names, and for whatever else is no text."""
    if not isinstance(given, str):
        told = f"the {what} must be one name, given as text, not a {type(given).__name__}"
        raise SpecError(told, "ask once for each name")


def mend_of(name: str, known: Sequence[str]) -> str:
    """A hint: the name that is close to one that is none, or those that there are."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known[:20])}"


def _unknown_variable(trials: Sequence[Trial], variable: str) -> SpecError:
    known = list(dict.fromkeys(name for trial in trials for name in trial.arms))
    if not known:
        mend = 'give a matrix, such as `matrix: {model: [a, b]}` or --model a,b, and compare by "model"'
        return SpecError(f"{variable!r} cannot be compared: no task that has ended has a variable of a matrix", mend)
    if any(variable in trial.columns for trial in trials):
        mend = f"each input has one value of it; compare by {' or '.join(known)}"
        return SpecError(f"{variable!r} is a column of the foreach table, not a variable of the matrix", mend)
    return SpecError(f"{variable!r} is no variable of the matrix", mend_of(variable, known))


def _names(values: Sequence[Any]) -> dict[str, str]:
    """A name for each value: a text as it is, unless another value looks the same."""
    plain = {_key(value): value if isinstance(value, str) else _key(value) for value in values}
    return {key: name if list(plain.values()).count(name) == 1 else key for key, name in plain.items()}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What can be a part of an index."""
    return _key(value) if isinstance(value, list | dict) else value
