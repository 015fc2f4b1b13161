"""Judges: the task that asks a model to score an answer, and the number that its verdict comes to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from xz_magics.events import TaskEnded
from xz_magics.records import AnswerSchema, Judge, Outcome, Task
from xz_magics.schemas.answers import answer_schema
from xz_magics.scores.fencing import TOLD, cut, fenced, mark, room_bytes

SYSTEM = (
    "You judge an answer that somebody else gave, by a rubric. Be strict and fair, and judge nothing but the answer."
)


class Judged(NamedTuple):
    """An outcome, who judges it, and the task that asks for the verdict. `part`: of what is too long, its beginning."""

    outcome: Outcome
    name: str
    judge: Judge
    task: Task
    part: bool


def judged(pairs: Iterable[tuple[Outcome, Task]]) -> Iterator[Judged]:
    """For each answer that is done and each judge of its task; of what has no answer, nothing can be judged."""
    for outcome, task in pairs:
        for scorer in task.scores:
            if scorer.judge is not None and outcome.status == "done" and outcome.output:
                yield _judged(outcome, task, scorer.name, scorer.judge)


def made_ready(pairs: Iterable[tuple[Outcome, Task]]) -> list[Judged]:
    """All of them, with what checks verdicts loaded: both can take seconds, which an event loop has not."""
    answer_schema(_schema(["no", "yes"]).json)
    return list(judged(pairs))


def verdict(judge: Judge, ended: TaskEnded) -> float | None:
    """The number of the word that it chose; None where there is no verdict."""
    if ended.status != "done" or not isinstance(ended.value, Mapping):
        return None
    word = ended.value.get("verdict")
    return judge.scale.get(str(int(word) if isinstance(word, float) and word.is_integer() else word))


def _judged(outcome: Outcome, task: Task, name: str, judge: Judge) -> Judged:
    """The words of the scale stand in an order of the task's own, so that none is favoured by its place."""
    room = room_bytes(judge.model)
    asked = next((message.content for message in outcome.messages if message.role == "user"), task.prompt)
    question, answer = cut(asked, room // 3), cut(outcome.output or "", room * 2 // 3)
    words = list(judge.scale)
    Random(f"{task.label}/{name}").shuffle(words)  # a text seeds it alike in every process
    asking = Task(
        index=task.index,
        label=f"{task.label}/{name}",
        prompt=_prompt(question, answer, words, judge),
        system=SYSTEM,
        model=judge.model,
        max_tokens=judge.max_tokens,
        timeout=task.timeout,
        idle_timeout=task.idle_timeout,
        schema=_schema(words),
        tags=task.tags,
        purpose="judge",
        of=task.label,
    )
    return Judged(outcome, name, judge, asking, part=(question, answer) != (asked, outcome.output))


def _prompt(question: str, answer: str, words: Sequence[str], judge: Judge) -> str:
    line = mark(question, answer)
    choices = "\n".join(f"- {word}" for word in words)
    parts = [
        TOLD.format(mark=line),
        fenced("The question", question, line),
        fenced("The answer that you judge", answer, line),
        f"The rubric:\n{judge.rubric}",
        f"The possible verdicts, in no order:\n{choices}",
        "Say why in one short sentence (`reason`), then choose one of the verdicts (`verdict`).",
    ]
    return "\n\n".join(parts)


def _schema(words: Sequence[str]) -> AnswerSchema:
    """The reason comes first: a verdict that follows from it is better than one that is defended afterwards."""
    choices: list[Any] = [int(word) for word in words] if all(map(_is_whole, words)) else list(words)
    kind = "integer" if isinstance(choices[0], int) else "string"
    properties = {"reason": {"type": "string"}, "verdict": {"type": kind, "enum": choices}}
    json = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return AnswerSchema(name="verdict", json=json)


def _is_whole(word: str) -> bool:
    digits = word.removeprefix("-")
    return len(word) < 16 and digits.isascii() and digits.isdigit() and str(int(word)) == word
