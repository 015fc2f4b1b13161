"""Real kernels, driven over their own protocol as a page drives them, and a server that counts what reaches it.

The kernel is that of the interpreter named by XZ_MAGICS_KERNEL_PYTHON, else of the present one: `versions` runs all
of these tests against several.
"""

import json
import os
import sys
import time
from uuid import uuid4

import pytest
from counting_server import CountingServer
from jupyter_client.manager import KernelManager

KERNEL_NAME = "tested"


class Cell:
    """What came of one execute request."""

    def __init__(self, code):
        self.code = code
        self.text = ""
        self.html = ""
        self.error = None
        self.status = None
        self.displays = []

    @property
    def all_text(self):
        return self.text + "".join(str(data.get("text/plain", "")) for data in self.displays)


class Kernel:
    """Sends execute requests without waiting, as a page does at Run All, and collects what each brings."""

    def __init__(self, env=None):
        self.manager = KernelManager(kernel_name=KERNEL_NAME)
        self.manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"], env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.answered = set()
        """The requests of any kind that have had their reply."""

    def send(self, *codes):
        return {self._send_cell(code): Cell(code) for code in codes}

    def finish(self, cells, timeout_s=60):
        """Waits until each has its reply and the kernel is idle after it."""
        deadline = time.monotonic() + timeout_s
        idle, replied = set(), set()
        while not set(cells) <= idle & replied:
            assert time.monotonic() < deadline, [c.code for i, c in cells.items() if i not in idle & replied]
            self._drain_iopub(cells, idle)
            while self.client.shell_channel.msg_ready():
                reply = self.client.get_shell_msg(timeout=1)
                self.answered.add(parent := reply["parent_header"].get("msg_id"))
                if parent in cells:
                    replied.add(parent)
                    cells[parent].status = reply["content"]["status"]
                    cells[parent].displays += [page["data"] for page in reply["content"].get("payload", ())]
                    if reply["content"]["status"] == "aborted":
                        idle.add(parent)
        return list(cells.values())

    def run(self, *codes, timeout_s=60):
        return self.finish(self.send(*codes), timeout_s)

    def value(self, expression):
        """The repr of an expression in the kernel."""
        (cell,) = self.run(f"print(repr({expression}))")
        assert cell.error is None, cell.error
        return cell.text.strip()

    def interrupt(self):
        self.manager.interrupt_kernel()

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def _send_cell(self, code):
        """A page has a keyboard, and says which cell it sends."""
        asks = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        message = self.client.session.msg("execute_request", asks, metadata={"cellId": str(uuid4())})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def _drain_iopub(self, cells, idle):
        from queue import Empty

        try:
            message = self.client.get_iopub_msg(timeout=0.05)
        except Empty:
            return
        cell = cells.get(message["parent_header"].get("msg_id"))
        if cell is None:
            return
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                cell.text += content["text"]
            case "error":
                cell.error = "\n".join(content["traceback"])
            case "execute_result" | "display_data" | "update_display_data":
                cell.displays.append(content["data"] | {"how": message["msg_type"]})
                cell.html += content["data"].get("text/html", "")
            case "status" if content["execution_state"] == "idle":
                idle.add(message["parent_header"]["msg_id"])


@pytest.fixture(scope="session")
def kernel_python():
    return os.environ.get("XZ_MAGICS_KERNEL_PYTHON", sys.executable)


@pytest.fixture(scope="session", autouse=True)
def kernel_spec(kernel_python, tmp_path_factory):
    """The tested kernel is one that every front end finds under its name."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "kernels" / KERNEL_NAME / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [kernel_python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Tested", "language": "python"}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        yield


@pytest.fixture(scope="session")
def server():
    server = CountingServer()
    yield server
    server.close()


@pytest.fixture
def kernel(server):
    kernel = Kernel(os.environ | server.environ | {"OPENAI_API_KEY": "k"})
    kernel.run("%load_ext xz_magics\nimport xz_magics, asyncio")
    yield kernel
    kernel.close()
