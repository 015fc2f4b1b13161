"""Which live view fits the place where the run was started."""

from collections.abc import Callable
from typing import Protocol

from xz_magics.outcomes import Outcomes
from xz_magics.views.progress import Finished, TerminalView
from xz_magics.views.widget import NotebookView, in_kernel


class View(Protocol):
    """Draws the outcomes, at most ten times a second; it never sees an event."""

    def draw(self, outcomes: Outcomes) -> None: ...

    def end(self, finished: Finished | None) -> int | None:
        """Gives way to the finished form, or with None to nothing. Returns the cell in which it is shown, if any."""
        ...


class NoView:
    """Where nobody asked for a view."""

    def draw(self, outcomes: Outcomes) -> None:
        """Nothing is drawn."""

    def end(self, finished: Finished | None) -> None:
        """Nothing is shown."""


def view_here(stop: Callable[[], None]) -> View:
    """A widget in a kernel, a line elsewhere; `stop` is what its Stop button does."""
    return NotebookView(stop) if in_kernel() else TerminalView()
