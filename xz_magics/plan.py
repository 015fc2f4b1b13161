"""What will be done: each spec with defaults, options and templates filled in, checked and in order."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from xz_magics.characters import whole
from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.events import TaskEnded
from xz_magics.records import AfterWhen, Insert, Outcome, Quota, Task
from xz_magics.specs import Document, Spec
from xz_magics.templates import fill_around
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import check_grants

DEFAULT_MAX_TOKENS = 1024
LOCAL_MAX_TOKENS = 512
MOST_OUTPUT_BYTES = 65_536
"""How much of one task's output goes into the prompt of another."""

_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Complete: what is left to do is to run it. `quota` holds the run's own limits; `rpm` and `tpm` are per minute."""

    tasks: tuple[Task, ...]
    max_concurrent: int
    max_depth: int
    fail_fast: bool
    quota: Quota
    rpm: float | None = None
    tpm: float | None = None
    warnings: tuple[str, ...] = ()


def make_plan(
    document: Document,
    *,
    settings: Settings,
    options: Mapping[str, Any],
    names: Mapping[str, object],
    tools: Registry,
    secrets: Collection[str] = (),
) -> Plan:
    """Settings < the document's head < options < each task's own fields. Raises SpecError.

    `names` are what templates may use, `tools` what tasks may be granted; `secrets` are the values that no template may
    insert. The tasks stay in the order written: none comes, by way of `after`, after itself.
    """
    shared = dict(document.head) | {name: value for name, value in options.items() if value is not None}
    lines = dict(zip(_labels(document.specs), (spec.line for spec in document.specs), strict=True))
    tasks = []
    for index, (spec, label) in enumerate(zip(document.specs, lines, strict=True)):
        task = _task(index, label, spec, shared, settings)
        tasks.append(_filled(task, spec, names, lines, secrets))
    _check_order(tasks, lines)
    _check_tools(tasks, lines, tools)
    max_depth = shared.get("max_depth", settings.max_depth)
    return Plan(
        tasks=tuple(tasks),
        max_concurrent=shared.get("max_concurrent", settings.max_concurrent),
        max_depth=max_depth,
        fail_fast=shared.get("fail_fast", settings.fail_fast),
        quota=shared.get("quota") or Quota(),
        rpm=shared.get("rpm"),
        tpm=shared.get("tpm"),
        warnings=(*document.warnings, *_warnings(tasks, tools, max_depth)),
    )


def with_results(task: Task, outcomes: Mapping[str, Outcome | TaskEnded]) -> Task:
    """The task with the outputs that it asks for, by label; complete, and what went in is not looked at again.

    An output goes in as it stands; only what no request can carry is replaced, and one of more than MOST_OUTPUT_BYTES
    is cut.
    """
    if not task.inserts:
        return task
    texts = {
        name: _joined(getattr(task, name), [insert for insert in task.inserts if insert.field == name], outcomes)
        for name in {insert.field for insert in task.inserts}
    }
    return replace(task, **texts, inserts=())  # type: ignore[arg-type]  # texts alone, by name


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
        after=spec.fields.get("after", ()),
        after_when=_after_when(spec.fields, shared),
    )


def _after_when(own: Mapping[str, Any], shared: Mapping[str, Any]) -> AfterWhen:
    """A task's own `after_any` wins over the head's `after_strict`, and the other way round."""
    for fields in (own, {**shared, **own}):
        if fields.get("after_strict"):
            return "done"
        if fields.get("after_any"):
            return "ended"
    return "text"


def _filled(
    task: Task, spec: Spec, names: Mapping[str, object], labels: Collection[str], secrets: Collection[str]
) -> Task:
    """Its templates filled in; the outputs of other tasks are left to `with_results`, and it comes after them."""
    texts: dict[str, Any] = {}
    inserts: list[Insert] = []
    try:
        for name in ("prompt", "system", "summary_prompt"):
            written = getattr(task, name)
            if written and "{{" in written:
                texts[name], gaps = fill_around(written, names, labels=labels, secrets=secrets)
                inserts += [Insert(field=name, at=at, label=label) for at, label in gaps]
    except SpecError as error:
        raise SpecError(f"task {task.label!r}: {error.message}", error.hint, line=spec.line) from error
    after = dict.fromkeys([*task.after, *(insert.label for insert in inserts)])
    complete = replace(task, **texts, after=tuple(after), inserts=tuple(inserts))
    if not complete.prompt.strip() and not any(insert.field == "prompt" for insert in inserts):
        told = f"task {task.label!r}: the prompt is empty once its templates are filled in"
        raise SpecError(told, "give a value to what they insert", line=spec.line)
    return complete


def _check_order(tasks: Sequence[Task], lines: Mapping[str, int | None]) -> None:
    """Raises SpecError where a task comes after one that there is not, or after itself, by whatever detour."""
    for task in tasks:
        for label in task.after:
            if label not in lines:
                told = f"task {task.label!r} comes after {label!r}, and no task is called so"
                raise SpecError(told, _other_than(label, list(lines)), line=lines[task.label])
    try:
        TopologicalSorter({task.label: task.after for task in tasks}).prepare()
    except CycleError as error:
        circle = error.args[1][:0:-1]
        places = {task.label: task.index for task in tasks}
        first = circle.index(min(circle, key=places.__getitem__))
        circle = [*circle[first:], *circle[: first + 1]]
        told = f"a task would come after itself: {_shortened(circle, ' -> ')}"
        hint = "each comes after the next one here: take one of them out of `after`, or of the text that inserts it"
        raise SpecError(told, hint, line=lines[circle[0]]) from error


def _other_than(unknown: str, labels: list[str]) -> str:
    if "," in unknown:
        return "write several labels in brackets: [one, two]"
    close = get_close_matches(unknown.casefold(), [label.casefold() for label in labels], n=1)
    if close:
        return f"did you mean {next(label for label in labels if label.casefold() == close[0])!r}?"
    return f"the tasks are called {_shortened(labels, ', ')}"


def _check_tools(tasks: Sequence[Task], lines: Mapping[str, int | None], tools: Registry) -> None:
    for allowed, task in {task.allowed_tools: task for task in reversed(tasks)}.items():
        try:
            check_grants(allowed, tools)
        except SpecError as error:
            raise SpecError(f"task {task.label!r}: {error.message}", error.hint, line=lines[task.label]) from error


def _warnings(tasks: Sequence[Task], tools: Registry, max_depth: int) -> Iterator[str]:
    if idle := [task.label for task in tasks if task.allowed_tools and task.max_turns == 1]:
        yield f"max_turns is 1, so the only call is the last one and no tool can be used: {_shortened(idle, ', ')}"

    delegating = {name for name, tool in tools.items() if tool.delegates}
    if not max_depth and any(delegating.intersection(task.allowed_tools) for task in tasks):
        yield f"max_depth is 0, so no subagent can start another: {', '.join(sorted(delegating))} are not offered"


def _shortened(labels: Sequence[str], between: str) -> str:
    """The first and the last few of them."""
    if len(labels) <= _MOST_SHOWN:
        return between.join(labels)
    half = _MOST_SHOWN // 2
    return between.join([*labels[:half], f"… ({len(labels) - 2 * half:,} more)", *labels[-half:]])


def _joined(text: str, inserts: Sequence[Insert], outcomes: Mapping[str, Outcome | TaskEnded]) -> str:
    pieces: list[str] = []
    end = 0
    for insert in inserts:
        pieces += [text[end : insert.at], _told(outcomes[insert.label])]
        end = insert.at
    return "".join([*pieces, text[end:]])


def _told(outcome: Outcome | TaskEnded) -> str:
    """What a model is shown of an outcome: a text that is not whole says so."""
    if not outcome.output:
        return f"[no text: {outcome.status}]"
    raw = whole(outcome.output).encode()
    kept = raw[:MOST_OUTPUT_BYTES].decode("utf-8", "ignore")
    lines = [kept]
    if len(raw) > MOST_OUTPUT_BYTES:
        lines.append(f"[cut: {len(raw) - len(kept.encode()):,} more bytes]")
    if outcome.status != "done":
        lines.append(f"[{outcome.status}: {outcome.error_type}]")
    return "\n".join(lines)
