"""JupyterLab in the system's Chromium, its kernels calling a server that counts what reaches it."""

import os
import re
from pathlib import Path

import lab as jupyter
import pytest
from counting_server import CountingServer
from dashboard_page import DashboardPage
from notebook_page import NotebookPage


@pytest.fixture(scope="session")
def server():
    server = CountingServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def lab(server, tmp_path_factory):
    if reason := jupyter.missing():
        pytest.skip(reason)
    with jupyter.running(tmp_path_factory.mktemp("lab"), server.environ) as lab:
        yield lab


@pytest.fixture(scope="module")
def chromium():
    """Ended with its module: while Playwright is at work, no test of this thread may have an event loop of its own."""
    if reason := jupyter.missing():
        pytest.skip(reason)
    with jupyter.chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def browser(lab, chromium):
    return chromium.new_context(viewport={"width": 1200, "height": 1600})


@pytest.fixture
def open_notebook(browser, lab, request):
    """Opens a new notebook with the extension loaded in cell 0 and these cells after it."""
    opened = []

    def open_one(*cells):
        name = f"notebook-{len(list(lab.root.iterdir()))}.ipynb"
        opened.append(NotebookPage(browser, lab, name, ["%load_ext xz_magics\nimport xz_magics", *cells]))
        return opened[-1]

    yield open_one
    close(opened, request)
    lab.end_kernels()


@pytest.fixture
def dashboard(chromium, request):
    opened = []

    def open_one(**options):
        opened.append(DashboardPage(chromium, **options))
        return opened[-1]

    yield open_one
    close(opened, request)


@pytest.fixture
def shown(dashboard):
    return dashboard()


def close(opened, request):
    """A picture of each page as it is at the end of its test is kept in $XZ_MAGICS_PICTURES, for people to look at."""
    for number, one in enumerate(opened):
        if folder := os.environ.get("XZ_MAGICS_PICTURES"):
            name = re.sub(r"\W+", "_", request.node.name).strip("_")
            one.page.screenshot(path=Path(folder) / f"{name}-{number}.png")
        one.page.close()
