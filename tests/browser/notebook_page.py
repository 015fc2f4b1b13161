"""A notebook in JupyterLab as a person sees and uses it."""

import nbformat
from playwright.sync_api import expect

FIRST_LOOK_MS = 60_000
"""The page, its scripts and a new kernel, on a busy machine."""


class NotebookPage:
    """A new notebook with these cells, opened in a page of its own, its kernel ready."""

    def __init__(self, browser, lab, name, cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, lab.root / name)
        self._address = lab.page_of(name)
        self.page = browser.new_page()
        self.open()

    def open(self):
        self.page.goto(self._address)
        expect(self.page.get_by_text("| Idle")).to_be_visible(timeout=FIRST_LOOK_MS)

    def run_all(self):
        self._choose("Run", "Run All Cells")

    def run(self, number):
        self.prompt(number).click()
        self.page.keyboard.press("Control+Enter")

    def save(self):
        self._choose("File", "Save Notebook")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def cell(self, number):
        """Counted from 0, as the cells were given."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def output(self, number):
        return self.cell(number).locator(".jp-OutputArea-output")

    def dashboard(self, number):
        """What is shown while the cell runs."""
        return self.cell(number).locator(".xz-dashboard")

    def table(self, number):
        """The results; a DataFrame and a dashboard have a class."""
        return self.output(number).locator("table:not(.dataframe, .xz-rows)")

    def prompt(self, number):
        """Shows [*] while the cell runs or waits, its number when it has run, and [ ] when it has not."""
        return self.cell(number).locator(".jp-InputPrompt")

    def _choose(self, menu, entry):
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=entry).first.click()
