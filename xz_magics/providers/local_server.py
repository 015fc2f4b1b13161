"""The child program of the embedded model: `local_server.py MODEL.gguf`, the key as the first line of its input.

It alone knows xllamacpp. It prints one line of JSON when it is ready and ends at once when its input ends, so that no
killed kernel leaves it behind. It is run as a file and imports nothing of this package.
"""

import json
import math
import os
import sys
import threading
from pathlib import Path
from typing import Any

SLOTS = 5
"""As many as a run has at work by default; what comes on top of that waits its turn in the server."""

SLOT_TOKENS = 4096
"""Each slot has room of its own: in a room shared by all, one long prompt too many makes every request fail."""

BATCH_TOKENS = 128
"""Prompt tokens taken in between two steps of the streams under way, and before a cancelled one is noticed."""

MOST_THREADS = 16
"""A guard for big machines: a token passes hundreds of barriers, and each waits for all threads."""


def main() -> None:
    key = sys.stdin.readline().strip()
    parent = threading.Thread(target=_end_with_stdin, daemon=True)
    parent.start()
    announce = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the engine prints is no announcement

    import xllamacpp

    try:
        server = xllamacpp.Server(_params(xllamacpp, Path(sys.argv[1]), key))
    except RuntimeError as error:
        sys.exit(str(error))
    os.write(announce, json.dumps({"base_url": server.listening_address}).encode() + b"\n")
    parent.join()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def _params(xllamacpp: Any, gguf: Path, key: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 2  # errors and warnings
    params.fit_params = False  # otherwise the file is loaded twice, to see what fits
    params.n_parallel = SLOTS
    params.kv_unified = False
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cont_batching = True
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cache_ram_mib = 0  # 8 GB of old prompts otherwise
    params.cache_idle_slots = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.sampling.temp = 0.2
    params.sampling.top_p = 0.9
    params.sampling.penalty_repeat = 1.1
    return params


def _threads(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The processors this process may use: those of its affinity, and of its container's share where one is set."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = cpu_max.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        share = "max"
    if share != "max":
        count = min(count, math.ceil(int(share) / int(period)))
    return min(count, MOST_THREADS)


if __name__ == "__main__":
    main()
