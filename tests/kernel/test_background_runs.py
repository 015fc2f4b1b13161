"""Runs in the background of a real kernel: other cells run meanwhile, Stop leaves them alone, nothing is left behind."""

import os
import signal
import time
from itertools import pairwise

import psutil
import pytest

from xz_magics.config import cache_dir
from xz_magics.providers.local import installed
from xz_magics.providers.weights import weights_path

pytestmark = pytest.mark.slow

BEHIND = "%%subagents --background --out handle --max-concurrent {at_once}\n"
STREAMING = "\n".join(f"t{at}: latency=30 chunks=300 number {at}" for at in range(12))
QUICK = "\n".join(f"q{at}: latency=0.1" for at in range(100))
LEFT_TASKS = (
    "[t.get_name() for t in asyncio.all_tasks(xz_magics.session.session.engine._loop) if 'xz_magics' in t.get_name()]"
)

LONGEST_EXIT_S = 5  # two seconds, and what a busy machine takes for the rest


def begin(kernel, server, body=STREAMING, *, at_once=4):
    """Starts a run in the background and waits until its first requests are there."""
    begun = len(server.seen()["arrived"])
    (cell,) = kernel.run(BEHIND.format(at_once=at_once) + body)
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + at_once)
    return cell


def nothing_goes_on(server, since):
    """Within two seconds of then nothing is open any more, and no request has come later than half a second after."""
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
    time.sleep(0.5)
    assert [at for at in server.seen()["arrived"] if at > since + 0.5] == []


def test_the_cell_returns_at_once_and_the_next_ones_run_meanwhile(kernel, server):
    cell = begin(kernel, server)

    assert cell.status == "ok"
    assert "in the background: await it or .wait() for it" in cell.all_text
    assert kernel.value("1 + 1") == "2"
    assert kernel.value("(handle.done, handle.results.running, len(handle.results))") == "(False, True, 0)"
    assert kernel.value("xz_magics.current() is handle.results is xz_magics.last") == "True"
    (front,) = kernel.run("%%subagents\na: latency=0.1")
    assert "1 done" in front.html, vars(front)
    assert kernel.value("handle.done") == "False"


def test_it_goes_on_while_a_cell_blocks(kernel, server):
    (_, blocking) = kernel.run(
        BEHIND.format(at_once=2) + QUICK, "import time\nbegan = time.time()\ntime.sleep(3)\nended = time.time()"
    )

    assert blocking.status == "ok"
    began, ended = float(kernel.value("began")), float(kernel.value("ended"))
    during = [at for at in server.seen()["arrived"] if began + 0.5 < at < ended]
    assert len(during) > 10
    assert max(later - at for at, later in pairwise(during)) < 1


def test_stop_of_a_blocking_cell_leaves_it_alone(kernel, server):
    begin(kernel, server)
    cells = kernel.send("import time\ntime.sleep(30)")
    time.sleep(1)

    kernel.interrupt()
    (blocking,) = kernel.finish(cells, timeout_s=15)

    assert "KeyboardInterrupt" in blocking.error
    assert kernel.value("(handle.done, handle.results.running)") == "(False, True)"
    assert server.seen()["open"] == 4


def test_stop_of_a_run_in_front_leaves_it_alone(kernel, server):
    begin(kernel, server)
    cells = kernel.send("%%subagents\na: latency=30 chunks=300")
    server.wait_for(lambda seen: seen["open"] == 5)

    kernel.interrupt()
    (front,) = kernel.finish(cells, timeout_s=15)

    assert "Stopped: 0 of 1" in front.error
    server.wait_for(lambda seen: seen["open"] == 4, timeout_s=2)
    assert kernel.value("(handle.done, handle.results.running)") == "(False, True)"


@pytest.mark.parametrize("waiting", ["handle.wait()", "await handle"])
def test_stop_of_a_cell_that_waits_for_it_leaves_it_alone(kernel, server, waiting):
    begin(kernel, server)
    cells = kernel.send(waiting, "after = 1")
    time.sleep(1)

    kernel.interrupt()
    waited, after = kernel.finish(cells, timeout_s=15)

    assert waited.status == "error"
    assert waited.error.startswith("Stopped waiting: run ")
    assert waited.error.endswith("handle.cancel() ends it.")
    assert after.status == "aborted"
    assert server.seen()["open"] == 4
    assert kernel.value("(handle.done, handle.results.running)") == "(False, True)"


@pytest.mark.parametrize("cancelling", ["handle.cancel()", "%subagents cancel", "handle.results.cancel()"])
def test_cancelling_it_ends_all_of_it(kernel, server, cancelling):
    begin(kernel, server)
    asked = time.time()

    kernel.run(cancelling)

    nothing_goes_on(server, asked)
    assert kernel.value("[outcome.status for outcome in await handle]") == str(["cancelled"] * 4 + ["skipped"] * 8)
    assert kernel.value("(handle.done, handle.results.running, xz_magics.quota.reserved.tokens)") == "(True, False, 0)"
    assert kernel.value(LEFT_TASKS) == "[]"
    assert "1 done" in kernel.run("%%subagents\na: latency=0.1 still here")[0].html


def test_a_second_cell_of_the_same_name_says_how_the_first_run_is_found(kernel, server):
    begin(kernel, server)
    run_id = kernel.value("handle.run_id").strip("'")

    second = begin(kernel, server)

    assert f"run {run_id} goes on, and handle is no longer its handle: %subagents show {run_id}" in second.all_text
    kernel.run(f"%subagents cancel --run {run_id}")
    server.wait_for(lambda seen: seen["open"] == 4, timeout_s=2)
    assert kernel.value("(handle.done, handle.results.running)") == "(False, True)"


CANCEL_ONE = """
import threading, time
def cancel():
    asked = time.monotonic()
    handle.cancel("t1")
    while handle.results["t1"].status == "running":
        time.sleep(0.01)
    global took_s
    took_s = time.monotonic() - asked
threading.Timer(0.5, cancel).start()
time.sleep(4)
"""


def test_one_of_its_tasks_is_cancelled_while_a_cell_blocks(kernel, server):
    begin(kernel, server)

    (cell,) = kernel.run(CANCEL_ONE)

    assert cell.error is None
    assert float(kernel.value("took_s")) < 0.5
    assert kernel.value("[handle.results[label].status for label in ('t0', 't1', 't2')]") == str(
        ["running", "cancelled", "running"]
    )


def test_it_can_be_awaited_by_cells_and_tasks(kernel, server):
    kernel.run(BEHIND.format(at_once=4) + QUICK)

    awaited = kernel.send("waiting = asyncio.ensure_future(handle)\nresults = await handle")
    kernel.finish(awaited)

    assert kernel.value("results is handle.results is await waiting is handle.wait()") == "True"
    assert kernel.value("sum(outcome.success for outcome in results)") == "100"


TOOL = """
import threading
@xz_magics.tool(on="kernel")
def where(text: str) -> str:
    \"\"\"Where it runs.\"\"\"
    return threading.current_thread().name
"""


def test_a_wait_that_would_lock_up_is_refused(kernel, server):
    kernel.run(TOOL)
    kernel.run("%%subagents --background --out handle --allowed-tools where\na: latency=1 turns=2")

    (refused,) = kernel.run("handle.wait()")

    assert "keeps the notebook waiting, and where can run only while it is free" in refused.error
    assert "await handle" in refused.error
    assert kernel.value("(await handle)['a'].messages[2].content") == "'MainThread'"


def test_an_error_before_the_start_is_in_the_view_and_on_the_handle(kernel):
    kernel.run(
        "import os, gc\nos.environ |= {'OPENAI_BASE_URL': 'https://127.0.0.1:1/v1', 'SSL_CERT_FILE': '/nowhere.pem'}"
    )

    cells = kernel.run("%%subagents --background --out handle\na: x", "import time\ntime.sleep(1)\ngc.collect()")
    (error,) = kernel.run("handle.wait()")

    assert kernel.value("(handle.done, type(handle.error).__name__)") == "(True, 'ModelError')"
    assert "ModelError" in error.error
    assert "Traceback" not in error.error
    assert any("/nowhere.pem" in str(data) for data in cells[0].displays + cells[1].displays)
    assert "never retrieved" not in "".join(cell.text for cell in cells)


@pytest.mark.parametrize("library", ["nest_asyncio", "nest_asyncio2"])
def test_it_goes_on_where_the_loop_was_patched_before(kernel, server, library):
    kernel.run(f"import {library}\n{library}.apply()")

    kernel.run(BEHIND.format(at_once=4) + QUICK)
    nested = kernel.run("%%time\n%%subagents\na: latency=0.1", "results = await handle", "count = len(handle.wait())")

    assert [cell.error for cell in nested] == [None] * 3
    assert kernel.value("sum(outcome.success for outcome in results)") == "100"


# The end of the kernel


def ended_after_s(kernel, end):
    process = psutil.Process(kernel.manager.provisioner.pid)
    began_at = time.monotonic()
    end()
    deadline = began_at + 30
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        kernel.manager.provisioner.process.poll()
    return time.monotonic() - began_at


def ways_to_end(kernel):
    return {
        "shutdown request": kernel.client.shutdown,
        "SIGTERM": lambda: kernel.manager.signal_kernel(signal.SIGTERM),
        "exit in a cell": lambda: kernel.send("import os\nos._exit(1)"),
        "SIGKILL": lambda: kernel.manager.signal_kernel(signal.SIGKILL),
    }


WAYS = ["shutdown request", "SIGTERM", "exit in a cell", "SIGKILL"]


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_kernel_ends_it(kernel, server, way):
    begin(kernel, server)
    asked = time.time()

    took_s = ended_after_s(kernel, ways_to_end(kernel)[way])

    assert took_s < LONGEST_EXIT_S
    nothing_goes_on(server, asked + took_s)


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_kernel_leaves_no_embedded_model_behind(kernel, way):
    if not installed() or weights_path(cache_dir(os.environ)) is None:
        pytest.skip("needs the embedded model and its weights: python -m xz_magics fetch")
    kernel.run(
        "%%subagents --background --out handle --model local --max-tokens 400\n- Tell a long story.\n- Tell another."
    )
    kernel.run(
        "while not any(handle.results.fold.rows[label].text for label in handle.results.fold.rows):\n    await asyncio.sleep(0.05)"
    )
    (child,) = [
        child
        for child in psutil.Process(kernel.manager.provisioner.pid).children(recursive=True)
        if any("local_server.py" in word for word in child.cmdline())
    ]

    took_s = ended_after_s(kernel, ways_to_end(kernel)[way])

    assert took_s < LONGEST_EXIT_S
    psutil.wait_procs([child], timeout=15)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
