"""What subagents may be given to use: tools, the registry that holds them, and the rights that grant them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xz_magics.errors import XzMagicsError

DEFAULT_TIMEOUT_S = 60.0


class ToolError(XzMagicsError):
    """What a tool cannot do, told to the model: what happened, with which value, and how to call it instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a built-in tool is given beside its arguments. `params` are the words of its grant: `name(word, …)`."""

    workspace: Path
    params: frozenset[str] = frozenset()
    unsafe_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `parameters` is the JSON schema of an object; `run` takes checked arguments and gives any value.

    Times in seconds. `params` None: its grant takes no words; else what they mean, and `fault_of` tells what is wrong
    with some. `delegates`: its call starts subagents, which the engine does without its `run`. `missing` tells why it
    cannot work on this machine, over that workspace, and the mend in a second line; None: it can. `on_kernel`: it works
    on the kernel's own loop, wherever the run is.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    check: Callable[[Mapping[str, Any]], dict[str, Any]]
    run: Callable[[Mapping[str, Any], Context], Awaitable[object]]
    timeout_s: float = DEFAULT_TIMEOUT_S
    cache_s: float | None = None
    params: str | None = None
    fault_of: Callable[[frozenset[str]], str | None] | None = None
    delegates: bool = False
    on_kernel: bool = False
    missing: Callable[[Path], str | None] | None = None
