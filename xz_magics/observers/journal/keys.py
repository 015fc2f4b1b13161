"""When two tasks ask the same: their key, and which journalled answer serves which task."""

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from xz_magics.providers import ProviderIdentity
from xz_magics.records import Task, ToolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRef:
    """Where an answer stands in the journal, and what it cost. `ended_at` in seconds since the epoch.

    Of one that was itself reused, the origin tells which task of which run was asked. `under`: the labels of those
    that led to a delegated one, the task as written first.
    """

    key: str
    run: str
    label: str
    number: int
    ended_at: float
    tokens: int | None = None
    cost_usd: float | None = None
    origin_run: str | None = None
    origin_label: str | None = None
    under: tuple[str, ...] = ()

    @property
    def origin(self) -> "Origin":
        return self.origin_run or self.run, self.origin_label or self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A task that was sent and whose end nobody has seen: the most that it may have used and cost; None: no price.

    `sent_at` in seconds since the epoch.
    """

    key: str
    run: str
    label: str
    sent_at: float
    most_tokens: int
    most_cost_usd: float | None

    @property
    def origin(self) -> "Origin":
        return self.run, self.label


Origin = tuple[str, str]
"""The run and the label under which a task was asked."""

Known = TypeVar("Known", AnswerRef, Sent)


def task_key(
    task: Task, provider: ProviderIdentity, tools: Sequence[ToolSpec] = (), workspace: Path | None = None
) -> str:
    """The sha256 of all that shapes the requests of a task whose texts are complete: label and place are no part.

    What tools find depends on the folder that they work in.
    """
    asked: Mapping[str, Any] = {
        "provider": list(provider),
        "system": task.system or None,
        "prompt": task.prompt,
        "summary_prompt": task.summary_prompt,
        "temperature": _number(task.temperature),
        "top_p": _number(task.top_p),
        "seed": task.seed,
        "stop": list(task.stop),
        "params": task.params,
        "max_tokens": task.max_tokens,
        "max_turns": task.max_turns,
        "tools": [[tool.name, tool.description, tool.parameters] for tool in sorted(tools, key=lambda tool: tool.name)],
        "workspace": str(workspace.resolve()) if tools and workspace is not None else None,
        "schema": None if task.schema is None else [task.schema.name, task.schema.json],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def matched(wanted: Sequence[tuple[str, str]], known: Iterable[Known]) -> dict[str, Known]:
    """By the labels of those wanted, as (key, label): each serves once, and first the task of its own label.

    What comes first of those known is preferred, and of one origin nothing else is taken.
    """
    by_key: dict[str, deque[Known]] = defaultdict(deque)
    by_label: dict[tuple[str, str], Known] = {}
    origins: set[Origin] = set()
    for one in known:
        if one.origin not in origins:
            origins.add(one.origin)
            by_key[one.key].append(one)
            by_label.setdefault((one.key, one.label), one)
    served = {label: by_label[key, label] for key, label in wanted if (key, label) in by_label}
    taken = {one.origin for one in served.values()}
    for key, label in wanted:
        free = by_key[key]
        while free and free[0].origin in taken:
            free.popleft()
        if label not in served and free:
            served[label] = free.popleft()
    return served


def sum_if_all_known(costs_usd: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs_usd if cost is not None]
    return sum(known) if len(known) == len(costs_usd) else None


def _number(value: float | None) -> float | None:
    """0 and 0.0 ask the same."""
    return None if value is None else float(value)
