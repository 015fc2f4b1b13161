"""The live view over the kernel's own protocol: what a page is told while cells run, and what its clicks do."""

import time
from queue import Empty

import pytest

CELL = "%%subagents --out answers --max-concurrent 4{options}\n"
STREAMING = "\n".join(f"t{at}: latency=20 chunks=200 number {at}" for at in range(4))
WIDGET = "application/vnd.jupyter.widget-view+json"
COMMS = "len(__import__('comm').get_comm_manager().comms)"
DEAF = "clicks here are served when the cell has ended; the kernel's interrupt button stops the run at once"
LONGEST_CLOSE_S = 25
"""A widget is open for ten seconds more than its run, for a page that is just being reloaded."""


class Page:
    """Does what a page does: sends cells, keeps what it is told, and greets and clicks, by a subshell where it can."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.widget = None
        self.told = []
        self.shown = []
        self.closed = set()
        self.idle = set()
        self.streams = ""
        self.errors = []
        self._subshell = self._make_subshell()

    @property
    def hears_at_once(self):
        """Whether the kernel serves a click while an awaited cell runs."""
        return self._subshell is not None

    def send(self, code):
        (cell,) = self.kernel.send(code)
        return cell

    def say(self, **wish):
        session = self.kernel.client.session
        message = session.msg("comm_msg", {"comm_id": self.widget, "data": {"method": "custom", "content": wish}})
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self.kernel.client.shell_channel.send(message)

    def wait_for(self, condition, timeout_s=40):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (self.told[-3:], self.shown, self.errors)
            try:
                self._take(self.kernel.client.get_iopub_msg(timeout=0.1))
            except Empty:
                continue

    @property
    def draws(self):
        return [message for message in self.told if message["kind"] == "draw"]

    @property
    def rows(self):
        rows = {}
        for message in self.draws:
            if message.get("reset"):
                rows = {}
            for row in message["rows"]:
                rows[row["n"]] = rows.get(row["n"], {}) | row
        return rows

    def states(self):
        return [row["state"] for row in self.rows.values()]

    def _take(self, message):
        content = message["content"]
        match message["msg_type"]:
            case "comm_open" if "_esm" in content["data"]["state"]:
                self.widget = content["comm_id"]
            case "comm_msg" if content["comm_id"] == self.widget and content["data"]["method"] == "custom":
                self.told.append(content["data"]["content"])
            case "comm_close":
                self.closed.add(content["comm_id"])
            case "display_data" | "update_display_data" | "execute_result":
                self.shown.append((message["msg_type"], content))
            case "stream":
                self.streams += content["text"]
            case "error":
                self.errors.append("\n".join(content["traceback"]))
            case "status" if content["execution_state"] == "idle":
                self.idle.add(message["parent_header"].get("msg_id"))

    def _make_subshell(self):
        client = self.kernel.client
        client.kernel_info()
        features = client.get_shell_msg(timeout=20)["content"].get("supported_features", ())
        if "kernel subshells" not in features:
            return None
        client.control_channel.send(client.session.msg("create_subshell_request", {}))
        return client.get_control_msg(timeout=20)["content"]["subshell_id"]


@pytest.fixture
def page(kernel):
    return Page(kernel)


def cell(body, options=""):
    return CELL.format(options=options) + body


def test_the_page_is_told_the_run_from_its_start_to_the_table_in_its_place(page, kernel):
    comms = kernel.value(COMMS)
    ran = page.send(cell("a: latency=1 first\nb: latency=1 second"))
    page.wait_for(lambda: ran in page.idle)

    assert page.draws[0]["reset"] is True
    assert page.draws[-1]["over"] is True
    assert [(row["label"], row["state"], row["text"][:4]) for row in page.rows.values()] == [
        ("a", "done", "word"),
        ("b", "done", "word"),
    ]
    (_, begun), (kind, ended) = page.shown
    assert begun["data"][WIDGET]["model_id"] == page.widget
    assert kind == "update_display_data"
    assert ended["transient"] == begun["transient"]
    assert "<table" in ended["data"]["text/html"]
    assert "2 done" in ended["data"]["text/plain"]
    page.wait_for(lambda: page.widget in page.closed, LONGEST_CLOSE_S)
    assert kernel.value(COMMS) == comms


@pytest.mark.parametrize("nested", [False, True], ids=["awaited", "nested"])
def test_a_page_is_heard_while_the_cell_runs_or_told_when_it_will_be(page, nested):
    ran = page.send(("%%time\n" if nested else "") + cell("a: latency=4 first"))
    page.wait_for(lambda: "running" in page.states())

    page.say(kind="hello")
    page.say(kind="open", n=0)
    page.wait_for(lambda: page.told[-1]["kind"] == "detail")
    after_the_cell = ran in page.idle

    assert after_the_cell is not page.hears_at_once
    notes = {draw["head"]["note"] for draw in page.draws if "running" in draw["head"]["counts"]}
    assert notes == ({""} if page.hears_at_once else {DEAF})
    page.wait_for(lambda: ran in page.idle)


def test_a_page_that_is_not_heard_is_told_everything_again(page):
    ran = page.send(cell("a: latency=5 first"))

    page.wait_for(lambda: ran in page.idle)

    assert sum(draw.get("reset", False) for draw in page.draws) == 3


def test_after_a_reload_the_widget_stays_and_tells_the_end(page):
    ran = page.send(cell("a: latency=2 first"))
    page.wait_for(lambda: page.widget is not None)
    page.say(kind="hello")
    page.say(kind="hello")
    page.wait_for(lambda: ran in page.idle and page.draws[-1].get("over"))
    time.sleep(11)

    told = len(page.draws)
    page.say(kind="hello")
    page.wait_for(lambda: len(page.draws) > told)
    page.say(kind="open", n=0)
    page.wait_for(lambda: page.told[-1]["kind"] == "detail")

    assert page.closed == set()
    again = page.draws[-1]
    assert (again["reset"], again["over"], again["rows"][0]["state"]) == (True, True, "done")
    assert again["head"]["note"] == f"for the whole result: %subagents show {again['head']['run_id']}"
    assert page.told[-1]["text"].startswith("word")


def test_a_click_ends_one_row_and_leaves_the_others_alone(page, server):
    ran = page.send(cell("a: latency=4 first\nb: latency=20 chunks=200"))
    page.wait_for(lambda: page.states() == ["running", "running"])
    if not page.hears_at_once:
        pytest.skip("this kernel serves clicks when the cell has ended: test it with ipykernel 7")

    clicked = time.monotonic()
    page.say(kind="cancel", n=1)
    page.wait_for(lambda: page.states()[1] == "cancelled")
    took_s = time.monotonic() - clicked

    assert took_s < 2
    assert page.states()[0] == "running"
    page.wait_for(lambda: ran in page.idle)
    assert page.states() == ["done", "cancelled"]
    assert page.errors == []
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)


def test_a_click_ends_the_whole_run(page, server):
    ran = page.send(cell(STREAMING))
    page.wait_for(lambda: page.states() == ["running"] * 4)
    if not page.hears_at_once:
        pytest.skip("this kernel serves clicks when the cell has ended: test it with ipykernel 7")

    page.say(kind="stop")
    page.wait_for(lambda: ran in page.idle)

    assert "Stopped: 0 of 4 tasks are done" in page.errors[0]
    assert page.states() == ["cancelled"] * 4
    assert page.draws[-1]["stopped"] is True
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=2)


def test_a_click_on_a_run_in_the_background_is_served_while_another_cell_blocks(page, server):
    page.send(cell(STREAMING, " --background"))
    page.wait_for(lambda: page.states() == ["running"] * 4)
    blocking = page.send("import time; time.sleep(8)")
    time.sleep(0.5)
    if not page.hears_at_once:
        pytest.skip("this kernel serves clicks when the cell has ended: test it with ipykernel 7")

    page.say(kind="stop")
    server.wait_for(lambda seen: seen["open"] == 0, timeout_s=3)
    page.wait_for(lambda: page.draws[-1].get("over") or blocking in page.idle)

    assert blocking not in page.idle
    assert page.states() == ["cancelled"] * 4
    page.wait_for(lambda: page.shown[-1][0] == "update_display_data")
    assert "4 cancelled" in page.shown[-1][1]["data"]["text/html"]


def test_a_message_of_the_page_is_no_cell_to_ipythons_hooks(page, kernel):
    kernel.run("ran = []\nget_ipython().events.register('post_execute', lambda: ran.append(1))")
    ran = page.send(cell("a: latency=2 first"))
    page.wait_for(lambda: "running" in page.states())
    for _ in range(3):
        page.say(kind="hello")
    page.wait_for(lambda: ran in page.idle and sum(draw.get("reset", False) for draw in page.draws) > 1)

    assert kernel.value("len(ran)") == "2"


FAILING = """
from xz_magics.errors import ModelError
from xz_magics.providers.scripted import ScriptedProvider

async def open(self, tell):
    raise ModelError("there is no <b>weight</b> on\\x1b[31m disk", "fetch it")

ScriptedProvider.open = open
"""


def test_a_run_in_the_background_that_cannot_begin_says_so_in_its_view(page, kernel):
    kernel.run(FAILING)
    page.send(cell("a: b", " --background --model scripted:"))
    page.wait_for(lambda: page.draws and page.draws[-1].get("over"))

    (data,) = [content["data"] for kind, content in page.shown if kind == "update_display_data"]
    assert data["text/plain"] == "ModelError: there is no <b>weight</b> on\\x1b[31m disk\nfetch it"
    assert "&lt;b&gt;weight&lt;/b&gt; on\\x1b[31m disk" in data["text/html"]
    assert "there is no <b>weight</b>" in page.draws[-1]["head"]["note"]


def test_a_cell_that_cannot_begin_leaves_nothing_but_its_error(page, kernel):
    kernel.run(FAILING)
    ran = page.send(cell("a: b", " --model scripted:"))
    page.wait_for(lambda: ran in page.idle)

    assert "ModelError: there is no" in page.errors[0]
    assert [content["data"] for kind, content in page.shown if kind == "update_display_data"] == [{"text/plain": ""}]


def test_a_program_that_is_no_page_gets_lines_and_the_value(page, kernel):
    ran = kernel.client.execute(cell("a: latency=1.5 first"), allow_stdin=True)
    page.wait_for(lambda: ran in page.idle)

    assert page.widget is None
    assert page.streams.splitlines()[-1].startswith("1 of 1 · ")
    assert [kind for kind, _ in page.shown] == ["execute_result"]


def test_a_program_that_runs_a_notebook_gets_a_line_and_the_table_in_its_place(page, kernel):
    ran = kernel.client.execute(cell("a: latency=2.5 first"), allow_stdin=False)
    page.wait_for(lambda: ran in page.idle)

    (first, line), *updates, (last, table) = page.shown
    assert page.widget is None
    assert line["data"] == {"text/plain": "starting"}
    assert [update["data"]["text/plain"][:20] for _, update in updates[:2]] == ["0 of 1 · 1 running · "[:20]] * 2
    assert "1 done" in table["data"]["text/html"]
    assert [first, *(kind for kind, _ in updates), last] == ["display_data"] + ["update_display_data"] * (
        len(updates) + 1
    )
    assert {content["transient"]["display_id"] for _, content in page.shown} == {line["transient"]["display_id"]}
    assert len(updates) <= 5
