"""What a wire is: how one API writes a request and what its answers mean, without any input or output."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from xz_magics.errors import ProviderError
from xz_magics.records import Finish, Reply, Request, Usage

MOST_TOKENS = 10**12


class StreamDecoder(Protocol):
    """Puts a streamed reply together. `finish` is None until the stream has said why it ends."""

    @property
    def finish(self) -> Finish | None: ...

    @property
    def ended(self) -> bool:
        """Nothing more is to come."""
        ...

    @property
    def call_bytes(self) -> int:
        """How much of tool calls has come so far."""
        ...

    def feed(self, chunk: Mapping[str, Any]) -> str | None:
        """The text in one event, "" where it brings something else, None where it brings nothing new.

        Raises ValueError where the tool calls are more, or nested deeper, than any answer's.
        """
        ...

    def reply(self, text: str) -> Reply:
        """The reply so far; it is cut, and has no tool calls, where no finish has come."""
        ...


class Wire(Protocol):
    """One API. `unsupported` are fields of a Request that it has not; `reserved` are `params` that never go out."""

    @property
    def path(self) -> str: ...

    @property
    def official_host(self) -> str:
        """The maker's own host."""
        ...

    @property
    def overhead_tokens(self) -> int: ...

    @property
    def tools_overhead_tokens(self) -> int: ...

    @property
    def schema_overhead_tokens(self) -> int: ...

    @property
    def unsupported(self) -> frozenset[str]: ...

    @property
    def reserved(self) -> frozenset[str]: ...

    def headers(self, key: str | None) -> dict[str, str]: ...

    def encode(self, request: Request, model_id: str, *, official: bool) -> dict[str, Any]:
        """The body. `official`: it goes to the maker's own host, which may want more than those that copy its API."""
        ...

    def reply_of(self, body: Mapping[str, Any]) -> Reply:
        """Raises ValueError where the body is no reply of this API."""
        ...

    def decoder(self) -> StreamDecoder: ...


def body_of(wire: Wire, request: Request, model_id: str, *, official: bool) -> bytes:
    """Raises ProviderError where what was passed on cannot be written."""
    try:
        body = wire.encode(request, model_id, official=official)
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        hint = "params hold plain text, numbers, lists and mappings"
        raise ProviderError(f"the request cannot be written as JSON: {error}", hint, "bad_request") from error


def mapping(value: Any) -> dict[str, Any]:
    """The value, or nothing where it is no mapping: what a server sends may have any shape."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not content:
        return ""
    return "".join(string(mapping(part).get("text")) or "" for part in sequence(content))


def usage_of(input_tokens: Any, output_tokens: Any, *, cache_read: Any = 0, cache_write: Any = 0) -> Usage | None:
    """Usage as reported, or None where it makes no sense: unknown is never 0, and no prompt has 0 tokens."""
    total_in, total_out = count(input_tokens), count(output_tokens)
    if not total_in or total_out is None:
        return None
    read, write = count(cache_read) or 0, count(cache_write) or 0
    if read + write > total_in:
        read = write = 0
    return Usage(input_tokens=total_in, output_tokens=total_out, cache_read_tokens=read, cache_write_tokens=write)


def count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None
