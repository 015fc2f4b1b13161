"""The tools that there are, by name; this file alone says what happens with a name that is none."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from xz_magics.errors import SpecError
from xz_magics.keys import shown
from xz_magics.tools import Tool


class Registry(Mapping[str, Tool]):
    """Tools by name, in alphabetical order; it never changes. An unknown name is a SpecError with suggestions."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}

    def only(self, names: Iterable[str]) -> "Registry":
        return Registry([self[name] for name in _listed(names)])

    def without(self, names: Iterable[str]) -> "Registry":
        left_out = {self[name].name for name in _listed(names)}
        return Registry(tool for tool in self.values() if tool.name not in left_out)

    def with_tools(self, *tools: Tool) -> "Registry":
        """With these too, each in the place of one of the same name."""
        return Registry([*self.values(), *tools])

    def __getitem__(self, name: str) -> Tool:
        if name not in self._tools:
            raise self._unknown(name)
        return self._tools[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self)})"

    def _unknown(self, name: object) -> SpecError:
        close = get_close_matches(str(name)[:80], list(self), n=1)
        there_are = f"there are: {', '.join(self)}" if self else "there are none"
        mend = f"did you mean {close[0]}? {there_are}" if close else there_are
        return SpecError(f"no tool is called {shown(str(name))}", mend)


class Toolbox:
    """The session's tools: the built-in ones, and what the notebook adds."""

    def __init__(self, builtin: Registry | None = None) -> None:
        self._builtin = builtin or Registry()
        self.registry = self._builtin

    def add(self, tool: Tool) -> None:
        """A cell that is run again puts its tool in the place of the old one; a built-in one stays."""
        if tool.name in self._builtin:
            raise SpecError(f"{tool.name} is a built-in tool", "give yours another name: @tool(name='…')")
        self.registry = self.registry.with_tools(tool)

    def __repr__(self) -> str:
        return f"Toolbox({', '.join(self.registry)})"

    def only(self, names: Iterable[str]) -> Registry:
        return self.registry.only(names)

    def without(self, names: Iterable[str]) -> Registry:
        return self.registry.without(names)


def _listed(names: Iterable[str]) -> Iterable[str]:
    """A single text is one name, not its letters."""
    return [names] if isinstance(names, str) else names
