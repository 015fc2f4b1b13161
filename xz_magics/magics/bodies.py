"""What may stand at a cursor in the body of a `%%subagents` cell, which is seldom whole while somebody writes it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, get_args

from xz_magics.records.tasks import ScorerKind
from xz_magics.specs.fields import ALIASES, FIELDS
from xz_magics.specs.scoring import WORDS
from xz_magics.templates import RESULTS

FLAGS = ("true", "false")
LISTS = ("allowed_tools", "after", "depends_on", "model", "score")
COMBINING = ("merge", "filter", "summarise")

TASK = tuple(name for name, field in FIELDS.items() if "task" in field.levels)
HEAD = tuple(name for name, field in FIELDS.items() if "head" in field.levels)
VARYING = tuple(name for name, field in FIELDS.items() if {"task", "option"} <= field.levels)
WITHIN: Mapping[str, tuple[str, ...]] = {
    "quota": tuple(name for name, field in FIELDS.items() if "quota" in field.levels),
    "matrix": VARYING,
    "exclude": VARYING,
    "include": VARYING,
    "score": tuple(kind for kind in get_args(ScorerKind) if kind != "function"),
    "judge": ("model", "rubric", "scale"),
}
"""The keys that may stand within that of another."""

_TEMPLATE = re.compile(rf"\{{\{{[ \t]*(?:{RESULTS}\.(?P<label>[^{{}}]*)|(?P<name>\w*))$")
_SEPARATOR = re.compile(r"---(?:[ \t]+(?P<label>.*\S)|[ \t]*$)")
_VALUE = re.compile(r"\s*(?:-[ \t]+)?([\"']?)(?P<key>\w+)\1[ \t]*:(?:[ \t]+|(?=[\"'\[]))(?P<value>.*)")
_ITEM = re.compile(r"(?P<indent>[ \t]*)-[ \t]+(?P<value>.*)")
_KEY = re.compile(r"(?P<indent>\s*)(?P<dash>-[ \t]+)?(?P<quote>[\"']?)(?P<key>\w*)")
_LINE = re.compile(
    r"[ \t]*(?P<dash>-[ \t]+)?[\"']?(?P<key>[^\"':#{}\[\]]*[^\s\"':#{}\[\]])[\"']?[ \t]*:(?:[ \t]+(?P<value>.*))?"
)
_LABEL = re.compile(r"(?:^|[{,\s-])[\"']?label[\"']?\s*:\s*(?:\"([^\"]*)\"|'([^']*)'|([^,}]*[^,}\s]))")


class Known(Protocol):
    """What this kernel knows by name."""

    def models(self) -> Iterable[str]: ...
    def tools(self) -> Iterable[str]: ...
    def variables(self) -> Iterable[str]: ...
    def tables(self) -> Iterable[str]: ...
    def schemas(self) -> Iterable[str]: ...
    def functions(self) -> Iterable[str]: ...
    def labels(self, *, running: bool) -> Iterable[str]: ...
    def runs(self) -> Iterable[str]: ...


Found = tuple[str, Iterable[str]]
"""What stands before the cursor and gives way to one of the others."""


def in_body(above: Sequence[str], before: str, below: Sequence[str], known: Known) -> Found | None:
    """`before` is the cursor's own line up to it."""
    body = [*above, before, *below]
    if found := _TEMPLATE.search(before):
        if found["label"] is not None:
            return found["label"], labels_in(body)
        return found["name"], [*known.variables(), RESULTS]
    if any(map(_SEPARATOR.match, body)):
        return None
    return _in_entry(above, before, body, known)


def _in_entry(above: Sequence[str], before: str, body: Sequence[str], known: Known) -> Found | None:
    start = _entry_start(before)
    entry = before[start:]
    if found := _VALUE.fullmatch(entry):
        return _value(found["key"], found["value"], body, known)
    item = _ITEM.fullmatch(entry)
    key = _list_key(above, len(item["indent"])) if item else None
    if item and key in LISTS:
        return _value(key, item["value"], body, known)
    typed = _KEY.fullmatch(entry)
    if typed is None:
        return None
    if start:
        keys = _keys_in_braces(above, before[:start])
    else:
        keys = _keys_of_item(key) if item else _keys(above, typed["indent"])
    return typed["key"], [f"{name}{typed['quote']}: " for name in keys]


def last_of_list(written: str) -> str:
    """What stands after the last comma, but for those in brackets."""
    return re.split(r",(?![^(]*\))", written)[-1].lstrip(" \t\"'")


def labels_in(lines: Iterable[str]) -> list[str]:
    """The labels that the tasks of a body are given, in whatever form, so far as it is written."""
    labels: list[str] = []
    within: int | None = 0
    """How far the keys are indented that are labels; None: as far as the next line is."""
    for line in lines:
        if found := _SEPARATOR.match(line):
            labels.append(found["label"] or "")
        labels += ["".join(groups) for groups in _LABEL.findall(line)]
        found = _LINE.match(line)
        if found is None or found["dash"]:
            continue
        indent = _indent(line)
        within = indent if within is None else within
        if found["key"] == "tasks" and indent == 0:
            labels, within = [], None
        elif indent == within and found["key"] not in FIELDS:
            labels.append(found["key"])
    return list(dict.fromkeys(filter(None, labels)))


def _entry_start(before: str) -> int:
    """Where the entry begins that the cursor is in: at the line's start, or after an open brace or a comma in it."""
    start, quote = 0, ""
    open_brackets: list[tuple[str, int]] = []
    for at, char in enumerate(before):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and (at == 0 or before[at - 1] in " \t:,{[("):
            quote = char
        elif char in "{[(":
            open_brackets.append((char, start))
            start = at + 1 if char == "{" else start
        elif char in "}])" and open_brackets:
            _, start = open_brackets.pop()
        elif char == "," and open_brackets and open_brackets[-1][0] == "{":
            start = at + 1
    return start


def _value(key: str | None, written: str, body: Sequence[str], known: Known) -> Found | None:
    listed = last_of_list(written.lstrip("[ \t"))
    match ALIASES.get(key or "", key):
        case "model":
            found: Found | None = (listed, known.models())
        case "allowed_tools":
            found = (listed, known.tools())
        case "after":
            found = (listed, labels_in(body))
        case "foreach":
            found = (written, known.tables())
        case "schema":
            found = (written, known.schemas())
        case "score":
            found = (listed, [*WORDS, *known.functions()])
        case "combine":
            found = (written, COMBINING)
        case "after_strict" | "after_any" | "fail_fast":
            found = (written, FLAGS)
        case _:
            found = None
    return found


def _list_key(above: Sequence[str], indent: int) -> str | None:
    """The key that a list belongs to whose items are indented so far."""
    for line in reversed(above):
        if not line.strip() or (_indent(line) == indent and line.lstrip().startswith("- ")):
            continue
        found = _LINE.fullmatch(line)
        return found["key"] if found and not found["value"] and _indent(line) <= indent else None
    return None


def _keys_in_braces(above: Sequence[str], opened: str) -> Iterable[str]:
    if found := re.search(r"(\w+)[\"']?[ \t]*:[ \t]*\{[^{}]*$", opened):
        return _keys_of(found[1])
    if found := re.fullmatch(r"([ \t]*)-[ \t]+\{[^{}]*", opened):
        return _keys_of_item(_list_key(above, len(found[1])))
    alone = opened.count("{") - opened.count("}") == 1 and opened.lstrip().startswith("{")
    return HEAD if alone and not any(map(str.strip, above)) else TASK


def _keys_of_item(parent: str | None) -> Iterable[str]:
    return TASK if parent in {None, "tasks"} else _keys_of(parent)


def _keys(above: Sequence[str], indent: str) -> Iterable[str]:
    """Which may stand on a line of its own; none: it is a label, or a part of a text."""
    if not indent:
        return HEAD
    parents = [line for line in above if line.strip() and _indent(line) < len(indent)]
    return _keys_under(parents[-1]) if parents else ()


def _keys_under(parent: str) -> Iterable[str]:
    if parent.strip() == "{":
        return TASK if _indent(parent) else HEAD
    found = _LINE.fullmatch(parent)
    if found is None:
        return ()
    if found["dash"]:
        return TASK
    return () if found["value"] else _keys_of(found["key"])


def _keys_of(parent: str | None) -> Iterable[str]:
    """What is no field is the label of a task."""
    return WITHIN.get(parent or "", () if parent in FIELDS else TASK)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
