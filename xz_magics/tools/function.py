"""Python functions as tools; this file alone knows in which thread and on which loop each is called."""

import asyncio
import contextvars
import inspect
import math
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.schemas import Signature
from xz_magics.tools import DEFAULT_TIMEOUT_S, Context, Tool, ToolError

Place = Literal["kernel"]
KernelLoop = Callable[[], asyncio.AbstractEventLoop | None]
Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = frozenset({"name", "timeout_s", "cache_s", "on"})
KNOWN = f"it takes {', '.join(sorted(OPTIONS))}"

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def tool_of(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    cache_s: float | None = None,
    on: Place | None = None,
    params: str | None = None,
    fault_of: Callable[[frozenset[str]], str | None] | None = None,
    missing: Callable[[Path], str | None] | None = None,
    kernel_loop: KernelLoop = lambda: None,
) -> Tool:
    """The function as a tool, sync or async; a first parameter annotated `Context` is not the model's to give.

    A sync function runs in a daemon thread of its own: a hung one holds up nothing, but goes on after its timeout.
    An async one runs on the run's loop. On "kernel" both run on the loop that `kernel_loop` gives, in its thread.
    Raises SpecError, and SchemaError for a parameter that no JSON schema describes.
    """
    chosen = _checked_name(function, name)
    _check_seconds("timeout_s", timeout_s)
    if cache_s is not None:
        _check_seconds("cache_s", cache_s)
    if on not in {None, "kernel"}:
        raise SpecError(f"on is {shown(str(on))}", 'write on="kernel", or leave it out')
    signature = Signature(function, context=Context)

    async def run(arguments: Mapping[str, Any], context: Context) -> object:
        call = partial(function, *([context] if signature.takes_context else []), **arguments)
        if on == "kernel":
            return await _on_loop(kernel_loop(), call)
        if inspect.iscoroutinefunction(function):
            return await _called(call)
        result = await in_thread(call, f"tool {chosen}")
        return await result if inspect.isawaitable(result) else result

    return Tool(
        name=chosen,
        description=signature.description,
        parameters=signature.parameters,
        check=signature.check,
        run=run,
        timeout_s=timeout_s,
        cache_s=cache_s,
        params=params,
        fault_of=fault_of,
        missing=missing,
        on_kernel=on == "kernel",
    )


class ToolDecorator:
    """`@tool` above a function makes a tool of it for the subagents of this session; the function stays as it is.

    `@tool(name=…, timeout_s=60, cache_s=30, on="kernel")`: the name that models see; how long a call may take; for how
    long the result of an equal call is used again within a run; and whether it runs on the notebook's own loop and
    thread, as widgets and figures want it, which it then holds up. Models see the docstring and the annotations.
    """

    def __init__(self, add: Callable[[Tool], object], kernel_loop: KernelLoop) -> None:
        self._add = add
        self._kernel_loop = kernel_loop

    @overload
    def __call__(self, function: Function, /) -> Function: ...

    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        cache_s: float | None = None,
        on: Place | None = None,
    ) -> Callable[[Function], Function]: ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        for name in options.keys() - OPTIONS:
            close = get_close_matches(name, OPTIONS, n=1)
            raise SpecError(f"@tool has no option {shown(name)}", f"did you mean {close[0]}?" if close else KNOWN)
        if function is None:
            return partial(self._added, options)
        return self._added(options, function)

    def _added(self, options: Mapping[str, Any], function: Function) -> Function:
        self._add(tool_of(function, kernel_loop=self._kernel_loop, **options))
        return function


async def in_thread(call: Callable[[], object], name: str) -> object:
    """What the call gives, made in a daemon thread of its own; cancelled, it is not waited for any more."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

    def work() -> None:
        try:
            result, error = call(), None
        except BaseException as raised:  # noqa: BLE001 - raised again below, in the thread that waits
            result, error = None, raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    def settle(result: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True).start()
    result, error = await ended
    if error is not None:
        raise _contained(error)
    return result


async def _on_loop(loop: asyncio.AbstractEventLoop | None, call: Callable[[], object]) -> object:
    if loop is None or loop.is_closed():
        raise ToolError("this tool runs on the notebook's event loop, and there is none", "go on without it")
    if loop is asyncio.get_running_loop():
        return await _called(call)
    waiting = True

    async def begun() -> object:
        if not waiting:  # cancelled while that loop was busy: a cancelled task takes its first step all the same
            raise asyncio.CancelledError
        return await _called(call)

    try:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(begun(), loop))
    finally:
        waiting = False


async def _called(call: Callable[[], object]) -> object:
    try:
        result = call()
        return await result if inspect.isawaitable(result) else result
    except (KeyboardInterrupt, SystemExit) as error:
        raise _contained(error) from error


def _contained(error: BaseException) -> BaseException:
    """SystemExit and its kin would end the loop on which they are raised, and the kernel with it."""
    if isinstance(error, Exception | asyncio.CancelledError):
        return error
    return ToolError(f"the tool raised {type(error).__name__}", "call it with other arguments, or go on without it")


def _checked_name(function: Callable[..., Any], name: str | None) -> str:
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        raise SpecError(f"a tool is a function, and this is {type(function).__name__}", "write @tool above a `def`")
    if function.__name__ == "<lambda>":
        raise SpecError("a lambda has no name, types and docstring for a model to read", "write it with `def`")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(f"{function.__name__} yields, and a tool gives one result", "return a list")
    chosen = function.__name__ if name is None else str(name)
    if not _NAME.fullmatch(chosen):
        mend = "give it 1 to 64 of the letters a to z, digits, _ and -: @tool(name='…')"
        raise SpecError(f"{shown(chosen)} cannot be the name of a tool", mend)
    return chosen


def _check_seconds(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]  # the line above has seen that it is a number
        raise SpecError(f"{name} is {shown(str(value))}", "give seconds, above 0")
