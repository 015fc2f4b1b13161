"""What lives as long as the kernel: settings, quota, metrics, tools, the last results, the embedded model."""

import asyncio
from dataclasses import replace
from functools import cached_property

from xz_magics.config import Settings, load_settings
from xz_magics.interrupt import Guards
from xz_magics.metrics import Metrics
from xz_magics.providers.local import LocalModel
from xz_magics.quotas import Tracker
from xz_magics.results import Results
from xz_magics.runs import Runs
from xz_magics.tools.function import ToolDecorator
from xz_magics.tools.registry import Toolbox


class Session:
    """One for a kernel. What costs time, or may fail, is made at first use."""

    def __init__(self) -> None:
        self.runs = Runs()
        self.last: Results | None = None
        self.last_tracker: Tracker | None = None
        self.metrics = Metrics()
        self.guards = Guards()
        self.kernel_loop: asyncio.AbstractEventLoop | None = None

    def current(self) -> Results:
        """The Results of the latest run that is under way. Raises XzMagicsError where there is none."""
        return self.runs.current()

    @property
    def settings(self) -> Settings:
        """The limits in it are the tracker's. Raises ConfigError at first use, when file or environment is wrong."""
        return replace(self._loaded, quota=self.quota.quota)

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """New limits are the tracker's from now on; what it has used stays."""
        self.quota.quota = settings.quota
        self._loaded = settings

    @cached_property
    def quota(self) -> Tracker:
        return Tracker(self._loaded.quota, level="session")

    @cached_property
    def toolbox(self) -> Toolbox:
        from xz_magics.tools.builtin import builtin

        return Toolbox(builtin())

    @cached_property
    def tool(self) -> ToolDecorator:
        return ToolDecorator(self.toolbox.add, lambda: self.kernel_loop)

    @cached_property
    def local_model(self) -> LocalModel:
        return LocalModel()

    @cached_property
    def _loaded(self) -> Settings:
        return load_settings()


session = Session()
"""The one piece of state at module level; this file owns it."""
