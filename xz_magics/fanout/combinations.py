"""The arms of a matrix with one another: which combinations there are, those left out and those added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from typing import Any

from xz_magics.fanout.labels import arm_words
from xz_magics.keys import shown
from xz_magics.specs.checks import plain
from xz_magics.specs.designs import Arm
from xz_magics.specs.fields import arm_of
from xz_magics.specs.nodes import Node, named

Variables = Mapping[str, Sequence[Arm]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """An arm of each variable. `names` are the arms' own, as a trial bears them; `word` stands for it in labels."""

    arms: Mapping[str, Arm] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)
    word: str = ""


def variables_of(head: Mapping[str, Any], options: Mapping[str, Any]) -> Variables:
    """Those of the head and of the options. Raises SpecError where a field is given both one value and several.

    One value in the head gives way to several in the options; nothing that the head varies gives way unsaid.
    """
    varied, more = head.get("matrix", {}), options.get("matrix", {})
    for variables, beside in ((varied, head), (varied, options), (more, options)):
        for name, arms in variables.items():
            if beside.get(name) is not None:
                told = f"{named(name)} is given one value, and varied by the matrix"
                raise arms[0].place.error(told, "take one of the two out")
    for name in varied.keys() & more.keys():
        told = f"{named(name)} is varied by the matrix, and given several values among the options"
        raise varied[name][0].place.error(told, "take one of the two out")
    return {**varied, **more}


def combinations_of(
    variables: Variables, exclude: Sequence[Mapping[str, Node]], include: Sequence[Mapping[str, Node]]
) -> tuple[Combination, ...]:
    """The full product, in the order written, without what `exclude` says, and with what `include` adds.

    Raises SpecError.
    """
    found = [dict(zip(variables, arms, strict=True)) for arms in product(*variables.values())]
    for entry in exclude:
        out = {name: _known(name, node, variables) for name, node in entry.items()}
        found = [arms for arms in found if any(arms[name] is not arm for name, arm in out.items())]
    there = {tuple(_names(arms).values()) for arms in found}
    for entry in include:
        added = _complete(entry, variables)
        if tuple(_names(added).values()) not in there:
            there.add(tuple(_names(added).values()))
            found.append(added)
    if not found:
        first = next(iter(exclude[0].values()))
        raise first.error("nothing is left: every combination is excluded", "take one of the exclusions out")
    words = arm_words(found)
    return tuple(Combination(arms=arms, names=_names(arms), word=word) for arms, word in zip(found, words, strict=True))


def _names(arms: Mapping[str, Arm]) -> dict[str, Any]:
    return {name: arm.name for name, arm in arms.items()}


def _known(variable: str, node: Node, variables: Variables) -> Arm:
    _refuse_unknown(variable, node, variables)
    arm = _found(node, variables[variable])
    if arm is None:
        raise _no_value(variable, node, variables)
    return arm


def _complete(entry: Mapping[str, Node], variables: Variables) -> dict[str, Arm]:
    """An arm of each variable; one whose values have no names may have a new value here."""
    for name, node in entry.items():
        _refuse_unknown(name, node, variables)
    missing = [name for name in variables if name not in entry]
    if missing:
        told = f"this combination gives {named(missing[0])} no value"
        raise next(iter(entry.values())).start.error(told, "give each variable of the matrix one")
    arms = {}
    for name, known in variables.items():
        arm = _found(entry[name], known)
        if arm is None and any(arm.named for arm in known):
            raise _no_value(name, entry[name], variables)
        arms[name] = arm or arm_of(name, entry[name])
    return arms


def _found(node: Node, arms: Sequence[Arm]) -> Arm | None:
    """The arm whose name, or else whose value is written here."""
    value = plain(node, "a value")
    texts = {node.text} - {None}
    by_name = [arm for arm in arms if arm.name == value or arm.name in texts]
    by_value = [arm for arm in arms if (arm.named or isinstance(value, dict | list)) and arm.value == value]
    return next(iter(by_name + by_value), None)


def _refuse_unknown(variable: str, node: Node, variables: Variables) -> None:
    if variable not in variables:
        close = get_close_matches(variable, variables, n=1)
        known = f"the matrix has: {', '.join(variables)}" if variables else "there is no matrix"
        raise node.start.error(
            f"{named(variable)} is no variable of the matrix", f"did you mean {named(close[0])}?" if close else known
        )


def _no_value(variable: str, node: Node, variables: Variables) -> Exception:
    names = [str(arm.name) for arm in variables[variable]]
    close = get_close_matches(str(node.value), names, n=1)
    known = f"it has: {', '.join(shown(name) for name in names[:10])}"
    return node.error(f"{named(variable)} has no value {node}", f"did you mean {shown(close[0])}?" if close else known)
