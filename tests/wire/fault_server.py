"""A raw TCP server that plays one fault: what a provider, a proxy or a network can do to an HTTP call, byte by byte."""

import asyncio
import gzip
import json
import socket
import struct

FOREIGN = b"\xff"
"""How ZeroMQ greets: a client of a kernel that has ended goes on calling its port, which may be this server's by now."""

TEXT = "One two three"
USAGE = {"prompt_tokens": 9, "completion_tokens": 3}
HEAD = b"HTTP/1.1 %d X\r\n%s\r\n"
CLOSING = b"connection: close\r\n"
SSE = b"content-type: text/event-stream\r\n"


class FaultServer:
    """`async with FaultServer(fault) as server`; a fault is an async function of a Call, or the bytes to answer with."""

    def __init__(self, fault, *, tls=None):
        self._fault = fault
        self._tls = tls
        self._tasks = set()
        self.bodies = []
        self.heads = []
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_connections(self):
        return len(self._tasks)

    def _accept(self, reader, writer):
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader, writer):
        of_connection = 0
        try:
            while True:
                first = await reader.readexactly(1)
                if first == FOREIGN:
                    return
                head = first + await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                self.heads.append(head)
                self.bodies.append(body)
                of_connection += 1
                call = Call(reader, writer, json.loads(body or b"{}"), len(self.bodies), of_connection)
                await (call.send(self._fault) if isinstance(self._fault, bytes) else self._fault(call))
                if writer.is_closing():
                    return
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


class Call:
    """One request that has come in whole, and what can be done to who sent it. Numbers count from 1."""

    def __init__(self, reader, writer, request, number, of_connection):
        self._reader = reader
        self._writer = writer
        self.request = request
        self.number = number
        self.of_connection = of_connection

    async def send(self, data):
        self._writer.write(data)
        await self._writer.drain()

    async def trickle(self, data, *, every_s, size=1):
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(every_s)

    async def until_gone(self):
        """Waits until the client has closed its side."""
        await self._reader.read()

    def close(self):
        self._writer.close()

    def reset(self):
        """RST in place of FIN: the client sees "connection reset by peer"."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def response(body=b"", *, status=200, headers=b"content-type: application/json\r\n"):
    return HEAD % (status, headers + b"content-length: %d\r\n" % len(body)) + body


def document(**changes):
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": USAGE} | changes).encode()


def refusal(status, message="no", headers=b"", **fields):
    return response(json.dumps({"error": {"message": message} | fields}).encode(), status=status, headers=headers)


def chunk(content=None, finish_reason=None):
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event(json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}))


def event(data):
    return b"data: " + (data if isinstance(data, bytes) else data.encode()) + b"\n\n"


TOKENS = chunk("One ") + chunk("two ") + chunk("three")
FINISH = chunk(finish_reason="stop")
COUNTED = event(json.dumps({"id": "chatcmpl-1", "choices": [], "usage": USAGE}))
DONE = event("[DONE]")
WHOLE = TOKENS + FINISH + COUNTED + DONE


def stream(body, *, headers=SSE):
    """An event stream that ends with its connection."""
    return HEAD % (200, headers + CLOSING) + body


def then(action, data=b""):
    """Sends the data, then does what the Call's method of that name does: reset, close, until_gone."""

    async def fault(call):
        await call.send(data)
        await asyncio.sleep(0.05)  # so that what was sent is read before the connection breaks
        if (waiting := getattr(call, action)()) is not None:
            await waiting

    return fault


def ending(data):
    return then("close", data)


def trickled(head, data, *, every_s=0.005, size=1):
    async def fault(call):
        await call.send(head)
        await call.trickle(data, every_s=every_s, size=size)
        call.close()

    return fault


def endless(head, piece, *, every_s=0.0):
    """Sends the piece for ever, until the client goes away."""

    async def fault(call):
        await call.send(head)
        while True:
            await call.send(piece)
            await asyncio.sleep(every_s)

    return fault


def bomb(size_bytes):
    packed = gzip.compress(b'{"choices": "' + b" " * size_bytes)
    return response(packed, headers=b"content-type: application/json\r\ncontent-encoding: gzip\r\n")


def streamed(body):
    """An event stream of known length, on a connection that is kept."""
    return response(body, headers=SSE)


def calling(*calls, reason="tool_calls"):
    """An answer that calls tools: each call is a name, its arguments as text, and its id if it has one."""
    whole = [
        {"index": at, "type": "function", "function": {"name": name, "arguments": arguments}}
        | ({"id": ident[0]} if ident else {})
        for at, (name, arguments, *ident) in enumerate(calls)
    ]
    choice = {"index": 0, "delta": {"tool_calls": whole}, "finish_reason": None}
    opened = event(json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]})) if calls else b""
    return streamed(opened + chunk(finish_reason=reason) + COUNTED + DONE)


def piece_of_call(arguments, *, name=None, **fields):
    """A part of the arguments of the first call; the first part has its name and its id, too."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    choice = {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function} | fields]}, "finish_reason": None}
    return event(json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}))


def named(kind, **fields):
    """An event of Anthropic's wire."""
    return f"event: {kind}\n".encode() + event(json.dumps({"type": kind} | fields))


def block(opening, *deltas):
    """A content block of Anthropic's wire."""
    pieces = [named("content_block_delta", index=0, delta=delta) for delta in deltas]
    return named("content_block_start", index=0, content_block=opening) + b"".join(pieces)


MESSAGE = named("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 9}})
SAID = MESSAGE + block(
    {"type": "text", "text": ""}, *({"type": "text_delta", "text": t} for t in ("One ", "two ", "three"))
)
STOP = named("message_stop")


def ended_as(reason):
    return named("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 3})


def in_turn(*faults):
    """The first request meets the first fault, and so on; the last one is met again and again."""

    async def fault(call):
        met = faults[min(call.number, len(faults)) - 1]
        await (call.send(met) if isinstance(met, bytes) else met(call))

    return fault


async def answering(call):
    """No fault: the answer as it was asked for, on a connection that is kept."""
    if call.request.get("stream"):
        head = HEAD % (200, SSE + b"transfer-encoding: chunked\r\n")
        await call.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE))
    else:
        await call.send(response(document()))


async def sudden_goodbye(call):
    """Answers each connection's first request and closes when the second has come, as busy servers do."""
    if call.of_connection == 1:
        await answering(call)
    else:
        call.close()
