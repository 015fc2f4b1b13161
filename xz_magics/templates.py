"""Fills `{{name}}` in a text; this file alone knows which values may go into a prompt, and how they are written."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from xz_magics.errors import SpecError
from xz_magics.keys import SHORTEST_KEY, shown

MOST_BYTES = 1_000_000
MOST_DEPTH = 32
MOST_LISTED = 12
RESULTS = "results"

_NAME = r"[^\W\d]\w*"
_TEMPLATE = re.compile(
    rf"\{{\{{[ \t]*(?P<root>{_NAME})"
    rf"(?P<steps>(?:\.{_NAME}|\[-?[0-9]{{1,9}}\]|\[\"[^\"\\\n]*\"\]|\['[^'\\\n]*'\])*)[ \t]*\}}\}}"
)
_UNQUOTED = re.compile(rf"\{{\{{[ \t]*{RESULTS}\.(?P<label>[^{{}}\n\"\\]*[^{{}}\s\"\\])[ \t]*\}}\}}")
_NO_TEMPLATE = re.compile(r"\{\{[ \t]*(?:\w[^{}\n:]{0,100})?\}\}")  # what has a colon is rather JSON
_STEP = re.compile(rf"\.(?P<name>{_NAME})|\[(?P<index>-?[0-9]+)\]|\[\"(?P<key>[^\"]*)\"\]|\['(?P<other>[^']*)'\]")

Scalar = str | bool | int | float | None


def names_in(text: str) -> tuple[str, ...]:
    """The root names that a text's templates ask for, each once, in their order."""
    return tuple(dict.fromkeys(found["root"] for found in _TEMPLATE.finditer(text)))


def lookalikes(text: str, labels: Collection[str]) -> tuple[str, ...]:
    """What looks like a template and is none, so that it stays as it stands: each once, in their order."""
    found = dict.fromkeys(found[0] for found in _NO_TEMPLATE.finditer(text) if not _TEMPLATE.fullmatch(found[0]))
    return tuple(one for one in found if _UNQUOTED.sub(lambda result: _quoted(result, labels), one) == one)


def fill(text: str, names: Mapping[str, object], *, secrets: Collection[str] = ()) -> str:
    """The text with its templates, such as `{{name}}`, `{{row.title}}`, `{{items[0]}}` or `{{row["a b"]}}`, filled in.

    Text goes in as it stands; a list, mapping or row as JSON. What went in is not looked at again, and all else in
    braces stays. Raises SpecError for an unknown name, a value of another type, one that is or holds one of the
    secrets, and a result of more than MOST_BYTES.
    """
    return fill_around(text, names, secrets=secrets)[0]


def fill_around(
    text: str,
    names: Mapping[str, object],
    *,
    own: Mapping[str, object] = MappingProxyType({}),
    labels: Collection[str] = (),
    secrets: Collection[str] = (),
) -> tuple[str, tuple[tuple[int, str], ...]]:
    """As `fill`, but `{{results.label}}` and `{{results["any label"]}}` of these labels leave a gap.

    A label such as `task-1` needs no quotes. With the text come its gaps, in their order: before which character of it,
    and which label. `own` are names of this text alone: they win over the others.
    """
    if labels:
        text = _UNQUOTED.sub(lambda found: _quoted(found, labels), text)
    secrets = tuple(filter(None, secrets))
    output = _Output()
    gaps: list[tuple[int, str]] = []
    end = 0
    for found in _TEMPLATE.finditer(text):
        output.add(text[end : found.start()])
        end = found.end()
        template = _Template(found[0], secrets, output)
        label = template.label(found, own if RESULTS in own else names, labels)
        if label is None:
            template.write(template.looked_up(found, names, own))
        else:
            gaps.append((output.length, label))
    output.add(text[end:])
    filled = "".join(output.parts)
    if any(_is_part(secret, filled) for secret in secrets):
        raise SpecError("the filled text holds a key", "keys never go into a prompt")
    return filled, tuple(gaps)


def fill_value(
    value: Any, names: Mapping[str, object], *, own: Mapping[str, object], secrets: Collection[str] = ()
) -> Any:
    """A value of JSON with the templates in its texts filled in; a text that is one template becomes its value.

    That value, too, is one of JSON. Raises SpecError as `fill` does, but None may be inserted so.
    """
    match value:
        case dict():
            return {key: fill_value(item, names, own=own, secrets=secrets) for key, item in value.items()}
        case list():
            return [fill_value(item, names, own=own, secrets=secrets) for item in value]
        case str() if found := _TEMPLATE.fullmatch(value.strip()):
            template = _Template(found[0], tuple(filter(None, secrets)), _Output())
            return template.plain(template.looked_up(found, names, own))
        case str() if "{{" in value:
            return fill_around(value, names, own=own, secrets=secrets)[0]
    return value


def _quoted(found: re.Match[str], labels: Collection[str]) -> str:
    """A label of this cell that is no name, in the form for any label; everything else as it stands."""
    label = found["label"]
    return f'{{{{{RESULTS}["{label}"]}}}}' if label in labels and not _TEMPLATE.fullmatch(found[0]) else found[0]


class _Output:
    """What is written so far. It stops at the limit: lists that hold one another many times over grow without end."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self._size_bytes = 0

    def add(self, piece: str) -> None:
        try:
            self._size_bytes += len(piece.encode())
        except UnicodeEncodeError as error:
            raise SpecError("the filled text holds half a character (a lone surrogate)", "take it out") from error
        if self._size_bytes > MOST_BYTES:
            raise SpecError(f"the filled text has more than {MOST_BYTES:,} bytes", "put less into it")
        self.parts.append(piece)
        self.length += len(piece)


class _Template:
    """One template: finds its value and writes it."""

    def __init__(self, written: str, secrets: Collection[str], output: _Output) -> None:
        self._written = written
        self._secrets = secrets
        self._output = output

    def label(self, found: re.Match[str], names: Mapping[str, object], labels: Collection[str]) -> str | None:
        """Whose output is asked for; None: a value of the notebook's is, which may have a list or mapping `results`."""
        steps = list(_STEP.finditer(found["steps"]))
        if found["root"] != RESULTS or not steps or not labels:
            return None
        label = steps[0]["name"] or steps[0]["key"] or steps[0]["other"]
        if label in labels and len(steps) == 1:
            return label
        if label is None or isinstance(_plain(names.get(RESULTS)), Mapping | list | tuple):
            return None
        if label in labels:
            raise self._error("an output is one text and has no parts", f"take {steps[1][0]} out")
        raise self._unknown(label, labels, "give the label of a task of this cell")

    def looked_up(self, found: re.Match[str], names: Mapping[str, object], own: Mapping[str, object]) -> object:
        root = found["root"]
        self._refuse_private(root)
        if root not in own and root not in names:
            known = f"there are {_listed(own)}; or g" if own else "g"
            raise self._unknown(root, [*own, *names], f"{known}ive it a value before this runs")
        value = own[root] if root in own else names[root]
        for step in _STEP.finditer(found["steps"]):
            value = self._part(_plain(value), step)
        return value

    def plain(self, value: object) -> Any:
        """The value as JSON has it."""
        value = _plain(value)
        if isinstance(value, Mapping | list | tuple):
            self._write_json(value, depth=1)
            return json.loads("".join(self._output.parts))
        return self._scalar(value)

    def write(self, value: object) -> None:
        value = _plain(value)
        if isinstance(value, Mapping | list | tuple):
            self._write_json(value, depth=1)
        elif value is None:
            raise self._refused(value)
        else:
            self._output.add(str(self._scalar(value)))

    def _part(self, value: object, step: re.Match[str]) -> object:
        index = step["index"]
        if index is not None and isinstance(value, list | tuple):
            if not -len(value) <= int(index) < len(value):
                raise self._error(f"there is no item {index} of {len(value)}", "items count from 0")
            return value[int(index)]
        if not isinstance(value, Mapping):
            raise self._error(f"{_kind(value)} has no part {step[0]}", "only lists, dicts and rows have parts")
        if index is not None:
            key: object = int(index)
        elif step["name"]:
            self._refuse_private(step["name"])
            key = step["name"]
        else:
            key = step["key"] or step["other"] or ""
        if key not in value:
            raise self._unknown(key, value, "look up which parts it has")
        return value[key]

    def _write_json(self, value: object, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise self._error(f"the value is nested deeper than {MOST_DEPTH} levels", "insert a part of it")
        value = _plain(value)
        if isinstance(value, Mapping):
            self._output.add("{")
            for number, (key, item) in enumerate(value.items()):
                if not isinstance(key, str | int | float):
                    raise self._refused(key)
                self._output.add((", " if number else "") + _json(str(self._scalar(key))) + ": ")
                self._write_json(item, depth + 1)
            self._output.add("}")
        elif isinstance(value, list | tuple):
            self._output.add("[")
            for number, item in enumerate(value):
                self._output.add(", " if number else "")
                self._write_json(item, depth + 1)
            self._output.add("]")
        else:
            self._output.add(_json(self._scalar(value)))

    def _scalar(self, value: object) -> Scalar:
        """The value in its plain type: a subclass could print as something else."""
        if isinstance(value, str):
            text = str.__str__(value)
            if any(secret == text or _is_part(secret, text) for secret in self._secrets):
                raise self._error("the value holds a key", "keys never go into a prompt")
            return text
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and value.bit_length() <= 1024:
            return int(value)
        if isinstance(value, float) and math.isfinite(value):
            return float(value)
        raise self._refused(value)

    def _refuse_private(self, name: str) -> None:
        if name.startswith("_"):
            raise self._error(f"{name} is a private name", "templates take only public names and parts")

    def _unknown(self, name: object, known: Iterable[Any], otherwise: str) -> SpecError:
        close = get_close_matches(str(name), [key for key in known if isinstance(key, str)], n=1)
        return self._error(f"nothing is called {name!r}", f"did you mean {close[0]}?" if close else otherwise)

    def _refused(self, value: object) -> SpecError:
        mend = "insert text, numbers, or lists, dicts and rows of them"
        return self._error(f"{_kind(value)} cannot go into a prompt", mend)

    def _error(self, message: str, hint: str) -> SpecError:
        shown = self._written if len(self._written) <= 60 else self._written[:57] + "…}}"
        return SpecError(f"{shown}: {message}", hint)


def _plain(value: object) -> Any:
    """A named tuple or pandas row as a dict, a numpy scalar as Python's; told by their look, not by those libraries."""
    kind = type(value)
    if isinstance(value, tuple) and hasattr(kind, "_asdict"):
        return value._asdict()  # type: ignore[attr-defined]  # what every named tuple has
    if hasattr(kind, "to_dict") and getattr(value, "ndim", None) == 1:
        return value.to_dict()  # type: ignore[attr-defined]  # the line above has seen it
    if hasattr(kind, "item") and getattr(value, "ndim", None) == 0:
        return value.item()  # type: ignore[attr-defined]  # the line above has seen it
    return value


def _kind(value: object) -> str:
    """For an error: the value itself only where it can hold nothing secret."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return repr(value)
    return f"a value of type {type(value).__name__}"


def _listed(names: Collection[str]) -> str:
    listed = ", ".join(shown(name) for name in list(names)[:MOST_LISTED])
    return f"{listed}, …" if len(names) > MOST_LISTED else listed


def _is_part(secret: str, text: str) -> bool:
    return len(secret) >= SHORTEST_KEY and secret in text


def _json(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False)
