"""A tree of nodes as a Document: this file alone knows the shapes in which tasks may be written."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from json import JSONDecodeError
from typing import Any

from xz_magics.keys import holds_a_key, shown
from xz_magics.specs.checks import line, refuse_key_name, text
from xz_magics.specs.fields import checked, is_field, is_only_of_a_task
from xz_magics.specs.json_text import read_json
from xz_magics.specs.nodes import Node, Place, named

MOST_TASKS = 10_000
TOOL = "parallel_subagent"
DESIGN = frozenset({"matrix", "foreach", "repeat"})
PROMPT = frozenset({"prompt", "task_prompt"})
TEXTS = ("system", "summary_prompt")

_OTHER_LABEL = "give each task a label of its own; case does not tell them apart"
_FORM = "write tasks: [{prompt: …, model: …}, …], or give the label another name"
_UNSEEN = re.compile(  # controls, bidi marks, zero-width characters and tags; not the joiners of scripts and emoji
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One task as written. `fields` are checked, without prompt and label; `line` counts from 1 in the cell's body.

    `prompt` is empty where the matrix holds the prompts.
    """

    prompt: str
    label: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that a cell holds. `form` is "json", "tool call", "yaml", "text" or "values"; a warning is one line."""

    head: Mapping[str, Any]
    specs: tuple[Spec, ...]
    warnings: tuple[str, ...]
    form: str


def document(root: Node, form: str) -> Document:
    """Raises SpecError unless every field of the head and of all tasks is right."""
    head: dict[str, Any] = {}
    tasks = root
    if isinstance(root.value, dict):
        entries = root.value
        if entries.keys() == {"name", "arguments"}:
            form, entries = "tool call", _arguments(entries["name"], entries["arguments"])
        if "tasks" in entries or form == "tool call":
            head = checked(entries, "head")
            tasks = head.pop("tasks", None) or Node(place=root.place, value=[])
        elif DESIGN & entries.keys() and (_own(entries) or _varies_prompt(entries)):
            head = checked({name: node for name, node in entries.items() if name not in _own(entries)}, "head")
            tasks = Node(place=root.place, value=[Node(place=root.place, value=_own(entries))])
    specs = tuple(_specs(tasks, alone=tasks is root, prompted="prompt" in head.get("matrix", ())))
    split = _split_prompt(specs) if tasks is root and form == "yaml" else ()
    return Document(head=head, specs=specs, warnings=(*split, *_warnings(head, specs)), form=form)


def _split_prompt(specs: Sequence[Spec]) -> Iterator[str]:
    """One line of prose with a colon in it has the form `label: prompt`."""
    if len(specs) == 1 and specs[0].label is not None and " " in specs[0].label:
        yield f"{shown(specs[0].label)} was taken for the label; if it belongs to the prompt, quote the whole line"


def _arguments(name: Node, arguments: Node) -> dict[str, Node]:
    """The arguments of a model's tool call, which wires also carry as a JSON text."""
    if name.value != TOOL:
        raise name.error(f"a call of {name} cannot be run", f"the only tool call taken here is {TOOL}")
    if arguments.text is not None:
        try:
            arguments = read_json(arguments.text, lambda _: arguments.place)
        except JSONDecodeError as error:
            message = f"the arguments are no JSON: {error.msg}, at character {error.pos + 1}"
            raise arguments.error(message, "mend the text, or write the arguments as a mapping") from error
    if not isinstance(arguments.value, dict):
        raise arguments.error(f"the arguments must be a mapping, not {arguments}", "write {tasks: [{prompt: …}]}")
    return arguments.value


def _own(entries: Mapping[str, Node]) -> dict[str, Node]:
    """What stands beside `matrix:`, `foreach:` or `repeat:` and can be a task's alone: the one task is made of it."""
    return {name: node for name, node in entries.items() if is_only_of_a_task(name)}


def _varies_prompt(entries: Mapping[str, Node]) -> bool:
    variables = entries["matrix"].value if "matrix" in entries else None
    return isinstance(variables, dict) and not PROMPT.isdisjoint(variables)


def _specs(tasks: Node, *, alone: bool, prompted: bool) -> Iterator[Spec]:
    """`alone`: the tasks are all that is written; then one text is one prompt. `prompted`: the matrix has prompts."""
    if isinstance(tasks.value, dict):
        items: list[tuple[str | None, Node]] = [*_labelled(tasks.value)]
    elif isinstance(tasks.value, list):
        items = [(None, item) for item in tasks.value]
    elif alone:
        items = [(None, tasks)]
    else:
        raise tasks.error(f"`tasks` must be a list or a mapping, not {tasks}", "write tasks: [{prompt: …}, …]")
    if not items:
        raise tasks.error("there are no tasks", "write a prompt, or lines such as `label: prompt`")
    if len(items) > MOST_TASKS:
        raise tasks.error(f"{len(items):,} tasks are too many", f"at most {MOST_TASKS:,} in one run")
    firsts: dict[str, tuple[str, Place]] = {}
    for label, node in items:
        spec, place = _spec(label, node, prompted=prompted)
        if spec.label is not None:
            _refuse_same(spec.label, place, firsts)
        yield spec


def _labelled(entries: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
    for name, node in entries.items():
        refuse_key_name(name, node.start)
        single_prompt = len(entries) == 1 and name.casefold() in PROMPT
        if is_field(name) and not single_prompt:
            _refuse_misspelt(entries)
            raise node.start.error(f"{named(name)} names a field, so no label here may be called so", _FORM)
        yield line(80)(Node(place=node.start, value=name, text=name), "the label"), node


def _refuse_misspelt(entries: Mapping[str, Node]) -> None:
    """Beside a prompt there may stand what makes many tasks of one."""
    if PROMPT.isdisjoint(entries):
        return
    for name, node in entries.items():
        close = () if is_field(name) else get_close_matches(name.strip().casefold(), sorted(DESIGN), n=1)
        if close:
            raise node.start.error(f"unknown field {named(name)}", f"did you mean {named(close[0])}?")


def _spec(label: str | None, node: Node, *, prompted: bool) -> tuple[Spec, Place]:
    """The spec, and where its label stands."""
    if not isinstance(node.value, dict):
        return Spec(prompt=text(node, "the prompt"), label=label, line=node.start.line), node.start
    fields = checked(node.value, "task")
    if "prompt" not in fields and not prompted:
        raise node.start.error("this task has no prompt", "add `prompt: …`")
    prompt, own = fields.pop("prompt", ""), fields.pop("label", None)
    place = node.start if own is None else node.value["label"].place
    if label is not None and own is not None:
        raise place.error(f"this task is called {shown(label)} already", "keep one of its two labels")
    return Spec(prompt=prompt, label=label or own, fields=fields, line=node.start.line), place


def _refuse_same(label: str, place: Place, firsts: dict[str, tuple[str, Place]]) -> None:
    """Labels that differ only in case or in the way a character is composed would look the same in the table."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    if folded in firsts:
        first, there = firsts[folded]
        where = f" on line {there.line}" if there.line else ""
        raise place.error(f"two tasks are called {shown(label)}: the first{where}, as {shown(first)}", _OTHER_LABEL)
    firsts[folded] = (label, place)


def _warnings(head: Mapping[str, Any], specs: Sequence[Spec]) -> Iterator[str]:
    remarks = list(_remarks("the head", [(name, head.get(name)) for name in TEXTS]))
    variables = head.get("matrix", {}).items()
    remarks += _remarks("the matrix", [(variable, arm.value) for variable, arms in variables for arm in arms])
    for number, spec in enumerate(specs, start=1):
        where = f"task {shown(spec.label)}" if spec.label else f"task {number}"
        remarks += _remarks(where, [("prompt", spec.prompt), *((name, spec.fields.get(name)) for name in TEXTS)])
    yield from remarks[:_MOST_SHOWN]
    if len(remarks) > _MOST_SHOWN:
        yield f"and {len(remarks) - _MOST_SHOWN} more texts that hold invisible characters or keys"


def _remarks(where: str, texts: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, written in texts:
        if not isinstance(written, str):
            continue
        if unseen := _UNSEEN.search(written):
            yield f"{where}: {named(name)} holds U+{ord(unseen[0]):04X}, which nobody sees; it is sent as it stands"
        if holds_a_key(written):
            yield f"{where}: {named(name)} holds what looks like a key; it is sent, and stays in the notebook"
