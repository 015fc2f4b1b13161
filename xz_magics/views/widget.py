"""The live view in a notebook: a progress bar with a Stop button, which becomes the static table at the end."""

import sys
import threading
from importlib import import_module
from typing import Any

from xz_magics.errors import XzMagicsError
from xz_magics.views.progress import Finished, progress_line
from xz_magics.views.watched import Watched


def in_kernel() -> bool:
    """Whether there is a page, or something like it, that can show what is displayed."""
    shell = _shell()
    return shell is not None and hasattr(shell, "kernel")


def current_cell() -> int | None:
    """The number of the cell that is running; None outside IPython."""
    shell = _shell()
    return None if shell is None else shell.execution_count


class NotebookView:
    """Shown when the run starts; `draw` is called often and sends only what changed."""

    def __init__(self) -> None:
        from IPython.display import display
        from ipywidgets import Button, HBox, IntProgress, Label

        self._bar = IntProgress(value=0, max=1, layout={"width": "12em"})
        self._line = Label(value="starting", layout={"flex": "1 1 auto"})
        self._button = Button(description="Stop", icon="stop", tooltip="Stops this run; answers that came are kept")
        self._box = HBox([self._bar, self._line, self._button], layout={"align_items": "center"})
        self._handle: Any = display(self._box, display_id=True)
        self._watched: Watched | None = None
        threading.Thread(target=_load_what_draws_the_end, daemon=True).start()

    def attach(self, watched: Watched) -> None:
        self._watched = watched
        self._button.on_click(lambda _: watched.stop())

    def draw(self) -> None:
        if self._watched is None:
            return
        outcomes = self._watched.outcomes
        self._bar.max = max(1, len(outcomes.written))
        self._bar.value = outcomes.ended
        self._line.value = progress_line(outcomes)

    def end(self, finished: Finished | None) -> int | None:
        """The widget gives way to the static form, which survives in the saved file. Returns the cell's number."""
        self._handle.update(dict(finished() if finished else {"text/plain": ""}), raw=True)
        for part in self._box.children:
            part.style.close()
        for part in (*self._box.children, self._box):
            part.layout.close()
            part.close()
        return current_cell()

    def fail(self, error: XzMagicsError) -> None:
        del error
        self.end(None)


def _load_what_draws_the_end() -> None:
    """About a second of imports, spent while the models work and not when a person waits for the table."""
    import_module("xz_magics.views.plots")


def _shell() -> Any:
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()
