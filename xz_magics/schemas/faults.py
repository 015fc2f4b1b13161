"""What does not fit a schema, or is none: how it is told, in short lines that name the place and the value."""

import json

from xz_magics.errors import XzMagicsError
from xz_magics.keys import shown

MOST_FAULTS = 10
MOST_FAULT_CHARACTERS = 300


class SchemaError(XzMagicsError):
    """A type that no JSON schema describes, or a value that does not fit its schema: a line for each fault."""


class NoSchemaError(SchemaError):
    """What was written is no schema. `path` leads to the part that is wrong."""

    def __init__(self, message: str, hint: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, path)
        self.path = path


def listed(lines: list[str]) -> str:
    """The first of the lines, none of them long, and how many more there are."""
    kept = [line[:MOST_FAULT_CHARACTERS] for line in lines[:MOST_FAULTS]]
    if len(lines) > MOST_FAULTS:
        kept.append(f"and {len(lines) - MOST_FAULTS} more")
    return "\n".join(kept)


def path_of(steps: tuple[str | int, ...], whole: str) -> str:
    """The way to a value, in backticks; `whole` is what is said of the value that it begins at."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and len(step) <= 40:
            path += f".{step}" if path else step
        else:
            path += f"[{shown(step)}]"
    return f"`{path}`" if path else whole


def short(value: object) -> str:
    match value:
        case None | True | False:
            return json.dumps(value)
        case str() | int() | float():
            return shown(value)
    return "a list" if isinstance(value, list) else "an object"
