"""Where no page is: nbclient, nbconvert, papermill and the console show the result, keep it, and lose nothing."""

import os
import re
import subprocess
import sys
import time

import nbformat
import papermill
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

pytestmark = pytest.mark.slow

CELL = "%%subagents {options}\na: latency=0.3 first\nb: latency=0.3 second"
REMOTE = re.compile(r"""(?:src|href)=["']?\s*(?:https?:)?//""")
CONSOLE_PROMPT = r"In \[\d+\]: "


@pytest.fixture(scope="module", autouse=True)
def calls_the_counting_server(server):
    """Whatever starts the kernel hands its own environment on."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environ.items():
            patch.setenv(name, value)
        yield


def cell(options=""):
    return CELL.format(options=options)


def notebook_of(*cells):
    cells = ["%load_ext xz_magics\nimport xz_magics", *cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    notebook.metadata["kernelspec"] = {"name": "tested", "display_name": "Tested", "language": "python"}
    return notebook


def shown(cell):
    """What of a cell's outputs holds results: a mapping of media type to content for each."""
    bundles = [output.data for output in cell.outputs if "data" in output]
    return [bundle for bundle in bundles if "2 done" in bundle.get("text/plain", "")]


@pytest.fixture(scope="module")
def executed(calls_the_counting_server):
    """A notebook that nbclient has executed; who runs it cannot wait for what goes on after the last cell."""
    notebook = notebook_of(
        cell(),
        "%%time\n" + cell(),
        "await xz_magics.run(['latency=0.1 a', 'latency=0.1 b'], show=True)\nNone",
        cell("--background --out handle").replace("0.3", "1.5"),
    )
    return NotebookClient(notebook, timeout=60).execute()


@pytest.mark.parametrize("number", [1, 2, 3, 4], ids=["awaited", "nested", "shown by run", "in the background"])
def test_nbclient_keeps_each_result_once(executed, number):
    (bundle,) = shown(executed.cells[number])

    assert "<table" in bundle["text/html"]


def test_nbclient_keeps_no_widget(executed):
    outputs = [output for cell in executed.cells for output in cell.outputs]

    assert [output for output in outputs if "widget" in str(output.get("data"))] == []
    assert "widgets" not in executed.metadata


def test_nbclient_raises_what_the_cell_raises_and_keeps_what_there_is():
    notebook = notebook_of("%%subagents --check\na: latency=0.1\nb: status=400", "print('went on')")

    with pytest.raises(CellExecutionError, match="1 of 2 tasks are not done: b"):
        NotebookClient(notebook, timeout=60).execute()

    assert [output.ename for output in notebook.cells[1].outputs if output.output_type == "error"] == ["TasksFailed"]
    assert "bad request" in str(notebook.cells[1].outputs)
    assert notebook.cells[2].outputs == []


def test_nbconvert_makes_a_page_of_a_saved_notebook(executed):
    html, _ = HTMLExporter().from_notebook_node(executed)

    assert html.count("<table") == 4
    assert_it_needs_no_network(html)


def test_nbconvert_executes_a_notebook_into_a_page(tmp_path):
    nbformat.write(notebook_of(cell()), tmp_path / "lesson.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", tmp_path / "lesson.ipynb"]

    subprocess.run(command, check=True, timeout=90, capture_output=True)

    html = (tmp_path / "lesson.html").read_text(encoding="utf-8")
    assert "word word word" in re.search(r"<table.*?</table>", html, re.DOTALL)[0]
    assert_it_needs_no_network(html)


def assert_it_needs_no_network(html):
    """Its body holds the pictures and their words. Its head is nbconvert's own, which would load what draws formulas."""
    _, _, body = html.partition("<body")
    pictures = re.findall(r"<img [^>]*>", body)
    assert pictures != []
    assert [picture[:300] for picture in pictures if 'src="data:image/png;base64,' not in picture] == []
    assert [picture[:300] for picture in pictures if not re.search(r'alt="[^"]{10,}"', picture)] == []
    assert REMOTE.findall(body) == []


def test_papermill_runs_a_notebook_with_its_parameters(tmp_path):
    notebook = notebook_of("city = 'nowhere'", "%%subagents\na: latency=0.1 {{city}}\nb: latency=0.1 two")
    notebook.cells[1].metadata["tags"] = ["parameters"]
    notebook.cells.append(nbformat.v4.new_code_cell("print(xz_magics.last['a'].messages[0].content)"))
    nbformat.write(notebook, tmp_path / "lesson.ipynb")

    ran = papermill.execute_notebook(
        tmp_path / "lesson.ipynb", tmp_path / "ran.ipynb", {"city": "Lima"}, progress_bar=False
    )

    assert len(shown(ran.cells[3])) == 1
    assert ran.cells[4].outputs[0].text == "latency=0.1 Lima\n"


@pytest.fixture(scope="module")
def console(server, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("console"))
    own = {"JUPYTER_CONFIG_DIR": folder, "IPYTHONDIR": folder, "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
    arguments = ["-m", "jupyter_console", "--kernel", "tested", "--no-confirm-exit"]
    env = os.environ | server.environ | own
    child = pexpect.spawn(sys.executable, arguments, env=env, encoding="utf-8", timeout=60, dimensions=(50, 120))
    child.expect(CONSOLE_PROMPT)
    paste(child, "%load_ext xz_magics")
    child.expect(CONSOLE_PROMPT)
    yield child
    child.close(force=True)


def paste(child, code):
    """As a terminal hands over what is pasted: its lines stay one cell, and the next Enter runs it."""
    child.send(f"\x1b[200~{code}\x1b[201~")
    time.sleep(0.3)
    child.send("\r")


def test_the_console_shows_the_result_once_and_no_widget(console):
    paste(console, cell() + "\n\n")
    console.expect("Tokens per task")

    before = console.before
    console.expect(CONSOLE_PROMPT)

    assert (before + console.before).count("2 tasks: 2 done") == 1
    assert "Layout" not in before


def test_ctrl_c_in_the_console_ends_the_run_and_keeps_what_there_is(console, server):
    begun = len(server.seen()["arrived"])
    paste(console, cell().replace("0.3", "20") + "\n\n")
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 2)

    console.sendintr()

    console.expect("2 tasks: 2 cancelled")
    console.expect("Stopped: 0 of 2 tasks are done")
    console.expect(CONSOLE_PROMPT)
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)
