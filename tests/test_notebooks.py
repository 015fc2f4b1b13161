"""Every notebook runs from its first cell to its last on the embedded model, and shows what it speaks of."""

import importlib.util
import json
import os
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient

from xz_magics.config import cache_dir
from xz_magics.errors import ModelError
from xz_magics.providers.weights import fetch_weights

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def run():
    """Runs a notebook once, however many tests look at it."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip('needs the embedded model: pip install "xz-magics[local]"')
    try:
        fetch_weights(cache_dir(), tell=print)
    except ModelError as error:
        pytest.skip(f"needs the model's weights: {error}")
    return cache(_run)


def _run(path):
    notebook = nbformat.read(path, as_version=4)
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XZ_MAGICS_", "OPENAI_", "ANTHROPIC_"))
    }
    with TemporaryDirectory() as folder, TemporaryDirectory() as state:
        own = {"XZ_MAGICS_CONFIG": os.devnull, "XZ_MAGICS_CACHE": str(cache_dir()), "XZ_MAGICS_STATE": state}
        client = NotebookClient(
            notebook, timeout=400, kernel_name="python3", allow_errors=True, store_widget_state=False
        )
        client.execute(cwd=folder, env=ours | own)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@every_notebook
def test_a_notebook_is_kept_without_outputs(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


@every_notebook
def test_every_cell_runs(run, path):
    cells = run(path)

    errors = ["\n".join(output.traceback) for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert errors == []
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@every_notebook
def test_what_a_notebook_would_save_holds_no_live_view_and_no_folder_of_this_machine(run, path):
    for cell in run(path):
        kept = json.dumps(cell.outputs)
        assert "application/vnd.jupyter.widget-view+json" not in kept
        for folder in (Path.home(), Path.cwd(), cache_dir()):
            assert str(folder) not in kept


def test_the_first_notebook_shows_tables_histograms_a_picture_and_limits(run):
    shown = _shown(run(NOTEBOOKS[0]))

    for source in shown:
        if source.startswith("%%subagents") and "--background" not in source:
            assert list(shown[source]) == ["text/plain", "text/html"]
            assert "<table" in shown[source]["text/html"]
            assert "data:image/png;base64," in shown[source]["text/html"]
            assert "Tokens per task" in shown[source]["text/plain"]
            assert "run tokens" in shown[source]["text/plain"]
    assert "run " in _of(shown, "%%subagents --background")["text/plain"]
    assert "river" in _of(shown, "results = await later")["text/html"]
    assert "image/png" in _of(shown, "answers.timeline")
    assert "haiku" in _of(shown, "answers.df")["text/html"]
    for source in ("answers.duration_histogram", "answers.token_histogram"):
        assert _of(shown, source)["text/plain"].split()[:3] == ["left", "right", "total"]
    assert "image/png" in _of(shown, "answers.plot")
    assert "Nairobi" in _of(shown, "cities")["text/plain"]
    assert "100000.0" in _of(shown, "%subagents quota")["text/plain"]


def test_what_does_not_fit_into_the_first_notebooks_tight_limit_is_skipped(run):
    shown = _shown(run(NOTEBOOKS[0]))

    table = _of(shown, "%%subagents --out tight")["text/plain"].splitlines()
    limits = _of(shown, "tight.quota")["text/plain"].splitlines()

    rows = [line for line in table if line.startswith(("north", "south", "east", "west"))]
    skipped = ["skipped: quota exceeded" in row for row in rows]
    assert len(rows) == 4
    assert not skipped[0]
    assert skipped[-1]
    (used,) = [float(line.split()[4]) for line in limits if "max_total_tokens" in line]
    assert 100 < used <= 500


def test_the_third_notebook_compares_two_wordings_review_by_review(run):
    shown = _shown(run(NOTEBOOKS[2]))

    told, page = (_of(shown, "comparison = ")[form] for form in ("text/plain", "text/html"))
    verdict = told.splitlines()[1]
    assert "95 % interval" in verdict
    assert "24 inputs" in verdict
    assert "No significant difference" in verdict or "scores higher than" in verdict
    assert "sd of repeats" in told
    assert "data:image/png;base64," in page
    assert "image/png" in _of(shown, "comparison.plot")
    assert "accuracy " in _of(shown, "experiment.pivot")["text/html"]


def test_the_fourth_notebook_finishes_what_a_killed_kernel_began_and_pays_for_nothing_twice(run):
    shown = _shown(run(NOTEBOOKS[3]))

    died, resumed = (_of(shown, source)["text/plain"] for source in ("died = ", "answers.df"))
    done, unknown = (len(re.findall(rf"see\[\d+\]\s+{status} ", died)) for status in ("done", "unknown"))
    assert "died" in _of(shown, "%subagents runs")["text/plain"]
    assert done >= 4
    assert unknown >= 1
    assert f"{done} of these would be reused" in _of(shown, "%%subagents --resume --dry-run")["text/plain"]
    assert f"12 tasks: {12 - unknown} done, {unknown} unknown" in _of(shown, "%%subagents --resume --out")["text/plain"]
    assert len(re.findall("[0-9a-f]{12}", resumed)) == done
    whole = _of(shown, "%%subagents --resume --resend-unknown")["text/plain"]
    assert "12 tasks: 12 done" in whole
    assert f"{12 - unknown} of 12 answers are reused" in whole


def test_the_fourth_notebooks_day_is_spent_and_its_journal_goes_out_and_comes_back(run):
    shown = _shown(run(NOTEBOOKS[3]))

    assert re.search(r"day\s+max_total_cost\s+0\.12", _of(shown, "%subagents quota --daily")["text/plain"])
    assert "max_total_cost of the day is 0.12 USD" in _of(shown, "%%subagents --model scripted:guide")["text/plain"]
    assert "runs  freed_bytes" in _of(shown, "%subagents purge")["text/plain"]
    assert _of(shown, "run_id = ")["text/plain"].count("done") == 12


def _shown(cells):
    """What stands under each cell, by the cell's text: its last output in all forms, nothing where there is none."""
    return {cell.source: dict(cell.outputs[-1].get("data", {})) if cell.outputs else {} for cell in cells}


def _of(shown, beginning):
    """What stands under the one cell that begins with these words."""
    (forms,) = [shown[source] for source in shown if source.startswith(beginning)]
    return forms
