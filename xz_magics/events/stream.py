"""The stream that stamps events and hands them out in order."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from xz_magics.events.kinds import Event, Stamped

logger = logging.getLogger("xz_magics")

Observer = Callable[[Stamped], None]


class Stream:
    """Stamps events and hands each, in order, to every observer before the next one is stamped.

    A critical observer that raises ends the run; any other is dropped with one logged traceback. Safe from any thread:
    whoever scores the answers of a run that goes on stands on one of his own.
    """

    def __init__(
        self,
        run: str,
        *,
        critical: Iterable[Observer] = (),
        observers: Iterable[Observer] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.run = run
        self._critical = tuple(critical)
        self._observers = list(observers)
        self._wall = wall
        self._number = 0
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self._lock:
            stamped = Stamped(run=self.run, number=self._number, at=self._wall(), event=event)
            self._number += 1
            for observer in self._critical:
                observer(stamped)
            for observer in tuple(self._observers):
                try:
                    observer(stamped)
                except Exception:
                    self._observers.remove(observer)
                    logger.exception("an observer of run %s failed and hears no more: %r", self.run, observer)
