"""What the journal costs a run: `python benchmarks/journal.py`; and to open a large one: with `--megabytes 1000`.

The baseline is `xz_magics.run` with `journal: off`. Beside it, in turn and in one process, goes the same run with
`journal: on`; both call one local server of fixed latency, which has a process of its own. The file lies in `--folder`,
which is to be on a disk, not in memory. CPU is that of this process; the lag is how late a timer of 5 ms is served.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import xz_magics
from xz_magics.events import CallIntended, RunEnded, RunStarted, Stream, TaskEnded, TaskPlanned, TurnEnded
from xz_magics.observers.journal import About, Journal
from xz_magics.observers.journal.placing import NAME
from xz_magics.records import Message, Quota, Task, Turn
from xz_magics.session import session

SERVER = Path(__file__).with_name("latency_server.py")
PROMPT = "How many legs has a spider? " * 10
LIMITS = Quota(max_executions=10**7, max_total_tokens=10**10, max_total_time=10**5)
TASKS_OF_A_RUN = 500


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float
    lag_p99_ms: float


async def cost_of(mode: str, url: str, count: int, at_once: int, latency_s: float) -> Cost:
    session.settings = replace(session.settings, journal=mode)
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    wall, cpu = time.perf_counter(), time.process_time()
    results = await xz_magics.run(
        [f"latency={latency_s} {PROMPT}"] * count,
        model="openai:test",
        base_url=url,
        max_tokens=200,
        max_concurrent=at_once,
        quota=LIMITS,
    )
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    ticking.cancel()
    results.raise_for_failures()
    return Cost(wall_s, cpu_s, sorted(lags)[int(0.99 * len(lags))] * 1000)


async def compare(url: str, count: int, at_once: int, latency_s: float, rounds: int) -> None:
    """Pairs, in turn and each beginning with the other side, after one that does not count."""
    pairs = []
    for number in range(rounds + 1):
        sides = {}
        for mode in ("off", "on") if number % 2 else ("on", "off"):
            sides[mode] = await cost_of(mode, url, count, at_once, latency_s)
        pairs.append((sides["off"], sides["on"]))
    del pairs[0]
    off, on = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
    print(
        f"{count:,} at {at_once} at once, {latency_s * 1000:.0f} ms each:"
        f" {off.wall_s:.2f} s off, {on.wall_s:.2f} s on, {_ratios([b.wall_s / a.wall_s for a, b in pairs])};"
        f" CPU {off.cpu_s:.2f} and {on.cpu_s:.2f} s, {_ratios([b.cpu_s / a.cpu_s for a, b in pairs])};"
        f" loop lag p99 {off.lag_p99_ms:.1f} and {on.lag_p99_ms:.1f} ms",
        flush=True,
    )


def _ratios(ratios: list[float]) -> str:
    return f"ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"


def open_large(folder: Path, megabytes: float) -> None:
    """Fills a journal with runs of 500 subagents, 10 KB of text each, then opens and lists it."""
    file = folder / NAME
    journal = Journal.open(folder)
    runs = 0
    while not file.exists() or file.stat().st_size < megabytes * 1e6:
        _fill(journal, f"run-{runs}")
        runs += 1
        asyncio.run(journal.kept())
    journal.close()
    for what, keep_bytes in (("nothing to delete", None), ("down to nine tenths", int(0.9 * file.stat().st_size))):
        began = time.perf_counter()
        journal = Journal.open(folder, keep_bytes=keep_bytes)
        opened_s = time.perf_counter() - began
        listed = len(journal.runs())
        listed_s = time.perf_counter() - began - opened_s
        print(
            f"{file.stat().st_size / 1e6:,.0f} MB, {what}: opened in {opened_s:.3f} s,"
            f" {listed} of {runs} runs of {TASKS_OF_A_RUN} listed in {listed_s:.3f} s",
            flush=True,
        )
        journal.close()


def _fill(journal: Journal, run_id: str) -> None:
    stream = Stream(run_id, critical=[journal.observer(run_id, About(tasks=TASKS_OF_A_RUN, key_of=str))])
    stream.emit(RunStarted(tasks=TASKS_OF_A_RUN, max_concurrent=50, quota=LIMITS))
    prompt, answer = PROMPT * 16, "It has eight of them. " * 250
    for index in range(TASKS_OF_A_RUN):
        label = f"task-{index}"
        task = Task(index=index, label=label, prompt=prompt, model="openai:test", max_tokens=2000)
        stream.emit(TaskPlanned(task=task))
        stream.emit(CallIntended(label=label, turn=1, attempt=1, bound_tokens=7000))
        turn = Turn(number=1, attempts=1, max_tokens=2000, started_at=0.0, duration_s=1.0, output_tokens=1000)
        stream.emit(TurnEnded(label=label, turn=turn, text=answer))
        messages = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
        stream.emit(TaskEnded(label=label, status="done", output=answer, messages=messages))
    stream.emit(RunEnded(duration_s=60.0))


def measure(url: str, folder: Path, count: int, rounds: int) -> None:
    runs = 0
    for at_once, latency_s in ((50, 0.2), (50, 0.05), (5, 0.05)):
        asyncio.run(compare(url, count, at_once, latency_s, rounds))
        runs += rounds + 1
    session.close()
    each_bytes = sum(file.stat().st_size for file in folder.iterdir()) / (runs * count)
    print(f"{each_bytes:,.0f} bytes on disk for each, with a prompt of {len(PROMPT)} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the journal lies; a new one in the working directory")
    parser.add_argument("--megabytes", type=float, help="only fill a journal with so much, and open it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder or Path.cwd()) as name:
        folder = Path(name)
        if given.megabytes:
            open_large(folder, given.megabytes)
            return
        os.environ["XZ_MAGICS_STATE"] = name
        with subprocess.Popen([sys.executable, SERVER], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
                measure(url, folder, given.count, given.rounds)
            finally:
                server.kill()


if __name__ == "__main__":
    main()
