"""What of an answer's schema each API can hold a model to, and the words for one that can hold it to none."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from xz_magics.providers.tool_calls import speakable
from xz_magics.records import AnswerSchema, Message, Request

INSTRUCTION = "Answer with one JSON object that fits this JSON schema, and with nothing else:"
OVERHEAD_TOKENS = len(INSTRUCTION.encode()) + 64
"""The most that the words have beside the schema itself."""

OWN_FORMS = frozenset({"response_format", "json_schema", "grammar", "output_format", "guided_json"})
"""Among `params`: a form of the answer that would stand against the schema's."""

MOST_LEVELS = 10
MOST_UNIONS = 16
MOST_OPTIONAL = 24
TOLD = frozenset({"title", "description", "$schema"})
SHARED = frozenset({"type", "enum", "const", "anyOf", "items", "properties", "required", "additionalProperties"})
SHARED_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
SAYING_WHAT = frozenset({"type", "enum", "const", "anyOf", "oneOf", "$ref"})
OF_OPENAI = frozenset({
    "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems",
    "maxItems",
})  # fmt: skip


def own_form(params: Mapping[str, Any]) -> str | None:
    """The name of a form of its own that these params ask for."""
    config = params.get("output_config")
    if isinstance(config, Mapping) and "format" in config:
        return "output_config"
    return next(iter(sorted(OWN_FORMS & params.keys())), None)


def by_instruction(request: Request) -> Request:
    """The schema in words, after those of the system: for a server that knows no schemas."""
    if request.schema is None:
        return request
    told = f"{INSTRUCTION}\n{json.dumps(request.schema.json, ensure_ascii=False)}"
    first, *rest = request.messages
    if first.role == "system":
        messages = (replace(first, content=f"{first.content}\n\n{told}"), *rest)
    else:
        messages = (Message(role="system", content=told), *request.messages)
    return replace(request, messages=messages, schema=None)


def openai_form(schema: AnswerSchema) -> dict[str, Any]:
    """A `response_format`; strict, which holds the model to every word of it, where the API takes it so."""
    named = {"name": speakable(schema.name), "schema": dict(schema.json), "strict": fits_strict(schema.json)}
    return {"type": "json_schema", "json_schema": named}


def fits_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's strict mode takes it: closed objects with all fields required, and of JSON Schema a part.

    See "Supported schemas" in OpenAI's guide to structured outputs.
    """
    return "anyOf" not in schema and all(_is_strict(part, level) for part, level in _nodes(schema))


def anthropic_form(schema: AnswerSchema) -> dict[str, Any] | None:
    """An `output_config.format`, without the bounds that the API refuses, which are told in words instead.

    None: it can hold no model to such a schema: one with open objects, that holds itself, or with too many alternatives
    or optional fields. See "JSON Schema limitations" in Anthropic's page on structured outputs.
    """
    nodes = [part for part, _ in _nodes(schema.json)]
    unions = sum("anyOf" in part or isinstance(part.get("type"), list) for part in nodes)
    optional = sum(len(part.get("properties", {}).keys() - set(part.get("required", ()))) for part in nodes)
    if unions > MOST_UNIONS or optional > MOST_OPTIONAL or _holds_itself(schema.json):
        return None
    if not all(_is_closed(part) and part.keys() & SAYING_WHAT for part in nodes):
        return None
    return {"type": "json_schema", "schema": _told_bounds(schema.json)}


def _is_strict(part: Mapping[str, Any], level: int) -> bool:
    if "$ref" in part:
        return part.keys() == {"$ref"}
    known = SHARED | OF_OPENAI | TOLD | {"$defs"}
    if level > MOST_LEVELS or not part.keys() <= known or not {"type", "anyOf"} & part.keys():
        return False
    if part.get("format", "date") not in SHARED_FORMATS or "(?" in part.get("pattern", ""):
        return False
    return _is_closed(part) and set(part.get("required", ())) == part.get("properties", {}).keys()


def _is_closed(part: Mapping[str, Any]) -> bool:
    types = part.get("type", "object" if "properties" in part else None)
    if types != "object" and "object" not in (types or ()):
        return True
    return part.get("additionalProperties") is False and "properties" in part


def _nodes(schema: Any, level: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Every schema within it, and at which level of objects and lists it stands."""
    if not isinstance(schema, Mapping):
        if schema is True:
            yield {}, level
        return
    yield schema, level
    for name in ("properties", "$defs", "definitions", "patternProperties"):
        within = schema.get(name, {})
        for part in within.values():
            yield from _nodes(part, level + (name == "properties"))
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(name, ()):
            yield from _nodes(part, level)
    for name in ("items", "additionalProperties", "not"):
        if name in schema and schema[name] is not False:
            yield from _nodes(schema[name], level + 1)


def _holds_itself(schema: Mapping[str, Any]) -> bool:
    """Whether a reference leads to where it stands, by whatever detour."""
    uses: dict[str, set[str]] = {}
    for name, part in schema.get("$defs", {}).items():
        uses[f"#/$defs/{name}"] = {node["$ref"] for node, _ in _nodes(part) if "$ref" in node}
    left = dict.fromkeys(node["$ref"] for node, _ in _nodes(schema) if "$ref" in node)
    if not left.keys() <= uses.keys():
        return True  # it leads to no definition: the whole schema, or a part of it
    while free := [name for name in uses if not uses[name]]:
        for name in free:
            del uses[name]
        for rest in uses.values():
            rest.difference_update(free)
    return bool(uses)


def _told_bounds(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    kept: dict[str, Any] = {}
    bounds = []
    for name, value in part.items():
        match name:
            case "properties" | "$defs":
                kept[name] = {key: _told_bounds(item) for key, item in value.items()}
            case "anyOf" | "oneOf":
                kept["anyOf"] = [_told_bounds(item) for item in value]
            case "items":
                kept[name] = _told_bounds(value)
            case "$schema" | "title" | "default" | "examples":
                pass
            case "format" if value in SHARED_FORMATS:
                kept[name] = value
            case _ if name in SHARED | {"$ref", "description"}:
                kept[name] = value
            case _:
                bounds.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    if bounds and "$ref" not in kept:
        kept["description"] = "; ".join([*filter(None, [kept.get("description")]), *bounds])
    return kept
