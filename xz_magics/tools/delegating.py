"""The two tools by which a subagent starts others: what a model is told of them. The engine carries them out."""

from collections.abc import Mapping
from typing import Any

from xz_magics.tools import Context, Tool

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 1}
_TASK = {
    "type": "object",
    "properties": {
        "task_prompt": {"type": "string", "description": "All that the subagent is to know: it sees nothing else."},
        "label": {"type": "string", "description": "A short name for the result."},
        "system": _TEXT,
        "model": {"type": "string", "description": "Leave it out to use your own model."},
        "summary_prompt": {"type": "string", "description": "Asked once the work is done; its answer is the result."},
        "allowed_tools": {
            "type": "array",
            "items": _TEXT,
            "description": "Tools that it may use, out of those that you have yourself. None unless named.",
        },
        "max_turns": _WHOLE,
        "max_tokens": _WHOLE,
        "temperature": {"type": "number"},
        "timeout": {"type": "number", "description": "Seconds."},
    },
    "required": ["task_prompt"],
    "additionalProperties": False,
}
_TASKS = {
    "type": "object",
    "properties": {
        "tasks": {"type": "array", "items": _TASK, "minItems": 1},
        "max_concurrent": {**_WHOLE, "description": "How many may work at the same time."},
        "fail_fast": {"type": "boolean", "description": "Whether the first failure stops the others."},
    },
    "required": ["tasks"],
    "additionalProperties": False,
}


def _as_it_is(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return dict(arguments)


async def _by_the_engine(arguments: Mapping[str, Any], context: Context) -> object:
    raise NotImplementedError("the engine carries delegation out")


def _delegating(name: str, description: str, parameters: Mapping[str, Any]) -> Tool:
    return Tool(
        name=name, description=description, parameters=parameters, check=_as_it_is, run=_by_the_engine, delegates=True
    )


SUBAGENT = _delegating(
    "subagent",
    "Has one subagent work on a task of its own and gives you its result. It sees only what you write in task_prompt.",
    _TASK,
)
PARALLEL_SUBAGENT = _delegating(
    "parallel_subagent",
    "Has several subagents work at the same time, each on a task of its own, and gives you all their results.",
    _TASKS,
)
DELEGATING = (SUBAGENT, PARALLEL_SUBAGENT)
