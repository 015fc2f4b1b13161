"""The folders of configuration and weights, and what a configuration file says; it alone reads the file."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xz_magics.config.settings import ASKED, Settings, ToolPolicy, changed, suggestion, with_preset
from xz_magics.errors import ConfigError

ENV = "XZ_MAGICS_"
MOST_FILE_BYTES = 1_000_000
TABLES = ("endpoints", "prices", "scripts")


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


def with_file(settings: Settings, path: Path) -> Settings:
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


def refuse_in_working_directory(settings: Settings, path: Path) -> None:
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
            raise ConfigError(f"{where}: unknown key {key!r}", suggestion(key, known))
