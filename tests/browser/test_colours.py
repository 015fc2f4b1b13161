"""The extension of the page: `%%subagents` cells have the colours of YAML, all others those of Python."""

import re

from playwright.sync_api import expect

CELL = "%%subagents\ntasks:\n  sky: {prompt: Why?}"
PYTHON = "tasks = 1  # comment"
SOON_MS = 20_000


def coloured(notebook, number, text):
    """The coloured pieces of a cell's source that are just this text."""
    return notebook.cell(number).locator(".cm-line span[class]", has_text=re.compile(f"^{re.escape(text)}$"))


def test_a_cell_is_coloured_as_yaml_as_long_as_it_is_ours(open_notebook):
    notebook = open_notebook(CELL, PYTHON)

    expect(coloured(notebook, 1, "tasks")).to_have_count(1, timeout=SOON_MS)
    expect(coloured(notebook, 2, "tasks")).to_have_count(0)
    expect(coloured(notebook, 2, "# comment")).to_have_count(1)

    notebook.cell(1).locator(".cm-content").click()
    notebook.page.keyboard.press("Control+Home")
    notebook.page.keyboard.press("Delete")
    expect(coloured(notebook, 1, "tasks")).to_have_count(0)

    notebook.page.keyboard.type("%")
    expect(coloured(notebook, 1, "tasks")).to_have_count(1)
