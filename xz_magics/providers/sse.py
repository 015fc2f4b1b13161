"""Server-sent events out of bytes: the line and field rules of the WHATWG event-stream format, and nothing else."""

from collections.abc import Iterator
from typing import NamedTuple

MAX_EVENT_BYTES = 8 * 2**20
BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    name: str
    data: str


class EventTooLarge(ValueError):  # noqa: N818 - says what is wrong
    """One event holds more bytes than any answer needs."""


class EventDecoder:
    """Fed with the bytes of a stream in any pieces, gives its events, each when its blank line has come.

    Linear in the bytes fed; holds at most one event of `max_event_bytes`. Ids and retry times are left out.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._begun = False
        self._after_cr = False
        self._line = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that this piece completes, to be taken before the next piece. Raises EventTooLarge."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        unfinished = b"" if chunk.endswith((b"\r", b"\n")) else lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line + lines[0])
            self._line.clear()
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._dispatched()) is not None:
                yield event
        if unfinished:
            self._line += unfinished
            self._check_size()

    def _take(self, line: bytes) -> None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(BOM)
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(line)
            self._check_size()
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")

    def _dispatched(self) -> ServerEvent | None:
        self._begun = True
        data, self._data = self._data, []
        name, self._name = self._name, ""
        self._data_bytes = 0
        return ServerEvent(name or "message", b"\n".join(data).decode("utf-8", "replace")) if data else None

    def _check_size(self) -> None:
        if len(self._line) + self._data_bytes > self._max_event_bytes:
            raise EventTooLarge(f"one event is larger than {self._max_event_bytes:,} bytes")
