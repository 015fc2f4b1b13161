"""A storm of cancelled calls: afterwards everything still works, and nothing is left of them."""

import asyncio
import random

import fault_server as fs
import pytest
from calling import a_provider, a_request, called, nothing_left
from fault_server import FaultServer

from xz_magics.providers import Exchange

pytestmark = pytest.mark.slow

WORKERS = 40
LONGEST_S = 0.012


@pytest.mark.parametrize(("calls_each", "keep_alive"), [(200, True), (10, False)])
async def test_after_a_storm_of_cancelled_calls_all_calls_succeed_and_nothing_is_left(calls_each, keep_alive):
    chance = random.Random(7)
    cancelled = 0

    async def slowly(call):
        await asyncio.sleep(chance.uniform(0, LONGEST_S))
        await fs.answering(call)

    async def work(provider):
        nonlocal cancelled
        for _ in range(calls_each):
            try:
                async with asyncio.timeout(chance.uniform(0, LONGEST_S)):
                    await provider.call(a_request(stream=chance.random() < 0.5), Exchange())
            except TimeoutError:
                cancelled += 1

    async with FaultServer(slowly) as server, nothing_left(server):
        provider = a_provider(f"http://127.0.0.1:{server.port}", keep_alive=keep_alive)
        await asyncio.gather(*(work(provider) for _ in range(WORKERS)))
        ended = await asyncio.gather(*(called(provider) for _ in range(WORKERS)))
        await provider.aclose()

    assert cancelled > WORKERS * calls_each / 4
    assert [one.reply.finish for one in ended] == ["stop"] * WORKERS


async def test_forty_calls_at_once_go_out_together():
    waiting = []

    async def together(call):
        waiting.append(call)
        while len(waiting) < WORKERS:
            await asyncio.sleep(0.005)
        await fs.answering(call)

    async with FaultServer(together) as server:
        provider = a_provider(f"http://127.0.0.1:{server.port}")
        ended = await asyncio.gather(*(called(provider) for _ in range(WORKERS)))
        await provider.aclose()

    assert [one.reply.finish for one in ended] == ["stop"] * WORKERS
