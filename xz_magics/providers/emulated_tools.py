"""Tools for a model whose server knows none: it alone knows the JSON that such a model writes in place of a call.

The server holds the model to a JSON schema: one object per tool, or the answer. No input or output.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from xz_magics.errors import ProviderError
from xz_magics.providers.tool_calls import name_of
from xz_magics.records import Message, Reply, Request, ToolCall, ToolSpec

INSTRUCTIONS = (
    "You may use tools. Reply with one JSON object: "
    '{"tool": NAME, "arguments": {…}} to call a tool, or {"answer": TEXT} to answer.\nTools:'
)
OVERHEAD_TOKENS = len(INSTRUCTIONS.encode()) + 128
"""The instructions, and what stands around each tool and each result."""

OWN_FORMS = ("response_format", "json_schema", "grammar")
ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"((?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt]))*)')
CALL = re.compile(r'\s*\{\s*"tool"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(\{.*\})\s*\}\s*', re.DOTALL)

TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
FORMATS = {"date", "time", "date-time", "uuid"}
MOST = 2**53
LENGTHS = {"minItems", "maxItems", "minLength", "maxLength"}
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
CHOICES = {"anyOf", "oneOf", "allOf", "prefixItems"}


def are_met(request: Request) -> bool:
    """Whether a server that knows no tools would misread this request."""
    return bool(request.tools) or any(message.role == "tool" or message.tool_calls for message in request.messages)


def are_offered(request: Request) -> bool:
    """Whether the reply will be JSON."""
    return bool(request.tools) and request.may_call


def without_tools(request: Request) -> Request:
    """The same request in words. Where tools may be called, a schema holds the model to a call or an answer.

    Raises ProviderError where the request asks for a form of its own beside the tools: a reply has but one.
    """
    messages = tuple(_in_words(request.messages, with_calls=are_offered(request)))
    if not are_offered(request):
        return replace(request, messages=messages, tools=())
    own = [name for name in OWN_FORMS if name in request.params]
    if own:
        raise ProviderError(
            f"the embedded model cannot have tools and a {own[0]} of its own at once",
            f"take {own[0]} out of params, or allow no tools",
            "bad_request",
        )
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": _reply_schema(request.tools)}}
    return replace(
        request,
        messages=_told_of(request.tools, messages),
        tools=(),
        params={**request.params, "response_format": form},
        stop=(),  # it would break calls off: `with_tools` applies it to the answer
    )


def with_tools(reply: Reply, stop: Sequence[str] = ()) -> Reply:
    """The reply that such JSON means: a call, or the answer as far as it has come; what is neither stays as it is."""
    call = _call_in(reply.text) if reply.finish in {"stop", "length"} else None
    if call is not None:
        return replace(reply, text="", finish="tool_calls", tool_calls=(call,))
    answer, ended = answer_in(reply.text)
    if not answer:
        return reply
    stops = [at for at in map(answer.find, stop) if at > 0]  # at 0: a reply without text is none
    finish = "stop" if reply.finish == "length" and (ended or stops) else reply.finish
    return replace(reply, text=answer[: min(stops, default=None)], finish=finish)


def answer_in(text: str) -> tuple[str, bool]:
    """What of the answer stands in the JSON so far, and whether that is all; more JSON only ever adds to it."""
    begun = ANSWER.match(text)
    if begun is None:
        return "", False
    answer: str = json.loads(f'"{begun[1]}"', strict=False)
    ended = text.startswith('"', begun.end())
    half_a_character = not ended and "\ud800" <= answer[-1:] <= "\udbff"
    return answer[:-1] if half_a_character else answer, ended


def _call_in(text: str) -> ToolCall | None:
    match = CALL.fullmatch(text)
    if match is not None:
        with suppress(ValueError, RecursionError):  # half a call is none
            json.loads(match[2])
            return ToolCall(id="call-1", name=json.loads(match[1]), arguments=match[2])
    return None


def _in_words(messages: Sequence[Message], *, with_calls: bool) -> Iterator[Message]:
    """Calls as the JSON that the model wrote, their results as the user's words; never two of the user in a row.

    Without calls: a small model that sees any goes on to write some.
    """
    user: list[str] = []
    for message in messages:
        if message.role == "tool":
            user.append(f"{'Error' if message.error else 'Result'} of {message.tool}:\n{message.content}")
        elif message.role == "user":
            user.append(message.content)
        elif with_calls or message.content:
            if user:
                yield Message(role="user", content="\n\n".join(user))
                user = []
            calls = message.tool_calls if with_calls else ()
            written = [f'{{"tool": {json.dumps(name_of(call))}, "arguments": {call.arguments}}}' for call in calls]
            yield Message(role=message.role, content="\n".join(filter(None, [message.content, *written])))
    if user:
        yield Message(role="user", content="\n\n".join(user))


def _told_of(tools: Sequence[ToolSpec], messages: Sequence[Message]) -> tuple[Message, ...]:
    lines = [INSTRUCTIONS]
    for tool in tools:
        parameters = json.dumps(tool.parameters, ensure_ascii=False, default=str)
        lines.append(f"{tool.name}: {' '.join(tool.description.split())} {parameters}")
    told = "\n".join(lines)
    if messages and messages[0].role == "system":
        return Message(role="system", content=f"{messages[0].content}\n\n{told}"), *messages[1:]
    return Message(role="system", content=told), *messages


def _reply_schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """The definitions of all tools stand in one place, since references begin at the root: each under its tool."""
    defs: dict[str, Any] = {}
    forms = []
    for number, tool in enumerate(tools):
        own = tool.parameters.get("$defs", {})
        renamed = {f"#/$defs/{name}": f"#/$defs/{number} {name}" for name in own}
        defs |= {f"{number} {name}": _reduced(schema, renamed) for name, schema in own.items()}
        arguments = _reduced(tool.parameters, renamed)
        forms.append(_closed(tool={"const": tool.name}, arguments={**arguments, "type": "object"}))
    forms.append(_closed(answer={"type": "string", "minLength": 1}))
    return {"anyOf": forms, "$defs": defs}


def _closed(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _reduced(schema: Any, renamed: Mapping[str, str]) -> dict[str, Any]:
    """What of a schema the server can hold a model to; some of the rest it refuses. Arguments are checked later."""
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" in schema:
        return {"$ref": renamed[schema["$ref"]]} if schema["$ref"] in renamed else {}
    kept = {name: value for name, value in schema.items() if _is_plain(name, value)}
    for name in CHOICES & schema.keys():
        kept[name] = [_reduced(choice, renamed) for choice in schema[name]]
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            kept[name] = _reduced(schema[name], renamed)
    if "properties" in schema:
        kept["properties"] = {name: _reduced(value, renamed) for name, value in schema["properties"].items()}
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
