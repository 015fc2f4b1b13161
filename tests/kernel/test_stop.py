"""Stop in a real kernel against a server that counts: nothing goes on, what came is kept, the kernel is usable."""

import time

import pytest

CELL = "%%subagents --out answers --max-concurrent 4{options}\n"
STREAMING = "\n".join(f"t{at}: latency=20 chunks=400 number {at}" for at in range(12))
FIRST_DONE = "quick: latency=0.1\n" + STREAMING

KINDS = [pytest.param(False, id="awaited"), pytest.param(True, id="nested")]

LONGEST_END_S = 5  # requests end at once; the first table of a kernel takes the time to load what draws it

TICKER = """
ticks = []
async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0.02)
ticker = asyncio.ensure_future(tick())
"""


def cell(body, options="", *, nested):
    return ("%%time\n" if nested else "") + CELL.format(options=options) + body


def stop_and_look(kernel, server, cells):
    """Presses Stop, waits for the cells, and looks two seconds later: no later request, nothing open."""
    pressed = time.time()
    kernel.interrupt()
    done = kernel.finish(cells, timeout_s=15)
    ended_after_s = time.time() - pressed
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
    time.sleep(0.5)
    later = [at for at in server.seen()["arrived"] if at > pressed + 0.3]
    assert later == []
    return done, ended_after_s


@pytest.mark.parametrize("nested", KINDS)
def test_stop_while_streaming_keeps_what_came_and_ends_the_queue(kernel, server, nested):
    kernel.run(TICKER)
    begun = len(server.seen()["arrived"])
    cells = kernel.send(cell(FIRST_DONE, nested=nested), "after = 1")
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 5)
    time.sleep(0.4)

    done, ended_after_s = stop_and_look(kernel, server, cells)

    assert ended_after_s < LONGEST_END_S
    assert "Stopped: 1 of 13 tasks are done" in done[0].error
    assert len(done[0].error.splitlines()) == 1
    assert done[1].status == "aborted"
    assert "cancelled" in done[0].html
    statuses = "[outcome.status for outcome in answers]"
    assert kernel.value(statuses) == str(["done"] + ["cancelled"] * 4 + ["skipped"] * 8)
    assert kernel.value("answers['t0'].output.startswith('word')") == "True"
    assert kernel.value("xz_magics.last is answers") == "True"
    assert kernel.value("xz_magics.quota.reserved") == "Amounts(executions=0, tokens=0, cost=Decimal('0'))"
    assert kernel.value("ticker.done()") == "False"
    assert kernel.value("[t.get_name() for t in asyncio.all_tasks() if 'xz_magics' in t.get_name()]") == "[]"
    (again,) = kernel.run("%%subagents\na: latency=0.1 still here")
    assert "1 done" in again.html


@pytest.mark.parametrize("nested", KINDS)
def test_stop_during_a_retrys_pause(kernel, server, nested):
    begun = len(server.seen()["arrived"])
    cells = kernel.send(cell("a: status=503", " --retries 99", nested=nested))
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 4)

    done, ended_after_s = stop_and_look(kernel, server, cells)

    assert ended_after_s < LONGEST_END_S
    assert "Stopped: 0 of 1" in done[0].error
    assert kernel.value("answers['a'].status") == "'cancelled'"


@pytest.mark.parametrize("nested", KINDS)
def test_stop_while_waiting_for_the_first_byte(kernel, server, nested):
    begun = len(server.seen()["arrived"])
    cells = kernel.send(cell("a: latency=30 chunks=1", " --no-stream", nested=nested))
    server.wait_for(lambda seen: len(seen["arrived"]) > begun)
    time.sleep(0.2)

    done, ended_after_s = stop_and_look(kernel, server, cells)

    assert ended_after_s < LONGEST_END_S
    assert "Stopped" in done[0].error
    assert kernel.value("(answers['a'].status, answers['a'].estimated)") == "('cancelled', True)"


@pytest.mark.parametrize("nested", KINDS)
def test_stop_at_any_moment_from_parsing_to_rendering(kernel, server, nested):
    body = "\n".join(f"t{at}: latency=0.05" for at in range(40))
    for delay_s in (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8):
        kernel.send(cell(body, nested=nested), "reached = True")
        time.sleep(delay_s)
        kernel.interrupt()
        # An interrupt between two messages costs the kernel the next one ("KeyboardInterrupt caught in kernel"):
        # so a cell that is sent after it is waited for, and not the two.
        kernel.run("after = True", timeout_s=15)
        server.wait_for(lambda seen: seen["open"] == 0, timeout_s=3)
        assert kernel.value("1 + 1") == "2"
        assert kernel.value("[t.get_name() for t in asyncio.all_tasks() if 'xz_magics' in t.get_name()]") == "[]"


def test_a_second_stop_is_no_different_from_the_first(kernel, server):
    begun = len(server.seen()["arrived"])
    cells = kernel.send(cell(STREAMING, nested=False))
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 4)
    kernel.interrupt()

    done, _ = stop_and_look(kernel, server, cells)

    assert "Stopped: 0 of 12" in done[0].error
    assert kernel.value("len(answers)") == "12"


def test_stop_of_awaited_runs_side_by_side_leaves_the_kernel_alive(kernel, server):
    begun = len(server.seen()["arrived"])
    code = "await asyncio.gather(*(xz_magics.run(['latency=20 chunks=200']) for _ in range(2)))"
    cells = kernel.send(code, "after = 1")
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 2)

    done, _ = stop_and_look(kernel, server, cells)

    assert done[0].status == "error"
    assert done[1].status == "aborted"
    assert kernel.value("len(xz_magics.last)") == "1"


@pytest.mark.parametrize("nested", KINDS)
def test_stop_of_a_cell_while_another_run_goes_on_as_a_task(kernel, server, nested):
    begun = len(server.seen()["arrived"])
    kernel.run("background = asyncio.create_task(xz_magics.run(['latency=20 chunks=200']))")
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 1)
    cells = kernel.send(cell(STREAMING, nested=nested))
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 5)

    done, ended_after_s = stop_and_look(kernel, server, cells)

    assert ended_after_s < LONGEST_END_S
    assert "Stopped: 0 of 12 tasks are done" in done[0].error
    assert kernel.value("len(answers)") == "12"
    assert "1 done" in kernel.run("%%subagents\na: latency=0.1 still here")[0].html
