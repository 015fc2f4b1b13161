"""What will be done: each spec with defaults, options and templates filled in, checked and in order."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.records import Quota, Task
from xz_magics.specs import Document, Spec
from xz_magics.templates import fill

DEFAULT_MAX_TOKENS = 1024
LOCAL_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Complete: what is left to do is to run it. `quota` holds the run's own limits."""

    tasks: tuple[Task, ...]
    max_concurrent: int
    fail_fast: bool
    quota: Quota
    warnings: tuple[str, ...] = ()


def make_plan(
    document: Document,
    *,
    settings: Settings,
    options: Mapping[str, Any],
    names: Mapping[str, object],
    secrets: Collection[str] = (),
) -> Plan:
    """Settings < the document's head < options < each task's own fields. Raises SpecError.

    `names` are what templates may use; `secrets` are the values that they may not insert.
    """
    shared = dict(document.head) | {name: value for name, value in options.items() if value is not None}
    labels = _labels(document.specs)
    tasks = []
    for index, (spec, label) in enumerate(zip(document.specs, labels, strict=True)):
        task = _task(index, label, spec, shared, settings)
        tasks.append(_filled(task, spec, names, secrets))
    return Plan(
        tasks=tuple(tasks),
        max_concurrent=shared.get("max_concurrent", settings.max_concurrent),
        fail_fast=shared.get("fail_fast", settings.fail_fast),
        quota=shared.get("quota") or Quota(),
        warnings=document.warnings,
    )


def _labels(specs: tuple[Spec, ...]) -> list[str]:
    """`task-1`, … for those without a label, past the names that are taken."""
    taken = {spec.label for spec in specs}
    labels = []
    for number, spec in enumerate(specs, start=1):
        label = spec.label or f"task-{number}"
        while spec.label is None and label in taken:
            label += "'"
        labels.append(label)
    return labels


def _task(index: int, label: str, spec: Spec, shared: Mapping[str, Any], settings: Settings) -> Task:
    def chosen(name: str, otherwise: Any = None) -> Any:
        return spec.fields.get(name, shared.get(name, otherwise))

    model = chosen("model", settings.model)
    if model is None:
        raise SpecError(
            f"task {label!r} has no model, and none is configured",
            'name one, such as --model local (needs: pip install "xz-magics[local]") or --model openai:gpt-4o-mini',
            line=spec.line,
        )
    default_max_tokens = LOCAL_MAX_TOKENS if model.split(":")[0] == "local" else DEFAULT_MAX_TOKENS
    stop = chosen("stop", ())
    return Task(
        index=index,
        label=label,
        prompt=spec.prompt,
        model=model,
        max_tokens=chosen("max_tokens", settings.max_tokens or default_max_tokens),
        system=chosen("system"),
        summary_prompt=chosen("summary_prompt"),
        allowed_tools=tuple(chosen("allowed_tools", ())),
        max_turns=chosen("max_turns", settings.default_max_turns),
        temperature=chosen("temperature"),
        top_p=chosen("top_p"),
        seed=chosen("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        timeout=chosen("timeout", settings.timeout),
        idle_timeout=chosen("idle_timeout", settings.idle_timeout),
        params=chosen("params", {}),
    )


def _filled(task: Task, spec: Spec, names: Mapping[str, object], secrets: Collection[str]) -> Task:
    def filled(text: str) -> str:
        return fill(text, names, secrets=secrets) if "{{" in text else text

    try:
        complete = replace(
            task,
            prompt=filled(task.prompt),
            system=task.system and filled(task.system),
            summary_prompt=task.summary_prompt and filled(task.summary_prompt),
        )
    except SpecError as error:
        raise SpecError(f"task {task.label!r}: {error.message}", error.hint, line=spec.line) from error
    if not complete.prompt.strip():
        told = f"task {task.label!r}: the prompt is empty once its templates are filled in"
        raise SpecError(told, "give a value to what they insert", line=spec.line)
    return complete
