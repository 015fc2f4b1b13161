"""What lives as long as the kernel: settings, quota, metrics, tools, runs, the engine's thread, the embedded model."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from xz_magics.config import Settings, load_settings, zone_of
from xz_magics.interrupt import Guards
from xz_magics.loops import LoopThread
from xz_magics.metrics import Metrics
from xz_magics.observers.prometheus import Exposition
from xz_magics.providers.local import LocalModel
from xz_magics.quotas import Ledger, Shared, Tracker
from xz_magics.results import Results
from xz_magics.runs import Runs
from xz_magics.tools.function import ToolDecorator
from xz_magics.tools.registry import Toolbox

if TYPE_CHECKING:
    from xz_magics.observers.journal import Journal

Made = TypeVar("Made")


class made_once(Generic[Made]):  # noqa: N801 - a decorator, as cached_property is
    """An attribute made at first use: by one thread, while the others wait. cached_property has no lock any more."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make

    @overload
    def __get__(self, session: None, owner: type) -> Self: ...
    @overload
    def __get__(self, session: "Session", owner: type) -> Made: ...
    def __get__(self, session: "Session | None", owner: type) -> Self | Made:
        if session is None:
            return self
        name = self._make.__name__
        with session.lock:
            if name not in vars(session):
                vars(session)[name] = self._make(session)
            return vars(session)[name]  # type: ignore[no-any-return]  # made above, or set under this very name


class Session:
    """One for a kernel, used from several threads. What costs time, or may fail, is made at first use."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runs = Runs()
        self.last: Results | None = None
        self.last_tracker: Tracker | None = None
        self.metrics = Metrics()
        self.exposition = Exposition(self.metrics)
        self.guards = Guards()
        self.kernel_loop: asyncio.AbstractEventLoop | None = None

    def current(self) -> Results:
        """The Results of the latest run that is under way. Raises XzMagicsError where there is none."""
        return self.runs.current()

    def remember(self, results: Results, tracker: Tracker) -> None:
        """They are the last from now on."""
        with self.lock:
            self.last, self.last_tracker = results, tracker

    def note_kernel_loop(self) -> None:
        """The loop of the main thread, if it runs one: the notebook's own."""
        if threading.current_thread() is threading.main_thread():
            with suppress(RuntimeError):  # no loop runs
                self.kernel_loop = asyncio.get_running_loop()

    @property
    def settings(self) -> Settings:
        """The limits in it are the tracker's. Raises ConfigError at first use, when file or environment is wrong."""
        return replace(self._loaded, quota=self.quota.quota)

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """New limits are the tracker's from now on; what it has used stays."""
        self.quota.quota = settings.quota
        self.budgets.limits = settings.budgets
        self._loaded = settings

    def close(self) -> None:
        """Ends the threads that were begun, and waits for what is not on disk yet. What is used later begins anew."""
        with self.lock:
            begun = [vars(self).pop(name, None) for name in ("engine", "budgets", "journal")]
            vars(self).pop("quota", None)  # it counts with the budgets that end here
        for part in filter(None, begun):
            part.close()

    @made_once
    def quota(self) -> Tracker:
        return Tracker(self._loaded.quota, level="session", shared=self.budgets)

    @made_once
    def budgets(self) -> Shared:
        """The limits of the day and the week, over all kernels."""
        return Shared(self._open_ledger, self._loaded.budgets)

    @made_once
    def toolbox(self) -> Toolbox:
        from xz_magics.tools.builtin import builtin

        return Toolbox(builtin())

    @made_once
    def tool(self) -> ToolDecorator:
        return ToolDecorator(self.toolbox.add, lambda: self.kernel_loop)

    @made_once
    def local_model(self) -> LocalModel:
        return LocalModel()

    @made_once
    def engine(self) -> LoopThread:
        """Where runs in the background live."""
        return LoopThread("xz_magics engine")

    @made_once
    def journal(self) -> "Journal":
        """Opened at first use: not in an event loop. Raises JournalError, and is tried again at the next use."""
        from xz_magics.observers.journal import DAY_S, MEGABYTE, Journal

        settings = self._loaded
        keep_bytes = int(settings.journal_megabytes * MEGABYTE)
        return Journal.open(keep_s=settings.journal_days * DAY_S, keep_bytes=keep_bytes)

    def _open_ledger(self) -> Ledger:
        """Beside the journal, not in it: a journal under load would keep it waiting ten times as long."""
        from xz_magics.observers.journal import ledger, opening

        place = opening.place_ledger()
        return ledger.Ledger(place.file, wal=not place.shared, zone=lambda: zone_of(self._loaded.budget_zone))

    @made_once
    def _loaded(self) -> Settings:
        return load_settings()


session = Session()
"""The one piece of state at module level; this file owns it."""
