"""The cell in the real page: live while it runs, stopped by a click or by the keyboard, its table there for good."""

import json
import re
import time

import pytest
from notebook_page import FIRST_LOOK_MS
from playwright.sync_api import expect

SOON_MS = 20_000
"""A cell that takes a second or two, on a busy machine."""
AT_ONCE_MS = 10_000
"""Requests end at once; the first table of a kernel takes the time to load what draws it."""
ANSWER_MS = 500


def cell(*tasks, options=""):
    return f"%%subagents {options}\n" + "\n".join(f"t{at}: {task}" for at, task in enumerate(tasks))


def test_a_dashboard_with_a_stop_button_gives_way_to_one_table(open_notebook):
    notebook = open_notebook(cell("latency=0.1", "latency=5", "latency=5"))

    notebook.run_all()

    dashboard = notebook.dashboard(1)
    expect(dashboard.locator(".xz-head")).to_contain_text("1 of 3", timeout=SOON_MS)
    expect(dashboard.locator(".xz-filter")).to_have_text(["▶ 2 running", "✓ 1 done"])
    expect(dashboard.locator(".xz-head")).to_contain_text("20 tokens")
    expect(dashboard.get_by_role("button", name="Stop all")).to_be_visible()
    expect(notebook.table(1)).to_have_count(0)
    expect(notebook.prompt(1)).to_have_text("[2]:", timeout=SOON_MS)
    expect(notebook.table(1)).to_have_count(1)
    expect(notebook.table(1)).to_contain_text("word word")
    expect(notebook.output(1)).to_have_count(1)
    expect(notebook.output(1)).to_contain_text("3 tasks ✓ 3 done 60 tokens")
    expect(notebook.output(1).get_by_role("img", name="Histograms of 3 tasks")).to_be_visible()
    expect(dashboard).to_have_count(0)


@pytest.mark.parametrize("way", ["button", "keyboard"])
def test_stop_ends_the_run_at_once_and_keeps_what_came(open_notebook, server, way):
    begun = len(server.seen()["arrived"])
    long = ["latency=0.1", *["latency=30 chunks=300"] * 5]
    notebook = open_notebook(cell(*long, options="--max-concurrent 2"), "print('went on')")
    notebook.run_all()
    server.wait_for(lambda seen: len(seen["arrived"]) == begun + 3)
    expect(notebook.dashboard(1).locator(".xz-filter[data-state='running']")).to_have_text(
        "▶ 2 running", timeout=SOON_MS
    )
    expect(notebook.dashboard(1).locator("[data-n='1'] .xz-text")).to_contain_text("word")

    if way == "button":
        notebook.dashboard(1).get_by_role("button", name="Stop all").click()
    else:
        for key in ("Escape", "i", "i"):
            notebook.page.keyboard.press(key)

    error = notebook.cell(1).locator("[data-mime-type='application/vnd.jupyter.stderr']")
    expect(error).to_have_text(re.compile(r"^Stopped: 1 of 6 tasks are done.*$"), timeout=AT_ONCE_MS)
    statuses = notebook.table(1).locator("tbody td:nth-child(2)")
    expect(statuses).to_have_text(["✓ done", *["■ cancelled"] * 2, *["○ skipped"] * 3])
    expect(notebook.table(1).locator("tbody tr").nth(1)).to_contain_text("word")
    expect(notebook.prompt(2)).to_have_text("[ ]:")
    expect(notebook.output(2)).to_have_count(0)
    ended = server.wait_for(lambda seen: seen["open"] == 0, timeout_s=3)
    time.sleep(1)
    assert server.seen()["arrived"] == ended["arrived"]


def test_one_row_is_stopped_at_once_and_an_opened_one_goes_on_before_the_readers_eyes(open_notebook, server):
    notebook = open_notebook(cell(*["latency=30 chunks=300"] * 3, options="--max-concurrent 2"))
    notebook.run_all()
    dashboard = notebook.dashboard(1)
    rows, opened = dashboard.locator("[data-n]"), dashboard.locator(".xz-detail [data-kind='text'] .xz-words")
    expect(rows.nth(1).locator(".xz-text")).to_contain_text("word word", timeout=SOON_MS)

    rows.nth(1).locator(".xz-open").focus()
    notebook.page.keyboard.press("Enter")
    expect(opened).to_contain_text("word word")
    begun = opened.text_content()
    rows.nth(0).get_by_role("button", name="Stop t0").click()
    expect(rows.nth(0).locator(".xz-state")).to_have_text(re.compile("stopping|cancelled"), timeout=ANSWER_MS)

    expect(rows.nth(0)).to_have_attribute("data-state", "cancelled")
    expect(rows.nth(2)).to_have_attribute("data-state", "running", timeout=SOON_MS)
    expect(opened).to_contain_text(begun + "word")
    expect(rows.nth(1)).to_have_attribute("data-state", "running")
    rows.nth(1).locator(".xz-open").focus()
    notebook.page.keyboard.press("Escape")
    expect(opened).to_have_count(0)
    expect(rows.nth(1).locator(".xz-open")).to_be_focused()


def test_a_page_that_is_loaded_anew_shows_the_run_that_goes_on_and_can_stop_it(open_notebook, server):
    notebook = open_notebook(cell("latency=0.1", "latency=60 chunks=600"))
    notebook.run_all()
    expect(notebook.dashboard(1).locator("[data-n='1'] .xz-text")).to_contain_text("word", timeout=SOON_MS)
    notebook.save()

    notebook.page.reload()

    row = notebook.dashboard(1).locator("[data-n='1']")
    expect(row.locator(".xz-state")).to_have_text("▶running", timeout=FIRST_LOOK_MS)
    expect(notebook.dashboard(1).locator("[data-n='0'] .xz-state")).to_have_text("✓done")
    notebook.dashboard(1).get_by_role("button", name="Stop all").click()
    expect(row.locator(".xz-state")).to_have_text("■cancelled", timeout=AT_ONCE_MS)
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=3)


def test_run_all_runs_every_cell_in_order(open_notebook):
    cells = [
        cell("latency=0.5", "latency=0.2", options="--out first"),
        "%%time\n" + cell("latency=0.3", options="--out second"),
        "third = await xz_magics.run(['latency=0.1'])",
        cell("latency=0.1", options="--out fourth"),
        "print([len(results) for results in (first, second, third, fourth)])",
    ]
    notebook = open_notebook(*cells)

    notebook.run_all()

    expect(notebook.output(5)).to_have_text("[2, 1, 1, 1]", timeout=SOON_MS)
    for number in range(6):
        expect(notebook.prompt(number)).to_have_text(f"[{number + 1}]:")
    for number, tables in ((1, 1), (2, 1), (3, 0), (4, 1)):
        expect(notebook.table(number)).to_have_count(tables)


def test_the_table_is_there_when_the_saved_notebook_is_opened_again(open_notebook, lab):
    notebook = open_notebook(cell("latency=0.1", "status=400"))
    notebook.run_all()
    expect(notebook.table(1)).to_be_visible(timeout=SOON_MS)
    expect(notebook.prompt(1)).to_have_text("[2]:")
    look = notebook.output(1).bounding_box()
    notebook.save()
    lab.end_kernels()

    notebook.open()

    expect(notebook.table(1).locator("tbody td:nth-child(2)")).to_have_text(["✓ done", "✗ failed: bad request"])
    expect(notebook.output(1).get_by_role("img", name="Histograms of 2 tasks")).to_be_visible()
    expect(notebook.output(1)).to_have_count(1)
    assert notebook.output(1).bounding_box() == look


def test_a_view_that_was_saved_while_its_run_went_on_says_so_when_the_kernel_is_gone(open_notebook, lab):
    notebook = open_notebook(cell("latency=60 chunks=600"))
    notebook.run_all()
    expect(notebook.dashboard(1).locator("[data-n='0'] .xz-text")).to_contain_text("word", timeout=SOON_MS)
    notebook.save()
    lab.end_kernels()

    notebook.open()

    lost = re.compile("^The live view of a run needs .* run the cell again.$")
    expect(notebook.output(1)).to_have_text(lost, timeout=SOON_MS)


HOSTILE = [
    "<img src=x onerror=\"hit=1;alert('image')\">",
    "<script>hit=1;alert('script')</script>",
    '<iframe srcdoc="<script>parent.hit=1</script>"></iframe>',
    "[link](javascript:alert(1)) ![picture](x)",
    r"$\href{javascript:alert(2)}{math}$ \(\href{javascript:alert(3)}{more}\)",
    "</td></table><a href=javascript:alert(4) onmouseover=alert(5)>away</a>",
]
THEIRS = "script, iframe, a[href], img:not([src^='data:image/png']), [onerror], [onmouseover]"


def test_nothing_that_a_model_wrote_becomes_a_part_of_the_page(open_notebook):
    answers = [{"label": text, "prompt": text, "model": "scripted:"} for text in HOSTILE]
    errors = [{"label": f"error {at}", "prompt": f"status=400 {text}"} for at, text in enumerate(HOSTILE)]
    notebook = open_notebook(
        "%%subagents --out answers\n" + json.dumps({"tasks": answers + errors}),
        "answers.df[['label', 'output', 'error']]",
        "print(answers)",
        "answers.plot()",
        "answers.raise_for_failures()",
        "from IPython.display import HTML\nHTML(" + repr(HOSTILE[0]) + ")",
    )
    dialogs = []
    notebook.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    notebook.run_all()

    expect(notebook.cell(5)).to_contain_text("TasksFailed", timeout=SOON_MS)
    for text in HOSTILE:
        expect(notebook.table(1)).to_contain_text(f"You wrote: {text}")
        expect(notebook.table(1)).to_contain_text(f"status=400 {text}")
    for number in range(1, 6):
        expect(notebook.output(number).locator(THEIRS)).to_have_count(0)
    expect(notebook.output(1).locator("mjx-container")).to_have_count(0)
    assert dialogs == []
    assert notebook.page.evaluate("window.hit") is None

    with notebook.page.expect_event("dialog"):  # without us: an alarm that cannot ring proves nothing
        notebook.run(6)
    assert dialogs == ["image"]
