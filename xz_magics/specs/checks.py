"""What a field may hold: a check takes a node and the field's name in backticks, and gives the value or SpecError."""

import math
from collections.abc import Callable
from typing import Any

from xz_magics.keys import holds_a_key, names_a_key, shown
from xz_magics.specs.nodes import Given, Node, Place, named

Check = Callable[[Node, str], Any]

LARGEST = 2**53  # up to here a float tells all whole numbers apart
OWN_PARAMS = frozenset({  # what we set ourselves, by all its names, and what would break the reservation or the price
    "model", "messages", "input", "prompt", "system", "stream", "stream_options",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n_predict", "num_predict",
    "n", "best_of", "candidate_count", "service_tier", "web_search_options",
    "temperature", "top_p", "seed", "stop", "stop_sequences",
    "tools", "tool_choice", "functions", "function_call",
})  # fmt: skip
_KEY_MEND = "take it out: keys come from the environment, such as OPENAI_API_KEY"


def text(node: Node, name: str) -> str:
    """A text that is not empty, nor cut off by a comment."""
    if node.text is None and node.value is not None:
        nested = isinstance(node.value, dict | list)
        mend = "quote it, or write it as a block after `|`" if nested else "put it in quotes"
        raise node.error(f"{name} must be text, not {node}", mend)
    if node.value is None or not node.text or not node.text.strip():
        raise node.error(f"{name} is empty", 'write its text, or take it out; "null" as a text needs quotes')
    if node.comment is not None:
        raise node.comment.error(
            f"this `#` begins a comment, so {name} would lose what follows",
            "quote the whole text, or take the comment out",
        )
    return node.text


def line(most: int) -> Check:
    """One line of at most `most` visible characters; spaces around it are dropped."""

    def check(node: Node, name: str) -> str:
        value = text(node, name).strip(" ")
        _refuse_invisible(value, node.place, name)
        _refuse_key(node, name)
        if len(value) > most:
            raise node.error(f"{name} is {len(value):,} characters long", f"at most {most} are allowed")
        return value

    return check


def labels(node: Node, name: str) -> tuple[str, ...]:
    """A label or a list of labels, each once."""
    items = node.value if isinstance(node.value, list) else [node]
    return tuple(dict.fromkeys(line(80)(item, f"a label in {name}") for item in items))


def grants(node: Node, name: str) -> tuple[str, ...]:
    """A tool's name or a list of them, each perhaps with words: `name(word, …)`."""
    items = node.value if isinstance(node.value, list) else [node]
    found = [line(1000)(item, f"a name in {name}") for item in items]
    for item, grant in zip(items, found, strict=True):
        if grant.count("(") != grant.count(")"):  # a list in brackets is split at every comma
            raise item.error(f"{shown(grant)} lacks a bracket", 'quote a grant that holds commas: ["name(one, two)"]')
    return tuple(found)


def texts(node: Node, name: str) -> tuple[str, ...]:
    """A text or a list of texts; each may be white space, such as a line break."""
    found = []
    for item in node.value if isinstance(node.value, list) else [node]:
        _refuse_key(item, name)
        found.append(item.text if item.text and not item.comment else text(item, name))
    return tuple(found)


def number(low: float, high: float = LARGEST, *, above: bool = False, what: str = "a number") -> Check:
    """From `low` to `high`; `above`: more than `low`. True and "10" are no numbers, and -0 is negative."""

    def check(node: Node, name: str) -> float:
        return float(_in_range(node, name, low=low, high=high, above=above, what=what))

    return check


def whole(low: int, high: int = LARGEST) -> Check:
    """A whole number from `low` to `high`; 1e5 is one, too."""

    def check(node: Node, name: str) -> int:
        value = _in_range(node, name, low=low, high=high, above=False, what="a whole number")
        if value != int(value):
            raise node.error(f"{name} must be a whole number, not {node}", "leave the fraction out")
        return int(value)

    return check


def flag(node: Node, name: str) -> bool:
    if not isinstance(node.value, bool):
        raise node.error(f"{name} must be true or false, not {node}", "write true or false, without quotes")
    return node.value


def params(node: Node, name: str) -> dict[str, Any]:
    """JSON-like values that are passed through to the provider, without those that we set ourselves."""
    if not isinstance(node.value, dict):
        raise node.error(f"{name} must be a mapping, not {node}", "for example params: {top_k: 40}")
    for key, item in node.value.items():
        if key in OWN_PARAMS:
            raise item.start.error(
                f"{named(key)} may not stand in {name}",
                "form, size and price of a call are not passed through; max_tokens, stop, … are fields of the task",
            )
    return {key: _json_like(item, key) for key, item in node.value.items()}


def plain(node: Node, name: str) -> Any:
    """What JSON can hold: text, a finite number, true, false, null, and lists and mappings of these."""
    match node.value:
        case dict() as entries:
            return {key: plain(item, name) for key, item in entries.items()}
        case list() as items:
            return [plain(item, name) for item in items]
        case str() if node.comment is not None:
            return text(node, name)
        case float() as value if not math.isfinite(value):
            raise node.error(f"{name} must be finite, not {node}", "write a number that JSON can hold")
        case Given():
            raise node.error(f"{name} must be text or a number, not {node}", "make a str of it")
    return node.value


def untouched(node: Node, name: str) -> Node:  # noqa: ARG001 - all checks are called alike
    return node


def refuse_key_name(name: str, place: Place) -> None:
    if names_a_key(name):
        raise place.error(f"{named(name)} looks like a field for a key", _KEY_MEND)


def _refuse_invisible(value: str, place: Place, name: str) -> None:
    for char in value:
        if not char.isprintable():
            raise place.error(
                f"{name} holds U+{ord(char):04X}, which is no visible character",
                "use ordinary spaces, for indenting too" if char.isspace() else "take it out",
            )


def _refuse_key(node: Node, name: str) -> None:
    if node.text is not None and holds_a_key(node.text):
        raise node.error(f"{name} holds what looks like a key", _KEY_MEND)


def _in_range(node: Node, name: str, *, low: float, high: float, above: bool, what: str) -> float:
    value = node.value
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high
        or (above and value == low)
        or (value == 0 and math.copysign(1, value) < 0)
    ):
        top = "2**53" if high == LARGEST else high
        span = f"above {low}, up to {top}" if above else f"from {low} to {top}"
        plain = "write a plain number: no quotes, units, colons or underscores"
        mend = plain if isinstance(value, str) else "write a number in that range, or leave the field out"
        raise node.error(f"{name} must be {what} {span}, not {node}", mend)
    return value


def _json_like(node: Node, name: str) -> Any:
    if node.key is not None:
        refuse_key_name(name, node.key)
    if isinstance(node.value, dict):
        return {key: _json_like(item, key) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_json_like(item, name) for item in node.value]
    _refuse_key(node, named(name))
    if isinstance(node.value, float) and not math.isfinite(node.value):
        raise node.error(f"{named(name)} must be finite, not {node}", "write a number that JSON can hold")
    return node.value
