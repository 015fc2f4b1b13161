"""The wire of Anthropic's Messages."""

from collections.abc import Mapping
from typing import Any

from xz_magics.providers.answer_forms import anthropic_form, by_instruction
from xz_magics.providers.tool_calls import Calls, arguments_of, name_of
from xz_magics.providers.wire import StreamDecoder, count, mapping, string, text_of, usage_of
from xz_magics.records import Finish, Message, Reply, Request, Usage

FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refused",
}
INPUT_PARTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class AnthropicWire:
    path = "/v1/messages"
    official_host = "api.anthropic.com"
    overhead_tokens = 128
    tools_overhead_tokens = 1024
    schema_overhead_tokens = 1024
    unsupported = frozenset({"seed"})
    reserved = frozenset({"model", "messages", "system", "max_tokens", "stream", "tools", "tool_choice"})

    def headers(self, key: str | None) -> dict[str, str]:
        version = {"anthropic-version": "2023-06-01"}
        return version if key is None else version | {"x-api-key": key}

    def encode(self, request: Request, model_id: str, *, official: bool) -> dict[str, Any]:  # noqa: ARG002 - of Wire
        body: dict[str, Any] = {name: value for name, value in request.params.items() if name not in self.reserved}
        form = None if request.schema is None else anthropic_form(request.schema)
        if form is None:
            request = by_instruction(request)
        else:
            body["output_config"] = mapping(body.get("output_config")) | {"format": form}
        body["model"] = model_id
        body["messages"] = _messages(request.messages)
        body["max_tokens"] = request.max_tokens
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        if system:
            body["system"] = system
        chosen = {"temperature": request.temperature, "top_p": request.top_p}
        body |= {name: value for name, value in chosen.items() if value is not None}
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.stream:
            body["stream"] = True
        return body | _offer(request)

    def reply_of(self, body: Mapping[str, Any]) -> Reply:
        if not isinstance(body.get("content"), list):
            raise ValueError("it has no list of content blocks")  # noqa: TRY004 - a field's value, no argument's type
        reason = string(body.get("stop_reason"))
        calls = Calls()
        for at, block in enumerate(map(mapping, body["content"])):
            _open(calls, at, block)
        finish, tool_calls = calls.ending(_finish_of(reason or "end_turn"))
        return Reply(
            text=text_of(body["content"]),
            finish=finish,
            finish_reason=reason,
            tool_calls=tool_calls,
            usage=_usage(mapping(body.get("usage"))),
            model=string(body.get("model")),
            request_id=string(body.get("id")),
        )

    def decoder(self) -> StreamDecoder:
        return _Decoder()


class _Decoder:
    """`message_start` opens with the input's tokens, `message_delta` brings the reason and the output's tokens."""

    def __init__(self) -> None:
        self.ended = False
        self._reason: str | None = None
        self._calls = Calls()
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self._id: str | None = None

    @property
    def finish(self) -> Finish | None:
        return None if self._reason is None else _finish_of(self._reason)

    @property
    def call_bytes(self) -> int:
        return self._calls.received_bytes

    def feed(self, chunk: Mapping[str, Any]) -> str | None:
        match chunk.get("type"):
            case "content_block_delta":
                delta = mapping(chunk.get("delta"))
                if "partial_json" in delta and chunk.get("index") in self._calls:
                    self._calls.add(chunk.get("index"), arguments=delta["partial_json"])
                return string(delta.get("text")) or ""
            case "content_block_start":
                block = mapping(chunk.get("content_block"))
                _open(self._calls, chunk.get("index"), block)
                return string(block.get("text")) or ""
            case "message_start":
                message = mapping(chunk.get("message"))
                self._model, self._id = string(message.get("model")), string(message.get("id"))
                self._usage = mapping(message.get("usage"))
            case "message_delta":
                self._reason = string(mapping(chunk.get("delta")).get("stop_reason")) or self._reason
                news = mapping(chunk.get("usage"))
                self._usage = self._usage | {name: value for name, value in news.items() if value is not None}
            case "message_stop":
                self.ended = True
            case "content_block_stop":
                pass
            case _:
                return None
        return ""

    def reply(self, text: str) -> Reply:
        finish, tool_calls = self._calls.ending(self.finish or "cut")
        return Reply(
            text=text,
            finish=finish,
            finish_reason=self._reason,
            tool_calls=tool_calls,
            usage=_usage(self._usage) if self.finish else None,
            model=self._model,
            request_id=self._id,
        )


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The results of one turn's calls go back in one message, with what the user says after them."""
    sent: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        content = _content(message)
        if message.role in {"tool", "user"} and sent and _holds_results(sent[-1]):
            sent[-1]["content"] += content if isinstance(content, list) else _text(content)
        else:
            sent.append({"role": "user" if message.role == "tool" else message.role, "content": content})
    return sent


def _holds_results(sent: Mapping[str, Any]) -> bool:
    return isinstance(sent["content"], list) and sent["content"][-1]["type"] == "tool_result"


def _content(message: Message) -> str | list[dict[str, Any]]:
    if message.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        result |= {"content": message.content} if message.content else {}
        return [result | ({"is_error": True} if message.error else {})]
    if message.tool_calls:
        uses = [
            {"type": "tool_use", "id": call.id, "name": name_of(call), "input": arguments_of(call)}
            for call in message.tool_calls
        ]
        return _text(message.content) + uses
    return message.content


def _text(text: str) -> list[dict[str, Any]]:
    """As a block; one without a visible character would be refused."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _offer(request: Request) -> dict[str, Any]:
    """The tools; a conversation that holds calls of them needs them even where none may be called any more."""
    called = any(message.tool_calls for message in request.messages)
    if not request.tools or not (request.may_call or called):
        return {}
    tools = [
        {"name": spec.name, "description": spec.description, "input_schema": dict(spec.parameters)}
        for spec in request.tools
    ]
    return {"tools": tools} | ({} if request.may_call else {"tool_choice": {"type": "none"}})


def _open(calls: Calls, index: Any, block: Mapping[str, Any]) -> None:
    if block.get("type") == "tool_use":
        calls.add(index, ident=block.get("id"), name=block.get("name"), arguments=block.get("input"))


def _finish_of(reason: str) -> Finish:
    """A word that is none of the API's own is no good end."""
    return FINISHES.get(reason, "cut")


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    """`input_tokens` counts only what was neither read from nor written to the cache; ours counts all."""
    parts = [0 if fields.get(name) is None else count(fields[name]) for name in INPUT_PARTS]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or fields.get("input_tokens") is None:
        return None
    return usage_of(sum(known), fields.get("output_tokens"), cache_read=known[1], cache_write=known[2])
