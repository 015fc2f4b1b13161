"""Resuming in a real kernel: the same cell is found again by the page's id of it, edited or not."""

import pytest
from conftest import Cell

BODY = "t0: latency=0.1 number 0\nt1: latency=30 {}\n"


def sent_as(kernel, cell_id, code):
    """Sends a cell as a page does that knows it by this id."""
    asks = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
    message = kernel.client.session.msg("execute_request", asks, metadata={"cellId": cell_id})
    kernel.client.shell_channel.send(message)
    return {message["header"]["msg_id"]: Cell(code)}


@pytest.mark.parametrize("first_line", ["", "%%time\n"], ids=["awaited", "nested"])
@pytest.mark.parametrize("background", ["", " --background"], ids=["foreground", "background"])
def test_a_cell_that_was_stopped_and_edited_is_found_again(kernel, server, first_line, background):
    line = f"{first_line}%%subagents --out answers --max-tokens 50 --max-concurrent 1"
    begun = len(server.seen()["arrived"])
    first = sent_as(kernel, "cell-a", f"{line}\n{BODY.format('number 1')}")
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 2)
    kernel.interrupt()
    (stopped,) = kernel.finish(first, timeout_s=30)
    run_id = kernel.value("answers.run_id").strip("'")
    kernel.finish(sent_as(kernel, "cell-b", "%%subagents --max-tokens 50\nother: latency=0.1 number 2"))

    edited = BODY.format("and cancelled").replace("latency=30", "latency=0.1")
    (hinted,) = kernel.finish(sent_as(kernel, "cell-a", f"{line} --max-executions 0{background}\n{edited}"))
    (resumed,) = kernel.finish(sent_as(kernel, "cell-a", f"{line} --resume {run_id[:6]}{background}\n{edited}"))

    assert "--resume (resume=True) goes on from there" in stopped.error
    told = f"run {run_id} ended early (stopped by you): --resume (resume=True) would reuse 1 of its answers"
    assert told in hinted.text, (hinted.text, hinted.error)
    assert resumed.error is None
    results = "(await answers)" if background else "answers"
    kernel.run(f"ended = {results}")
    assert (
        kernel.value("[(o.status, o.reused and o.reused.run) for o in ended]")
        == f"[('done', '{run_id}'), ('done', None)]"
    )
