"""What will be done: each trial of each spec with defaults, options and templates filled in, checked and in order."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.fanout import Fanout, fan_out
from xz_magics.keys import shown
from xz_magics.plan.drafts import Drafts
from xz_magics.plan.filling import TEXTS, Filling, names_used
from xz_magics.plan.outputs import MOST_OUTPUT_BYTES, with_results
from xz_magics.plan.units import with_units
from xz_magics.records import Quota, Task, Trial
from xz_magics.scores import check as check_scores, combining
from xz_magics.scores.combining import Combine
from xz_magics.specs import Document, Spec
from xz_magics.specs.fields import FIELDS, is_varied
from xz_magics.templates import lookalikes
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import check_grants

__all__ = ["MOST_OUTPUT_BYTES", "Plan", "make_plan", "with_results"]

_MOST_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Complete: what is left to do is to run it. `quota` holds the run's own limits; `rpm` and `tpm` are per minute.

    `dtypes` are those of the foreach table's columns, `combine` is what becomes of all outputs together.
    """

    tasks: tuple[Task, ...]
    max_concurrent: int
    max_depth: int
    fail_fast: bool
    quota: Quota
    rpm: float | None = None
    tpm: float | None = None
    warnings: tuple[str, ...] = ()
    dtypes: Mapping[str, str] = field(default_factory=dict)
    combine: Combine | None = None


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
    insert. Rows come in their order, in each the tasks as written, of each its arms and repeats. No task comes, by way
    of `after`, after itself.
    """
    options = {name: value for name, value in options.items() if value is not None}
    shared = {**document.head, **options}
    fanout = fan_out(document.head, options, names, written=len(document.specs))
    written = dict(zip(_labels(document.specs), document.specs, strict=True))
    making = Drafts(shared, settings, names)
    drafts = {
        (label, at): making.draft(label, spec, combination)
        for label, spec in written.items()
        for at, combination in enumerate(fanout.combinations)
    }
    tasks = tuple(_trials(written, fanout, drafts, Filling(names=names, labels=written, secrets=secrets)))
    each_line = [spec.line for _ in fanout.rows for spec in document.specs for _ in range(fanout.together)]
    lines = dict(zip((task.label for task in tasks), each_line, strict=True))
    _check_order(tasks, lines, [*written])
    _check_tools(tasks, lines, tools)
    check_scores(tasks)
    tasks = with_units(tasks)
    max_depth, combine = shared.get("max_depth", settings.max_depth), shared.get("combine")
    return Plan(
        tasks=tasks,
        max_concurrent=shared.get("max_concurrent", settings.max_concurrent),
        max_depth=max_depth,
        fail_fast=shared.get("fail_fast", settings.fail_fast),
        quota=shared.get("quota") or Quota(),
        rpm=shared.get("rpm"),
        tpm=shared.get("tpm"),
        warnings=(
            *document.warnings,
            *_warnings(tasks, tools, max_depth),
            *_idle_variables(fanout, drafts.values()),
            *_lookalikes(fanout, drafts.values(), written),
        ),
        dtypes=fanout.dtypes,
        combine=None
        if combine is None
        else combining.resolved(combine, names, model=shared.get("model", tasks[0].model), tasks=tasks),
    )


def _trials(
    written: Mapping[str, Spec], fanout: Fanout, drafts: Mapping[tuple[str, int], Task], filling: Filling
) -> Iterator[Task]:
    labels, inputs = tuple(fanout.labels([*written])), fanout.inputs([*written])
    places = {label: place * fanout.together for place, label in enumerate(written)}
    used = {key: names_used(draft) for key, draft in drafts.items()}
    number = 0
    for row in fanout.rows:
        for label, spec in written.items():
            name = next(inputs)
            for at, combination in enumerate(fanout.combinations):
                draft = drafts[label, at]
                try:
                    filled = filling.fill(draft, used[label, at], row, combination)
                except SpecError as error:
                    told = f"task {labels[number]!r}: {error.message}"
                    raise SpecError(told, error.hint, line=spec.line) from error
                for repeat in fanout.repeats:
                    first = number - places[label]  # of those with the same row, arms and repeat
                    beside = {other: labels[first + places[other]] for other in filled["after"] if other in places}
                    trial = Trial(input=name, arms=combination.names, row=row.index, columns=row.columns, repeat=repeat)
                    own = {
                        "index": number,
                        "label": labels[number],
                        "seed": _seed(draft.seed, repeat),
                        "after": tuple(beside.get(other, other) for other in filled["after"]),
                        "inserts": tuple(replace(insert, label=beside[insert.label]) for insert in filled["inserts"]),
                        "trial": trial if fanout.varied else None,
                    }
                    yield replace(draft, **filled | own)
                    number += 1


def _seed(seed: int | None, repeat: int | None) -> int | None:
    """Another one in each repeat, or all would answer alike."""
    return seed if seed is None or repeat is None else seed + repeat - 1


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


def _check_order(tasks: Sequence[Task], lines: Mapping[str, int | None], written: Sequence[str]) -> None:
    """Raises SpecError where a task comes after one that there is not, or after itself, by whatever detour."""
    for task in tasks:
        for label in task.after:
            if label not in lines:
                told = f"task {task.label!r} comes after {label!r}, and no task is called so"
                raise SpecError(told, _other_than(label, written), line=lines[task.label])
    try:
        TopologicalSorter({task.label: task.after for task in tasks if task.after}).prepare()
    except CycleError as error:
        circle = error.args[1][:0:-1]
        places = {task.label: task.index for task in tasks}
        first = circle.index(min(circle, key=places.__getitem__))
        circle = [*circle[first:], *circle[: first + 1]]
        told = f"a task would come after itself: {_shortened(circle, ' -> ')}"
        hint = "each comes after the next one here: take one of them out of `after`, or of the text that inserts it"
        raise SpecError(told, hint, line=lines[circle[0]]) from error


def _other_than(unknown: str, labels: Sequence[str]) -> str:
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


def _idle_variables(fanout: Fanout, drafts: Iterable[Task]) -> Iterator[str]:
    variables = [name for name in fanout.combinations[0].arms if not is_varied(name)]
    used = set().union(*(names_used(draft) for draft in drafts)) if variables else set()
    for name in variables:
        if name not in used:
            close = get_close_matches(name, [field for field in FIELDS if is_varied(field)], n=1)
            mend = f"; did you mean `{close[0]}`?" if close else ""
            yield f"`{name}` of the matrix is in no template, so that its arms all ask the same{mend}"


def _lookalikes(fanout: Fanout, drafts: Iterable[Task], labels: Collection[str]) -> Iterator[str]:
    texts = dict.fromkeys(getattr(draft, name) or "" for draft in drafts for name in TEXTS)
    texts |= dict.fromkeys(str(arm.value) for each in fanout.combinations for arm in each.arms.values())
    found = list(dict.fromkeys(one for text in texts for one in lookalikes(text, labels)))
    if found:
        columns = [one for one in found if one[2:-2].strip() in fanout.rows[0].columns]
        name = columns[0][2:-2].strip() if columns else "any name"
        yield (
            f"sent as it stands, for it is no template: {_shortened([shown(one) for one in found], ', ')}; "
            f"a template is a name and its parts, and a column of any name is {{{{row[{json.dumps(name)}]}}}}"
        )


def _shortened(labels: Sequence[str], between: str) -> str:
    """The first and the last few of them."""
    if len(labels) <= _MOST_SHOWN:
        return between.join(labels)
    half = _MOST_SHOWN // 2
    return between.join([*labels[:half], f"… ({len(labels) - 2 * half:,} more)", *labels[-half:]])
