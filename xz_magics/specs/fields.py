"""The one table of fields: their names, where each may stand, what it may hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from xz_magics.errors import SpecError
from xz_magics.records import Quota
from xz_magics.specs.answers import schema
from xz_magics.specs.checks import (
    LARGEST,
    Check,
    flag,
    grants,
    labels,
    line,
    number,
    params,
    refuse_key_name,
    text,
    texts,
    untouched,
    whole,
)
from xz_magics.specs.designs import Arm, arm, combinations, foreach, matrix
from xz_magics.specs.nodes import Node, Place, named, written_twice
from xz_magics.specs.scoring import combine, expect, score

_MOST_LISTED = 20

Level = Literal["task", "head", "quota", "option"]


@dataclass(frozen=True, slots=True)
class Field:
    check: Check
    levels: frozenset[Level]


def checked(entries: Mapping[str, Node], level: Level) -> dict[str, Any]:
    """The values by the fields' own names; a field that is null is left out. Raises SpecError."""
    values: dict[str, Any] = {}
    places: dict[str, Place] = {}
    for written, node in entries.items():
        name = field_name(written, node.start, level)
        if name in places:
            raise written_twice(name, node.start, places[name])
        places[name] = node.start
        if not node.left_out:
            values[name] = FIELDS[name].check(node, named(written))
    if values.get("after_strict") and values.get("after_any"):
        raise places["after_any"].error("`after_strict` and `after_any` cannot both be true", "take one of them out")
    return values


def field_name(written: str, place: Place, level: Level) -> str:
    """The field's own name; raises SpecError where no such field may stand at this level."""
    name = ALIASES.get(written, written)
    if name not in FIELDS:
        refuse_key_name(written, place)
        raise _unknown(written, place, level)
    if level not in FIELDS[name].levels:
        right = " or ".join(_WHERE[other] for other in _WHERE if other in FIELDS[name].levels)
        raise place.error(f"{named(written)} may not stand {_WHERE[level]}", f"write it {right}")
    return name


def is_only_of_a_task(name: str) -> bool:
    """Whether it may stand in a task and nowhere else."""
    name = ALIASES.get(name, name)
    return name in FIELDS and FIELDS[name].levels == _TASK


def is_varied(name: str) -> bool:
    """Whether it is a field that a variable of the matrix can set."""
    return name in FIELDS and "task" in FIELDS[name].levels and name not in _NEVER_VARIED


def is_field(name: str) -> bool:
    """Whether any field bears this name, in whatever case, now or later."""
    return name.strip().casefold() in _ALL_NAMES


def _unknown(written: str, place: Place, level: Level) -> SpecError:
    here = [name for name, field in FIELDS.items() if level in field.levels]
    close = get_close_matches(written.strip().casefold(), here, n=1)
    close = close or get_close_matches(written.strip().casefold(), _ALL_NAMES, n=1)
    if any(char.isspace() and char != " " for char in written):
        hint = "use ordinary spaces, for indenting too"
    elif close:
        hint = f"did you mean {named(close[0])}?"
    else:
        more = ", …" if len(here) > _MOST_LISTED else ""
        hint = f'known are: {", ".join(here[:_MOST_LISTED])}{more}; a text that holds ": " needs quotes'
    return place.error(f"unknown field {named(written)}", hint)


def _quota(node: Node, name: str) -> Quota:
    if not isinstance(node.value, dict):
        raise node.error(f"{name} must be a mapping, not {node}", "for example quota: {max_total_tokens: 10000}")
    return Quota(**checked(node.value, "quota"))


def arm_of(variable: str, node: Node) -> Arm:
    """A value of a variable that is in no list of the matrix. Raises SpecError."""
    return arm(variable, node, _varied(variable, node.start)[1])


def _matrix(node: Node, name: str) -> dict[str, tuple[Arm, ...]]:
    return matrix(node, name, _varied)


def _varied(written: str, place: Place) -> tuple[str, Check | None]:
    name = ALIASES.get(written, written)
    if name in FIELDS:
        if not is_varied(name):
            varied = ", ".join(name for name in FIELDS if is_varied(name))
            raise place.error(f"{named(written)} cannot vary within a run", f"fields that can: {varied}")
        return name, FIELDS[name].check
    if not name.isidentifier() or name.startswith("_"):
        mend = "a name has letters, digits and underscores, and begins with a letter"
        raise place.error(f"{named(written)} is neither a task's field nor a name that templates take", mend)
    return name, None


_WHERE: Mapping[Level, str] = {
    "task": "in a task",
    "head": "beside `tasks:`",
    "quota": "in `quota:`",
    "option": "among the options",
}
_TASK: frozenset[Level] = frozenset({"task"})
_HEAD: frozenset[Level] = frozenset({"head"})
_RUN: frozenset[Level] = frozenset({"head", "option"})
_ANY: frozenset[Level] = frozenset({"task", "head", "option"})
_LIMIT: frozenset[Level] = frozenset({"quota", "option"})

FIELDS: Mapping[str, Field] = {
    "prompt": Field(text, _TASK),
    "label": Field(line(80), _TASK),
    "model": Field(line(200), _ANY),
    "system": Field(text, _ANY),
    "summary_prompt": Field(text, _ANY),
    "allowed_tools": Field(grants, _ANY),
    "max_turns": Field(whole(1), _ANY),
    "temperature": Field(number(0, 2), _ANY),
    "top_p": Field(number(0, 1), _ANY),
    "seed": Field(whole(-LARGEST), _ANY),
    "stop": Field(texts, _ANY),
    "max_tokens": Field(whole(1), _ANY),
    "timeout": Field(number(0, above=True, what="a number of seconds"), _ANY),
    "idle_timeout": Field(number(0, above=True, what="a number of seconds"), _ANY),
    "params": Field(params, _ANY),
    "after": Field(labels, _TASK),
    "after_strict": Field(flag, _TASK | _HEAD),
    "after_any": Field(flag, _TASK | _HEAD),
    "tags": Field(labels, _ANY),
    "schema": Field(schema, _ANY),
    "score": Field(score, _ANY),
    "expect": Field(expect, _ANY),
    "tasks": Field(untouched, _HEAD),
    "matrix": Field(_matrix, _RUN),
    "exclude": Field(combinations, _RUN),
    "include": Field(combinations, _RUN),
    "foreach": Field(foreach, _RUN),
    "repeat": Field(whole(1), _RUN),
    "combine": Field(combine, _RUN),
    "max_concurrent": Field(whole(1), _RUN),
    "max_depth": Field(whole(0), _RUN),
    "rpm": Field(number(0, above=True, what="a number of requests a minute"), _RUN),
    "tpm": Field(number(0, above=True, what="a number of tokens a minute"), _RUN),
    "fail_fast": Field(flag, _RUN),
    "quota": Field(_quota, _RUN),
    "max_executions": Field(whole(0), _LIMIT),
    "max_total_tokens": Field(whole(0), _LIMIT),
    "max_total_time": Field(number(0, what="a number of seconds"), _LIMIT),
    "max_total_cost": Field(number(0, what="a number of dollars"), _LIMIT),
}
ALIASES: Mapping[str, str] = {"task_prompt": "prompt", "depends_on": "after"}
_NEVER_VARIED = frozenset({"label", "after", "after_strict", "after_any"})  # what says which tasks belong together
LIMITS = tuple(name for name, field in FIELDS.items() if field.levels == _LIMIT)
_ALL_NAMES = (*FIELDS, *ALIASES)
