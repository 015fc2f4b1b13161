"""The magic in plain `ipython`, typed as a person types it."""

import os
import time

import pexpect
import pytest

PROMPT = r"In \[\d+\]: "


@pytest.fixture
def terminal(kernel_python, server, tmp_path):
    env = os.environ | {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "k",
        "XZ_MAGICS_MODEL": "openai:test",
        "IPYTHONDIR": str(tmp_path),
        "TERM": "dumb",
    }
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"]
    child = pexpect.spawn(kernel_python, arguments, env=env, encoding="utf-8", timeout=20, dimensions=(50, 200))
    child.expect(PROMPT)
    assert "Error" not in run(child, "%load_ext xz_magics")
    yield child
    child.close(force=True)


def run(child, *lines):
    """Types the lines, and the empty one that ends a cell magic; returns what was printed."""
    for line in lines:
        child.sendline(line)
    child.expect(PROMPT)
    while child.expect([PROMPT, pexpect.TIMEOUT], timeout=0.3) == 0:
        pass
    return child.before


def type_cell(child, *lines):
    for line in (*lines, "", ""):
        child.sendline(line)


def test_a_cell_prints_its_table_and_holds_its_value(terminal):
    type_cell(terminal, "%%subagents --out answers", "a: latency=0.2 first", "b: latency=0.2 second")
    terminal.expect("2 tasks: 2 done")
    terminal.expect("Tokens per task")
    terminal.expect(PROMPT)

    terminal.sendline("(len(answers), _ is answers)")

    terminal.expect(r"\(2, True\)")


def test_ctrl_c_ends_the_run_and_nothing_resumes_later(terminal, server):
    begun = len(server.seen()["arrived"])
    type_cell(
        terminal, "%%subagents --out answers --max-concurrent 2", *(f"t{at}: latency=20 chunks=99" for at in range(6))
    )
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 2)

    pressed = time.time()
    terminal.sendintr()
    terminal.expect("Stopped: 0 of 6 tasks are done")
    terminal.expect(PROMPT)

    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
    terminal.sendline("import asyncio; await asyncio.sleep(0.5); [outcome.status for outcome in answers]")
    terminal.expect(r"\['cancelled', 'cancelled', 'skipped', 'skipped', 'skipped', 'skipped'\]")
    assert [at for at in server.seen()["arrived"] if at > pressed + 0.3] == []


def test_a_mistake_is_one_short_error(terminal):
    type_cell(terminal, "%%subagents --modle x", "a: b")

    terminal.expect("did you mean --model")
    terminal.expect(PROMPT)
    assert "Traceback" not in terminal.before
