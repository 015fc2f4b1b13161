"""The end of one task, or of all, asked for while the cell that runs them is under way."""

import time

import pytest

pytestmark = pytest.mark.slow

STREAMING = "%%subagents --out answers --max-concurrent 4\n" + "\n".join(
    f"t{at}: latency=20 chunks=200 number {at}" for at in range(6)
)

CANCELLING = """
import threading, time
from xz_magics.session import session
took_s = []

def streams():
    rows = [row for run in session.runs.running() for row in tuple(run.fold.rows.values())]
    return [row for row in rows if row.state == "running" and row.parts]

async def cancel(*labels):
    while len(streams()) < 4:
        await asyncio.sleep(0.01)
    run = xz_magics.current()
    for label in labels:
        asked = time.monotonic()
        run.cancel(label)
        while label is not None and run[label].status in ("waiting", "running"):
            await asyncio.sleep(0.01)
        took_s.append(time.monotonic() - asked)

def cancel_from_a_thread(label):
    while len(streams()) < 2:
        time.sleep(0.01)
    xz_magics.current().cancel(label)
"""


def nothing_goes_on(server, since):
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
    time.sleep(0.5)
    assert [at for at in server.seen()["arrived"] if at > since] == []


def test_another_task_of_the_loop_ends_one_subagent_and_the_next_one_begins(kernel, server):
    begun = len(server.seen()["arrived"])
    kernel.run(CANCELLING, "cancelling = asyncio.ensure_future(cancel('t1', 't5'))")
    cells = kernel.send(STREAMING, "after = 1")

    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 5)
    kernel.interrupt()
    running, _ = kernel.finish(cells, timeout_s=30)

    assert "Stopped: 0 of 6 tasks are done" in running.error
    assert kernel.value("(cancelling.result(), len(took_s), max(took_s) < 0.5)") == "(None, 2, True)"
    assert kernel.value("[outcome.status for outcome in answers]") == str(["cancelled"] * 5 + ["skipped"])
    assert kernel.value("answers['t1'].error.splitlines()[0]") == "'cancelled by you'"
    assert kernel.value("answers['t0'].error.splitlines()[0]") == "'stopped by you'"
    assert len(server.seen()["arrived"]) == begun + 5


def test_another_task_of_the_loop_ends_the_run_and_the_queue(kernel, server):
    kernel.run(CANCELLING, "cancelling = asyncio.ensure_future(cancel(None))")

    running, after = kernel.run(STREAMING, "after = 1")
    ended = time.time()

    assert "Stopped: 0 of 6 tasks are done" in running.error
    assert after.status == "aborted"
    nothing_goes_on(server, ended)
    assert kernel.value("[outcome.status for outcome in answers]") == str(["cancelled"] * 4 + ["skipped"] * 2)


def test_a_thread_ends_one_subagent_of_a_nested_run(kernel, server):
    kernel.run(CANCELLING, "threading.Thread(target=cancel_from_a_thread, args=['b']).start()")

    (cell,) = kernel.run("%%time\n%%subagents --out answers\na: latency=3\nb: latency=20 chunks=200")

    assert cell.error is None
    assert kernel.value("[outcome.status for outcome in answers]") == "['done', 'cancelled']"
