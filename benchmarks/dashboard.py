"""How smooth the dashboard is in the real page: `python benchmarks/dashboard.py`.

A cell in JupyterLab shows a run of many subagents, made up by `dashboard_kernel.Stage`, and draws it ten times a
second; a tenth of the rows changes between two draws, or all. Counted in the page: the messages that reach it, the
frames that the browser draws, the tasks of the page's one thread that took more than 50 ms, and how busy that thread
is. The first line is the page at rest.

It needs the extras `notebook` and `test`, and Debian's chromium.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "browser"))

import lab as jupyter  # noqa: E402 - from the folder just named
from notebook_page import NotebookPage  # noqa: E402 - likewise
from playwright.sync_api import WebSocket, expect  # noqa: E402 - after the two that need it

CELL = """
import asyncio, sys
sys.path.insert(0, {folder!r})
from dashboard_kernel import Stage
from xz_magics.views.live import view_here
from xz_magics.views.watched import Watched

stage, view = Stage({rows}, {share}), view_here()
view.attach(Watched(run_id="made up", outcomes=stage.outcomes, uses=tuple, stop=print, cancel=print))
while True:
    stage.go_on()
    view.draw()
    await asyncio.sleep(0.1)
"""
COUNT = """async (seconds) => {
    const long = [];
    const watcher = new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration)));
    watcher.observe({ type: "longtask" });
    const begun = performance.now();
    let frames = 0;
    await new Promise((ended) => {
        const frame = () => {
            frames += 1;
            if (performance.now() - begun < seconds * 1000) requestAnimationFrame(frame);
            else ended();
        };
        requestAnimationFrame(frame);
    });
    watcher.disconnect();
    return { fps: frames / ((performance.now() - begun) / 1000), long };
}"""
MOST_MS = 120_000


def measure(notebook: NotebookPage, frames: list[str | bytes], name: str, seconds: float) -> None:
    metrics = notebook.page.context.new_cdp_session(notebook.page)
    metrics.send("Performance.enable")

    def busy_s() -> float:
        found = metrics.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "TaskDuration")

    before = busy_s()
    frames.clear()
    seen = notebook.page.evaluate(COUNT, seconds)
    share = (busy_s() - before) / seconds
    told = [frame for frame in frames if b"comm_msg" in (frame if isinstance(frame, bytes) else frame.encode())]
    size = sum(map(len, told)) / max(1, len(told)) / 1000
    longest = f", the longest {max(seen['long']):.0f} ms" if seen["long"] else ""
    print(
        f"{name}: {len(told) / seconds:.1f} messages a second of {size:.1f} kB, {seen['fps']:.0f} frames a second,"
        f" thread {share:.0%} busy, {len(seen['long'])} tasks of more than 50 ms in {seconds:.0f} s{longest}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter.running(Path(folder), {"XZ_MAGICS_CONFIG": os.devnull}) as lab,
        jupyter.chromium() as browser,
    ):
        context = browser.new_context(viewport={"width": 1200, "height": 1000})
        frames: list[str | bytes] = []

        def listen(wire: WebSocket) -> None:
            wire.on("framereceived", lambda frame: frames.append(frame))  # noqa: PLW0108 - no method of a list is taken

        context.on("page", lambda page: page.on("websocket", listen))
        for rows, share in [(rows, share) for rows in given.rows for share in (0.1, 1.0)]:
            cell = CELL.format(folder=str(HERE), rows=rows, share=share)
            notebook = NotebookPage(context, lab, f"{rows}-{share}.ipynb", [cell])
            if (rows, share) == (given.rows[0], 0.1):
                measure(notebook, frames, "at rest", given.seconds)
            notebook.run_all()
            expect(notebook.dashboard(0).locator(f"table[aria-rowcount='{rows + 1}']")).to_be_visible(timeout=MOST_MS)
            measure(notebook, frames, f"{rows:,} rows, {share:.0%} of them change", given.seconds)
            notebook.page.close()
            lab.end_kernels()


if __name__ == "__main__":
    main()
