"""Which tools a run has and where they work: the session's toolbox, the call's wish and the policy in one."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.keys import SHORTEST_KEY
from xz_magics.providers.endpoint import redactor
from xz_magics.records import Task
from xz_magics.session import session
from xz_magics.specs import Document
from xz_magics.tools import Tool
from xz_magics.tools.granted import Cache, Granted
from xz_magics.tools.registry import Registry
from xz_magics.tools.rights import Rights

Tools = Iterable[Tool | Callable[..., Any]] | Mapping[str, Tool]


class Granting:
    """`registry` holds what tasks may be granted at all; it is empty where no task asks for any."""

    def __init__(
        self,
        document: Document,
        options: Mapping[str, Any],
        settings: Settings,
        *,
        tools: Tools | None,
        workspace: str | PathLike[str] | None,
    ) -> None:
        """Raises SpecError for a workspace that is no folder, and for what cannot be a tool."""
        policy = settings.tools
        asked = any(
            "allowed_tools" in fields for fields in (options, document.head, *(s.fields for s in document.specs))
        )
        self._bounds = None if policy.allow is None else Rights.of(policy.allow)
        self.registry = _permitted(_offered(tools), self._bounds, policy.deny) if asked else Registry()
        self._unsafe_local = policy.unsafe_local
        self._workspace = Path(workspace or policy.workspace or Path.cwd()).expanduser().absolute()
        if asked and not self._workspace.is_dir():
            raise SpecError(f"the workspace {str(self._workspace)!r} is no folder", "make it, or name another one")

    def check(self, tasks: Sequence[Task]) -> None:
        """Raises SpecError where a task is granted a tool that cannot work on this machine."""
        users = {grant.name: task for task in reversed(tasks) for grant in Rights.of(task.allowed_tools)}
        for name, task in users.items():  # each tool is tried once, however many are granted it
            missing = self.registry[name].missing
            told = None if missing is None or self._unsafe_local else missing(self._workspace)
            if told is not None:
                why, _, mend = told.partition("\n")
                raise SpecError(f"task {task.label!r} may use {name!r}, but {why}", mend)

    def on_kernel(self, tasks: Sequence[Task]) -> tuple[str, ...]:
        """The names of those granted that work on the kernel's own loop."""
        names = dict.fromkeys(grant.name for task in tasks for grant in Rights.of(task.allowed_tools))
        return tuple(name for name in names if self.registry[name].on_kernel)

    def grant(self, keys: Iterable[str]) -> Callable[[Rights], Granted]:
        """What some rights come to in this run, whose tools share one cache. The keys go into no result."""
        cache = Cache(time.monotonic)
        redactors = [redactor(key) for key in keys if len(key) >= SHORTEST_KEY]

        def redact(text: str) -> str:
            for redacted in redactors:
                text = redacted(text)
            return text

        def granted(rights: Rights) -> Granted:
            return nothing if not rights else given(rights)

        def given(rights: Rights) -> Granted:
            return Granted(
                self.registry,
                rights if self._bounds is None else rights.within(self._bounds),
                workspace=self._workspace,
                unsafe_local=self._unsafe_local,
                cache=cache,
                clock=time.monotonic,
                redact=redact,
            )

        nothing = given(Rights())
        return granted


def _offered(tools: Tools | None) -> Registry:
    from xz_magics.tools.function import tool_of

    if tools is None:
        return session.toolbox.registry
    if not hasattr(tools, "__iter__"):
        raise SpecError("tools is no list", "write the functions in brackets: tools=[one, two]")
    given = tools.values() if isinstance(tools, Mapping) else tools
    return Registry(
        tool if isinstance(tool, Tool) else tool_of(tool, kernel_loop=lambda: session.kernel_loop) for tool in given
    )


def _permitted(registry: Registry, bounds: Rights | None, deny: Sequence[str]) -> Registry:
    return Registry(tool for name, tool in registry.items() if (bounds is None or name in bounds) and name not in deny)
