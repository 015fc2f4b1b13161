"""Types and signatures as JSON schemas, and arguments checked by them."""

import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, NotRequired, Required, Union

from xz_magics.keys import shown
from xz_magics.schemas.faults import SchemaError, listed, path_of, short

_HEADING = re.compile(r"(?:Args|Arguments|Parameters|Params)\s*:?")
_RULE = re.compile(r"-{3,}")
_ENTRY = re.compile(
    r"(?:[-*]\s+|:param\s+(?:\S+\s+)?)?`{0,2}(?P<name>\w+)`{0,2}\s*(?:\([^()]*\)\s*)?(?::(?P<text>.*))?"
)


class Signature:
    """What a function takes, from its annotations, defaults and docstring; without an annotation: any JSON value.

    `parameters` is the JSON schema of an object, `description` the docstring without its lines about parameters.
    Arguments are checked strictly: "3" is no number, 3 no text, 1 not true; but 3 will do for a float, and a date, an
    enum and the like are written as JSON writes them. A first parameter annotated with `context` is the caller's to
    give and left out. Raises SchemaError for a parameter that cannot be described.
    """

    def __init__(self, function: Callable[..., Any], *, context: type | None = None) -> None:
        parameters = list(_parameters(function))
        self.takes_context = context is not None and bool(parameters) and parameters[0].annotation is context
        if self.takes_context:
            parameters = parameters[1:]
        self._names = [parameter.name for parameter in parameters]
        self.description, told = _described(inspect.getdoc(function) or "", self._names)
        self._arguments = _arguments({p.name: _field(p, told.get(p.name)) for p in parameters})
        self.parameters = schema_of(self._arguments)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function wants them; defaults stay the function's own. Raises SchemaError."""
        from pydantic import ValidationError

        try:
            checked: dict[str, Any] = self._arguments.validate_json(json.dumps(arguments, allow_nan=False), strict=True)
        except ValidationError as error:
            raise self._told(error.errors(include_url=False, include_context=False)) from error
        except (ValueError, TypeError) as error:
            raise SchemaError(f"the arguments hold what JSON does not: {error}", "send finite numbers") from error
        return checked

    def _told(self, faults: list[Any]) -> SchemaError:
        lines = listed([self._line(fault) for fault in faults])
        return SchemaError(lines, f"the arguments are: {', '.join(self._names) or 'none'}")

    def _line(self, fault: Mapping[str, Any]) -> str:
        where = path_of(fault["loc"], "`the arguments`")
        match fault["type"]:
            case "missing" | "missing_argument":
                return f"{where} is missing"
            case "extra_forbidden" | "unexpected_keyword_argument":
                close = get_close_matches(str(fault["loc"][0])[:80], self._names, n=1) if len(fault["loc"]) == 1 else []
                return f"{where} is unknown" + (f"; did you mean {close[0]}?" if close else "")
        return f"{where} is {short(fault['input'])}: {fault['msg']}"


def _parameters(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Those of a function, each with an annotation that is a type, whatever it was written as."""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise SchemaError(f"{parameter}: each argument needs a name", f"take {name} as a list or a dict")
        if parameter.kind == parameter.POSITIONAL_ONLY:
            raise SchemaError(f"{name}: arguments are given by name, and this is positional-only", "take the `/` out")
        yield parameter.replace(annotation=_annotation(function, parameter))


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Texts are read in the function's module, and in what the function closes over."""
    if parameter.annotation is parameter.empty:
        return Any
    inner: Any = inspect.unwrap(function)
    closed = {}
    for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            closed[name] = cell.cell_contents
    holder: Any = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        kind = typing.get_type_hints(holder, inner.__globals__, closed, include_extras=True)[parameter.name]
    except Exception as error:  # the text is code, and may raise anything
        raise SchemaError(
            f"{parameter.name}: the annotation {shown(str(parameter.annotation))} cannot be read: {error}",
            "define or import its type at the top level, before the function",
        ) from error
    return Union[kind, None] if parameter.default is None else kind  # noqa: UP007 - `|` fails for some kinds


def _field(parameter: inspect.Parameter, told: str | None) -> Any:
    """The type of one key of the arguments. The default is shown in the schema alone: the function fills it in."""
    from pydantic import Field, TypeAdapter
    from pydantic_core import to_jsonable_python

    kind = _renewed(parameter.annotation)
    try:
        schema_of(TypeAdapter(kind))
    except Exception as error:  # pydantic's own, and what the user's classes raise
        told = str(error).partition("\n")[0]
        mend = "use str, int, float, bool, list, dict, Literal, an enum, a dataclass, a TypedDict or a BaseModel"
        raise SchemaError(f"{parameter.name}: no JSON schema describes its type: {told}", mend) from error
    if told and not any(getattr(part, "description", None) for part in getattr(kind, "__metadata__", ())):
        kind = Annotated[kind, Field(description=told)]
    if parameter.default is parameter.empty:
        return kind
    with suppress(ValueError):  # no JSON: then the model is told only that it may be left out
        default = to_jsonable_python(parameter.default)
        json.dumps(default, allow_nan=False)
        kind = Annotated[kind, Field(json_schema_extra={"default": default})]
    return NotRequired[kind]


def _renewed(kind: Any, within: tuple[Any, ...] = ()) -> Any:
    """Pydantic wants the TypedDict of typing_extensions before Python 3.12: the same one, made by that."""
    if sys.version_info >= (3, 12) or kind in within:
        return kind
    if not typing.is_typeddict(kind):
        old = typing.get_args(kind)
        if typing.get_origin(kind) is Annotated:
            return Annotated[_renewed(old[0], within), *kind.__metadata__]
        new = tuple(_renewed(part, within) for part in old)
        if all(a is b for a, b in zip(old, new, strict=True)):
            return kind
        origin = typing.get_origin(kind)
        return Union[new] if origin is UnionType else origin[new]  # noqa: UP007 - built of a tuple
    fields = {}
    for name, field in typing.get_type_hints(kind, include_extras=True).items():
        marked = typing.get_origin(field) in {Required, NotRequired}
        needed = typing.get_origin(field) is Required if marked else name in kind.__required_keys__
        inner = _renewed(typing.get_args(field)[0] if marked else field, (*within, kind))
        fields[name] = inner if needed else NotRequired[inner]
    return _typed_dict(kind.__name__, fields)


def _typed_dict(name: str, fields: Mapping[str, Any]) -> Any:
    import typing_extensions

    made: Any = typing_extensions.TypedDict  # called with a name and fields that no checker can know
    return made(name, fields)


def _arguments(fields: Mapping[str, Any]) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    arguments = _typed_dict("Arguments", fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(arguments)


def schema_of(adapter: Any) -> dict[str, Any]:
    """The JSON schema of a TypeAdapter, without titles."""
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's own
            return False

    schema: dict[str, Any] = adapter.json_schema(schema_generator=Untitled)
    schema.pop("title", None)
    return schema


def _described(docstring: str, names: Container[str]) -> tuple[str, dict[str, str]]:
    """The docstring without its lines about parameters, and those: `name: text` under Args or anywhere,

    `:param name: text`, or numpy's `name : type` with indented text; what is indented further belongs to it.
    """
    kept: list[str] = []
    told: dict[str, list[str]] = {}
    current, depth, heading, numpy = "", 0, False, False
    for line in docstring.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        under, heading = heading, _HEADING.fullmatch(text) is not None
        found = _ENTRY.fullmatch(text)
        if heading:
            current, numpy = "", False
        elif under and _RULE.fullmatch(text):
            numpy = True
        elif found and found["name"] in names and (numpy or found["text"]) and found["name"] not in told:
            current, depth = found["name"], indent
            told[current] = [] if numpy else [found["text"].strip()]
        elif current and text and indent > depth:
            told[current].append(text)
        else:
            current = current if not text else ""
            kept.append(line)
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return description, {name: " ".join(parts) for name, parts in told.items()}
