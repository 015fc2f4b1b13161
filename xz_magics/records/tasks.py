"""One task, complete: what is asked, of whom, within which bounds, and where in an experiment it stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AfterWhen = Literal["text", "done", "ended"]
"""What a task asks of those that it comes after: some text (done or incomplete), `done`, or any end at all."""

Purpose = Literal["task", "judge", "combine"]
"""What a subagent is for: a task, the scoring of one, or putting the outputs of many together."""

ScorerKind = Literal["contains", "equals", "regex", "json_path", "function", "judge"]

UNKEPT: Mapping[str, Any] = {"kept": False}
"""Of a field that holds a part of this process, a function or a class: no event takes it along as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSchema:
    """What an answer must be: `json` is its JSON schema, `model` a pydantic class that checks it further, if any."""

    name: str
    json: Mapping[str, Any]
    model: type | None = field(default=None, compare=False, metadata=UNKEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A model that scores answers. `scale` maps each word that it may answer to a number."""

    model: str
    rubric: str
    scale: Mapping[str, float]
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """One way to score an outcome, and the name of its column.

    `given` is what the answer is compared with; None: what the task expects. `path` is json_path's.
    """

    name: str
    kind: ScorerKind
    given: Any = None
    path: str = ""
    ignore_case: bool = False
    judge: Judge | None = None
    function: Callable[..., Any] | None = field(default=None, compare=False, metadata=UNKEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Where in a fan-out a task stands.

    `input` names what arms and repeats have in common: the task as written, with its row. `arms` are the matrix's
    variables, each with its value, or the name that the value was given. `row` is the index of the foreach row,
    `columns` its values: texts, numbers, and lists and dicts of them. `repeat` counts from 1. `unit` is what counts as
    one observation: tasks that share it are not independent.
    """

    input: str
    arms: Mapping[str, Any] = field(default_factory=dict)
    row: str | int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    repeat: int | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Insert:
    """Where the output of an earlier task goes into a text of a later one: before the character number `at`."""

    field: Literal["prompt", "system", "summary_prompt"]
    at: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One complete unit of work: only the outputs of earlier tasks may be left to be filled in. Times in seconds.

    `expect` is what scores compare its answer with. `of`: the label of the task that a judge scores.
    """

    index: int
    label: str
    prompt: str
    model: str
    max_tokens: int
    system: str | None = None
    summary_prompt: str | None = None
    allowed_tools: tuple[str, ...] = ()
    max_turns: int = 10
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    timeout: float | None = None
    idle_timeout: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    after_when: AfterWhen = "text"
    inserts: tuple[Insert, ...] = ()
    trial: Trial | None = None
    tags: tuple[str, ...] = ()
    schema: AnswerSchema | None = None
    scores: tuple[Scorer, ...] = ()
    expect: Any = None
    purpose: Purpose = "task"
    of: str | None = None
