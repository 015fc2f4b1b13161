"""The tools that are there without anybody writing one: each is used only by tasks that are granted it by name."""

from collections.abc import Callable
from typing import Any

from xz_magics.tools import files, sandbox, searching, web
from xz_magics.tools.delegating import DELEGATING
from xz_magics.tools.function import tool_of
from xz_magics.tools.registry import Registry

OVERWRITE = "overwrite: files that are there may be replaced"
HOSTS = "the hosts that it may ask, such as http_get(docs.python.org) or http_get(*.example.com)"


def builtin() -> Registry:
    reading: tuple[Callable[..., Any], ...] = (
        files.read_file,
        files.list_directory,
        searching.find_files,
        searching.grep,
    )
    return Registry(
        [
            *map(tool_of, reading),
            tool_of(files.write_file, params=OVERWRITE, fault_of=_no_word_of_writing),
            tool_of(web.http_get, params=HOSTS, fault_of=_no_host),
            *(tool_of(function, missing=sandbox.sandbox_missing) for function in sandbox.FUNCTIONS),
            *DELEGATING,
        ]
    )


def _no_word_of_writing(words: frozenset[str]) -> str | None:
    unknown = sorted(words - {"overwrite"})
    return f"{unknown[0]} is no word of it" if unknown else None


def _no_host(words: frozenset[str]) -> str | None:
    if not words:
        return "it names no host, so nothing could be asked"
    wrong = sorted(word for word in words if "/" in word)
    return f"{wrong[0]} is no host" if wrong else None
