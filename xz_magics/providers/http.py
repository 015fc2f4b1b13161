"""The only input and output of model calls: one POST over HTTP, and what a broken connection means."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from xz_magics.bursts import spread
from xz_magics.errors import Charge, ProviderError
from xz_magics.prices import Price
from xz_magics.providers import Exchange, ProviderIdentity
from xz_magics.providers.answer import Answer
from xz_magics.providers.answer_forms import by_instruction
from xz_magics.providers.endpoint import Endpoint, checked_key, redactor
from xz_magics.providers.environment import no_certificates, proxy_url
from xz_magics.providers.failures import EXAMINED_BYTES, Failures, request_id
from xz_magics.providers.wire import Wire, body_of
from xz_magics.records import ErrorType, Reply, Request

CONNECT_TIMEOUT_S = 15.0
REFUSAL_TIMEOUT_S = 5.0
WHOLE_ANSWER_TIMEOUT_S = 600.0  # nothing comes before all of it does
LINGER_S = 0.25
STALE_S = 0.5  # a kept connection that was closed meanwhile breaks at once; later, the request may have been worked on
LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-")
BROKEN = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)


class _Sending:
    """What the transport tells about the request under way in this context."""

    __slots__ = ("exchange", "reused")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.reused = False


# aiohttp's trace hooks are told of no request of ours; the context that they run in says whose it is.
_SENDING: ContextVar[_Sending] = ContextVar("_SENDING")


class HttpClient:
    """The connections to one endpoint, in one event loop; used after `aclose`, it opens new ones."""

    def __init__(self, endpoint: Endpoint, *, transport: httpx.AsyncBaseTransport | None) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def open(self) -> None:
        """Raises ModelError where the proxy or the certificates that the environment names cannot be used."""
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
            began_at = time.monotonic()
            try:
                response = await client.send(request, auth=auth, stream=True)
            except httpx.TransportError:
                if not sending.reused or time.monotonic() - began_at > STALE_S:
                    raise
                response = await self._client(keep_alive=False).send(request, auth=auth, stream=True)
        finally:
            _SENDING.reset(token)
        exchange.mark_sent()
        exchange.headers = {name: value for name, value in response.headers.items() if name.startswith(LIMIT_HEADERS)}
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
    """One model behind one endpoint. The key lives in its `_KeyAuth` and in the redactor, and nowhere else."""

    def __init__(
        self,
        *,
        model: str,
        model_id: str,
        endpoint: Endpoint,
        wire: Wire,
        key: str | None,
        price: Price | None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises ModelError where the key is no key or would go out in clear text. `transport` replaces the network."""
        key = checked_key(key, endpoint)
        self.model = model
        self.identity = ProviderIdentity(endpoint.wire, endpoint.base_url.rstrip("/"), model_id)
        self.account = endpoint.account
        self.overhead_tokens = wire.overhead_tokens
        self.tools_overhead_tokens = wire.tools_overhead_tokens
        self.schema_overhead_tokens = wire.schema_overhead_tokens
        self.price = price
        self.note = ""
        self.wire = wire
        self._model_id = model_id
        self._endpoint = endpoint
        self._client = HttpClient(endpoint, transport=transport)
        self._url = httpx.URL(endpoint.url(wire.path))
        self._headers = {
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "xz-magics",
        }
        self._auth = _KeyAuth(wire.headers(key), self._url)
        self._failures = Failures(endpoint, redactor(key))

    async def open(self, tell: Callable[[str], None]) -> None:
        """Raises ModelError where the proxy or the certificates that the environment names cannot be used."""
        del tell  # there is nothing to wait for
        self._client.open()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def call(self, request: Request, exchange: Exchange) -> Reply:
        if not self._endpoint.knows_schemas:
            request = by_instruction(request)
        answer = Answer(self.wire, exchange, self._failures, stream=request.stream)
        named = trouble = None
        try:
            named = await self._receive(request, exchange, answer)
        except ProviderError as error:
            trouble = error
        reply = answer.reply(trouble)
        return replace(reply, request_id=named) if named else reply

    async def _receive(self, request: Request, exchange: Exchange, answer: Answer) -> str | None:
        """Feeds the answer until its end; raises ProviderError for all that prevents or breaks it. The request's id."""
        official = self._endpoint.host == self.wire.official_host
        body = body_of(self.wire, request, self._model_id, official=official)
        post = httpx.Request("POST", self._url, headers=self._headers, content=body)
        idle_timeout_s = exchange.idle_timeout_s if request.stream else WHOLE_ANSWER_TIMEOUT_S
        deadline = asyncio.timeout(idle_timeout_s)
        try:
            async with deadline, self._client.sent(post, self._auth, exchange) as response:
                await spread()
                pieces = _pieces(response)
                if not response.is_success:
                    body = await _rest(pieces, REFUSAL_TIMEOUT_S)
                    raise self._failures.refused(response.status_code, response.headers, body, now=time.time())
                async for piece in pieces:
                    if answer.feed(piece) and idle_timeout_s is not None:
                        deadline.reschedule(asyncio.get_running_loop().time() + idle_timeout_s)
                    if answer.ended:
                        await _rest(pieces, LINGER_S)
                        break
                return request_id(response.headers)
        except BROKEN as error:
            if deadline.expired():
                raise self._idle(idle_timeout_s, exchange) from error
            raise _broken(error, self._endpoint, exchange) from error

    def _idle(self, idle_timeout_s: float | None, exchange: Exchange) -> ProviderError:
        told = f"{self._endpoint.host} sent nothing new for {idle_timeout_s:g} s"
        hint = "raise idle_timeout, or try again: the text so far is kept"
        return ProviderError(told, hint, "timeout", _charge(exchange))


class _KeyAuth(httpx.Auth):
    """Puts the key's headers on requests to its own origin and on no others."""

    def __init__(self, headers: Mapping[str, str], url: httpx.URL) -> None:
        self._headers = headers
        self._origin = (url.scheme, url.netloc)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if (request.url.scheme, request.url.netloc) == self._origin:
            request.headers.update(self._headers)
        yield request


def _transport(endpoint: Endpoint, *, keep_alive: bool) -> AiohttpTransport:
    """Its certificates are loaded only where they are needed, for that takes long."""
    try:
        context = httpx.create_ssl_context() if endpoint.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    except OSError as error:
        raise no_certificates(error) from error
    proxy = proxy_url(endpoint)

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, force_close=not keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_tracing()],
        )

    return AiohttpTransport(verify=context, client=session, proxy=httpx.Proxy(proxy) if proxy else None)


def _tracing() -> aiohttp.TraceConfig:
    """Tells `_SENDING` when a request is written (just before, in the same step) and on what kind of connection."""

    async def note_written(*_: object) -> None:
        _SENDING.get().exchange.mark_sent()

    async def note_reused(*_: object) -> None:
        _SENDING.get().reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_request_chunk_sent.append(note_written)
    tracing.on_connection_reuseconn.append(note_reused)
    return tracing


def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body, unpacked at most once: each further packing would multiply what a few bytes can unfold to."""
    if response.headers.get("content-encoding", "").strip().lower() in {"gzip", "deflate"}:
        return response.aiter_bytes()
    return aiter(cast("httpx.AsyncByteStream", response.stream))


async def _rest(pieces: AsyncIterator[bytes], timeout_s: float) -> bytes:
    """What else comes, if it comes soon: the text of a refusal, or the end that lets a connection be kept."""
    body = bytearray()
    with suppress(*BROKEN):  # the status of a refusal, or the reply before the end, says enough without it
        async with asyncio.timeout(timeout_s):
            async for piece in pieces:
                body += piece
                if len(body) >= EXAMINED_BYTES:
                    break
    return bytes(body[:EXAMINED_BYTES])


def _charge(exchange: Exchange) -> Charge:
    return "all" if exchange.sent else "nothing"


def _broken(error: Exception, endpoint: Endpoint, exchange: Exchange) -> ProviderError:
    """What a failed connection means. httpx-aiohttp gives most of them one name; their cause tells them apart."""
    cause = error.__cause__ if isinstance(error.__cause__, (aiohttp.ClientError, OSError)) else error
    kind: ErrorType = "network"
    should_retry: bool | None = None
    hint = "check the network, and whether the provider is up"
    match cause:
        case aiohttp.ClientConnectorDNSError():
            told, hint = f"no host is called {cause.host}", "check the base URL, and whether there is a network"
        case aiohttp.ClientProxyConnectionError():
            told, hint = f"the environment's proxy cannot be reached: {_reason(cause.os_error)}", "check HTTPS_PROXY"
        case aiohttp.ClientHttpProxyError():
            told = f"the environment's proxy does not connect to {endpoint.host}: it answered {cause.status}"
            hint, should_retry = "check HTTPS_PROXY and NO_PROXY", False
        case aiohttp.ClientConnectorCertificateError():
            told, should_retry = f"TLS with {endpoint.host} failed: {_failed_check(cause.certificate_error)}", False
            hint = "trust an organisation's own certificate by its file's path in SSL_CERT_FILE"
        case ssl.SSLError():
            told, should_retry = f"TLS with {endpoint.host} failed: {_reason(cause)}", False
            hint = "check the port, and whether the server speaks https:// at all"
        case aiohttp.ConnectionTimeoutError():
            told = f"no connection to {endpoint.host} within {CONNECT_TIMEOUT_S:.0f} s"
        case aiohttp.ClientConnectorError():
            told = f"nothing answers at {cause.host}:{cause.port}: {_reason(cause.os_error)}"
            hint = "is the local server running?" if endpoint.on_this_machine else hint
        case aiohttp.ClientResponseError() | httpx.InvalidURL() | httpx.ProtocolError() | httpx.DecodingError():
            kind, told = "bad_response", f"{endpoint.host} sent what is no HTTP answer"
            hint = "check the base URL: https:// or http://, and the port"
        case _:
            told = f"{endpoint.host} closed the connection before the answer was whole"
    return ProviderError(told, hint, kind, _charge(exchange), should_retry=should_retry)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 1 else (error.strerror or type(error).__name__)


def _failed_check(error: Exception) -> str:
    return getattr(error, "verify_message", "") or "its certificate is not valid"
