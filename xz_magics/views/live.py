"""Which live view fits the place where the run was started."""

from typing import Protocol

from xz_magics.errors import XzMagicsError
from xz_magics.views.progress import Finished, TerminalView
from xz_magics.views.watched import Watched
from xz_magics.views.widget import LineView, NotebookView, place

__all__ = ["NoView", "View", "Watched", "view_here"]


class View(Protocol):
    """Draws a run, at most ten times a second; it never sees an event.

    It is made where the cell runs; all else is called on the loop of the run, which may be another thread's.
    """

    def attach(self, watched: Watched) -> None:
        """The run that is to be drawn; called once, before anything else."""
        ...

    def draw(self) -> None: ...

    def end(self, finished: Finished | None) -> int | None:
        """Gives way to the finished form, or with None to nothing. Returns the cell in which it is shown, if any."""
        ...

    def fail(self, error: XzMagicsError) -> None:
        """The run could not begin. Where the cell shows the error itself, the view gives way to nothing."""
        ...


class NoView:
    """Where nobody asked for a view."""

    def attach(self, watched: Watched) -> None:
        """Nothing is watched."""

    def draw(self) -> None:
        """Nothing is drawn."""

    def end(self, finished: Finished | None) -> None:
        """Nothing is shown."""

    def fail(self, error: XzMagicsError) -> None:
        """Nothing is shown."""


def view_here(*, background: bool = False) -> View:
    """A dashboard in a page, a line elsewhere. In the background nobody but the view tells of an error."""
    match place():
        case "page":
            return NotebookView(background=background)
        case "notebook file":
            return LineView(background=background)
        case "terminal":
            return TerminalView(background=background)
