"""The check of an answer's schema as written: fields in short, a JSON schema, or what the notebook holds."""

import math
from typing import Any

from xz_magics.records import AnswerSchema
from xz_magics.schemas import NoSchemaError
from xz_magics.schemas.answers import answer_schema
from xz_magics.specs.nodes import Given, Node

_MEND = "write fields such as {sentiment: [positive, negative]}, a JSON schema, or the name of a pydantic model"


def schema(node: Node, name: str) -> AnswerSchema | str | type:
    """A text is the name of what the notebook holds; a class is a pydantic model's: `resolved` knows what to do."""
    match node.value:
        case Given(AnswerSchema() | type() as given):
            return given
        case str() as written if written.strip().isidentifier():
            return written.strip()
        case dict():
            try:
                return answer_schema(_plain(node, name))
            except NoSchemaError as error:
                raise _node_at(node, error.path).error(f"{name}: {error.message}", error.hint) from error
    raise node.error(f"{name} must be a schema, not {node}", _MEND)


def _plain(node: Node, name: str) -> Any:
    match node.value:
        case dict() as entries:
            return {key: _plain(item, name) for key, item in entries.items()}
        case list() as items:
            return [_plain(item, name) for item in items]
        case Given() | float() as value if isinstance(value, Given) or not math.isfinite(value):
            raise node.error(f"{name} cannot hold {node}", _MEND)
    return node.value


def _node_at(node: Node, path: tuple[str | int, ...]) -> Node:
    """The part that the path leads to, as far as it leads."""
    for step in path:
        match node.value:
            case dict() as entries if step in entries:
                node = entries[step]
            case list() as items if isinstance(step, int) and step < len(items):
                node = items[step]
    return node
