"""Tool calls on a wire: put together out of the pieces that servers send, and made fit to be sent back."""

import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from xz_magics.characters import whole
from xz_magics.providers.wire import count, string
from xz_magics.records import Finish, ToolCall

MOST_CALLS = 1000
UNSPEAKABLE = re.compile(r"[^a-zA-Z0-9_-]")
MOST_NAME_CHARS = 64
INVALID = "INVALID_JSON"


@dataclass(slots=True)
class _Call:
    id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    whole: str = ""  # arguments that came as an object, not as text


class Calls:
    """The calls of one reply as their pieces come in, in the order in which they were opened.

    A piece belongs to the call of its index, or to the last one where servers leave the index out. It opens a call
    where there is none yet, and where it has a name and another id than that one, for some servers give all calls one
    index; a name without index and id opens one too.
    """

    def __init__(self) -> None:
        self.received_bytes = 0
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}

    def __contains__(self, index: Any) -> bool:
        return count(index) in self._at

    def add(self, index: Any, *, ident: Any = None, name: Any = None, arguments: Any = None) -> None:
        """One piece; each part may be of any shape. Raises ValueError for more calls than any answer has."""
        at, ident, name = count(index), string(ident) or "", string(name) or ""
        call = self._at.get(at)
        if call is None or (name and (ident != call.id if ident else at is None)):
            call = self._opened(ident)
        self._at[at] = self._at[None] = call
        call.id = call.id or ident
        if not call.name:
            call.name = name
            self.received_bytes += _size(name)
        if isinstance(arguments, str):
            call.pieces.append(arguments)
        elif arguments:
            call.whole = arguments = _dumped(arguments)
        self.received_bytes += _size(arguments or "")

    def ending(self, finish: Finish) -> tuple[Finish, tuple[ToolCall, ...]]:
        """The finish of a reply with these calls, and those of them that count: in a reply cut short none does."""
        if finish not in {"stop", "tool_calls"} or not self._calls:
            return finish, ()
        calls = zip(self._ids(), self._calls, strict=True)
        return "tool_calls", tuple(ToolCall(id=i, name=call.name, arguments=_arguments(call)) for i, call in calls)

    def _opened(self, ident: str) -> _Call:
        if len(self._calls) == MOST_CALLS:
            raise ValueError(f"the answer holds more than {MOST_CALLS:,} tool calls")
        call = _Call(ident)
        self._calls.append(call)
        return call

    def _ids(self) -> list[str]:
        """The ids as given, and others in place of those that are missing or were had before."""
        taken = {call.id for call in self._calls}
        free = (name for number in itertools.count(1) if (name := f"call-{number}") not in taken)
        ids: dict[str, None] = {"": None}
        for call in self._calls:
            ids[next(free) if call.id in ids else call.id] = None
        return list(ids)[1:]


def _arguments(call: _Call) -> str:
    text = whole("".join(call.pieces))
    return text if text.strip() else call.whole or "{}"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _dumped(arguments: Any) -> str:
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except RecursionError as error:
        raise ValueError("the arguments of a tool call are nested too deeply") from error


def name_of(call: ToolCall) -> str:
    """The name as an API takes it back: a model may have asked for a name that none can have."""
    return speakable(call.name)


def speakable(name: str) -> str:
    """With nothing but the characters that an API takes in a name."""
    return UNSPEAKABLE.sub("_", name)[:MOST_NAME_CHARS] or "_"


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments as the object that an API wants to have back; what is none is wrapped up in one."""
    try:
        arguments = json.loads(call.arguments)
        json.dumps(arguments, allow_nan=False)  # 1e999 can be read, and cannot be sent
    except (ValueError, RecursionError):
        arguments = None
    return arguments if isinstance(arguments, dict) else {INVALID: call.arguments}


def arguments_text(call: ToolCall) -> str:
    """The same as text: to the letter as the model wrote it, unless it had to be wrapped up."""
    arguments = arguments_of(call)
    return json.dumps(arguments, ensure_ascii=False) if INVALID in arguments else call.arguments
