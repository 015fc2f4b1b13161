"""The tools that are there without anybody writing one: each is used only by tasks that are granted it by name."""

from collections.abc import Callable
from typing import Any

from xz_magics.tools import files, sandbox, web
from xz_magics.tools.delegating import DELEGATING
from xz_magics.tools.function import tool_of
from xz_magics.tools.registry import Registry

WORDS = {
    "write_file": "overwrite: files that are there may be replaced",
    "http_get": "the hosts that it may ask, such as docs.python.org or *.example.com",
}


def builtin() -> Registry:
    functions: tuple[Callable[..., Any], ...] = (*files.FUNCTIONS, *web.FUNCTIONS)
    alone = [tool_of(function, params=WORDS.get(function.__name__)) for function in functions]
    walled = [tool_of(function, missing=sandbox.sandbox_missing) for function in sandbox.FUNCTIONS]
    return Registry([*alone, *walled, *DELEGATING])
