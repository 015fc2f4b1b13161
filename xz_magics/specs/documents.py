"""A tree of nodes as a Document: this file alone knows the shapes in which tasks may be written."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from json import JSONDecodeError
from typing import Any

from xz_magics.specs.checks import line, refuse_key_name, text
from xz_magics.specs.fields import checked, field_name, is_field
from xz_magics.specs.json_text import read_json
from xz_magics.specs.keys import holds_a_key
from xz_magics.specs.nodes import Node, Place, named, shown

MOST_TASKS = 10_000
TOOL = "parallel_subagent"

_FORM = "write tasks: [{prompt: …, model: …}, …], or give the label another name"
_UNSEEN = re.compile(  # controls, bidi marks, zero-width characters and tags; not the joiners of scripts and emoji
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_MOST_WARNINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One task as written. `fields` are checked, without prompt and label; `line` counts from 1 in the cell's body."""

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
        if root.value.keys() == {"name", "arguments"}:
            form, root = "tool call", _arguments(root.value)
        if isinstance(root.value, dict) and ("tasks" in root.value or form == "tool call"):
            head = checked(root.value, "head")
            tasks = head.pop("tasks", root)
    specs = _specs(tasks)
    return Document(head=head, specs=specs, warnings=tuple(_warnings(head, specs)), form=form)
