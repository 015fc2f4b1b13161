"""Run All: cells that are sent at once all run, in order, whatever way each takes into the loop.

Also where the notebook itself has applied nest_asyncio before: that library loses what is sent during a nested run.
"""

import pytest

pytestmark = pytest.mark.slow

APPLIED = "import nest_asyncio\nnest_asyncio.apply()"
BEFORE = [pytest.param("pass", id="as it is"), pytest.param(APPLIED, id="nest_asyncio applied")]
TICKING = """
ticks = []
async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0.02)
ticker = asyncio.ensure_future(tick())
"""


def cell(options, *, lasts_s=0.4):
    return f"%%subagents {options}\na: latency={lasts_s} first\nb: latency={lasts_s} second"


@pytest.mark.parametrize("before", BEFORE)
def test_queued_cells_all_run_in_order_and_none_is_lost(kernel, server, before):
    kernel.run(before, TICKING + "ran = []")
    begun = len(server.seen()["arrived"])

    sent = kernel.send("%%time\n" + cell("--out nested", lasts_s=1))
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 2)
    sent |= kernel.send(
        "ran.append(len(nested)), ran.append(len(ticks) > 4)",
        cell("--out awaited"),
        "ran.append(len(awaited))",
        "%%capture captured\n" + cell("--out nested"),
        "ran.append(len(nested))",
        "ran.append(len(xz_magics.run_sync(['latency=0.2 one'])))",
        "ran.append(len(await xz_magics.run(['latency=0.2 one'])))",
        cell("--out last"),
        "ran.append(len(last))",
    )
    asked = kernel.client.kernel_info()
    done = kernel.finish(sent)

    assert [(one.code, one.error) for one in done if one.status != "ok"] == []
    assert kernel.value("ran") == "[2, True, 2, 2, 1, 1, 2]"
    assert kernel.value("ticker.done()") == "False"
    assert asked in kernel.answered


def test_stop_works_where_nest_asyncio_was_applied(kernel, server):
    kernel.run(APPLIED, TICKING)
    begun = len(server.seen()["arrived"])
    cells = kernel.send("%%time\n" + cell("--out answers", lasts_s=20), "after = 1")
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 2)

    kernel.interrupt()
    done = kernel.finish(cells, timeout_s=15)

    assert "Stopped: 0 of 2" in done[0].error
    assert done[1].status == "aborted"
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
    assert kernel.value("[outcome.status for outcome in answers]") == "['cancelled', 'cancelled']"
    assert kernel.value("ticker.done()") == "False"


MENDED = """
thread = getattr(get_ipython().kernel, "shell_channel_thread", None)
mended = thread is not None and getattr(thread.manager, "_shell_socket", None) is get_ipython().kernel.shell_stream
"""


def test_a_kernel_that_would_lose_cells_sends_its_replies_as_newer_ones_do(kernel):
    kernel.run(MENDED, "import ipykernel")

    assert kernel.value("mended") == kernel.value("(7, 0) <= ipykernel.version_info[:2] < (7, 4)")
