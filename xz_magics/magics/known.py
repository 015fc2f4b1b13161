"""What this kernel has names for: models, tools, variables, and the tasks of its runs. Nothing heavy is loaded."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from inspect import isfunction
from typing import Any
from urllib.parse import urlsplit

from xz_magics.config import Settings
from xz_magics.errors import JournalError
from xz_magics.providers.opening import MAKERS
from xz_magics.session import session

logger = logging.getLogger("xz_magics")

MOST_RUNS = 50


class Names:
    """Each looked up when it is asked for; the latest runs come first. `shell` is IPython's, with the variables."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def models(self) -> Iterable[str]:
        settings = session.settings
        own = [settings.model] if settings.model else []
        scripts = (f"scripted:{name}" for name in settings.scripts)
        return [*own, "local", *used_models(), *scripts, *(f"{name}:" for name in endpoints(settings))]

    def tools(self) -> Iterable[str]:
        return list(session.toolbox.registry)

    def variables(self) -> Iterable[str]:
        """Those that a prompt can hold."""
        return self._own(_fits_a_prompt)

    def tables(self) -> Iterable[str]:
        """Those that have rows."""
        return self._own(_has_rows)

    def schemas(self) -> Iterable[str]:
        return self._own(_is_schema)

    def functions(self) -> Iterable[str]:
        return self._own(isfunction)

    def labels(self, *, running: bool) -> Iterable[str]:
        runs = session.runs.running() if running else session.runs.all()
        return [label for run in reversed(runs) for label in tuple(run.fold.rows)]

    def runs(self) -> Iterable[str]:
        """Those of this kernel, then those in the journal, where it can be read."""
        here = [run.run_id for run in reversed(session.runs.all())]
        try:
            earlier = session.journal.runs()[:MOST_RUNS]
        except JournalError:
            logger.debug("the journal cannot be read", exc_info=True)
            earlier = []
        return [*here, *(run.id for run in earlier)]

    def _own(self, fits: Callable[[object], bool]) -> list[str]:
        """The names that this notebook has given to such values."""
        names: Mapping[str, object] = dict(self._shell.user_ns)
        public = (name for name in names if not name.startswith("_") and name not in self._shell.user_ns_hidden)
        return [name for name in public if fits(names[name])]


def used_models() -> list[str]:
    """Those of the runs that this kernel still knows."""
    runs = reversed(session.runs.all())
    return list(dict.fromkeys(row.task.model for run in runs for row in tuple(run.fold.rows.values())))


def endpoints(settings: Settings) -> Mapping[str, tuple[str | None, str]]:
    """The name of each key's variable, and the address, by what stands before the colon in a model's name."""
    makers = {
        name: (maker.key_env, os.environ.get(f"{name.upper()}_BASE_URL") or maker.base_url)
        for name, maker in MAKERS.items()
    }
    own = {name: (one.get("key_env"), str(one.get("base_url"))) for name, one in settings.endpoints.items()}
    return makers | own


def has_key(key_env: str) -> bool:
    return bool(os.environ.get(key_env, "").strip())


def without_user(url: str) -> str:
    """The URL's scheme, host and port: a password may stand before the host, a key behind it."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _fits_a_prompt(value: object) -> bool:
    """Whether its type is one that templates take; rows and numbers of other libraries are told by their look."""
    if isinstance(value, str | int | float | list | tuple | Mapping):
        return True
    kind = type(value)
    return (hasattr(kind, "to_dict") and getattr(value, "ndim", None) == 1) or (
        hasattr(kind, "item") and getattr(value, "ndim", None) == 0
    )


def _has_rows(value: object) -> bool:
    table = hasattr(type(value), "to_dict") and getattr(value, "ndim", None) == 2
    return table or isinstance(value, list | tuple)


def _is_schema(value: object) -> bool:
    """Of classes those of pydantic, which need not be loaded to be known."""
    return isinstance(value, dict) or (isinstance(value, type) and hasattr(value, "model_json_schema"))
