"""How a cell behaves towards a person in a real kernel: completion, help, errors, and the background."""

import time
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow

SHORT = "%%subagents --out answers --background\na: latency=0.5 first\nb: latency=0.1 second"
LONG = "%%subagents --out answers --background\na: latency=20 chunks=200 first\nb: latency=0.1 second"
FAULT = """
import xz_magics.api.preparing
def broken(*_, **__):
    raise {}
xz_magics.api.preparing.prepare = broken
"""


def at(text):
    """The text without its mark |, and where that stood."""
    return text.replace("|", "", 1), text.index("|")


def completed(kernel, text):
    """Each match, and the text that it replaces."""
    code, cursor = at(text)
    reply = kernel.client.complete(code, cursor, reply=True, timeout=60)["content"]
    return [(code[reply["cursor_start"] : reply["cursor_end"]], match) for match in reply["matches"]]


def inspected(kernel, text):
    reply = kernel.client.inspect(*at(text), reply=True, timeout=60)["content"]
    return reply["data"].get("text/plain", "")


def run_unattended(kernel, *codes):
    """As nbclient and papermill do: nobody is there who could answer a question."""
    cells = {}
    for code in codes:
        cell = SimpleNamespace(code=code, text="", html="", error=None, status=None, displays=[])
        cells[kernel.client.execute(code, allow_stdin=False, stop_on_error=True)] = cell
    return cells


def test_completion_comes_over_the_wire_with_right_offsets(kernel):
    kernel.run("größe = 3", "%%subagents\nday one: latency=0.1 x")

    assert completed(kernel, "%%subagents --max-c|\na: b") == [("--max-c", "--max-concurrent")]
    assert completed(kernel, "%%subagents --model |")[0] == ("", "openai:test")
    assert completed(kernel, "%%subagents\n😀: x\nb: In {{grö|}} and more") == [("grö", "größe")]
    assert completed(kernel, "%%subagents\ntasks:\n- prompt: 'é'\n  allowed_tools: [gr|]") == [("gr", "grep")]
    assert completed(kernel, "%subagents show day|") == [("day", "'day one'")]
    assert completed(kernel, "größ|")[0] == ("größ", "größe")


@pytest.mark.parametrize(
    "text", ["%%sub|agents --model x\na: b", "%%subagents|\na: b", "%subag|ents quota", "%subagents|", "subagents|"]
)
def test_the_page_of_help_is_what_shift_tab_shows(kernel, text):
    page = inspected(kernel, text)

    assert "--max-total-tokens N" in page
    assert "{{results.facts}}" in page
    assert "%subagents VERB" in page


def test_the_page_of_help_is_what_a_question_mark_shows(kernel):
    shown = kernel.run("%%subagents?", "%subagents?", "%subagents --help", "%%subagents -h\na: b")

    assert [cell.error for cell in shown] == [None] * 4
    assert all("--max-total-tokens N" in cell.all_text for cell in shown)


def test_an_empty_cell_shows_a_template_and_runs_nothing(kernel, server):
    begun = len(server.seen()["arrived"])

    empty, timed = kernel.run("%%subagents", "%%time\n%%subagents --model openai:test")

    assert (empty.error, timed.error) == (None, None)
    assert "capital: What is the capital of Peru?" in empty.text
    assert "capital: What is the capital of Peru?" in timed.text
    assert len(server.seen()["arrived"]) == begun


@pytest.mark.parametrize(
    "code",
    [
        "%%subagents --out answers --modle x\na: b",
        "%%subagents --out answers\na:\n  promt: hi",
        "%%subagents --out answers --background\na:\n  promt: hi",
        "%%subagents --out answers --background --model scripted:nothing\na: hi",
        "%%time\n%%subagents --out answers\na: {{unknown}}",
        "%%subagents --out answers --format json\n{",
        "del answers\n%subagents stauts",
        "del answers\n%subagents quota --max-tokens 3",
        "del answers\n%subagents quota --preset cheap",
        "del answers\n%subagents cancel draft",
        "del answers\n%subagents show draft",
        "del answers\n%subagents last",
    ],
)
def test_a_mistake_is_told_in_four_lines_and_no_old_table_is_left(kernel, code):
    kernel.run("answers = 'old'")

    (wrong,) = kernel.run(code)

    assert wrong.error is not None
    assert len(wrong.error.splitlines()) <= 4
    assert "Traceback" not in wrong.error
    assert "xz_magics/" not in wrong.error
    assert kernel.value("'answers' in globals()") == "False"


@pytest.mark.parametrize("fault", ["ZeroDivisionError()", "ExceptionGroup('two', [ZeroDivisionError()])"])
@pytest.mark.parametrize("options", ["", "--background"])
def test_a_fault_of_ours_shows_a_traceback_but_never_the_source_that_nobody_wrote(kernel, fault, options):
    kernel.run(FAULT.format(fault), "%colors nocolor")

    (wrong,) = kernel.run(f"%%subagents {options}\na: it's long")

    traceback = (wrong.error or "") + wrong.text
    assert "ZeroDivisionError" in traceback
    assert f"%%subagents {options}".rstrip() in traceback
    assert "magics_manager" not in traceback


def test_later_cells_tell_of_a_run_in_the_background_and_end_a_task_of_it(kernel, server):
    begun = len(server.seen()["arrived"])
    (ran,) = kernel.run(LONG)
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 2)

    status, cancelled = kernel.run("%subagents status", "%subagents cancel a")

    assert (ran.error, cancelled.error) == (None, None)
    assert "running" in status.all_text
    assert "stopping" in cancelled.all_text
    assert kernel.value("[one.status for one in await answers]") == "['cancelled', 'done']"


@pytest.mark.parametrize("place", ["", "%%capture shown\n"], ids=["awaited", "nested"])
def test_where_nobody_is_there_a_cell_in_the_background_awaits_its_end(kernel, place):
    cells = run_unattended(kernel, place + SHORT, "done = answers.done, len(answers.results)")

    ran, after = kernel.finish(cells)

    assert (ran.error, after.status) == (None, "ok")
    assert kernel.value("done") == "(True, 2)"


@pytest.mark.parametrize("place", ["", "%%capture shown\n"], ids=["awaited", "nested"])
def test_stop_ends_a_background_run_that_is_awaited_and_keeps_what_came(kernel, server, place):
    begun = len(server.seen()["arrived"])
    cells = run_unattended(kernel, place + LONG, "after = 1")
    server.wait_for(lambda seen: len(seen["arrived"]) >= begun + 2)
    time.sleep(0.5)

    kernel.interrupt()
    ran, after = kernel.finish(cells, timeout_s=15)

    # %%capture keeps even an error to itself.
    assert place or "Stopped: 1 of 2 tasks are done" in ran.error
    assert place or after.status == "aborted"
    assert kernel.value("[one.status for one in answers.results]") == "['cancelled', 'done']"
    server.wait_for(lambda seen: seen["open"] == 0)


def test_config_shows_what_holds_and_where_it_comes_from(kernel):
    kernel.run("%config SubagentMagics.max_tokens = 77")

    listed, table = kernel.run("%config SubagentMagics", "%subagents config")

    assert "the most tokens of one answer" in listed.text
    assert "Current: 77" in listed.text
    assert "%config SubagentMagics" in table.all_text
    assert "XZ_MAGICS_MODEL" in table.all_text


def test_the_doctor_tells_of_this_kernel_and_asks_nobody(kernel, server):
    begun = len(server.seen()["arrived"])

    kernel.run("report = %subagents doctor")

    found = "report.set_index('check')['found']"
    assert "ipykernel" in kernel.value(f"{found}['kernel']")
    assert "EventLoop" in kernel.value(f"{found}['event loop']")
    assert kernel.value("report.set_index('check')['state']['openai:']") == "'ok'"
    assert len(server.seen()["arrived"]) == begun
