"""Events as plain JSON values and back: it alone knows that form."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from xz_magics.errors import XzMagicsError
from xz_magics.events.kinds import Event, Stamped
from xz_magics.records import (
    AnswerSchema,
    Insert,
    Judge,
    Message,
    Quota,
    Reused,
    Scorer,
    Task,
    ToolCall,
    Trial,
    Turn,
)

_RECORDS = (Stamped, Task, Insert, Trial, AnswerSchema, Scorer, Judge, Turn, Message, ToolCall, Quota, Reused)
_CLASSES = {cls.__name__: cls for cls in (*Event.__args__, *_RECORDS)}


_PLAIN = frozenset({type(None), bool, int, float, str})
_WRITTEN = object()


def to_json(value: Any) -> Any:
    """A stamped event as plain JSON values, without what only this process can hold.

    Each record names its class under "@"; what is JSON already, a list or a mapping, stands under "of". A field that
    holds nothing, as it does by default, is left out.
    """
    if (kept := _kept(value.__class__)) is not None:
        told: dict[str, Any] = {"@": type(value).__name__}
        for name, left_out in kept:
            part = getattr(value, name)
            if part is not left_out:
                told[name] = part if type(part) in _PLAIN else to_json(part)
        return told
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {"@": "map", "of": dict(value)}
    if isinstance(value, list):
        return {"@": "list", "of": value}
    return value


@cache
def _kept(cls: type) -> tuple[tuple[str, object], ...] | None:
    """The fields that are written, each with the value with which it is not; None: it is no record."""
    if not is_dataclass(cls):
        return None
    written = (field for field in fields(cls) if field.metadata.get("kept", True))
    return tuple((field.name, field.default if _is_nothing(field.default) else _WRITTEN) for field in written)


def _is_nothing(default: object) -> bool:
    """Other defaults may become other ones, and what was written before would then be read with those."""
    return default is None or default is False or default == ()


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
