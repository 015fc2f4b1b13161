"""The settings, what each may be, and how they are changed: plain values, wherever they come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, tzinfo
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

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
    with --yes. `user` becomes a tag of every task. A run raises an alert where a larger share of a limit is used than
    `alert_utilisation`, where a larger share of its subagents fails than `alert_error_rate`, and where the 95th
    percentile of their durations is above `alert_p95_duration`. Of the `journal`'s runs those that are older, or beyond
    that size, are deleted; in mode "hashes" it holds no texts. `endpoints`, `prices` and `scripts` are as written in
    the file: name -> fields.
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
    alert_utilisation: float = 0.8
    alert_error_rate: float = 0.05
    alert_p95_duration: float | None = None
    daily_max_executions: int | None = None
    daily_max_tokens: int | None = None
    daily_max_cost: float | None = None
    weekly_max_executions: int | None = None
    weekly_max_tokens: int | None = None
    weekly_max_cost: float | None = None
    budget_zone: str = "UTC"
    journal: str = "on"
    journal_days: float = 90.0
    journal_megabytes: float = 2000.0
    quota: Quota = field(default_factory=Quota)
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scripts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tools: ToolPolicy = field(default_factory=ToolPolicy)

    @property
    def budgets(self) -> Mapping[str, Quota]:
        """The limits of all kernels of this user together: "day" and "week"."""
        return {
            "day": Quota(
                max_executions=self.daily_max_executions,
                max_total_tokens=self.daily_max_tokens,
                max_total_cost=self.daily_max_cost,
            ),
            "week": Quota(
                max_executions=self.weekly_max_executions,
                max_total_tokens=self.weekly_max_tokens,
                max_total_cost=self.weekly_max_cost,
            ),
        }


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
    "alert_utilisation": float,
    "alert_error_rate": float,
    "alert_p95_duration": float,
    "daily_max_executions": int,
    "daily_max_tokens": int,
    "daily_max_cost": float,
    "weekly_max_executions": int,
    "weekly_max_tokens": int,
    "weekly_max_cost": float,
    "budget_zone": str,
    "journal": str,
    "journal_days": float,
    "journal_megabytes": float,
    "max_executions": int,
    "max_total_tokens": int,
    "max_total_time": float,
    "max_total_cost": float,
}
"""The settings that have one plain value; the last four are the quota's."""

LEAST: Mapping[str, int] = {"max_concurrent": 1, "max_tokens": 1, "default_max_turns": 1}
MODES = ("on", "off", "hashes")
"""Of the journal."""

SHARES = frozenset({"alert_utilisation", "alert_error_rate"})
ABOVE_0 = frozenset({"timeout", "idle_timeout"})
ASKED: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def changed(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    """The settings with some plain values changed, checked; limits go into the quota. None: back to the default."""
    values = {name: _plain(name, value) for name, value in values.items()}
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


def zone_of(name: str) -> tzinfo:
    """Raises ConfigError for a name that this machine has no zone for. UTC needs no database of zones."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"budget_zone is {name!r}", "give UTC, or a name such as Europe/Berlin") from error


def suggestion(name: object, known: Iterable[str]) -> str:
    """How to mend a name that is none of these."""
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def _plain(name: str, value: Any) -> Any:
    """YAML takes the words on and off for true and false."""
    return MODES[not value] if name == "journal" and isinstance(value, bool) else value


def _check(name: str, value: Any, where: str) -> None:
    if name not in KINDS:
        raise ConfigError(f"{where}: unknown setting {name!r}", suggestion(name, KINDS))
    if value is None:
        return
    if name == "budget_zone" and isinstance(value, str):
        zone_of(value)
    if name == "journal" and value not in MODES:
        raise ConfigError(f"{where}: journal is {value!r}", f"give {', '.join(MODES[:-1])} or {MODES[-1]}")
    kind, least = KINDS[name], LEAST.get(name, 0)
    fine = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if fine and kind in {int, float}:
        most = 1 if name in SHARES else 2**53
        fine = least <= value <= most and not (name in ABOVE_0 and value == 0)
    if not fine:
        up = " to 1" if name in SHARES else " up"
        span = "" if kind in {str, bool} else " above 0" if name in ABOVE_0 else f" from {least}{up}"
        raise ConfigError(f"{where}: {name} is {value!r}", f"give {ASKED[kind]}{span}")
