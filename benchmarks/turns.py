"""What a turn with a tool call costs beside a bare loop of HTTP calls: `python benchmarks/turns.py`.

Both sides hold the same conversations with one local server, in turn, in one process: the bare loop sends the messages,
reads the stream, calls the function and sends its result; `xz_magics.run` does so with quota, rights, checked arguments
and events. Figures are CPU seconds of this process; the server has its own.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from overhead import LIMITS, cpu_s

import xz_magics

SERVER = Path(__file__).with_name("latency_server.py")


def echo(text: str) -> str:
    """Gives the text back."""
    return f"echo {text}"


async def echo_async(text: str) -> str:
    """Gives the text back."""
    return f"echo {text}"


def offered(name: str) -> list[dict[str, object]]:
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    function = {"name": name, "description": "Gives the text back.", "parameters": parameters}
    return [{"type": "function", "function": function}]


async def bare(url: str, count: int, at_once: int, turns: int) -> None:
    slots = asyncio.Semaphore(at_once)
    transport = AiohttpTransport(client=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:

        async def answer(messages: list[dict[str, object]]) -> list[dict[str, object]]:
            body = {"model": "test", "messages": messages, "max_tokens": 100, "tools": offered("echo_async")}
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            calls: list[dict[str, object]] = []
            async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        for choice in json.loads(line[6:])["choices"]:
                            calls += choice["delta"].get("tool_calls", [])
            return calls

        async def converse() -> None:
            messages: list[dict[str, object]] = [{"role": "user", "content": f"turns={turns}"}]
            async with slots:
                while calls := await answer(messages):
                    messages.append({"role": "assistant", "content": None, "tool_calls": calls})
                    for call in calls:
                        text = await echo_async(**json.loads(call["function"]["arguments"]))
                        messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(converse())


async def ours(url: str, count: int, at_once: int, turns: int, tool: object) -> None:
    results = await xz_magics.run(
        [f"turns={turns}"] * count,
        model="openai:test",
        base_url=url,
        max_tokens=100,
        max_concurrent=at_once,
        max_turns=turns + 1,
        tools=[tool],
        allowed_tools=[tool.__name__],
        quota=LIMITS,
    )
    results.raise_for_failures()
    assert {len(outcome.turns) for outcome in results} == {turns}


async def compare(url: str, given: argparse.Namespace, tool: object) -> None:
    """Pairs, in turn, after one of each that does not count."""
    count, at_once, turns, rounds = given.count, given.at_once, given.turns, given.rounds
    await bare(url, count // 10, at_once, turns)
    await ours(url, count // 10, at_once, turns, tool)
    pairs = []
    for _ in range(rounds):
        plain = await cpu_s(bare(url, count, at_once, turns))
        pairs.append((await cpu_s(ours(url, count, at_once, turns, tool)), plain))
    ratios = sorted(mine / plain for mine, plain in pairs)
    mine, plain = (statistics.median(side) * 1e6 / (count * turns) for side in zip(*pairs, strict=True))
    print(
        f"{count} x {turns} turns at {at_once} at once, {tool.__name__}: {mine:.0f} µs of CPU a turn,"
        f" bare {plain:.0f} µs, ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=50)
    given = parser.parse_args()
    with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
            for tool in (echo_async, echo):
                asyncio.run(compare(url, given, tool))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
