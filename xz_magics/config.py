"""The settings and where they come from: defaults < YAML file < environment < `%config`. It alone knows the folders."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xz_magics.errors import ConfigError
from xz_magics.records import Quota

logger = logging.getLogger("xz_magics")

ENV = "XZ_MAGICS_"
MOST_FILE_BYTES = 1_000_000

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

    `endpoints`, `prices` and `scripts` are as written in the file: name -> fields.
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
    quota: Quota = field(default_factory=Quota)
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scripts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tools: ToolPolicy = field(default_factory=ToolPolicy)


DEFAULTS = Settings()
LIMITS = tuple(limit.name for limit in fields(Quota))
TABLES = ("endpoints", "prices", "scripts")
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
    "max_executions": int,
    "max_total_tokens": int,
    "max_total_time": float,
    "max_total_cost": float,
}
"""The settings that have one plain value; the last four are the quota's."""

OTHER_VARIABLES = ("CONFIG", "CACHE", "GGUF", "AIMOCK", "NOTHING_MAY_SKIP")  # the last two are the tests'

LEAST: Mapping[str, int] = {"max_concurrent": 1, "max_tokens": 1, "default_max_turns": 1}
ABOVE_0 = frozenset({"timeout", "idle_timeout"})
ASKED: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the file and the environment. Raises ConfigError: which file or variable, which key, which value."""
    _warn_of_unknown(environ)
    settings = DEFAULTS
    path, named = config_path(environ), bool(environ.get(f"{ENV}CONFIG"))
    if named or path.exists():
        settings = _with_file(settings, path)
    if named:
        _refuse_in_working_directory(settings, path)
    for name in KINDS:
        where = f"{ENV}{name.upper()}"
        if text := environ.get(where):
            settings = changed(settings, {name: _from_text(name, text, where)}, where)
    return settings


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


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file that XZ_MAGICS_CONFIG names, which must be there then; else the user's own, which need not."""
    named = environ.get(f"{ENV}CONFIG")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("xz_magics") / "config.yaml"


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the model's weights lie."""
    named = environ.get(f"{ENV}CACHE")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("xz_magics")


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [f"{ENV}{name.upper()}" for name in (*KINDS, *OTHER_VARIABLES)]
    for name in environ:
        if name.startswith(ENV) and name not in known:
            logger.warning("the environment variable %s has no effect: %s", name, _suggestion(name, known))


def _with_file(settings: Settings, path: Path) -> Settings:
    content = _read_yaml(path)
    _known_only(content, ("agent", "tools", *TABLES), str(path))
    agent = _mapping(content.get("agent"), path, "agent")
    _known_only(agent, ("subagent",), f"{path}, agent")
    values = dict(_mapping(agent.get("subagent"), path, "agent.subagent"))
    if "preset" in values:
        settings = with_preset(settings, values.pop("preset"), str(path))
    tables = {name: _table(content.get(name), path, name) for name in TABLES}
    tools = _tool_policy(_mapping(content.get("tools"), path, "tools"), f"{path}, tools")
    return replace(changed(settings, values, str(path)), **tables, tools=tools)  # type: ignore[arg-type]  # by name


def _tool_policy(written: Mapping[str, Any], where: str) -> ToolPolicy:
    _known_only(written, [field.name for field in fields(ToolPolicy)], where)
    unsafe_local, workspace = written.get("unsafe_local"), written.get("workspace")
    if not isinstance(unsafe_local, bool | None):
        raise ConfigError(f"{where}: unsafe_local is {unsafe_local!r}", f"give {ASKED[bool]}")
    if workspace is not None and (not isinstance(workspace, str) or not workspace):
        raise ConfigError(f"{where}: workspace is {workspace!r}", "give the path of a folder")
    return ToolPolicy(
        allow=_names(written.get("allow"), "allow", where),
        deny=_names(written.get("deny"), "deny", where) or (),
        workspace=None if workspace is None else Path(workspace).expanduser(),
        unsafe_local=bool(unsafe_local),
    )


def _names(written: Any, key: str, where: str) -> tuple[str, ...] | None:
    if written is None:
        return None
    if not isinstance(written, list) or not all(isinstance(name, str) and name.strip() for name in written):
        raise ConfigError(f"{where}: {key} is {written!r}", f"give a list of names, such as {key}: [grep, read_file]")
    return tuple(written)


def _refuse_in_working_directory(settings: Settings, path: Path) -> None:
    """What comes with a project's folder may neither send a key elsewhere nor run programs outside a sandbox."""
    if not _is_in_working_directory(path):
        return
    for name, value in (("endpoints", settings.endpoints), ("tools.unsafe_local", settings.tools.unsafe_local)):
        if value:
            raise ConfigError(
                f"{path}: {name} may not be set by a file in the working directory",
                "move the file to a folder of your own, and give its whole path in XZ_MAGICS_CONFIG",
            )


def _is_in_working_directory(path: Path) -> bool:
    """In or below it; where the home directory, too, is in or below it, that says nothing: then only directly in it."""
    try:
        here, folder = Path.cwd(), path.resolve().parent
    except FileNotFoundError:  # the directory is gone, and a file in it with it
        return not path.is_absolute()
    holds_home = Path.home().resolve().is_relative_to(here)
    return not path.is_absolute() or folder == here or (folder.is_relative_to(here) and not holds_home)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MOST_FILE_BYTES:,} bytes", "a configuration is a page of YAML")
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name another in XZ_MAGICS_CONFIG") from error
    except (YAMLError, AssertionError, RecursionError, TypeError, ValueError) as error:  # ruamel raises all of these
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        told = f"{problem}, in line {mark.line + 1}" if problem and mark else str(error).partition("\n")[0]
        raise ConfigError(f"{path} is no YAML: {told}", "mend the file, or move it away") from error
    return _mapping(content, path, "the file")


def _table(value: Any, path: Path, name: str) -> Mapping[str, Mapping[str, Any]]:
    return {str(key): _mapping(entry, path, f"{name}.{key}") for key, entry in _mapping(value, path, name).items()}


def _mapping(value: Any, path: Path, key: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {key} is no mapping", "give names and values, as `name: value` lines")
    return value


def _known_only(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}", _suggestion(key, known))


def _check(name: str, value: Any, where: str) -> None:
    if name not in KINDS:
        raise ConfigError(f"{where}: unknown setting {name!r}", _suggestion(name, KINDS))
    if value is None:
        return
    kind, least = KINDS[name], LEAST.get(name, 0)
    fine = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if fine and kind in {int, float}:
        fine = least <= value <= 2**53 and not (name in ABOVE_0 and value == 0)
    if not fine:
        span = "" if kind in {str, bool} else " above 0" if name in ABOVE_0 else f" from {least} up"
        raise ConfigError(f"{where}: {name} is {value!r}", f"give {ASKED[kind]}{span}")


def _from_text(name: str, text: str, where: str) -> Any:
    kind = KINDS[name]
    if kind is bool:
        words = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in words:
            raise ConfigError(f"{where} is {text!r}", f"give {ASKED[kind]}")
        return words[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{where} is {text!r}", f"give {ASKED[kind]}") from error


def _suggestion(name: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
