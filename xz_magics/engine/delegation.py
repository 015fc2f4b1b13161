"""What a model delegates: from the arguments of its call to tasks, and from their endings to the text it gets back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xz_magics import specs
from xz_magics.agent import clip
from xz_magics.engine.group import Group
from xz_magics.errors import SpecError
from xz_magics.events import TaskEnded
from xz_magics.records import Quota, Task
from xz_magics.specs import Spec
from xz_magics.tools import ToolError
from xz_magics.tools.delegating import SUBAGENT
from xz_magics.tools.rights import Rights

MOST_CHILDREN = 100
MOST_OUTPUT_BYTES = 48 * 1024
"""Of all outputs in one result together."""

MOST_ERROR_BYTES = 200

OF_THE_SAME_MODEL = ("temperature", "top_p", "seed", "stop", "params")
OWN = ("system", "summary_prompt", "model", "allowed_tools", "max_turns", "max_tokens", "timeout", "idle_timeout")
HEAD = ("tasks", "max_concurrent", "fail_fast", "quota")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one call asks for."""

    tasks: tuple[Task, ...]
    max_concurrent: int | None
    fail_fast: bool
    quota: Quota | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegated:
    """Subagents that a model asked for. `alone`: by the tool for a single one."""

    group: Group
    alone: bool

    async def ended(self) -> str:
        await self.group.work()
        endings = self.group.in_order()
        share = MOST_OUTPUT_BYTES // max(1, len(endings))
        results = [_shown(ended, share) for ended in endings]
        if self.alone:
            return json.dumps(results[0], ensure_ascii=False)
        done = sum(ended.status == "done" for ended in endings)
        told = {"results": results, "successful": done, "failed": len(endings) - done}
        return json.dumps(told, ensure_ascii=False)


def read_order(
    parent: Task,
    name: str,
    arguments: Mapping[str, Any],
    *,
    rights: Rights,
    taken: Mapping[str, object],
    models: Mapping[str, object],
) -> Order:
    """The tasks that a call of one of the delegating tools asks for; labels in `taken` are not given again.

    `rights` are the parent's: it cannot give what it has not. A child has its parent's model and bounds where it names
    none of its own. Nothing is filled into its prompt: what a model writes is no template. Raises ToolError, for the
    model to read.
    """
    try:
        document = specs.read([dict(arguments)] if name == SUBAGENT.name else dict(arguments))
        asked = [
            Rights.of(spec.fields.get("allowed_tools", document.head.get("allowed_tools", ())))
            for spec in document.specs
        ]
    except SpecError as error:
        raise ToolError(error.message, error.hint) from error
    if missing := sorted({name for wanted in asked for name in wanted.words if name not in rights}):
        have = ", ".join(rights.words) or "none"
        raise ToolError(f"you cannot grant {', '.join(missing)}: you have no right to it yourself", f"you have: {have}")
    if len(document.specs) > MOST_CHILDREN:
        raise ToolError(f"{len(document.specs)} tasks are too many for one call", f"delegate at most {MOST_CHILDREN}")
    labels: dict[str, object] = dict(taken)
    tasks = []
    for index, spec in enumerate(document.specs):
        label = _label(parent, spec, index, labels)
        labels[label] = None
        tasks.append(_child(parent, spec, document.head, index=index, label=label, models=models))
    return Order(
        tasks=tuple(tasks),
        max_concurrent=document.head.get("max_concurrent"),
        fail_fast=document.head.get("fail_fast", False),
        quota=document.head.get("quota"),
    )


def _child(
    parent: Task, spec: Spec, head: Mapping[str, Any], *, index: int, label: str, models: Mapping[str, object]
) -> Task:
    given = dict(head) | dict(spec.fields)
    model = given.get("model", parent.model)
    if model not in models:
        raise ToolError(f"no model {model!r} is open in this run", f"leave it out, or take one of {', '.join(models)}")
    for name in given.keys() - {*OWN, *OF_THE_SAME_MODEL, *HEAD}:
        raise ToolError(f"`{name}` may not stand in a delegated task", "leave it out")
    inherited = OF_THE_SAME_MODEL if model == parent.model else ()
    fresh = Task(index=index, label=label, prompt=spec.prompt, model=model, max_tokens=parent.max_tokens)
    bounds = {name: getattr(parent, name) for name in ("max_turns", "idle_timeout", *inherited)}
    own = {name: given[name] for name in (*OWN, *OF_THE_SAME_MODEL) if name in given}
    if isinstance(own.get("stop"), str):
        own["stop"] = (own["stop"],)
    return replace(fresh, **bounds | own)


def _label(parent: Task, spec: Spec, index: int, taken: Mapping[str, object]) -> str:
    """Under its parent's name; a second one of the same label gets a number."""
    wanted = f"{parent.label}/{spec.label or index + 1}"
    label, number = wanted, 1
    while label in taken:
        number += 1
        label = f"{wanted} ({number})"
    return label


def _shown(ended: TaskEnded, most_bytes: int) -> dict[str, Any]:
    error = _fitting(ended.error or "", MOST_ERROR_BYTES)
    output = _fitting(ended.output or "", most_bytes - len(error.encode()))
    shown = {"label": ended.label, "status": ended.status, "output": output}
    return shown if ended.status == "done" else shown | {"error_type": ended.error_type, "error": error}


def _fitting(text: str, most_bytes: int) -> str:
    """As much of it as has so many bytes in JSON, where a line break has two and a control character six."""
    while (size := len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))) > most_bytes + 2:
        text = clip(text, len(text.encode("utf-8", "surrogatepass")) * most_bytes // size)
    return text
