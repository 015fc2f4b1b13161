"""The short way to write what an answer holds, as a JSON schema: it alone knows the words and marks of that form."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from xz_magics.keys import shown
from xz_magics.schemas.faults import NoSchemaError, short

TYPES: Mapping[str, str] = {
    "string": "string",
    "text": "string",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
}
OTHER_WORDS: Mapping[str, str] = {
    "str": "string",
    "float": "number",
    "int": "integer",
    "bool": "boolean",
}
JSON_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
MARKS = frozenset({"$schema", "$id", "$ref", "$defs", "$comment"})
KEYWORDS = frozenset({
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "anyOf", "oneOf",
    "allOf", "not", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    "patternProperties", "title", "description", "default", "examples", "definitions",
})  # fmt: skip
_EXAMPLE = "such as {sentiment: [positive, negative], score: number, note: string?}"
_WORDS = f"the types are {', '.join(TYPES)}; `?` after one: it may be null"

Path = tuple[str | int, ...]


def json_schema(written: Any) -> dict[str, Any]:
    """The JSON schema that the short form means; one that is a JSON schema already stays as it is.

    Objects are closed, and all their fields required. Raises NoSchemaError for what is neither.
    """
    if not isinstance(written, dict):
        raise NoSchemaError(f"a schema must be a mapping, not {short(written)}", f"name its fields, {_EXAMPLE}")
    if not _is_json_schema(written):
        return _object(written, ())
    if written.get("type") != "object":
        told = "this reads as a JSON schema whose `type` is not object, and an answer is always an object"
        raise NoSchemaError(told, "put it under the name of a field, as in {answer: …}; for an object add type: object")
    return written


def _is_json_schema(written: dict[str, Any]) -> bool:
    """Marked by a key or a type that is JSON Schema's alone, or without any key that a JSON schema has not."""
    if MARKS & written.keys() or written.get("type") == "object":
        return True
    if not written.keys() <= KEYWORDS:
        return False
    types = written.get("type")
    named = types if isinstance(types, list) else [types]
    marks = {"enum": list, "anyOf": list, "oneOf": list, "allOf": list, "properties": dict}
    return all(isinstance(one, str) and one in JSON_TYPES for one in named) or any(
        isinstance(written.get(key), kind) for key, kind in marks.items()
    )


def _object(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    if not fields:
        raise NoSchemaError("a schema needs a field", f"name what the answer holds, {_EXAMPLE}", path)
    for name in fields:
        if not name.strip():
            raise NoSchemaError("a field has no name", "give it one", (*path, name))
    return {
        "type": "object",
        "properties": {name: _field(value, (*path, name)) for name, value in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def _field(value: Any, path: Path) -> dict[str, Any]:
    match value:
        case str():
            return _typed(value, path)
        case dict():
            return value if _is_json_schema(value) else _object(value, path)
        case [only]:
            return {"type": "array", "items": _field(only, (*path, 0))}
        case [_, *_]:
            return _one_of(value, path)
    told = f"{short(value)} is no type" if value != [] else "an empty list says nothing"
    raise NoSchemaError(told, f"{_WORDS}; or list what it may be, as in [positive, negative]", path)


def _typed(word: str, path: Path) -> dict[str, Any]:
    name = word.strip().removesuffix("?").strip()
    if name not in TYPES:
        raise NoSchemaError(f"{shown(word)} is no type", _other_than(name), path)
    return {"type": [TYPES[name], "null"] if word.strip().endswith("?") else TYPES[name]}


def _other_than(word: str) -> str:
    close = OTHER_WORDS.get(word.casefold()) or next(iter(get_close_matches(word.casefold(), TYPES, n=1)), None)
    return f"did you mean {close}? {_WORDS}" if close else f"{_WORDS}; a single choice needs a second, as in [yes, no]"


def _one_of(choices: list[Any], path: Path) -> dict[str, Any]:
    seen: dict[tuple[str, Any], str] = {}
    for place, choice in enumerate(choices):
        if isinstance(choice, list | dict):
            told = f"{short(choice)} cannot be one of several choices"
            raise NoSchemaError(told, "list texts, numbers, true, false or null", (*path, place))
        if isinstance(choice, str) and choice.removesuffix("?") in TYPES:
            told = f"{shown(choice)} is a type, and stands among choices"
            hint = f"write [{choice}] for a list of it; to have the word as a choice write {{enum: […]}}"
            raise NoSchemaError(told, hint, (*path, place))
        kind = _kind(choice)
        if (kind, choice) in seen:
            raise NoSchemaError(f"{short(choice)} is listed twice", "take one of them out", (*path, place))
        seen[kind, choice] = kind
    types = list(dict.fromkeys(seen.values()))
    return {"type": types[0] if len(types) == 1 else types, "enum": choices}


def _kind(choice: Any) -> str:
    match choice:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
    return "string" if isinstance(choice, str) else "null"
