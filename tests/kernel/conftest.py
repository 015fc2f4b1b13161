"""Real kernels, driven over their own protocol as a page drives them, and a server that counts what reaches it."""

import os
import time

import pytest
from counting_server import CountingServer
from jupyter_client.manager import KernelManager


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
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"], env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, *codes):
        cells = {}
        for code in codes:
            cells[self.client.execute(code, allow_stdin=False, stop_on_error=True)] = Cell(code)
        return cells

    def finish(self, cells, timeout_s=60):
        """Waits until each has its reply and the kernel is idle after it."""
        deadline = time.monotonic() + timeout_s
        idle, replied = set(), set()
        while not set(cells) <= idle & replied:
            assert time.monotonic() < deadline, [c.code for i, c in cells.items() if i not in idle & replied]
            self._drain_iopub(cells, idle)
            while self.client.shell_channel.msg_ready():
                reply = self.client.get_shell_msg(timeout=1)
                if (parent := reply["parent_header"].get("msg_id")) in cells:
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
