"""What of a JSON schema the embedded model's server can hold a model to: it refuses some of the rest."""

from collections.abc import Mapping
from typing import Any

from xz_magics.records import AnswerSchema

TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
FORMATS = {"date", "time", "date-time", "uuid"}
MOST = 2**53
LENGTHS = {"minItems", "maxItems", "minLength", "maxLength"}
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
CHOICES = {"anyOf", "oneOf", "allOf", "prefixItems"}


def answer_form(schema: AnswerSchema) -> dict[str, Any]:
    """A `response_format` that holds the model to it."""
    whole, definitions = with_definitions(schema.json, "")
    return response_format("answer", {**whole, "$defs": definitions})


def response_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def with_definitions(schema: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema as a part of another, at this place of it, and its definitions under names that are its own there."""
    own = schema.get("$defs", {})
    renamed = {f"#/$defs/{name}": f"#/$defs/{place} {name}" for name in own}
    return reduced(schema, renamed), {f"{place} {name}": reduced(part, renamed) for name, part in own.items()}


def reduced(schema: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
    """What of a schema the server takes; all of it is checked later."""
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" in schema:
        return {"$ref": renamed[schema["$ref"]]} if schema["$ref"] in renamed else {}
    kept = {name: value for name, value in schema.items() if _is_plain(name, value)}
    for name in CHOICES & schema.keys():
        kept[name] = [reduced(choice, renamed) for choice in schema[name]]
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            kept[name] = reduced(schema[name], renamed)
    if "properties" in schema:
        kept["properties"] = {name: reduced(value, renamed) for name, value in schema["properties"].items()}
    return kept


def _is_plain(name: str, value: Any) -> bool:
    match name:
        case "type":
            return value in TYPES if isinstance(value, str) else TYPES.issuperset(value)
        case "format":
            return value in FORMATS
        case "enum":
            return bool(value)
        case "additionalProperties":
            return isinstance(value, bool)
        case "const" | "required":
            return True
        case _:
            return name in LENGTHS | BOUNDS and isinstance(value, int) and abs(value) < MOST
