"""Starts the benchmark's server of the OpenAI wire, which counts what reaches it."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "latency_server.py"


class CountingServer:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, PROGRAM], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def seen(self):
        with urllib.request.urlopen(f"{self.url}/seen", timeout=5) as answer:
            return json.load(answer)

    def wait_for(self, condition, timeout_s=15):
        deadline = time.monotonic() + timeout_s
        while not condition(seen := self.seen()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)
        return seen

    @property
    def environ(self):
        """What makes a kernel send its cells here, whatever its user has configured."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "no-real-key",
            "XZ_MAGICS_MODEL": "openai:test",
            "XZ_MAGICS_CONFIG": os.devnull,
        }

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
