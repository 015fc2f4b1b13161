"""What happens in a run, as frozen values, and the stream that stamps them and hands them out in order."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from xz_magics.errors import XzMagicsError
from xz_magics.records import (
    AnswerSchema,
    ErrorType,
    Insert,
    Judge,
    Message,
    Quota,
    Scorer,
    Status,
    Task,
    ToolCall,
    Trial,
    Turn,
)

logger = logging.getLogger("xz_magics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something worth a line before the run starts, such as the fetching of weights."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    tasks: int
    max_concurrent: int
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlanned:
    task: Task
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """Slot, reservation and pacing are granted; the first request goes out next."""

    label: str
    queued_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent:
    """An attempt's request has been written. `spawn_s` is given with a task's first one only."""

    label: str
    turn: int
    attempt: int
    spawn_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReceived:
    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    label: str
    turn: int
    attempt: int
    delay_s: float
    error_type: ErrorType
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPaused:
    """A 429: all tasks of this account wait together. Nothing of the key is in its name."""

    account: str
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded:
    label: str
    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A model asked for a tool, and it begins."""

    label: str
    turn: int
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswered:
    """The result that goes back to the model; `error`: it says what went wrong. Time in seconds."""

    label: str
    turn: int
    call_id: str
    tool: str
    duration_s: float
    error: bool = False
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnded:
    """The one final event of a task. Times in seconds; what was never reached is None.

    `value` is the answer as its schema has it, in plain JSON values.
    """

    label: str
    status: Status
    output: str | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    finish_reason: str | None = None
    duration_s: float | None = None
    queued_s: float | None = None
    work: str | None = None
    messages: tuple[Message, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    duration_s: float
    reason: str | None = None


Event = (
    Noted
    | RunStarted
    | TaskPlanned
    | TaskStarted
    | RequestSent
    | TextReceived
    | RetryScheduled
    | AccountPaused
    | TurnEnded
    | ToolCalled
    | ToolAnswered
    | TaskEnded
    | RunEnded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """An event with its run, its number in that run (from 0) and its time in seconds since the epoch."""

    run: str
    number: int
    at: float
    event: Event


Observer = Callable[[Stamped], None]


class Stream:
    """Stamps events and hands each, in order, to every observer before the next one is stamped.

    A critical observer that raises ends the run; any other is dropped with one logged traceback.
    """

    def __init__(
        self,
        run: str,
        *,
        critical: Iterable[Observer] = (),
        observers: Iterable[Observer] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.run = run
        self._critical = tuple(critical)
        self._observers = list(observers)
        self._wall = wall
        self._number = 0

    def emit(self, event: Event) -> None:
        stamped = Stamped(run=self.run, number=self._number, at=self._wall(), event=event)
        self._number += 1
        for observer in self._critical:
            observer(stamped)
        for observer in tuple(self._observers):
            try:
                observer(stamped)
            except Exception:
                self._observers.remove(observer)
                logger.exception("an observer of run %s failed and hears no more: %r", self.run, observer)


_RECORDS = (Stamped, Task, Insert, Trial, AnswerSchema, Scorer, Judge, Turn, Message, ToolCall, Quota)
_CLASSES = {cls.__name__: cls for cls in (*Event.__args__, *_RECORDS)}


def to_json(value: Any) -> Any:
    """A stamped event as plain JSON values, without what only this process can hold.

    Each record names its class under "@"; what is JSON already, a list or a mapping, stands under "of".
    """
    if is_dataclass(value):
        kept = [field.name for field in fields(value) if field.metadata.get("kept", True)]
        return {"@": type(value).__name__} | {name: to_json(getattr(value, name)) for name in kept}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {"@": "map", "of": dict(value)}
    if isinstance(value, list):
        return {"@": "list", "of": value}
    return value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`; raises XzMagicsError for a class or a field that is none of ours."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get("@") in {"map", "list"}:
        return value["of"]
    cls = _CLASSES.get(value.get("@", ""))
    if cls is None:
        raise XzMagicsError(f"no event is called {value.get('@')!r}", "another program or version wrote it")
    try:
        return cls(**{name: from_json(item) for name, item in value.items() if name != "@"})
    except TypeError as error:
        raise XzMagicsError(f"this is no {cls.__name__}: {error}", "another program or version wrote it") from error
