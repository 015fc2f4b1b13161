"""What lives as long as the kernel: settings, the session's quota and metrics, the last results, the embedded model."""

from functools import cached_property

from xz_magics.config import Settings, load_settings
from xz_magics.interrupt import Guards
from xz_magics.metrics import Metrics
from xz_magics.providers.local import LocalModel
from xz_magics.quotas import Tracker
from xz_magics.results import Results


class Session:
    """One for a kernel. What costs time, or may fail, is made at first use."""

    def __init__(self) -> None:
        self.last: Results | None = None
        self.last_tracker: Tracker | None = None
        self.metrics = Metrics()
        self.guards = Guards()
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Raises ConfigError at first use, when the file or the environment is wrong."""
        if self._settings is None:
            self._settings = load_settings()
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """New limits are the session tracker's from now on; what it has used stays."""
        if self._settings is None or settings.quota != self._settings.quota:
            self.quota.quota = settings.quota
        self._settings = settings

    @cached_property
    def quota(self) -> Tracker:
        return Tracker(self.settings.quota, level="session")

    @cached_property
    def local_model(self) -> LocalModel:
        return LocalModel()


session = Session()
"""The one piece of state at module level; this file owns it."""
