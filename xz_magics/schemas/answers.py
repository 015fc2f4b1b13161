"""What an answer must be: its schema, from whatever it was written as, and the value that a text holds by it."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any
from urllib.parse import unquote

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.records import AnswerSchema
from xz_magics.schemas.faults import MOST_FAULTS, NoSchemaError, SchemaError, listed, path_of, short
from xz_magics.schemas.json_answers import objects_in
from xz_magics.schemas.short_form import json_schema
from xz_magics.schemas.signatures import schema_of

MOST_SCHEMA_BYTES = 65_536
MOST_DEPTH = 32

WHOLE = "the answer"
_UNUSUAL = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor")
_MEND = "give a pydantic model's class, a JSON schema, or fields such as {sentiment: [positive, negative]}"


def answer_schema(written: Any, name: str = "answer") -> AnswerSchema:
    """Of plain values: the short form, or a JSON schema as it stands. Raises NoSchemaError."""
    schema = json_schema(_plain(written))
    _check(schema)
    return AnswerSchema(name=name, json=schema)


def model_schema(model: type) -> AnswerSchema:
    """Of a pydantic model's class: every field is asked for, one with a default, too. Raises NoSchemaError."""
    from pydantic import TypeAdapter

    try:
        schema = _closed(schema_of(TypeAdapter(model)))
    except Exception as error:  # pydantic's own, and what the user's classes raise
        told = str(error).partition("\n")[0]
        hint = "its fields may be str, int, float, bool, list, Literal, an enum or another model"
        raise NoSchemaError(f"no JSON schema describes {model.__name__}: {told}", hint) from error
    definitions = schema.get("$defs", {})
    if "$ref" in schema:  # a model that holds itself
        schema = definitions[schema["$ref"].rpartition("/")[2]] | {"$defs": definitions}
    if schema.get("type") != "object":
        raise NoSchemaError(f"{model.__name__} is no object, and an answer always is", "make it a field of another")
    _check(schema)
    return AnswerSchema(name=model.__name__, json=schema, model=model)


def resolved(written: Any, names: Mapping[str, object]) -> AnswerSchema:
    """The schema that a spec names or holds: `names` are the notebook's. Raises SpecError."""
    name, value = "", written
    if isinstance(written, str):
        if written not in names:
            close = get_close_matches(written, names, n=1)
            mend = f"did you mean {close[0]}?" if close else "run the cell that defines it first"
            raise SpecError(f"the schema {shown(written)} is no name in this notebook", mend)
        name, value = written, names[written]
    try:
        if isinstance(value, AnswerSchema):
            return value
        if isinstance(value, Mapping):
            return answer_schema(value, name or "answer")
        if isinstance(value, type) and _is_model(value):
            return model_schema(value)
    except NoSchemaError as error:
        where = f"{name}: " if name else ""
        place = f"{path_of(error.path, '')}: " if error.path else ""
        raise SpecError(f"schema: {where}{place}{error.message}", error.hint) from error
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    raise SpecError(f"the schema {name or 'that is given'} is {kind}, which describes no answer", _MEND)


def value_of(schema: AnswerSchema, text: str) -> Any:
    """The value that the text holds, in plain JSON values: the text is JSON, holds a fenced block of it, or an object.

    Where a pydantic model belongs to the schema, it has the last word, and fills in what it has defaults for. Raises
    SchemaError: a line for each of the first faults, which names the place, the value and what was wanted.
    """
    faults: list[SchemaError] = []
    for found in objects_in(text):
        try:
            return _fitted(schema, found)
        except SchemaError as error:
            faults.append(error)
    raise faults[0]


def _plain(written: Any) -> Any:
    """The same in JSON's own values, of bounded size."""
    try:
        text = json.dumps(written, allow_nan=False)
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise NoSchemaError(f"it is no JSON: {error}", "use texts, numbers, lists and mappings") from error
    if len(text) > MOST_SCHEMA_BYTES:
        raise NoSchemaError(f"it has {len(text):,} bytes", f"at most {MOST_SCHEMA_BYTES:,} are taken")
    return plain


def _check(schema: Mapping[str, Any]) -> None:
    """Raises NoSchemaError unless it is a JSON schema that can be checked by itself: nothing is ever fetched."""
    from jsonschema import SchemaError as Wrong
    from jsonschema.validators import Draft3Validator, Draft202012Validator, validator_for

    kind = validator_for(schema, Draft202012Validator)
    if kind is Draft3Validator:
        raise NoSchemaError("draft 3 is not taken", "write it for draft 4 or newer: `required` is a list", ("$schema",))
    try:
        kind.check_schema(schema)
    except Wrong as error:
        told = error.message if len(error.message) <= 200 else f"{error.validator} does not hold"
        raise NoSchemaError(f"this is no JSON schema: {told}", "mend it here", tuple(error.path)) from error
    except RecursionError as error:
        raise NoSchemaError("it is nested too deeply", "take it apart") from error
    for path, part in _parts(schema):
        if len(path) > 2 * MOST_DEPTH:
            raise NoSchemaError("it is nested too deeply", "take it apart", path)
        if odd := next((key for key in _UNUSUAL if isinstance(part.get(key), str)), None):
            raise NoSchemaError(f"{odd} is not taken", "refer by $ref, as in #/$defs/name", (*path, odd))
        if path[-1:] not in {("properties",), ("$defs",)} and part.get("patternProperties"):
            hint = "name the fields in `properties`"
            raise NoSchemaError("patternProperties is not taken", hint, (*path, "patternProperties"))
        if isinstance(part.get("pattern"), str):
            _check_pattern(part["pattern"], (*path, "pattern"))
        reference = part.get("$ref")
        if isinstance(reference, str) and not _leads_somewhere(schema, reference):
            hint = "refer to a part of this schema, as in #/$defs/name"
            raise NoSchemaError(f"{shown(reference)} leads nowhere in this schema", hint, (*path, "$ref"))


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """Every mapping in it with its path."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), schema)]
    while left:
        path, part = left.pop()
        if isinstance(part, Mapping):
            yield path, part
            left += [((*path, key), value) for key, value in part.items()]
        elif isinstance(part, list):
            left += [((*path, place), value) for place, value in enumerate(part)]


def _check_pattern(pattern: str, path: tuple[str | int, ...]) -> None:
    from pydantic_core import SchemaError as NoPattern

    try:
        _matcher(pattern)
    except NoPattern as error:
        hint = "write it without look-around and without references to what was found before"
        raise NoSchemaError(f"the pattern {shown(pattern)} cannot be checked", hint, path) from error


def _matcher(pattern: str) -> Any:
    """By an engine that never goes back: Python's own may take for ever, and nothing can stop it."""
    from pydantic_core import SchemaValidator, core_schema

    return SchemaValidator(core_schema.str_schema(pattern=pattern))


def _leads_somewhere(schema: Any, reference: str) -> bool:
    start, _, pointer = reference.partition("#")
    if start or (pointer and not pointer.startswith("/")):
        return False
    for step in unquote(pointer).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(schema, Mapping) or key not in schema:
            return False
        schema = schema[key]
    return isinstance(schema, Mapping | bool)


def _is_model(kind: type) -> bool:
    from pydantic import BaseModel

    return issubclass(kind, BaseModel)


def _closed(schema: Any) -> Any:
    """With nothing left out and nothing added, as the strict modes of servers want it; `default` they do not know."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {key: _closed(value) for key, value in schema.items() if key in {"$ref", "$defs"}}
    closed = {
        key: {name: _closed(part) for name, part in value.items()} if key in {"properties", "$defs"} else _closed(value)
        for key, value in schema.items()
        if key != "default"
    }
    if isinstance(closed.get("properties"), dict):
        closed = {"additionalProperties": False} | closed | {"required": list(closed["properties"])}
    return closed


def _fitted(schema: AnswerSchema, value: Any) -> Any:
    if schema.model is not None:
        return _dumped(schema.model, _validated(schema.model, value))
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for

    validator = _bounded(validator_for(schema.json, Draft202012Validator))(schema.json)
    try:
        faults = [best_match(iter([fault])) for fault in islice(validator.iter_errors(value), MOST_FAULTS)]
    except RecursionError as error:
        raise SchemaError(f"{WHOLE} cannot be checked: its schema refers to itself without end") from error
    except ArithmeticError as error:
        raise SchemaError(f"{WHOLE} cannot be checked: it holds a number that is too large") from error
    if faults:
        lines = [line for fault in faults for line in _lines(fault)]
        raise SchemaError(listed(list(dict.fromkeys(lines))), _fields(schema))
    return value


def _bounded(kind: Any) -> Any:
    """The same checks, but those whose time grows without bound."""
    from jsonschema import ValidationError
    from jsonschema.validators import extend
    from pydantic_core import ValidationError as NoMatch

    def pattern(_: Any, wanted: str, value: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(value, str):
            try:
                _matcher(wanted).validate_python(value)
            except NoMatch:
                yield ValidationError(f"{wanted} does not match")

    def unique(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:  # noqa: FBT001 - jsonschema's
        if wanted and isinstance(value, list) and len({json.dumps(one, sort_keys=True) for one in value}) < len(value):
            yield ValidationError("not unique")

    return extend(kind, {"pattern": pattern, "uniqueItems": unique})


def _lines(fault: Any) -> Iterator[str]:
    """What jsonschema tells of a fault in many ways, told in one."""
    path, value, wanted = tuple(fault.absolute_path), fault.instance, fault.validator_value
    where = path_of(path, WHOLE)
    match fault.validator:
        case "required":
            yield from (f"{path_of((*path, name), WHOLE)} is missing" for name in wanted if name not in value)
        case "additionalProperties" if wanted is False:
            known = fault.schema.get("properties", {})
            yield from (f"{path_of((*path, name), WHOLE)} is unknown" for name in value if name not in known)
        case "enum":
            yield f"{where} is {short(value)}: wanted is one of {', '.join(map(short, wanted))}"
        case "type":
            yield f"{where} is {short(value)}: wanted is {' or '.join([wanted] if isinstance(wanted, str) else wanted)}"
        case rule:
            yield f"{where} is {short(value)}: wanted is {rule} {json.dumps(wanted, ensure_ascii=False)[:80]}"


def _fields(schema: AnswerSchema) -> str:
    fields = schema.json.get("properties")
    return f"the fields are: {', '.join(map(str, fields))}" if fields else ""


def _validated(model: Any, value: Any) -> Any:
    from pydantic import ValidationError

    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise SchemaError(
            listed([_line(fault) for fault in faults]), f"the fields are: {', '.join(model.model_fields)}"
        ) from error
    except (Exception, SystemExit) as error:  # the user's own validators may raise anything
        raise SchemaError(f"{WHOLE} could not be checked by {model.__name__}: {error!r}") from error


def _line(fault: Mapping[str, Any]) -> str:
    where = path_of(fault["loc"], WHOLE)
    return (
        f"{where} is missing" if fault["type"] == "missing" else f"{where} is {short(fault['input'])}: {fault['msg']}"
    )


def _dumped(model: Any, instance: Any) -> Any:
    try:
        value = instance.model_dump(mode="json", by_alias=True)
        json.dumps(value, allow_nan=False)
    except (Exception, SystemExit) as error:  # the user's own serializers may raise anything
        raise SchemaError(f"{model.__name__} cannot be written as JSON: {error!r}") from error
    return value
