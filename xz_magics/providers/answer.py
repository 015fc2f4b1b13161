"""One answer as its bytes come in: what is a whole reply, what a cut one, and what is none. No input or output."""

import json
from dataclasses import replace
from typing import Any

from xz_magics.errors import ProviderError
from xz_magics.providers import Exchange
from xz_magics.providers.failures import Failures
from xz_magics.providers.sse import EventDecoder, ServerEvent
from xz_magics.providers.wire import Wire
from xz_magics.records import Reply

MAX_ANSWER_BYTES = 32 * 2**20
BLANK = b" \t\r\n\xef\xbb\xbf"
DOCUMENT_STARTS = (b"{", b"[", b"<")


class Answer:
    """Fed with what a server sends under a good status; writes what has come of it to the exchange.

    Its first character shows whether it is a stream or one document, for servers get the content type wrong.
    """

    def __init__(self, wire: Wire, exchange: Exchange, failures: Failures, *, stream: bool) -> None:
        self._wire = wire
        self._exchange = exchange
        self._failures = failures
        self._decoder = wire.decoder()
        self._body = bytearray()
        self._undecided = stream
        self._events: EventDecoder | None = None
        self._begun = False
        self._call_bytes = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """The stream's last event has come."""
        return self._ended or self._decoder.ended

    def feed(self, chunk: bytes) -> bool:
        """Whether this brought something new to a stream; comments and pings are nothing new. Raises ProviderError."""
        if self._events is not None:
            return self._feed_events(self._events, chunk)
        self._body += chunk
        if self._undecided and (opening := chunk.lstrip(BLANK)):
            self._undecided = False
            if not opening.startswith(DOCUMENT_STARTS):
                self._events = EventDecoder()
                return self._feed_events(self._events, bytes(self._body))
        self._check_size(len(self._body))
        return False

    def reply(self, trouble: ProviderError | None = None) -> Reply:
        """The reply that came before the end, or before `trouble`. Raises ProviderError where there is none."""
        reply = self._streamed(trouble) if self._events is not None or self._undecided else self._whole(trouble)
        self._exchange.usage = reply.usage
        self._exchange.finish_reason = reply.finish_reason
        if not reply.text and reply.finish in {"stop", "length", "cut"}:
            raise self._failures.empty(reply)
        if reply.finish == "cut" and reply.note is None:
            return replace(reply, note=f"the model ended it with {reply.finish_reason!r}")
        return reply

    def _streamed(self, trouble: ProviderError | None) -> Reply:
        text = self._exchange.text
        reply = self._decoder.reply(text)
        if self._decoder.finish is not None:
            return reply
        if text and (trouble is None or trouble.error_type != "timeout"):
            return replace(reply, note=trouble.message if trouble else "the stream ended before it was finished")
        if trouble is None and self._body.strip() and not self._begun:
            raise self._failures.unreadable("got a stream without any event", self._body)
        error = trouble or self._failures.cut_off()
        if error.charge == "all" and self._exchange.received_bytes:
            raise _charged_by_bytes(error) from error
        raise error

    def _whole(self, trouble: ProviderError | None) -> Reply:
        body = self._body
        if trouble is not None:
            if body and trouble.error_type == "network":
                raise self._failures.unreadable("the answer broke off", body) from trouble
            raise trouble
        try:
            document = json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise self._failures.unreadable("got no JSON" if body else "got an empty answer", body) from error
        try:
            reply = self._wire.reply_of(self._checked(document))
        except ValueError as error:
            raise self._failures.unreadable(f"got JSON that is no reply, for {error}", body) from error
        self._exchange.add_text(reply.text)
        return reply

    def _feed_events(self, events: EventDecoder, chunk: bytes) -> bool:
        """The text of all events that came together is told as one piece: a flood of small ones costs one each read."""
        news = False
        texts: list[str] = []
        try:
            for event in events.feed(chunk):
                self._begun = True
                if event.data == "[DONE]":
                    self._ended = True
                elif (text := self._decoder.feed(self._chunk_of(event))) is not None:
                    news = True
                    texts.append(text)
                    self._exchange.received_bytes += self._decoder.call_bytes - self._call_bytes
                    self._call_bytes = self._decoder.call_bytes
        except ValueError as error:
            raise self._failures.too_large(str(error)) from error
        finally:
            self._exchange.add_text("".join(texts))
        self._check_size(self._exchange.received_bytes)
        return news

    def _chunk_of(self, event: ServerEvent) -> dict[str, Any]:
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError) as error:
            raise self._failures.unreadable("got an event that is no JSON", event.data.encode()) from error
        return self._checked(chunk, failed=event.name == "error")

    def _checked(self, document: Any, *, failed: bool = False) -> dict[str, Any]:
        """The document, unless it is no object or reports an error."""
        if not isinstance(document, dict):
            raise self._failures.unreadable("got JSON that is no object", json.dumps(document).encode())
        if failed or document.get("error") or document.get("type") == "error":
            raise self._failures.reported(document.get("error") or document)
        return document

    def _check_size(self, size: int) -> None:
        if size > MAX_ANSWER_BYTES:
            raise self._failures.too_large(f"the answer is larger than {MAX_ANSWER_BYTES:,} bytes")


def _charged_by_bytes(error: ProviderError) -> ProviderError:
    """The same failure, of a stream that had brought text or parts of tool calls."""
    message, hint, error_type, _, *rest = error.args
    return ProviderError(message, hint, error_type, "received", *rest)
