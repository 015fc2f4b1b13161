"""The only input and output of model calls: one POST over HTTP, and what a broken connection means."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from xz_magics.errors import ModelError, ProviderError
from xz_magics.prices import Price
from xz_magics.providers import Exchange
from xz_magics.providers.answer import Answer
from xz_magics.providers.endpoint import Endpoint, checked_key, redactor
from xz_magics.providers.failures import EXAMINED_BYTES, Failures
from xz_magics.providers.wire import Wire
from xz_magics.records import Reply, Request

CONNECT_TIMEOUT_S = 15.0
REFUSAL_TIMEOUT_S = 5.0
LINGER_S = 0.25
BROKEN = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)


class _Sending:
    """What the transport tells about the request under way in this context."""

    __slots__ = ("exchange", "reused")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.reused = False


_SENDING: ContextVar[_Sending] = ContextVar("_SENDING")


class HttpClient:
    """The connections to one endpoint. It belongs to one event loop, and opens again when used after `aclose`.

    `transport` replaces the network.
    """

    def __init__(self, endpoint: Endpoint, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def open(self) -> None:
        """Raises ModelError where the proxy that the environment names cannot be used."""
        self._client(keep_alive=self._endpoint.keep_alive)

    async def aclose(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    @asynccontextmanager
    async def sent(self, request: httpx.Request, auth: httpx.Auth, exchange: Exchange) -> AsyncIterator[httpx.Response]:
        """The response with its headers. A kept connection that turns out closed is replaced by a fresh one, once."""
        sending = _Sending(exchange)
        token = _SENDING.set(sending)
        try:
            client = self._client(keep_alive=self._endpoint.keep_alive)
            try:
                response = await client.send(request, auth=auth, stream=True)
            except httpx.TransportError:
                if not sending.reused:
                    raise
                response = await self._client(keep_alive=False).send(request, auth=auth, stream=True)
        finally:
            _SENDING.reset(token)
        exchange.mark_sent()
        try:
            yield response
        finally:
            await response.aclose()

    def _client(self, *, keep_alive: bool) -> httpx.AsyncClient:
        client = self._clients.get(keep_alive)
        if client is None:
            client = self._clients[keep_alive] = httpx.AsyncClient(
                transport=self._transport or _transport(self._endpoint, keep_alive=keep_alive),
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
                follow_redirects=False,
                trust_env=False,
            )
        return client


class HttpProvider:
    """One model behind one endpoint. The key lives in its `_KeyAuth` and nowhere else."""

    def __init__(
        self,
        *,
        model: str,
        model_id: str,
        endpoint: Endpoint,
        wire: Wire,
        key: str | None,
        price: Price | None,
        client: HttpClient,
        official: bool = False,
    ) -> None:
        """Raises ModelError where the key is no key or would go out in clear text."""
        key = checked_key(key, endpoint)
        self.model = model
        self.account = endpoint.account
        self.overhead_tokens = wire.overhead_tokens
        self.price = price
        self.wire = wire
        self._model_id = model_id
        self._endpoint = endpoint
        self._official = official
        self._client = client
        self._url = httpx.URL(endpoint.url(wire.path))
        self._auth = _KeyAuth(wire.headers(key), self._url)
        self._failures = Failures(endpoint, redactor(key))
