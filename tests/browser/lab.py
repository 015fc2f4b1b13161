"""A JupyterLab of this machine's own, whose settings, kernels and files lie in one folder, and a browser to see it."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from urllib.request import Request, urlopen

from playwright.sync_api import sync_playwright

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
LAB_OPTIONS = {
    "ServerApp.ip": "127.0.0.1",
    "ServerApp.port": "0",
    "ServerApp.allow_root": "True",
    "ServerApp.open_browser": "False",
    "LabApp.extension_manager": "readonly",
    "LabApp.news_url": "None",
    "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
}
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}


class Lab:
    def __init__(self, url, token, root, pages="lab/tree"):
        self.url = url
        self.root = root
        self._token = token
        self._pages = pages

    def in_notebook_seven(self):
        """The same server, whose notebooks open in the pages of Notebook 7: where that is installed, it has them."""
        return Lab(self.url, self._token, self.root, pages="notebooks")

    def page_of(self, notebook):
        return f"{self.url}{self._pages}/{notebook}?token={self._token}&reset"

    def end_kernels(self):
        for session in self._ask("api/sessions"):
            self._ask(f"api/sessions/{session['id']}", "DELETE")

    def _ask(self, path, method="GET"):
        request = Request(self.url + path, headers={"Authorization": f"token {self._token}"}, method=method)
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")


def missing(server="jupyterlab"):
    """What is not here, and how to get it; None where all is."""
    if find_spec(server) is None:
        return f"{server} is not installed: `pip install {server}`"
    if shutil.which("chromium") is None:
        return "there is no Chromium: `apt-get install chromium`"
    return None


@contextmanager
def running(folder, environ):
    """Started on a free port, ended with its kernels. `environ` is added to what the kernels get."""
    root = folder / "notebooks"
    root.mkdir()
    notification = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    notification.parent.mkdir(parents=True)
    notification.write_text(json.dumps(NO_NEWS))
    own = {
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "IPYTHONDIR": folder / "ipython",
    }
    options = [f"--{name}={value}" for name, value in LAB_OPTIONS.items()]
    with (folder / "lab.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={root}"],
            stdout=log,
            stderr=log,
            env=os.environ | {name: str(path) for name, path in own.items()} | environ,
        )
        try:
            yield _ready(process, folder, root)
        finally:
            process.terminate()
            process.wait(20)


def _ready(process, folder, root, timeout_s=60):
    """The server writes a file that tells its address and token."""
    deadline = time.monotonic() + timeout_s
    while not (files := [file for file in (folder / "runtime").glob("jpserver-*.json") if file.stat().st_size]):
        assert process.poll() is None, (folder / "lab.log").read_text()
        assert time.monotonic() < deadline, (folder / "lab.log").read_text()
        time.sleep(0.1)
    told = json.loads(files[0].read_text())
    return Lab(told["url"], told["token"], root)


@contextmanager
def chromium():
    """The system's own Chromium, without a window; it finds no other host than this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
