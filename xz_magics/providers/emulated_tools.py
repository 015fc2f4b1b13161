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
from xz_magics.providers.grammar import response_format, with_definitions
from xz_magics.providers.tool_calls import name_of
from xz_magics.records import AnswerSchema, Message, Reply, Request, ToolCall, ToolSpec

INSTRUCTIONS = (
    "You may use tools. Reply with one JSON object: "
    '{"tool": NAME, "arguments": {…}} to call a tool, or {"answer": TEXT} to answer.\nTools:'
)
ANSWER_FORM = "An answer is no TEXT here but an object that fits this JSON schema:"
OVERHEAD_TOKENS = len(INSTRUCTIONS.encode()) + 128
"""The instructions, and what stands around each tool and each result."""

OWN_FORMS = ("response_format", "json_schema", "grammar")
ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"((?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt]))*)')
OBJECT = re.compile(r'(\s*\{\s*"answer"\s*:\s*\{)')
CALL = re.compile(r'\s*\{\s*"tool"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(\{.*\})\s*\}\s*', re.DOTALL)


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
    form = response_format("reply", _reply_schema(request.tools, request.schema))
    return replace(
        request,
        messages=_told_of(request.tools, request.schema, messages),
        tools=(),
        schema=None,
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
    if answer.startswith("{") and OBJECT.match(reply.text):
        stop = ()  # within JSON it is a part of it
    stops = [at for at in map(answer.find, stop) if at > 0]  # at 0: a reply without text is none
    finish = "stop" if reply.finish == "length" and (ended or stops) else reply.finish
    return replace(reply, text=answer[: min(stops, default=None)], finish=finish)


def answer_in(text: str) -> tuple[str, bool]:
    """What of the answer stands in the JSON so far, and whether that is all; more JSON only ever adds to it."""
    begun = ANSWER.match(text)
    if begun is None:
        return _object_in(text)
    answer: str = json.loads(f'"{begun[1]}"', strict=False)
    ended = text.startswith('"', begun.end())
    half_a_character = not ended and "\ud800" <= answer[-1:] <= "\udbff"
    return answer[:-1] if half_a_character else answer, ended


def _object_in(text: str) -> tuple[str, bool]:
    """The JSON of an answer that is an object."""
    begun = OBJECT.match(text)
    if begun is None:
        return "", False
    with suppress(ValueError, RecursionError):  # it goes on
        _, end = json.JSONDecoder().raw_decode(text, begun.end(1) - 1)
        return text[begun.end(1) - 1 : end], True
    return text[begun.end(1) - 1 :], False


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


def _told_of(
    tools: Sequence[ToolSpec], schema: AnswerSchema | None, messages: Sequence[Message]
) -> tuple[Message, ...]:
    lines = [INSTRUCTIONS]
    for tool in tools:
        parameters = json.dumps(tool.parameters, ensure_ascii=False, default=str)
        lines.append(f"{tool.name}: {' '.join(tool.description.split())} {parameters}")
    if schema is not None:
        lines.append(f"{ANSWER_FORM} {json.dumps(schema.json, ensure_ascii=False)}")
    told = "\n".join(lines)
    if messages and messages[0].role == "system":
        return Message(role="system", content=f"{messages[0].content}\n\n{told}"), *messages[1:]
    return Message(role="system", content=told), *messages


def _reply_schema(tools: Sequence[ToolSpec], schema: AnswerSchema | None) -> dict[str, Any]:
    """The definitions of all tools stand in one place, since references begin at the root: each under its tool."""
    defs: dict[str, Any] = {}
    forms = []
    for number, tool in enumerate(tools):
        arguments, own = with_definitions(tool.parameters, str(number))
        defs |= own
        forms.append(_closed(tool={"const": tool.name}, arguments={**arguments, "type": "object"}))
    answer: dict[str, Any] = {"type": "string", "minLength": 1}
    if schema is not None:
        answer, own = with_definitions(schema.json, "answer")
        defs |= own
    forms.append(_closed(answer=answer))
    return {"anyOf": forms, "$defs": defs}


def _closed(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
