"""Starts the npm package @copilotkit/aimock, a model server that nobody here wrote, on this machine."""

import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

MODULES = Path(os.environ.get("XZ_MAGICS_AIMOCK", Path(__file__).parents[2] / "node_modules"))
CLI = MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
ANSWER = "One two three four five six seven eight nine ten"
FORECAST = "Rain in München, sun in Paris"
CALLED = [
    {"id": "call_one", "name": "get_weather", "arguments": {"city": "München"}},
    {"id": "call_two", "name": "get_weather", "arguments": {"city": "Paris", "days": [1, 2]}},
]
FIXTURES = [
    {
        "match": {"userMessage": "weather", "hasToolResult": False},
        "response": {"toolCalls": CALLED, "usage": {"prompt_tokens": 11, "completion_tokens": 4}},
    },
    {"match": {"userMessage": "weather", "toolResultContains": "sunny"}, "response": {"content": FORECAST}},
    {"match": {"userMessage": "speak and call"}, "response": {"content": ANSWER, "toolCalls": CALLED}},
    {
        "match": {"userMessage": "call and speak"},
        "response": {"blocks": [{"type": "toolCall"} | CALLED[0], {"type": "text", "text": ANSWER}]},
    },
    {
        "match": {"userMessage": "call and stop short"},
        "response": {"toolCalls": CALLED},
        "latency": 30,
        "truncateAfterChunks": 6,
    },
    {
        "match": {"userMessage": "count"},
        "response": {"content": ANSWER, "usage": {"prompt_tokens": 11, "completion_tokens": 4}},
    },
    {"match": {"userMessage": "break"}, "response": {"content": ANSWER}, "latency": 30, "truncateAfterChunks": 4},
    {"match": {"userMessage": "long"}, "response": {"content": ANSWER, "finishReason": "length"}},
    {
        "match": {"userMessage": "limit"},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429},
    },
    {
        "match": {"userMessage": "too much"},
        "response": {"error": {"message": "Overloaded", "type": "overloaded_error"}, "status": 529},
    },
    {
        "match": {"userMessage": "key"},
        "response": {"error": {"message": "bad key", "type": "authentication_error"}, "status": 401},
    },
]


class Aimock:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def base_url(self, wire):
        return self.url + ("/v1" if wire == "openai" else "")

    def ask(self, path, method="GET", body=None):
        """What the control endpoint of that path answers."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, {"content-type": "application/json"}, method=method)) as answer:
            return json.load(answer)


def missing():
    """Why it cannot be started, and what to do about it; None where it can."""
    if shutil.which("node") and CLI.exists():
        return None
    return (
        f"there is no node, or no @copilotkit/aimock in {MODULES}: `npm install @copilotkit/aimock@1.43.0` in the "
        "checkout, or XZ_MAGICS_AIMOCK=path/of/node_modules"
    )


@contextmanager
def running(folder):
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}), encoding="utf-8")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = ["node", CLI, "-p", str(port), "-f", fixtures, "-c", "5", "--log-level", "warn"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            server = Aimock(port)
            wait_until_up(server, process)
            yield server
        finally:
            process.kill()


def wait_until_up(server, process):
    for _ in range(300):
        try:
            server.ask("/health")
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"aimock ended at once: {process.stdout.read().decode()}") from None
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("aimock did not come up within 15 s")
