"""Where settings come from: defaults < YAML file < environment < `%config`; it alone reads the environment."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from xz_magics.config.files import ENV, TABLES, cache_dir, config_path, refuse_in_working_directory, with_file
from xz_magics.config.settings import (
    ASKED,
    DEFAULTS,
    KINDS,
    PRESETS,
    Settings,
    ToolPolicy,
    changed,
    suggestion,
    value_of,
    with_preset,
    zone_of,
)
from xz_magics.errors import ConfigError

__all__ = [
    "DEFAULTS",
    "ENV",
    "KINDS",
    "PRESETS",
    "TABLES",
    "Settings",
    "ToolPolicy",
    "cache_dir",
    "changed",
    "config_path",
    "load_settings",
    "value_of",
    "with_preset",
    "zone_of",
]

logger = logging.getLogger("xz_magics")

OTHER_VARIABLES = (
    "CONFIG",
    "CACHE",
    "STATE",
    "GGUF",
    "AIMOCK",
    "NOTHING_MAY_SKIP",
    "PICTURES",
)  # the last three: the tests'


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the file and the environment. Raises ConfigError: which file or variable, which key, which value."""
    _warn_of_unknown(environ)
    settings = DEFAULTS
    path, named = config_path(environ), bool(environ.get(f"{ENV}CONFIG"))
    if named or path.exists():
        settings = with_file(settings, path)
    if named:
        refuse_in_working_directory(settings, path)
    for name in KINDS:
        where = f"{ENV}{name.upper()}"
        if text := environ.get(where):
            settings = changed(settings, {name: _from_text(name, text, where)}, where)
    return settings


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [f"{ENV}{name.upper()}" for name in (*KINDS, *OTHER_VARIABLES)]
    for name in environ:
        if name.startswith(ENV) and name not in known:
            logger.warning("the environment variable %s has no effect: %s", name, suggestion(name, known))


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
