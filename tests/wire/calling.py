"""One call of a provider against a server of the test's own, and the proof that it leaves nothing open."""

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_server import FaultServer

from xz_magics.errors import ProviderError
from xz_magics.providers import Exchange
from xz_magics.providers.anthropic import AnthropicWire
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider
from xz_magics.providers.openai import OpenAIWire
from xz_magics.records import Message, Reply, Request

KEY = "sk-test-Ab3dEf6hIj9Kl2Mn"
WIRES = {"openai": OpenAIWire(), "anthropic": AnthropicWire()}


@dataclass
class Ended:
    reply: Reply | None
    error: ProviderError | None
    exchange: Exchange
    server: Any


def a_request(**changes):
    return Request(messages=(Message(role="user", content="Hi"),), max_tokens=50, **changes)


def a_provider(base_url, *, wire="openai", key=KEY, key_env="TEST_KEY", keep_alive=True, transport=None):
    endpoint = Endpoint(name="test", wire=wire, base_url=base_url, key_env=key_env, keep_alive=keep_alive)
    return HttpProvider(
        model="test:m", model_id="m", endpoint=endpoint, wire=WIRES[wire], key=key, price=None, transport=transport
    )


async def called(provider, request=None, *, idle_timeout_s=5.0, server=None):
    exchange = Exchange()
    exchange.idle_timeout_s = idle_timeout_s
    try:
        reply = await provider.call(request or a_request(), exchange)
    except ProviderError as error:
        return Ended(None, error, exchange, server)
    return Ended(reply, None, exchange, server)


def play(fault, *, stream=True, idle_timeout_s=5.0, base_url="http://127.0.0.1:{port}", tls=None, **options):
    """The end of one call against one fault; afterwards no task, connection or file is left."""

    async def scenario():
        async with FaultServer(fault, tls=tls) as server, nothing_left(server):
            provider = a_provider(base_url.format(port=server.port), **options)
            await provider.open(print)
            try:
                return await called(provider, a_request(stream=stream), idle_timeout_s=idle_timeout_s, server=server)
            finally:
                await provider.aclose()

    return asyncio.run(scenario())


@asynccontextmanager
async def nothing_left(server):
    """Inside, a client may work; afterwards its tasks, sockets and the server's connections are gone."""
    tasks, files = asyncio.all_tasks(), open_files()
    yield
    for _ in range(200):
        left = asyncio.all_tasks() - tasks
        if not left and not server.open_connections and open_files() <= files:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"left: {left}, {server.open_connections} connections, {open_files() - files} files")


def open_files():
    """Without those of the journal and the ledger, which stay open as long as a session."""
    kept = os.environ["XZ_MAGICS_STATE"]
    targets = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    return sum(not target.startswith(kept) for target in targets)
