"""The embedded model's child processes: it alone starts them, and knows their addresses and keys."""

import atexit
import importlib.util
import json
import os
import platform
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from xz_magics.errors import ModelError

LOCAL_NOTE = "the embedded model is real, free and small: with 135 million parameters it is often wrong"

SERVER = Path(__file__).with_name("local_server.py")
LOG_BYTES = 4096
LOG_LINES = 8
END_S = 2.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a child listens. `base_url` has no path: the OpenAI wire is under /v1."""

    base_url: str
    key: str = field(repr=False)


def installed() -> bool:
    """Whether the extra `local` is there; nothing is imported."""
    return importlib.util.find_spec("xllamacpp") is not None


class LocalModel:
    """One child process per GGUF file, shared by every run of this kernel, in any thread and on any loop.

    The children end with `close`, at exit, and when this process is killed. A forked copy of this process knows
    nothing of them and would start its own.
    """

    def __init__(self, *, start_timeout_s: float = 60.0) -> None:
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._children: dict[Path, _Child] = {}
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def start(self, gguf: Path, *, stop: threading.Event | None = None) -> Address:
        """The address of the child that runs this file, started if none runs; blocks until it is ready.

        `stop` ends the waiting alone: others may wait for the same child. Raises ModelError: stopped, the extra is
        missing, the processor too old, the file is no GGUF, or the child's own words.
        """
        gguf = gguf.resolve()
        with self._lock:
            child = self._children.get(gguf)
            if child is not None and not child.runs:
                child.end()
                child = None
            if child is None:
                _check_machine()
                _check_gguf(gguf)
                child = self._children[gguf] = _Child(gguf)
        return child.address(self._start_timeout_s, stop or threading.Event())

    def close(self) -> None:
        """Ends the children. A later `start` starts new ones."""
        with self._lock:
            children, self._children = self._children, {}
        for child in children.values():
            child.end()

    def _forget(self) -> None:
        """In a forked copy: an open input there would keep the children alive after this process."""
        self._lock = threading.Lock()
        for child in self._children.values():
            child.let_go()
        self._children = {}


class _Child:
    """One server process. Two threads read what it says, so that it never blocks on a full pipe."""

    def __init__(self, gguf: Path) -> None:
        self._gguf = gguf
        self._key = secrets.token_urlsafe(24)
        self._log = b""
        self._announced: Future[bytes] = Future()
        self._process = _started(gguf)
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._reader = threading.Thread(target=self._read_log, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_announcement, args=(self._process.stdout,), daemon=True).start()
        with suppress(BrokenPipeError):  # it died at once: its log says why
            self._stdin.write(f"{self._key}\n".encode())

    @property
    def runs(self) -> bool:
        """A process of many threads is deaf some time before it is dead: the end of its log tells first."""
        return self._reader.is_alive() and self._process.poll() is None

    def address(self, timeout_s: float, stop: threading.Event) -> Address:
        end_at = time.monotonic() + timeout_s
        while not wait([self._announced], LOOK_S).done:
            if stop.is_set():
                raise ModelError("the embedded model was not waited for", "run the cell again: it goes on starting")
            if time.monotonic() >= end_at:
                self.end()
                raise self._failed(f"was not ready after {timeout_s:g} s")
        announcement = self._announced.result()
        if not announcement:
            raise self._failed(f"ended with code {self._process.wait()} instead of starting")
        return Address(base_url=json.loads(announcement)["base_url"], key=self._key)

    def end(self) -> None:
        self._stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def let_go(self) -> None:
        self._stdin.close()

    def _failed(self, how: str) -> ModelError:
        self._reader.join(END_S)
        log = "\n".join(self._log.decode(errors="replace").strip().splitlines()[-LOG_LINES:])
        return ModelError(
            f"the embedded model's process {how}, with {self._gguf}" + (f"; it said:\n{log}" if log else ""),
            "see whether the file is whole and fits into memory, or choose another --model",
        )

    def _read_announcement(self, stdout: IO[bytes]) -> None:
        with stdout:
            self._announced.set_result(stdout.readline())

    def _read_log(self, stderr: IO[bytes]) -> None:
        with stderr:
            while said := stderr.read(LOG_BYTES):
                self._log = (self._log + said)[-LOG_BYTES:]


def _started(gguf: Path) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-P", str(SERVER), str(gguf)],  # -P: the neighbours' names hide the standard library's
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"GOMP_SPINCOUNT": "1000", **os.environ},  # on a busy machine spinning threads halve the speed
            start_new_session=True,  # an interrupt goes to the kernel's whole process group
        )
    except OSError as error:
        raise ModelError(
            f"the embedded model's process cannot be started with {sys.executable or 'no Python'}: {error.strerror}",
            "free memory, processes or open files, or choose another --model",
        ) from error


def _check_machine(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str = platform.machine()) -> None:
    if not installed():
        raise ModelError("the embedded model needs xllamacpp", 'pip install "xz-magics[local]"')
    if machine == "x86_64" and cpuinfo.exists() and "avx2" not in cpuinfo.read_text(encoding="utf-8").split():
        raise ModelError(
            "the embedded model needs a processor with AVX2, and this one has none",
            "choose another model, such as --model openai:MODEL or --model anthropic:MODEL",
        )


def _check_gguf(path: Path) -> None:
    mend = "give the path of a GGUF file: as local:/path/to/model.gguf, or in XZ_MAGICS_GGUF"
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"{path} cannot be read as a model: {error.strerror}", mend) from error
    if magic != b"GGUF":
        raise ModelError(f"{path} is no GGUF file: it begins with {magic!r}", mend)
