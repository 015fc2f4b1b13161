"""The cell in the page of Notebook 7: the same dashboard, the same Stop, the same table in the saved file."""

import re

import lab as jupyter
import pytest
from notebook_page import FIRST_LOOK_MS, NotebookPage
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

SOON_MS = 20_000
"""A cell that takes a second or two, on a busy machine."""


class NotebookSevenPage(NotebookPage):
    def open(self):
        self.page.goto(self._address)
        kernel_is_ready = self.page.locator(".jp-NotebookKernelStatus-fade")
        expect(kernel_is_ready).to_be_attached(timeout=FIRST_LOOK_MS)

    def save(self):
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and "/contents/" in answer.url):
            super().save()


@pytest.fixture
def open_notebook(browser, lab):
    if reason := jupyter.missing("notebook"):
        pytest.skip(reason)
    opened = []

    def open_one(*cells):
        name = f"seven-{len(list(lab.root.iterdir()))}.ipynb"
        cells = ["%load_ext xz_magics\nimport xz_magics", *cells]
        opened.append(NotebookSevenPage(browser, lab.in_notebook_seven(), name, cells))
        return opened[-1]

    yield open_one
    for notebook in opened:
        notebook.page.close()
    lab.end_kernels()


def test_the_dashboard_gives_way_to_a_table_that_the_saved_file_keeps(open_notebook, lab):
    notebook = open_notebook("%%subagents\na: latency=0.1\nb: latency=6 chunks=20\nc: status=400", "print('went on')")

    notebook.run_all()

    expect(notebook.dashboard(1).locator(".xz-head")).to_contain_text("2 of 3", timeout=SOON_MS)
    states = notebook.dashboard(1).locator("[data-n]")
    expect(states.nth(0)).to_have_attribute("data-state", "done")
    expect(states.nth(1)).to_have_attribute("data-state", "running")
    expect(states.nth(1).locator(".xz-text")).to_contain_text("word word")
    expect(notebook.prompt(2)).to_have_text("[3]:", timeout=SOON_MS)
    look = result(notebook)
    notebook.save()
    lab.end_kernels()

    notebook.open()

    assert result(notebook) == look


def result(notebook):
    """What the page shows for good: where it is, its states, its pictures."""
    expect(notebook.table(1).locator("tbody td:nth-child(2)")).to_have_text(
        ["✓ done", "✓ done", "✗ failed: bad request"]
    )
    expect(notebook.dashboard(1)).to_have_count(0)
    pictures = notebook.output(1).get_by_role("img", name=re.compile("3 tasks"))
    expect(pictures.first).to_be_visible()
    return [notebook.output(1).bounding_box(), *(picture.get_attribute("alt") for picture in pictures.all())]


def test_stop_ends_one_row_and_then_all_and_keeps_what_came(open_notebook, server):
    tasks = "\n".join(f"t{at}: latency=30 chunks=300" for at in range(4))
    notebook = open_notebook("%%subagents --max-concurrent 2\n" + tasks, "print('went on')")
    begun = len(server.seen()["arrived"])
    notebook.run_all()
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 2)
    rows = notebook.dashboard(1).locator("[data-n]")

    rows.nth(0).get_by_role("button", name="Stop t0").click(timeout=SOON_MS)

    expect(rows.nth(0)).to_have_attribute("data-state", "cancelled", timeout=SOON_MS)
    expect(rows.nth(1)).to_have_attribute("data-state", "running")
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 3)
    expect(rows.nth(2)).to_have_attribute("data-state", "running")

    notebook.dashboard(1).get_by_role("button", name="Stop all").click()

    error = notebook.cell(1).locator("[data-mime-type='application/vnd.jupyter.stderr']")
    expect(error).to_have_text(re.compile(r"^Stopped: 0 of 4 tasks are done"), timeout=SOON_MS)
    statuses = notebook.table(1).locator("tbody td:nth-child(2)")
    expect(statuses).to_have_text([*["■ cancelled"] * 3, "○ skipped"])
    expect(notebook.table(1).locator("tbody tr").nth(1)).to_contain_text("word")
    expect(notebook.prompt(2)).to_have_text("[ ]:")
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=3)
    assert len(server.seen()["arrived"]) == begun + 3
