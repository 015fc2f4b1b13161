"""The live view in a notebook: a dashboard that the static table replaces at the end, or a line where no page is."""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextvars import copy_context
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from xz_magics.errors import XzMagicsError
from xz_magics.views.dashboard import Dashboard
from xz_magics.views.progress import Finished, error_words, watched_line
from xz_magics.views.watched import Watched

Place = Literal["page", "notebook file", "terminal"]

PAGE = Path(__file__).with_name("page")

UNHEARD_S = (1.0, 3.0, 9.0)
"""A page that has not been heard so long after the start, for its kernel hears none while a cell runs, may have drawn
itself only after the first message: it is told everything again."""
CLOSED_AFTER_S = 10.0
BEAT_S = 0.1
"""As often as a run draws its view: so often its rest is told once it has ended."""
LINE_AFTER_S = 1.0
DEAF = "clicks here are served when the cell has ended; the kernel's interrupt button stops the run at once"
UNSEEN = (
    "The live view of a run needs a page with widgets, and the run's own kernel: there the result is in xz_magics.last "
    "when the run has ended. If this was saved before, and the kernel is gone, run the cell again."
)
"""What stands in a file that was saved meanwhile; the extension of the page looks for its beginning."""
NOTHING = {"text/plain": ""}


def place() -> Place:
    """Who sees what is displayed: a page with widgets, a notebook that a program runs to be read later, or neither.

    Such a program has no standard input to offer. A console says that it is a program in Python by the ids of its
    messages, and a page says which cell it sends.
    """
    shell = _shell()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return "terminal"
    if not getattr(kernel, "_allow_stdin", True):
        return "notebook file"
    request = kernel.get_parent()
    header = request.get("header", {})
    in_python = str(header.get("msg_id")).startswith(str(header.get("session")))
    return "terminal" if in_python and "cellId" not in request.get("metadata", {}) else "page"


def current_cell() -> int | None:
    """The number of the cell that is running; None outside IPython."""
    shell = _shell()
    return None if shell is None else shell.execution_count


class NotebookView:
    """Shown where it is made. The page may be heard on any thread; all else happens on the loop of the run.

    The static form that takes the widget's place at the end survives in the saved file. A page that was reloaded
    meanwhile no longer knows which output that was, and keeps the widget. So the widget is told the end, too, is open
    for a while longer, since such a page takes its time to come back, and stays open if a second hello was heard.
    """

    def __init__(self, *, background: bool = False) -> None:
        self._widget: Any = _widget_class()()
        _hear_at_once(self._widget.comm)
        self._widget.on_msg(lambda _widget, wish, _buffers: self._hear(wish))
        self._heard: deque[object] = deque()
        self._hellos = 0
        self._unheard_s = list(UNHEARD_S)
        self._next: asyncio.TimerHandle | None = None
        self._dashboard: Dashboard | None = None
        self._output = _Output(self._widget, background=background)
        threading.Thread(target=_load_what_draws_the_end, daemon=True).start()

    def attach(self, watched: Watched) -> None:
        self._loop = asyncio.get_running_loop()
        self._attached_at = time.monotonic()
        self._run_id = watched.run_id
        self._dashboard = Dashboard(watched, note=DEAF if _hears_late() and not self._output.background else "")
        self._obey(self._dashboard)

    def draw(self) -> None:
        """Once the run has ended nobody calls it any more: then it calls itself until everything is told."""
        dashboard = self._dashboard
        if dashboard is None:
            return
        if not self._hellos and self._unheard_s and time.monotonic() - self._attached_at > self._unheard_s[0]:
            del self._unheard_s[0]
            dashboard.begin_anew()
        for message in dashboard.flush():
            self._widget.send(message)
        if dashboard.over and dashboard.more and self._next is None:
            self._next = self._loop.call_later(BEAT_S, self._draw_next)

    def end(self, finished: Finished | None) -> int | None:
        shown_in = self._output.end(finished)
        if self._dashboard is not None:
            self._dashboard.note = f"for the whole result: %subagents show {self._run_id}"
            self.draw()
        closing = threading.Timer(CLOSED_AFTER_S, copy_context().run, [self._close_unless_reloaded])
        closing.daemon = True
        closing.start()
        return shown_in

    def fail(self, error: XzMagicsError) -> None:
        if self._dashboard is not None:
            self._dashboard.fail(str(error))
        self.end(self._output.failure(error))

    def _hear(self, wish: object) -> None:
        """On whatever thread the kernel has for it."""
        self._heard.append(wish)
        if self._dashboard is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._obey, self._dashboard)

    def _obey(self, dashboard: Dashboard) -> None:
        while self._heard:
            wish = self._heard.popleft()
            self._hellos += wish == {"kind": "hello"}
            dashboard.obey(wish)
        if dashboard.over:
            self.draw()

    def _draw_next(self) -> None:
        self._next = None
        self.draw()

    def _close_unless_reloaded(self) -> None:
        if self._hellos < 2:
            self._widget.layout.close()
            self._widget.close()


class LineView:
    """In a notebook that a program runs: one line that is there once, then the static form in its place."""

    def __init__(self, *, background: bool = False) -> None:
        self._line = "starting"
        self._output = _Output({"text/plain": self._line}, background=background)
        self._drawn_at = 0.0
        self._watched: Watched | None = None

    def attach(self, watched: Watched) -> None:
        self._watched = watched

    def draw(self) -> None:
        if self._watched is None or time.monotonic() - self._drawn_at < LINE_AFTER_S:
            return
        line, self._drawn_at = watched_line(self._watched), time.monotonic()
        if line != self._line:
            self._line = line
            self._output.show({"text/plain": line})

    def end(self, finished: Finished | None) -> int | None:
        return self._output.end(finished)

    def fail(self, error: XzMagicsError) -> None:
        self.end(self._output.failure(error))


class _Output:
    """What is displayed in the cell: first the live view, then what takes its place."""

    def __init__(self, live: Any, *, background: bool) -> None:
        from IPython.display import display

        self.background = background
        self._handle: Any = display(live, raw=isinstance(live, dict), display_id=True)

    def show(self, bundle: Mapping[str, str]) -> None:
        self._handle.update(dict(bundle), raw=True)

    def end(self, finished: Finished | None) -> int | None:
        """Returns the cell's number; in the background None, for what is shown in the cell by now is another thing."""
        self.show(finished() if finished else NOTHING)
        return None if self.background else current_cell()

    def failure(self, error: XzMagicsError) -> Finished | None:
        """In the background nobody else shows the error."""
        return (lambda: _failed(error)) if self.background else None


def _failed(error: XzMagicsError) -> Mapping[str, str]:
    words = error_words(error)
    return {"text/plain": words, "text/html": f'<pre style="white-space:pre-wrap">{escape(words)}</pre>'}


def page_sources() -> tuple[str, str]:
    """What the page loads: one module, put together out of its parts, and its style."""
    module = "\n".join((PAGE / f"{part}.js").read_text("utf-8") for part in ("dashboard", "table", "row"))
    return module, (PAGE / "dashboard.css").read_text("utf-8")


@cache
def _widget_class() -> Any:
    """Made at its first use: the library takes a tenth of a second to load."""
    from anywidget import AnyWidget

    module, style = page_sources()
    own = {"_esm": module, "_css": style, "__repr__": lambda _: UNSEEN, "__module__": __name__}
    return type("DashboardWidget", (AnyWidget,), own)


def _hear_at_once(comm: Any) -> None:
    """Takes the clicks on this comm out of the kernel's order of cells, where the kernel has another thread for them.

    A kernel that can serve them there (ipykernel 7) from its version 7.4 on asks the comm, whose own answer is the
    thread of the cell: there they would wait while any cell blocks. Nothing of the user's is touched on that other
    thread: a comm would have IPython's hooks of a cell run, which draw and close the figures that the user is at.
    """
    take = getattr(comm, "_msg_callback", None)
    if take is None:
        return
    comm.handle_msg = take
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _message, asked: asked  # noqa: SLF001 - there is no public way


def _hears_late() -> bool:
    """Before version 7 a kernel serves clicks only when the cell has ended."""
    return bool(getattr(sys.modules.get("ipykernel"), "version_info", (7,))[0] < 7)


def _load_what_draws_the_end() -> None:
    """About a second of imports, spent while the models work and not when a person waits for the table."""
    import_module("xz_magics.views.plots")


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()
