"""What a file from elsewhere may say: it alone knows how the types of our records bound the values in it."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 2**53
LATEST_AT = 2**33
"""In the year 2242; of durations, too, this is more than any."""

Bounds = tuple[float, float]


def check(record: Any) -> None:
    """Raises ValueError, which names the first field whose value is not of its type, or is out of all bounds.

    What users and models wrote may be any JSON: it is shown, and nothing is reckoned with it.
    """
    for name, hint in _hints(record.__class__).items():
        _check(getattr(record, name), hint, f"{type(record).__name__}.{name}", _bounds(name))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.metadata.get("kept", True)}


def _bounds(name: str) -> Bounds:
    """A clock that was set back makes a duration negative."""
    if name == "at" or name.endswith("_at"):
        return 0, LATEST_AT
    return (-LATEST_AT, LATEST_AT) if name.endswith("_s") else (-math.inf, math.inf)


def _check(value: Any, hint: Any, where: str, bounds: Bounds = (-math.inf, math.inf)) -> None:
    kinds = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    if Any in kinds:
        return
    kind = next((kind for kind in kinds if _is_of(value, kind)), None)
    if kind is None:
        raise ValueError(f"{where} is {_shown(value)}, which is of another kind")
    if is_dataclass(kind):
        check(value)
    elif isinstance(value, tuple):
        for item in value:
            _check(item, get_args(kind)[0], where)
    elif isinstance(value, dict):
        for name, part in value.items():
            _check(part, get_args(kind)[1], f"{where}[{name[:40]!r}]")
    elif isinstance(value, float | int) and not _is_bounded(value, bounds):
        raise ValueError(f"{where} is {_shown(value)}, and that is out of all bounds")


def _is_of(value: Any, hint: Any) -> bool:
    """By its kind alone: what is in it is looked at later."""
    origin = get_origin(hint)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if origin is not None:
        return isinstance(value, dict if origin is Mapping else tuple)
    if hint is float:
        return type(value) in {float, int}
    if hint is bool:
        return type(value) in {bool, int} and value in {0, 1}  # SQLite tells 0 and 1
    return type(value) is hint


def _is_bounded(value: float, bounds: Bounds) -> bool:
    if isinstance(value, int) and abs(value) >= LARGEST:
        return False
    return math.isfinite(value) and bounds[0] <= value <= bounds[1]


def _shown(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, int) and abs(value) >= LARGEST else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
