"""What a provider is: one verb, one model call. `open_provider` finds the one for a name such as "openai:MODEL"."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from xz_magics.characters import whole
from xz_magics.prices import Price
from xz_magics.records import Reply, Request, Usage


class Exchange:
    """One attempt as it goes: what has gone out and come back so far.

    A provider writes it while it works, so that a cancelled, cut or timed-out call keeps its text and can be charged.
    The caller may set `idle_timeout_s`: how long a stream may bring nothing new; None is no limit. `headers` are those
    of the answer that speak of rate limits, with lower-case names.
    """

    __slots__ = (
        "_on_sent",
        "_on_text",
        "finish_reason",
        "headers",
        "idle_timeout_s",
        "parts",
        "received_bytes",
        "sent",
        "usage",
    )

    def __init__(self, on_sent: Callable[[], None] | None = None, on_text: Callable[[str], None] | None = None) -> None:
        self._on_sent = on_sent
        self._on_text = on_text
        self.sent = False
        self.parts: list[str] = []
        self.received_bytes = 0
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.headers: Mapping[str, str] = {}
        self.idle_timeout_s: float | None = 60.0

    def mark_sent(self) -> None:
        """The request has been written; from here on it may cost. Only the first call counts."""
        if not self.sent:
            self.sent = True
            if self._on_sent is not None:
                self._on_sent()

    def add_text(self, text: str) -> None:
        """A piece of the answer has arrived."""
        if text:
            self.parts.append(text)
            self.received_bytes += len(text.encode("utf-8", "surrogatepass"))
            if self._on_text is not None:
                self._on_text(text)

    @property
    def text(self) -> str:
        return whole("".join(self.parts))


class ProviderIdentity(NamedTuple):
    """Who answers: the form of the requests, where they go, and the model's name there."""

    wire: str
    base_url: str
    model: str


class Provider(Protocol):
    """A way to one model. `call` raises ProviderError and nothing else but cancellation."""

    @property
    def model(self) -> str:
        """The name as the user writes it, "openai:MODEL"; the column `model`."""
        ...

    @property
    def identity(self) -> ProviderIdentity:
        """Two that are alike here answer alike."""
        ...

    @property
    def account(self) -> str:
        """What a rate-limit pause and a refused key apply to: host and key, never the key itself."""
        ...

    @property
    def note(self) -> str:
        """What a person should know of this model's answers, in one line; "" for nothing."""
        ...

    @property
    def overhead_tokens(self) -> int:
        """The most a wire adds to the texts' own bytes: hidden system prompts and chat forms."""
        ...

    @property
    def tools_overhead_tokens(self) -> int:
        """The most that the offer of tools adds on top of their schemas' bytes."""
        ...

    @property
    def schema_overhead_tokens(self) -> int:
        """The most that an answer's schema adds on top of its bytes."""
        ...

    @property
    def price(self) -> Price | None:
        """None: unpriced."""
        ...

    async def open(self, tell: Callable[[str], None]) -> None:
        """Makes ready what a call needs, before anything is sent; `tell` takes one line. Raises ModelError."""
        ...

    async def call(self, request: Request, exchange: Exchange) -> Reply: ...

    async def aclose(self) -> None: ...
