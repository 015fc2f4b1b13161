"""What one subagent holds: the tools that it may call, and how each of its calls is answered, whatever happens."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from xz_magics.characters import whole
from xz_magics.keys import shown
from xz_magics.records import ToolCall, ToolSpec
from xz_magics.schemas import SchemaError
from xz_magics.tools import Context, Tool, ToolError
from xz_magics.tools.function import in_thread
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import Rights
from xz_magics.tools.texts import capped, error_text, read_arguments, result_text

GRACE_S = 1.0
SMALL_CHARACTERS = 100_000

_MEND = "call it with other arguments, or go on without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What goes back to the model. `cached`: it is that of an equal call, before or at the same time."""

    text: str
    error: bool = False
    cached: bool = False
    duration_s: float = 0.0


class Cache:
    """A run's results of tools with `cache_s`. Errors are not kept, but shared by those who waited for them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Result]] = {}
        self._under_way: dict[str, asyncio.Future[Result]] = {}

    async def result(self, key: str, keep_s: float, make: Callable[[], Awaitable[Result]]) -> Result:
        """The kept result; or that of the first of those who ask at the same time, while the others wait."""
        while (first := self._under_way.get(key)) is not None:
            await asyncio.wait({first})
            if not first.cancelled():
                return replace(first.result(), cached=True)
        until, kept = self._kept.get(key, (0.0, None))
        if kept is not None and self._clock() < until:
            return replace(kept, cached=True)
        ours = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            made = await make()
            ours.set_result(made)
        finally:
            ours.cancel()  # does nothing once there is a result; else one of those who wait goes on
            del self._under_way[key]
        if not made.error:
            now = self._clock()
            self._kept = {other: entry for other, entry in self._kept.items() if now < entry[0]}
            self._kept[key] = (now + keep_s, made)
        return made


class Granted:
    """The tools of a registry that the rights grant. `redact` takes secrets out of every text that goes back."""

    def __init__(
        self,
        registry: Registry,
        rights: Rights,
        *,
        workspace: Path,
        unsafe_local: bool,
        cache: Cache,
        clock: Callable[[], float],
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        self.workspace = workspace
        self._tools = {
            grant.name: (
                registry[grant.name],
                Context(workspace=workspace, params=grant.params, unsafe_local=unsafe_local),
            )
            for grant in rights
            if grant.name in registry
        }
        self._cache = cache
        self._clock = clock
        self._redact = redact
        self.specs = tuple(_spec(tool, context) for tool, context in self._tools.values())
        self.delegating = frozenset(name for name, (tool, _) in self._tools.items() if tool.delegates)

    async def answer(self, call: ToolCall) -> Result:
        """Never raises but for cancellation from outside: what goes wrong is a result that says so."""
        began_at = self._clock()
        try:
            tool, context = self._found(call.name)
            arguments = read_arguments(call.arguments)
            make = partial(self._made, tool, context, tool.check(arguments))
            if tool.cache_s is None:
                result = await make()
            else:
                result = await self._cache.result(_key(tool, context, arguments), tool.cache_s, make)
        except Exception as error:  # noqa: BLE001 - told to the model
            result = self.failed(error)
        return replace(result, duration_s=self._clock() - began_at)

    async def checked(self, call: ToolCall) -> dict[str, Any]:
        """The arguments of a call that the engine carries out itself. Raises ToolError."""
        tool, _ = self._found(call.name)
        try:
            return tool.check(read_arguments(call.arguments))
        except SchemaError as error:
            raise ToolError(error.message, error.hint) from error

    def given(self, value: object) -> Result:
        """What a tool gave, as text. Raises whatever cannot be made text."""
        return Result(text=self._finished(result_text(value)))

    def failed(self, error: BaseException) -> Result:
        return Result(text=self._finished(error_text(error)), error=True)

    def _found(self, name: str) -> tuple[Tool, Context]:
        if name not in self._tools:
            have = f"have: {', '.join(self._tools)}" if self._tools else "there are none: answer in text"
            raise ToolError(f"tool {shown(name)} is not available; {have}")
        return self._tools[name]

    async def _made(self, tool: Tool, context: Context, arguments: Mapping[str, Any]) -> Result:
        """The tool runs in an asyncio task of its own: that tells its own cancellation from ours."""
        job = asyncio.ensure_future(self._run(tool, context, arguments))
        job.add_done_callback(lambda job: job.cancelled() or job.exception())  # seen, even if nobody waits any more
        try:
            in_time, _ = await asyncio.wait({job}, timeout=tool.timeout_s)
        finally:
            if not job.done():
                job.cancel()
                await asyncio.wait({job}, timeout=GRACE_S)
        if not in_time:
            return self.failed(ToolError(f"{tool.name} took longer than {tool.timeout_s:g} s", _MEND))
        if job.cancelled():
            return self.failed(ToolError(f"{tool.name} was cancelled from within", _MEND))
        error = job.exception()
        return job.result() if error is None else self.failed(error)

    async def _run(self, tool: Tool, context: Context, arguments: Mapping[str, Any]) -> Result:
        value = await tool.run(arguments, context)
        if value is None or (isinstance(value, str) and len(value) < SMALL_CHARACTERS):
            return self.given(value)
        return cast("Result", await in_thread(partial(self.given, value), f"result of {tool.name}"))

    def _finished(self, text: str) -> str:
        return capped(self._redact(whole(text)))


def _spec(tool: Tool, context: Context) -> ToolSpec:
    description = tool.description
    if tool.params is not None:
        words = ", ".join(sorted(context.params)) or "none"
        description = f"{description}\n\nGranted to you ({tool.params}): {words}"
    return ToolSpec(name=tool.name, description=description, parameters=tool.parameters)


def _key(tool: Tool, context: Context, arguments: Mapping[str, Any]) -> str:
    """With the words of the grant: who may do less must not see what another was given."""
    return json.dumps([tool.name, sorted(context.params), arguments], sort_keys=True)
