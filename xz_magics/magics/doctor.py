"""What is here for subagents to run and to be shown, and what is missing: each check with its mend. Nothing is sent."""

import asyncio
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.request import getproxies

from xz_magics import frames
from xz_magics.config import DEFAULTS, Settings, cache_dir, config_path, load_settings
from xz_magics.errors import ConfigError, XzMagicsError
from xz_magics.frames import DataFrame
from xz_magics.keys import masked
from xz_magics.magics.known import endpoints, has_key, without_user
from xz_magics.magics.offers import local_state
from xz_magics.observers.journal.placing import place_journal
from xz_magics.providers.endpoint import Endpoint
from xz_magics.session import session
from xz_magics.tools.openat2 import open_beneath
from xz_magics.tools.sandbox import sandbox_missing
from xz_magics.views.wording import limit_name, limit_words

Verdict = Literal["ok", "warn", "missing"]
Finding = tuple[str, Verdict, str, str]
"""What was looked at, how it is, what was found, and the mend."""

DTYPES = dict.fromkeys(("check", "state", "found", "mend"), "string")
NEWEST_TESTED = (3, 14)


BROKEN = "mend what it names, then ask again"


def report() -> DataFrame:
    """A row per check."""
    try:
        settings = session.settings
    except ConfigError:  # told by the check of the configuration
        settings = DEFAULTS
    findings = [finding for check in CHECKS for finding in _found(check, settings)]
    return frames.table([dict(zip(DTYPES, finding, strict=True)) for finding in findings], DTYPES)


def _found(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    """What is broken is a finding, too: it is what this is for."""
    found: list[Finding] = []
    try:
        found.extend(check(settings))
    except XzMagicsError as error:
        found.append((check.__name__.strip("_"), "warn", error.message, error.hint))
    except (OSError, ValueError) as error:
        found.append((check.__name__.strip("_"), "warn", f"{type(error).__name__}: {masked(str(error))}", BROKEN))
    return found


def _python(_: Settings) -> Iterator[Finding]:
    tested = sys.version_info[:2] <= NEWEST_TESTED
    mend = "" if tested else f"take a Python up to {NEWEST_TESTED[0]}.{NEWEST_TESTED[1]}"
    yield "Python", "ok" if tested else "warn", f"{platform.python_version()}, {sys.executable}", mend
    system = platform.system()
    yield (
        "system",
        "ok" if system == "Linux" else "warn",
        platform.platform(),
        "" if system == "Linux" else "take Linux",
    )


def _kernel(_: Settings) -> Iterator[Finding]:
    yield "IPython", "ok", _version("ipython") or "unknown", ""
    version = _version("ipykernel")
    if version is None or "ipykernel" not in sys.modules:
        yield "kernel", "ok", "none: in a terminal a line tells how far the run is", ""
    elif _is_before(version, 7):
        mend = "pip install -U ipykernel; until then the button that interrupts the kernel stops at once"
        yield "kernel", "warn", f"ipykernel {version} serves a click in the page after the cell", mend
    else:
        yield "kernel", "ok", f"ipykernel {version}", ""


def _loop(_: Settings) -> Iterator[Finding]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        yield "event loop", "ok", "none runs now: a cell begins one", ""
        return
    kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
    if isinstance(loop, asyncio.BaseEventLoop):
        yield "event loop", "ok", f"{kind}, which can be entered again by %%time or a function", ""
    else:
        mend = "cells work; where they are under %%time, or in a function: await xz_magics.run(...)"
        yield "event loop", "warn", f"{kind}, which cannot be entered again", mend


def _nesting(_: Settings) -> Iterator[Finding]:
    """nest_asyncio marks the asyncio that it patches, nest_asyncio2 a second time."""
    applied = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    kernel = _version("ipykernel")
    harmful = applied and (sys.version_info >= (3, 14) or (kernel is not None and not _is_before(kernel, 7, 1)))
    found = "nest_asyncio.apply() was called" if applied else "not applied"
    mend = "take the call out, and start the kernel anew: with it, messages and requests are lost here"
    yield "nest_asyncio", "warn" if harmful else "ok", found, mend if harmful else ""


def _page(_: Settings) -> Iterator[Finding]:
    for package in ("anywidget", "ipywidgets", "matplotlib", "pandas"):
        version = _version(package)
        yield package, "ok" if version else "missing", version or "not installed", _install(package, version)


def _configuration(settings: Settings) -> Iterator[Finding]:
    """What is refused in a file of the working directory is told here, too."""
    path = config_path()
    load_settings()
    yield "configuration", "ok", str(path) if path.is_file() else f"no file {path}: the defaults hold", ""
    model = settings.model or ("local" if local_state()[0] else "")
    mend = "" if model else "give --model, or set it: %config SubagentMagics.model = 'openai:MODEL'"
    yield "model", "ok" if model else "missing", model or "a cell has to name one", mend


def _local(_: Settings) -> Iterator[Finding]:
    ready, about = local_state()
    yield "local model", "ok" if ready else "missing", about, "" if ready else "python -m xz_magics fetch"


def _keys(settings: Settings) -> Iterator[Finding]:
    for name, (key_env, base_url) in endpoints(settings).items():
        endpoint = Endpoint(name=name, wire="openai", base_url=base_url)
        there = key_env is None or endpoint.on_this_machine or has_key(key_env)
        found = "needs no key" if key_env is None else f"{key_env} is {'set' if has_key(key_env) else 'not set'}"
        mend = "" if there else f"set {key_env} before Jupyter starts"
        yield f"{name}:", "ok" if there else "missing", f"{endpoint.host}, {found}", mend


def _proxy(_: Settings) -> Iterator[Finding]:
    proxies = {kind: without_user(url) for kind, url in getproxies().items() if kind in {"http", "https", "all"}}
    known = all(url.startswith(("http://", "https://")) for url in proxies.values())
    found = ", ".join(f"{kind} by {url}" for kind, url in proxies.items())
    mend = "" if known else "set HTTPS_PROXY to an http:// proxy, or add the hosts to NO_PROXY"
    yield "proxy", "ok" if known else "warn", found or "none is named", mend


def _tools(settings: Settings) -> Iterator[Finding]:
    told = sandbox_missing(settings.tools.workspace or Path.cwd())
    found, _, mend = (told or "bubblewrap runs programs without network, over the workspace alone").partition("\n")
    yield "sandbox", "missing" if told else "ok", found, mend
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(open_beneath(here, ".", os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        yield "openat2", "warn", f"{error.strerror}: file tools follow no links", "take Linux 5.6 or newer"
    else:
        yield "openat2", "ok", "file tools follow links within the workspace", ""
    finally:
        os.close(here)


def _folders(_: Settings) -> Iterator[Finding]:
    folder = cache_dir()
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    writable = os.access(there, os.W_OK)
    found = f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free" if writable else f"{folder} is read-only"
    yield "cache folder", "ok" if writable else "warn", found, "" if writable else "set XZ_MAGICS_CACHE to another"


def _journal(settings: Settings) -> Iterator[Finding]:
    """It is opened, where no run has done so yet: nothing else shows that it can be."""
    if settings.journal == "off":
        yield "journal", "ok", "off: of runs nothing is kept on disk", ""
        return
    journal = session.journal
    if journal.trouble is not None:
        told, _, mend = journal.trouble.partition("; ")
        yield "journal", "warn", told, mend
        return
    runs = len(journal.runs())
    size = sum(part.stat().st_size for part in journal.file.parent.glob(f"{journal.file.name}*"))
    found = f"{journal.file}, {size / 1e6:.1f} MB, {runs:,} run{'' if runs == 1 else 's'}"
    if settings.journal == "hashes":
        found += ", hashes in place of texts"
    if journal.note is None:
        yield "journal", "ok", found, ""
    elif not journal.writable:
        yield "journal", "warn", journal.note, "update xz_magics, or name another folder in XZ_MAGICS_STATE"
    elif journal.note == place_journal().note:
        yield (
            "journal",
            "warn",
            journal.note,
            "name a folder of your own, on a disk of this machine, in XZ_MAGICS_STATE",
        )
    else:
        yield "journal", "warn", f"{found}; {journal.note}", "nothing: what is moved aside may be deleted"


def _budgets(settings: Settings) -> Iterator[Finding]:
    """A ledger that cannot be written refuses every run under limits: it is written to."""
    uses, note = session.budgets.standing()
    told = "; ".join(f"{limit_name(use)}: {limit_words(use)}" for use in uses if use.limit is not None)
    if note is not None:
        ahead, _, mend = note.partition(": ")
        yield "budgets", "warn", ahead, mend
    elif told:
        yield "budgets", "ok", f"{told} (days of {settings.budget_zone})", ""
    else:
        yield "budgets", "ok", "no limit of a day or a week is set", ""


def _prometheus(_: Settings) -> Iterator[Finding]:
    version, url = _version("prometheus-client"), session.exposition.url
    if version is None:
        found, mend = "not installed: %subagents metrics --serve needs it", 'pip install "xz-magics[prometheus]"'
        yield "prometheus_client", "missing", found, mend
    else:
        yield "prometheus_client", "ok", version if url is None else f"{version}, serves {url}", ""


CHECKS = (
    _python,
    _kernel,
    _loop,
    _nesting,
    _page,
    _configuration,
    _local,
    _keys,
    _proxy,
    _tools,
    _folders,
    _journal,
    _budgets,
    _prometheus,
)


def _install(package: str, version: str | None) -> str:
    return "" if version else f"pip install {package}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_before(version: str, *wanted: int) -> bool:
    numbers = [int(part) for part in version.split(".")[: len(wanted)] if part.isdigit()]
    return tuple(numbers) < wanted
