"""xz_magics: language-model subagents in a notebook cell, under budgets that hold.

`%load_ext xz_magics` registers `%%subagents` and `%subagents`; `run`, `run_sync` and `start` do the same from Python,
and `dry_run` shows it without sending anything; `open_run` and `history` read what was run before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xz_magics.api import run, run_sync
    from xz_magics.api.dry_run import DryRun, dry_run
    from xz_magics.api.history import History, export_run, history, import_run, open_run
    from xz_magics.background import Handle, start
    from xz_magics.errors import (
        ConfigError,
        ConfirmationNeeded,
        JournalError,
        ModelError,
        NestingError,
        ProviderError,
        QuotaExceeded,
        RunInterrupted,
        RunStopped,
        SpecError,
        TasksFailed,
        UnknownLabel,
        XzMagicsError,
    )
    from xz_magics.quotas import Tracker
    from xz_magics.records import Outcome, Quota, Task, Turn, Usage
    from xz_magics.results import Results
    from xz_magics.tools import Tool, ToolError
    from xz_magics.tools.function import ToolDecorator
    from xz_magics.tools.registry import Toolbox

    def current() -> Results: ...

    last: Results | None
    quota: Tracker
    tool: ToolDecorator
    toolbox: Toolbox

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "ConfirmationNeeded",
    "DryRun",
    "Handle",
    "History",
    "JournalError",
    "ModelError",
    "NestingError",
    "Outcome",
    "ProviderError",
    "Quota",
    "QuotaExceeded",
    "Results",
    "RunInterrupted",
    "RunStopped",
    "SpecError",
    "Task",
    "TasksFailed",
    "Tool",
    "ToolError",
    "Turn",
    "UnknownLabel",
    "Usage",
    "XzMagicsError",
    "current",
    "dry_run",
    "export_run",
    "history",
    "import_run",
    "last",
    "open_run",
    "quota",
    "run",
    "run_sync",
    "start",
    "tool",
    "toolbox",
]

_OF_THE_SESSION = ("current", "last", "quota", "tool", "toolbox")
_HOMES = {"run": "api", "run_sync": "api", "Results": "results", "Tool": "tools", "ToolError": "tools"}
_HOMES |= dict.fromkeys(("DryRun", "dry_run"), "api.dry_run")
_HOMES |= dict.fromkeys(("Handle", "start"), "background")
_HOMES |= dict.fromkeys(("History", "export_run", "history", "import_run", "open_run"), "api.history")
_HOMES |= dict.fromkeys(_OF_THE_SESSION, "session")
_HOMES |= dict.fromkeys(("Outcome", "Quota", "Task", "Turn", "Usage"), "records")


def load_ipython_extension(shell: Any) -> None:
    from xz_magics.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    from xz_magics.magics import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    """Each public name is imported at first use, so that loading the extension costs next to nothing.

    `last` are the Results of the latest run, None before it; `current()` those of the latest that is under way; `quota`
    is the session's tracker; `@tool` makes a function a tool, and `toolbox` holds all tools.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"xz_magics.{_HOMES.get(name, 'errors')}")
    return getattr(home.session if name in _OF_THE_SESSION else home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
