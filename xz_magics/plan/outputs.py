"""How the outputs of earlier tasks go into the texts of later ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xz_magics.characters import whole
from xz_magics.events import TaskEnded
from xz_magics.records import Insert, Outcome, Task

MOST_OUTPUT_BYTES = 65_536
"""How much of one task's output goes into the prompt of another."""


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
