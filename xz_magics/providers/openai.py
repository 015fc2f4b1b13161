"""The wire of OpenAI's Chat Completions and of the many servers that copy it."""

from collections.abc import Mapping
from typing import Any

from xz_magics.providers.answer_forms import openai_form
from xz_magics.providers.tool_calls import Calls, arguments_text, name_of
from xz_magics.providers.wire import StreamDecoder, mapping, sequence, string, text_of, usage_of
from xz_magics.records import Finish, Message, Reply, Request, ToolCall, ToolSpec, Usage

FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "content_filter": "refused",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class OpenAIWire:
    path = "/chat/completions"
    official_host = "api.openai.com"
    overhead_tokens = 128
    tools_overhead_tokens = 256
    schema_overhead_tokens = 256
    unsupported: frozenset[str] = frozenset()
    reserved = frozenset(
        {"model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "n", "best_of"}
        | {"tools", "tool_choice", "functions", "function_call"}
    )

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def encode(self, request: Request, model_id: str, *, official: bool) -> dict[str, Any]:
        body: dict[str, Any] = {name: value for name, value in request.params.items() if name not in self.reserved}
        body["model"] = model_id
        body["messages"] = [_message(message) for message in request.messages]
        body["max_completion_tokens" if official else "max_tokens"] = request.max_tokens
        chosen = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
        body |= {name: value for name, value in chosen.items() if value is not None}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if request.schema is not None:
            body["response_format"] = openai_form(request.schema)
        if request.tools and request.may_call:
            body["tools"] = [_tool(spec) for spec in request.tools]
        else:
            body.pop("parallel_tool_calls", None)  # refused where no tools are offered
        return body

    def reply_of(self, body: Mapping[str, Any]) -> Reply:
        if not isinstance(body.get("choices"), list):
            raise ValueError("it has no list of choices")  # noqa: TRY004 - the value of a field, not an argument's type
        choice = mapping(next(iter(body["choices"]), None))
        message = mapping(choice.get("message"))
        reason = string(choice.get("finish_reason"))
        refusal = text_of(message.get("refusal"))
        calls = Calls()
        for at, call in enumerate(sequence(message.get("tool_calls"))):
            _add(calls, at, mapping(call))
        finish, tool_calls = calls.ending("refused" if refusal else _finish_of(reason or "stop"))
        return Reply(
            text=text_of(message.get("content")) + refusal,
            finish=finish,
            finish_reason=reason,
            tool_calls=tool_calls,
            usage=_usage(body.get("usage")),
            model=string(body.get("model")),
            request_id=string(body.get("id")),
        )

    def decoder(self) -> StreamDecoder:
        return _Decoder()


class _Decoder:
    """Chunks carry deltas of choice 0; a last one without choices carries the usage."""

    def __init__(self) -> None:
        self.ended = False  # its mark, "[DONE]", is no chunk
        self._reason: str | None = None
        self._refused = False
        self._calls = Calls()
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None

    @property
    def finish(self) -> Finish | None:
        if self._reason is None:
            return None
        return "refused" if self._refused else _finish_of(self._reason)

    @property
    def call_bytes(self) -> int:
        return self._calls.received_bytes

    def feed(self, chunk: Mapping[str, Any]) -> str | None:
        if self._id is None:
            self._id, self._model = string(chunk.get("id")), string(chunk.get("model"))
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        text: str | None = None
        for choice in map(mapping, sequence(chunk.get("choices"))):
            if not choice.get("index"):
                text = (text or "") + self._take(choice)
        return text

    def reply(self, text: str) -> Reply:
        finish, tool_calls = self._calls.ending(self.finish or "cut")
        return Reply(
            text=text,
            finish=finish,
            finish_reason=self._reason,
            tool_calls=tool_calls,
            usage=self._usage if self.finish else None,
            model=self._model,
            request_id=self._id,
        )

    def _take(self, choice: Mapping[str, Any]) -> str:
        delta = mapping(choice.get("delta"))
        refusal = text_of(delta.get("refusal"))
        self._refused |= bool(refusal)
        self._reason = string(choice.get("finish_reason")) or self._reason
        for call in map(mapping, sequence(delta.get("tool_calls"))):
            _add(self._calls, call.get("index"), call)
        return text_of(delta.get("content")) + refusal


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if message.tool_calls:
        calls = [_sent_back(call) for call in message.tool_calls]
        return {"role": message.role, "content": message.content or None, "tool_calls": calls}
    return {"role": message.role, "content": message.content}


def _sent_back(call: ToolCall) -> dict[str, Any]:
    function = {"name": name_of(call), "arguments": arguments_text(call)}
    return {"id": call.id, "type": "function", "function": function}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    function = {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
    return {"type": "function", "function": function}


def _add(calls: Calls, index: Any, call: Mapping[str, Any]) -> None:
    function = mapping(call.get("function"))
    if call:
        calls.add(index, ident=call.get("id"), name=function.get("name"), arguments=function.get("arguments"))


def _finish_of(reason: str) -> Finish:
    """A word that is none of the API's own, such as "error", is no good end."""
    return FINISHES.get(reason, "cut")


def _usage(usage: Any) -> Usage | None:
    fields = mapping(usage)
    details = mapping(fields.get("prompt_tokens_details"))
    return usage_of(
        fields.get("prompt_tokens"), fields.get("completion_tokens"), cache_read=details.get("cached_tokens", 0)
    )
