"""The wire of OpenAI's Chat Completions and of the many servers that copy it."""

from collections.abc import Mapping
from typing import Any

from xz_magics.providers.wire import StreamDecoder, mapping, sequence, string, text_of, usage_of
from xz_magics.records import Finish, Reply, Request, Usage

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
    unsupported: frozenset[str] = frozenset()
    reserved = frozenset(
        {"model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "n", "best_of"}
    )

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def encode(self, request: Request, model_id: str, *, official: bool) -> dict[str, Any]:
        body: dict[str, Any] = {name: value for name, value in request.params.items() if name not in self.reserved}
        body["model"] = model_id
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
        body["max_completion_tokens" if official else "max_tokens"] = request.max_tokens
        chosen = {"temperature": request.temperature, "top_p": request.top_p, "seed": request.seed}
        body |= {name: value for name, value in chosen.items() if value is not None}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def reply_of(self, body: Mapping[str, Any]) -> Reply:
        if not isinstance(body.get("choices"), list):
            raise ValueError("it has no list of choices")  # noqa: TRY004 - the value of a field, not an argument's type
        choice = mapping(next(iter(body["choices"]), None))
        message = mapping(choice.get("message"))
        reason = string(choice.get("finish_reason"))
        refusal = text_of(message.get("refusal"))
        return Reply(
            text=text_of(message.get("content")) + refusal,
            finish="refused" if refusal else _finish_of(reason or "stop"),
            finish_reason=reason,
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
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None

    @property
    def finish(self) -> Finish | None:
        if self._reason is None:
            return None
        return "refused" if self._refused else _finish_of(self._reason)

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
        finish = self.finish
        return Reply(
            text=text,
            finish=finish or "cut",
            finish_reason=self._reason,
            usage=self._usage if finish else None,
            model=self._model,
            request_id=self._id,
        )

    def _take(self, choice: Mapping[str, Any]) -> str:
        delta = mapping(choice.get("delta"))
        refusal = text_of(delta.get("refusal"))
        self._refused |= bool(refusal)
        self._reason = string(choice.get("finish_reason")) or self._reason
        return text_of(delta.get("content")) + refusal


def _finish_of(reason: str) -> Finish:
    """A word that is none of the API's own, such as "error", is no good end."""
    return FINISHES.get(reason, "cut")


def _usage(usage: Any) -> Usage | None:
    fields = mapping(usage)
    details = mapping(fields.get("prompt_tokens_details"))
    return usage_of(
        fields.get("prompt_tokens"), fields.get("completion_tokens"), cache_read=details.get("cached_tokens", 0)
    )
