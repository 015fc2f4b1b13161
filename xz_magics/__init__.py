"""xz_magics: language-model subagents in a notebook cell, under budgets that hold.

`%load_ext xz_magics` registers `%%subagents` and `%subagents`. `run` and `run_sync` are the same engine for Python code.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xz_magics.api import run, run_sync
    from xz_magics.errors import (
        ConfigError,
        ModelError,
        NestingError,
        ProviderError,
        QuotaExceeded,
        RunInterrupted,
        RunStopped,
        SpecError,
        TasksFailed,
        XzMagicsError,
    )
    from xz_magics.quotas import Tracker
    from xz_magics.records import Outcome, Quota, Turn, Usage
    from xz_magics.results import Results

    last: Results | None
    quota: Tracker

__version__ = "0.1.0"

_HOMES = {
    "xz_magics.api": ("run", "run_sync"),
    "xz_magics.errors": (
        "ConfigError",
        "ModelError",
        "NestingError",
        "ProviderError",
        "QuotaExceeded",
        "RunInterrupted",
        "RunStopped",
        "SpecError",
        "TasksFailed",
        "XzMagicsError",
    ),
    "xz_magics.records": ("Outcome", "Quota", "Turn", "Usage"),
    "xz_magics.results": ("Results",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["last", "quota", *_HOME_OF]  # noqa: PLE0604 - names, all of them


def load_ipython_extension(shell: Any) -> None:
    from xz_magics.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    from xz_magics.magics import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    """Each public name is imported at first use, so that loading the extension costs next to nothing.

    `last` are the Results of the latest run, `quota` is the session's tracker.
    """
    if name in {"last", "quota"}:
        return getattr(import_module("xz_magics.session").session, name)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
