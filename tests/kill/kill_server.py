"""The provider of runs that are killed: a program that answers each prompt by its own words, and tells what it was sent.

It prints its port. For each line that comes in it prints, as JSON, the prompts that came since the last one, once
whoever sent them is gone.
"""

import asyncio
import json
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))

import fault_server as fs

BUSY, TOOL = "Be busy first.", "Pause first."
"""What a prompt may hold: its first request is refused for a while, or it is answered by a call of a tool."""

GONE_S = 10.0


def output_of(prompt):
    return f"One two {prompt}"


class Provider:
    def __init__(self, random):
        self.prompts = []
        self._refused = set()
        self._random = random

    async def answer(self, call):
        messages = call.request["messages"]
        prompt = next(message["content"] for message in messages if message["role"] == "user")
        self.prompts.append(prompt)
        if BUSY in prompt and prompt not in self._refused:
            self._refused.add(prompt)
            await call.send(fs.refusal(503, headers=b"retry-after-ms: 40\r\n"))
        elif TOOL in prompt and messages[-1]["role"] != "tool":
            await call.send(fs.calling(("pause", "{}", "call_1")))
        else:
            await self._stream(call, [fs.chunk("One "), fs.chunk("two "), fs.chunk(prompt), fs.FINISH, fs.COUNTED])

    async def _stream(self, call, pieces):
        await call.send(fs.HEAD % (200, fs.SSE + b"transfer-encoding: chunked\r\n"))
        for piece in [*pieces, fs.DONE]:
            await asyncio.sleep(self._random.uniform(0, 0.015))
            await call.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await call.send(b"0\r\n\r\n")


async def main():
    provider = Provider(Random(1))
    async with fs.FaultServer(provider.answer) as server:
        print(server.port, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            async with asyncio.timeout(GONE_S):
                while server.open_connections:
                    await asyncio.sleep(0.005)
            print(json.dumps(provider.prompts), flush=True)
            provider.prompts.clear()


if __name__ == "__main__":
    asyncio.run(main())
