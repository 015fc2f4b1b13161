"""Stop: what a SIGINT does while runs are in the foreground. It alone sets the signal's handler."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Guard:
    """What a run learns of Stop while it is guarded: whether it came, and, once it knows what to do then, when."""

    def __init__(self) -> None:
        self.stopped = False
        self.before: Any = None
        """The handler that this guard has replaced and will put back; None where ours stood already."""
        self._on_stop: Callable[[], None] | None = None

    def attach(self, on_stop: Callable[[], None]) -> None:
        """Called at every Stop from now on, and at once if one came already. It must be safe in a signal handler."""
        self._on_stop = on_stop
        if self.stopped:
            on_stop()

    def stop(self) -> None:
        self.stopped = True
        if self._on_stop is not None:
            self._on_stop()


class Guards:
    """The runs in the foreground. While there is one, a SIGINT stops them all, and nothing else in the process.

    A KeyboardInterrupt would land in whatever code Python is at: in the user's own tasks, too.
    """

    def __init__(self) -> None:
        self._guards: list[Guard] = []

    @contextmanager
    def guard(self) -> Iterator[Guard]:
        """Other threads than the main one get no signal: there, the guard never stops."""
        guard = Guard()
        if threading.current_thread() is not threading.main_thread():
            yield guard
            return
        self._guards.append(guard)  # before the handler is set, and removed after: no Stop finds nobody to hear it
        try:
            if not self._stands():
                guard.before = signal.signal(signal.SIGINT, self._stop_all)
            yield guard
        finally:
            self._leave(guard)
            self._guards.remove(guard)

    def _leave(self, guard: Guard) -> None:
        """Puts the old handler back, or leaves that to the next one inside.

        A kernel sets a handler of its own for each cell: under a run that goes on in the background ours may have been
        replaced, and set again by a later guard.
        """
        if guard.before is None or not self._stands():
            return
        later = self._guards[self._guards.index(guard) + 1 :]
        if not later:
            signal.signal(signal.SIGINT, guard.before)
        elif later[0].before is None:
            later[0].before = guard.before

    def _stands(self) -> bool:
        return bool(signal.getsignal(signal.SIGINT) == self._stop_all)

    def _stop_all(self, *_: object) -> None:
        for guard in tuple(self._guards):
            guard.stop()
