"""Runs that tools begin: what ties each to the run that it is a part of, across threads and loops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Inner:
    """The runs that the tools of one run begin: none of them outlives it. Safe from any thread."""

    def __init__(self) -> None:
        self._stops: list[Callable[[], None]] = []
        self._over = False

    def add(self, stop: Callable[[], None]) -> None:
        self._stops.append(stop)
        if self._over:
            stop()

    def end(self) -> None:
        self._over = True
        for stop in tuple(self._stops):
            stop()


_ENCLOSING: ContextVar[Inner | None] = ContextVar("_ENCLOSING", default=None)
"""Of the run in whose tool the present code is called; a tool's thread has its context."""


def is_inner() -> bool:
    """Whether a tool of another run has called us."""
    return _ENCLOSING.get() is not None


@contextmanager
def enclosing(stop: Callable[[], None]) -> Iterator[None]:
    """Inside, runs that are begun belong to this one, which `stop` ends, and end with it."""
    around = _ENCLOSING.get()
    if around is not None:
        around.add(stop)
    inner = Inner()
    token = _ENCLOSING.set(inner)
    try:
        yield
    finally:
        _ENCLOSING.reset(token)
        inner.end()
