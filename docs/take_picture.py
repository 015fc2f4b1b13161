"""Takes `first_cell.png`: the README's cell and its result in JupyterLab, as a person sees them.

`python docs/take_picture.py [FILE]` needs the extras `local`, `notebook` and `test`, and Debian's chromium. The
embedded model answers, so each picture has other words.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import lab as jupyter  # noqa: E402 - from the folder just named
from notebook_page import NotebookPage  # noqa: E402 - likewise
from playwright.sync_api import expect  # noqa: E402 - after the two that need it

README_CELL = re.compile(r"^```\n(%%subagents.*?)\n```$", re.DOTALL | re.MULTILINE)
MOST_MS = 300_000
"""The model's weights may have to be fetched first."""
EDGE = 6
"""White beside the cell's right border."""


def take_picture(path: Path) -> None:
    cell = README_CELL.search((ROOT / "README.md").read_text()).group(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyter.running(Path(folder), {"XZ_MAGICS_CONFIG": os.devnull}) as lab,
        jupyter.chromium() as browser,
    ):
        context = browser.new_context(viewport={"width": 1200, "height": 1400}, device_scale_factor=2)
        notebook = NotebookPage(context, lab, "picture.ipynb", ["%load_ext xz_magics", cell, "", ""])
        notebook.run_all()
        expect(notebook.table(1)).to_be_visible(timeout=MOST_MS)
        notebook.page.mouse.move(0, 0)
        box = notebook.cell(1).bounding_box()
        clip = {**box, "width": box["width"] + EDGE}
        notebook.page.screenshot(path=path, clip=clip, animations="disabled")


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "first_cell.png")
