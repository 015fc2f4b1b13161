"""What a subagent costs beside its bare HTTP call: `python benchmarks/overhead.py`.

Both sides call one local server of fixed latency, in turn, in one process: the bare transport (httpx on httpx-aiohttp)
and `xz_magics.run` with quota, events and metrics on. Figures are CPU seconds of this process; the server has its own.
"""

import argparse
import asyncio
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

import xz_magics

SERVER = Path(__file__).with_name("latency_server.py")
PROMPT = "How many legs has a spider?"
STATE = tempfile.TemporaryDirectory()
os.environ |= {"XZ_MAGICS_STATE": STATE.name, "XZ_MAGICS_JOURNAL": "off"}  # what a journal costs, journal.py says
LIMITS = xz_magics.Quota(max_executions=10**6, max_total_tokens=10**9, max_total_time=10**5)


async def bare(url: str, count: int, at_once: int, *, stream: bool) -> None:
    """The same calls, and nothing else: a fixed body, the answer read to its end and its JSON loaded."""
    body = {"model": "test", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    slots = asyncio.Semaphore(at_once)
    transport = AiohttpTransport(client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:

        async def call() -> None:
            async with slots:
                if not stream:
                    assert (await client.post(f"{url}/chat/completions", json=body)).json()["usage"]
                    return
                async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("data: {"):
                            json.loads(line[6:])

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(call())


async def ours(url: str, count: int, at_once: int, *, stream: bool) -> xz_magics.Results:
    results = await xz_magics.run(
        [PROMPT] * count,
        model="openai:test",
        base_url=url,
        max_tokens=100,
        max_concurrent=at_once,
        stream=stream,
        quota=LIMITS,
    )
    results.raise_for_failures()
    return results


async def cpu_s(work: Awaitable[object]) -> float:
    before = time.process_time()
    await work
    return time.process_time() - before


async def compare(url: str, count: int, at_once: int, rounds: int, *, stream: bool) -> None:
    """Pairs, in turn, after one of each that does not count."""
    await bare(url, count // 10, at_once, stream=stream)
    await ours(url, count // 10, at_once, stream=stream)
    pairs = []
    for _ in range(rounds):
        plain = await cpu_s(bare(url, count, at_once, stream=stream))
        pairs.append((await cpu_s(ours(url, count, at_once, stream=stream)), plain))
    ratios = sorted(mine / plain for mine, plain in pairs)
    mine, plain = (statistics.median(side) * 1e6 / count for side in zip(*pairs, strict=True))
    kind = "streaming" if stream else "whole"
    print(
        f"{count} at {at_once:>5} at once, {kind:>9}: {mine:6.0f} µs of CPU each, bare {plain:6.0f} µs,"
        f" ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


async def lag_p99_ms(work: Awaitable[object]) -> float:
    """How late a timer of 5 ms is served while the work goes on. Where the CPU is busy throughout, both sides lag."""
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    await work
    ticking.cancel()
    return sorted(lags)[int(0.99 * len(lags))] * 1000


async def lag_and_spawns(url: str, count: int, at_once: int) -> None:
    spawns: list[float] = []
    running = xz_magics.run(
        [PROMPT] * count,
        model="openai:test",
        base_url=url,
        max_concurrent=at_once,
        quota=LIMITS,
        on_result=lambda outcome: spawns.append(outcome.spawn_s or 0.0),
    )
    plain_ms = await lag_p99_ms(bare(url, count, at_once, stream=True))
    mine_ms = await lag_p99_ms(running)
    spawn_ms = sorted(spawns)[int(0.95 * len(spawns))] * 1000
    print(
        f"{count} at {at_once:>5} at once: spawn p95 {spawn_ms:.1f} ms,"
        f" loop lag p99 {mine_ms:.1f} ms, bare {plain_ms:.1f} ms",
        flush=True,
    )


async def parallel_or_not(url: str, pairs: int) -> None:
    """20 tasks at 20 at once against one at a time, in pairs; the sign test's p for `parallel is faster`."""

    async def wall_s(at_once: int) -> float:
        before = time.perf_counter()
        await ours(url, 20, at_once, stream=True)
        return time.perf_counter() - before

    times = [(await wall_s(1), await wall_s(20)) for _ in range(pairs)]
    ratios = sorted(alone / together for alone, together in times)
    wins = sum(ratio > 1 for ratio in ratios)
    p = min(1.0, 2 * sum(math.comb(pairs, k) for k in range(wins, pairs + 1)) / 2**pairs)
    print(
        f"20 tasks, 20 at once against one at a time: {statistics.median(ratios):.1f} times as fast"
        f" (at least {ratios[0]:.1f}), p = {p:.4f} over {pairs} pairs",
        flush=True,
    )


async def memory(url: str, count: int) -> None:
    await ours(url, count, 100, stream=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} subagents: peak memory {peak_mb:.0f} MB of the whole process", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--memory", metavar="URL", help="only the memory of 10,000 subagents, against this server")
    given = parser.parse_args()
    if given.memory:
        asyncio.run(memory(given.memory, 10 * given.count))
        return
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            measure(f"http://127.0.0.1:{int(server.stdout.readline())}/v1", given.count, given.rounds)
        finally:
            server.kill()


def measure(url: str, count: int, rounds: int) -> None:
    def run(work: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(work())  # type: ignore[arg-type]  # a coroutine function

    for stream in (False, True):
        for at_once in (50, 1000):
            run(lambda at_once=at_once, stream=stream: compare(url, count, at_once, rounds, stream=stream))
    for at_once in (5, 50):
        run(lambda at_once=at_once: lag_and_spawns(url, count // 2, at_once))
    run(lambda: parallel_or_not(url, max(7, rounds)))
    subprocess.run([sys.executable, __file__, "--memory", url, "--count", str(count)], check=True)


if __name__ == "__main__":
    main()
