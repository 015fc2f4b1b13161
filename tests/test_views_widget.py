"""Who sees what is displayed, and how the widget's comm is heard; what needs a kernel is in tests/kernel."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ipykernel.comm.comm import BaseComm

from xz_magics.views import widget
from xz_magics.views.live import NoView, view_here
from xz_magics.views.progress import TerminalView
from xz_magics.views.wording import harmless

PAGES_HEADER = {"msg_id": "0f3c5a3e-8d0e-4f0e-9d43-6f0c9be4e2b3", "session": "7d8f7c5e-2a55-4b5f-a6a1-0b6e0f9a3f11"}
PYTHONS_HEADER = {"msg_id": "5f54de47-b02f201cf4eb88510be78ac8_14734_8", "session": "5f54de47-b02f201cf4eb88510be78ac8"}
CELL = {"cellId": "1a2b"}


@pytest.fixture
def asked_by(monkeypatch):
    """Makes it so that a kernel runs a cell which this request has asked for."""

    def ask(header, metadata, *, stdin=True):
        kernel = SimpleNamespace(_allow_stdin=stdin, get_parent=lambda: {"header": header, "metadata": metadata})
        monkeypatch.setattr(widget, "_shell", lambda: SimpleNamespace(kernel=kernel, execution_count=7))

    return ask


@pytest.mark.parametrize(
    ("header", "metadata", "stdin", "place"),
    [
        pytest.param(PAGES_HEADER, CELL, True, "page", id="JupyterLab, Notebook"),
        pytest.param(PAGES_HEADER, {}, True, "page", id="a page that names no cell"),
        pytest.param(PYTHONS_HEADER, CELL, True, "page", id="a server that runs a page's cells"),
        pytest.param(PYTHONS_HEADER, {}, True, "terminal", id="jupyter console"),
        pytest.param(PYTHONS_HEADER, {}, False, "notebook file", id="nbclient, papermill"),
        pytest.param(PYTHONS_HEADER, CELL, False, "notebook file", id="a later nbclient"),
    ],
)
def test_who_has_asked_decides_what_is_shown(asked_by, header, metadata, stdin, place):
    asked_by(header, metadata, stdin=stdin)

    assert widget.place() == place


def test_without_a_kernel_there_is_a_terminal_at_most(monkeypatch):
    monkeypatch.setattr(widget, "_shell", lambda: None)
    nowhere = widget.place(), widget.current_cell()
    monkeypatch.setattr(widget, "_shell", lambda: SimpleNamespace(execution_count=3))

    assert nowhere == ("terminal", None)
    assert (widget.place(), widget.current_cell()) == ("terminal", 3)
    assert isinstance(view_here(background=True), TerminalView)


def test_what_the_console_is_shown_needs_no_page(asked_by):
    asked_by(PYTHONS_HEADER, {})

    assert isinstance(view_here(), TerminalView)


class Comm(BaseComm):
    """The kernel's own, which sends nothing where no kernel is."""


def test_a_comm_is_heard_where_the_page_asks_for_it_and_not_where_the_cell_runs():
    comm, heard = Comm(target_name="test"), []
    comm.on_msg(heard.append)
    comm._reply_subshell_id = None  # what the kernel notes when the cell's own thread sends on it
    before = comm._reply_subshell_for({}, "a subshell")

    widget._hear_at_once(comm)

    assert (before, comm._reply_subshell_for({}, "a subshell")) == (None, "a subshell")
    assert comm._reply_subshell_for({}, None) is None


def test_a_comm_of_another_make_is_left_as_it_is():
    comm = SimpleNamespace()

    widget._hear_at_once(comm)

    assert vars(comm) == {}


def test_the_widget_is_made_once_of_the_two_files_and_fetches_nothing():
    made = widget._widget_class()

    assert made is widget._widget_class()
    assert "export default" in made._esm
    assert ".xz-dashboard" in made._css
    for source in (made._esm, made._css):
        assert not any(remote in source for remote in ("http:", "https:", "import ", "@import", "url("))


def test_where_the_widget_is_no_widget_its_words_tell_where_the_result_is():
    assert "xz_magics.last" in repr(widget._widget_class()())


def test_the_error_of_a_run_in_the_background_is_shown_as_text():
    class Wrong(widget.XzMagicsError):
        pass

    shown = widget._failed(Wrong("no <script>\x1b[31m", "mend it"))

    assert shown["text/plain"] == "Wrong: no <script>\\x1b[31m\nmend it"
    assert shown["text/html"].endswith(">Wrong: no &lt;script&gt;\\x1b[31m\nmend it</pre>")
    assert harmless(shown["text/html"]) == shown["text/html"]


def test_choosing_a_view_outside_a_kernel_loads_no_widget_library():
    code = (
        "import sys, json; from xz_magics.views.live import view_here; view_here()\n"
        "print(json.dumps([name for name in ('IPython', 'ipywidgets', 'anywidget', 'matplotlib') if name in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(ran.stdout) == []


def test_where_nobody_asked_for_a_view_nothing_is_shown():
    assert NoView().end(lambda: {"text/plain": "x"}) is None
