"""Runs a program under a watch: what it may take, what is kept of its output, and how all of it is ended."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xz_magics.tools import DEFAULT_TIMEOUT_S, ToolError

OWN_THREADS = 3  # of bubblewrap and timeout
WATCH_EVERY_S = 0.1
END_OF_OUTPUT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may take. Of its output `told_bytes` are kept, half from its beginning and half from its end."""

    wall_s: float = DEFAULT_TIMEOUT_S - 10  # ends before the tool's own timeout, so that the output so far is told
    memory_bytes: int = 2 * 2**30
    threads: int = 256
    file_bytes: int = 256 * 2**20
    output_bytes: int = 16 * 2**20
    told_bytes: int = 60_000


async def run_watched(argv: Sequence[str], workspace: Path, environ: dict[str, str], limits: Limits) -> str:
    output = _Output(limits.told_bytes)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as near, os.fdopen(writing, "wb", 0) as far:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, near)
        try:
            # Not asyncio's own: cancelled while it starts a program, it would leave the program's children alive.
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - the walls are in it; it starts in a millisecond
                argv,
                stdin=subprocess.DEVNULL,
                stdout=far,
                stderr=far,
                cwd=workspace,
                env=environ,
                start_new_session=True,
            )
            try:
                far.close()
                excess = await _excess(process, output, limits)
            finally:
                _end(process)
            await output.wait_for_end(END_OF_OUTPUT_S)
        except FileNotFoundError as error:
            raise ToolError(
                f"the program {error.filename!r} is missing on this system", "install util-linux"
            ) from error
        finally:
            transport.close()
    status = f"stopped: {excess}" if excess else _exit(process.returncode)
    return f"{status}\n{output.text or '(it printed nothing)'}"


async def _excess(process: subprocess.Popen[bytes], output: "_Output", limits: Limits) -> str:
    """Waits until the process has ended, or takes too much: then of what."""
    deadline = time.monotonic() + limits.wall_s
    while process.poll() is None:
        threads, resident_bytes = _taken(process.pid, limits.threads)
        if time.monotonic() > deadline:
            return f"it ran longer than {limits.wall_s:g} s"
        if threads > limits.threads + OWN_THREADS:
            return f"it had more than {limits.threads} processes and threads at once"
        if resident_bytes > limits.memory_bytes:
            return f"it took more than {limits.memory_bytes // 2**20} MiB of memory"
        if output.bytes > limits.output_bytes:
            return f"it printed more than {limits.output_bytes // 2**20} MiB"
        if output.ended:
            await asyncio.sleep(WATCH_EVERY_S / 5)  # most often it has ended with its output
        else:
            await output.wait_for_end(WATCH_EVERY_S)
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and what belongs to it: in a sandbox all of it, else its group and its children.

    The sandbox is the one child of what starts it. Killed in the midst of the start, that would leave it alive: so it
    is halted first.
    """
    if process.poll() is None:
        main_thread = Path(f"/proc/{process.pid}/task/{process.pid}")
        children = _children(main_thread)
        if not children:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            children = _children(main_thread)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _taken(pid: int, most_threads: int) -> tuple[int, int]:
    """Threads and resident bytes of a process and all below it; what no limit of the kernel holds for root.

    Looks no further once there are too many threads.
    """
    threads = pages = 0
    waiting = [pid]
    while waiting and threads <= most_threads + OWN_THREADS:
        folder = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):  # it ended meanwhile
            pages += int((folder / "statm").read_text().split()[1])
            for thread in (folder / "task").iterdir():
                threads += 1
                waiting += _children(thread)
    return threads, pages * os.sysconf("SC_PAGE_SIZE")


def _children(thread: Path) -> list[int]:
    try:
        return [int(pid) for pid in (thread / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return []


def _exit(code: int) -> str:
    number = -code if code < 0 else code - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else ""
    return f"exit code {128 + number} ({name})" if name else f"exit code {code}"


class _Output(asyncio.Protocol):
    """Keeps the beginning and the end of what comes in, in bounded memory."""

    def __init__(self, told_bytes: int) -> None:
        self.bytes = 0
        self._half = told_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def text(self) -> str:
        left_out = self.bytes - len(self._head) - len(self._tail)
        mark = f"\n[… {left_out} bytes left out …]\n".encode() if left_out else b""
        return (self._head + mark + self._tail).decode(errors="replace")

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[: -self._half]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own signature
        self._ended.set()

    async def wait_for_end(self, most_s: float) -> None:
        """Until nobody can write any more, but no longer: without a sandbox somebody may for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._ended.wait()
