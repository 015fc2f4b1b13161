"""The settings, what each may be, and how they are changed: plain values, wherever they come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xz_magics.errors import ConfigError
from xz_magics.records import Quota

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "cost-optimized": {
        "max_depth": 2,
        "default_max_turns": 3,
        "output_max_size": 2048,
        "quota": Quota(max_executions=5, max_total_tokens=10_000),
    },
    "balanced": {
        "max_depth": 3,
        "default_max_turns": 10,
        "output_max_size": None,
        "quota": Quota(max_executions=20, max_total_tokens=100_000, max_total_time=600),
    },
    "performance-optimized": {
        "max_depth": 4,
        "default_max_turns": 20,
        "output_max_size": None,
        "quota": Quota(max_executions=50, max_total_tokens=500_000, max_total_time=3600),
    },
}
"""Settings that belong together, by name; the limits are the session's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """Which tools any subagent may be granted at all; `allow` None: all that there are.

    `workspace` is the folder that they work in; None: the working directory. `unsafe_local`: programs may run without a
    sandbox; it is set in the file alone.
    """

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    workspace: Path | None = None
    unsafe_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times in seconds, sizes in bytes. `quota` holds the session's limits; `max_tokens` None: the provider's default.

    A cell of more tasks than `confirm_tasks`, or one that may cost more than `confirm_cost`, in dollars, starts only
    with --yes. `user` becomes a tag of every task. `endpoints`, `prices` and `scripts` are as written in the file: name
    -> fields.
    """

    model: str | None = None
    max_concurrent: int = 5
    max_tokens: int | None = None
    default_max_turns: int = 10
    max_depth: int = 3
    retries: int = 2
    timeout: float | None = None
    idle_timeout: float = 60.0
    output_max_size: int | None = None
    fail_fast: bool = False
    stream: bool = True
    confirm_tasks: int = 500
    confirm_cost: float | None = None
    user: str | None = None
    quota: Quota = field(default_factory=Quota)
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scripts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tools: ToolPolicy = field(default_factory=ToolPolicy)


DEFAULTS = Settings()
LIMITS = tuple(limit.name for limit in fields(Quota))
KINDS: Mapping[str, type] = {
    "model": str,
    "max_concurrent": int,
    "max_tokens": int,
    "default_max_turns": int,
    "max_depth": int,
    "retries": int,
    "timeout": float,
    "idle_timeout": float,
    "output_max_size": int,
    "fail_fast": bool,
    "stream": bool,
    "confirm_tasks": int,
    "confirm_cost": float,
    "user": str,
    "max_executions": int,
    "max_total_tokens": int,
    "max_total_time": float,
    "max_total_cost": float,
}
"""The settings that have one plain value; the last four are the quota's."""

LEAST: Mapping[str, int] = {"max_concurrent": 1, "max_tokens": 1, "default_max_turns": 1}
ABOVE_0 = frozenset({"timeout", "idle_timeout"})
ASKED: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def changed(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    """The settings with some plain values changed, checked; limits go into the quota. None: back to the default."""
    for name, value in values.items():
        _check(name, value, where)
    limits = {name: value for name, value in values.items() if name in LIMITS}
    rest = {
        name: getattr(DEFAULTS, name) if value is None else value
        for name, value in values.items()
        if name not in LIMITS
    }
    return replace(settings, **rest, quota=replace(settings.quota, **limits))


def value_of(settings: Settings, name: str) -> Any:
    return getattr(settings.quota if name in LIMITS else settings, name)


def with_preset(settings: Settings, preset: Any, where: str) -> Settings:
    """No preset speaks of cost: that limit stays as it is. Raises ConfigError for a name that is none."""
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"{where}: no preset is called {preset!r}", f"the presets are {', '.join(PRESETS)}")
    chosen = replace(settings, **PRESETS[preset])
    return replace(chosen, quota=replace(chosen.quota, max_total_cost=settings.quota.max_total_cost))


def suggestion(name: object, known: Iterable[str]) -> str:
    """How to mend a name that is none of these."""
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def _check(name: str, value: Any, where: str) -> None:
    if name not in KINDS:
        raise ConfigError(f"{where}: unknown setting {name!r}", suggestion(name, KINDS))
    if value is None:
        return
    kind, least = KINDS[name], LEAST.get(name, 0)
    fine = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if fine and kind in {int, float}:
        fine = least <= value <= 2**53 and not (name in ABOVE_0 and value == 0)
    if not fine:
        span = "" if kind in {str, bool} else " above 0" if name in ABOVE_0 else f" from {least} up"
        raise ConfigError(f"{where}: {name} is {value!r}", f"give {ASKED[kind]}{span}")
