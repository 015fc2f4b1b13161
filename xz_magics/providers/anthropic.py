"""The wire of Anthropic's Messages."""

from collections.abc import Mapping
from typing import Any

from xz_magics.providers.wire import StreamDecoder, count, mapping, string, text_of, usage_of
from xz_magics.records import Finish, Reply, Request, Usage

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
    unsupported = frozenset({"seed"})
    reserved = frozenset({"model", "messages", "system", "max_tokens", "stream"})

    def headers(self, key: str | None) -> dict[str, str]:
        version = {"anthropic-version": "2023-06-01"}
        return version if key is None else version | {"x-api-key": key}

    def encode(self, request: Request, model_id: str, *, official: bool) -> dict[str, Any]:  # noqa: ARG002 - of Wire
        body: dict[str, Any] = {name: value for name, value in request.params.items() if name not in self.reserved}
        body["model"] = model_id
        body["messages"] = [
            {"role": message.role, "content": message.content}
            for message in request.messages
            if message.role != "system"
        ]
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
        return body

    def reply_of(self, body: Mapping[str, Any]) -> Reply:
        if not isinstance(body.get("content"), list):
            raise ValueError("it has no list of content blocks")  # noqa: TRY004 - a field's value, no argument's type
        reason = string(body.get("stop_reason"))
        return Reply(
            text=text_of(body["content"]),
            finish=_finish_of(reason or "end_turn"),
            finish_reason=reason,
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
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self._id: str | None = None

    @property
    def finish(self) -> Finish | None:
        return None if self._reason is None else _finish_of(self._reason)

    def feed(self, chunk: Mapping[str, Any]) -> str | None:
        match chunk.get("type"):
            case "content_block_delta":
                return string(mapping(chunk.get("delta")).get("text")) or ""
            case "content_block_start":
                return string(mapping(chunk.get("content_block")).get("text")) or ""
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
        finish = self.finish
        return Reply(
            text=text,
            finish=finish or "cut",
            finish_reason=self._reason,
            usage=_usage(self._usage) if finish else None,
            model=self._model,
            request_id=self._id,
        )


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
