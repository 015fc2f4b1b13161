"""A server of the OpenAI wire with a fixed latency, which counts what reaches it: `python latency_server.py`.

Prints its port as the first line. POST /v1/chat/completions answers after --latency seconds, streamed in --chunks
pieces where asked for; a prompt may name its own: "latency=2 chunks=40", or "status=503". Where tools are offered, a
prompt with "turns=5" has the first of them called in each turn but the last. GET /seen tells what has arrived so far.
"""

import argparse
import asyncio
import json
import re
import time

from aiohttp import web

USAGE = {"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20}


class Counts:
    """Arrivals as seconds since the epoch, and how many requests are open."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.open = 0
        self.most_open = 0


async def complete(request: web.Request) -> web.StreamResponse:
    counts: Counts = request.app["counts"]
    counts.arrived.append(time.time())
    counts.open += 1
    counts.most_open = max(counts.most_open, counts.open)
    try:
        return await _answer(request, await request.json())
    finally:
        counts.open -= 1


async def _answer(request: web.Request, body: dict) -> web.StreamResponse:
    prompt = next(message["content"] for message in body["messages"] if message["role"] == "user")
    wishes = dict(re.findall(r"(latency|chunks|status|turns)=([\d.]+)", prompt))
    latency_s = float(wishes.get("latency", request.app["latency_s"]))
    chunks = int(wishes.get("chunks", request.app["chunks"]))
    if "status" in wishes:
        return web.json_response({"error": {"message": f"as asked: {prompt}"}}, status=int(wishes["status"]))
    answered = sum(message["role"] == "tool" for message in body["messages"])
    if body.get("tools") and answered + 1 < int(wishes.get("turns", 1)):
        await asyncio.sleep(latency_s)
        return await _call(request, body, answered)
    if not body.get("stream"):
        await asyncio.sleep(latency_s)
        message = {"role": "assistant", "content": "word " * chunks}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(chunks):
        await asyncio.sleep(latency_s / chunks)
        await _send(response, {"choices": [{"index": 0, "delta": {"content": "word "}}]})
    await _send(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await _send(response, {"choices": [], "usage": USAGE})
    await response.write(b"data: [DONE]\n\n")
    return response


async def _call(request: web.Request, body: dict, number: int) -> web.StreamResponse:
    """Calls the first tool, with a number of its own as `text`."""
    function = {"name": body["tools"][0]["function"]["name"], "arguments": json.dumps({"text": str(number)})}
    call = {"index": 0, "id": f"call-{number}", "type": "function", "function": function}
    end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return web.json_response({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE})
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for choices in ([{"index": 0, "delta": {"tool_calls": [call]}}], [end], []):
        await _send(response, {"choices": choices} | ({} if choices else {"usage": USAGE}))
    await response.write(b"data: [DONE]\n\n")
    return response


async def _send(response: web.StreamResponse, event: dict) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())


async def seen(request: web.Request) -> web.Response:
    counts: Counts = request.app["counts"]
    return web.json_response({"arrived": counts.arrived, "open": counts.open, "most_open": counts.most_open})


async def serve(latency_s: float, chunks: int) -> None:
    app = web.Application()
    app["counts"], app["latency_s"], app["chunks"] = Counts(), latency_s, chunks
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/seen", seen)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)  # noqa: SLF001 - aiohttp tells the port nowhere else
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.05, metavar="S")
    parser.add_argument("--chunks", type=int, default=5, metavar="N")
    given = parser.parse_args()
    asyncio.run(serve(given.latency, given.chunks))
