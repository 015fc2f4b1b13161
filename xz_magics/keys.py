"""What looks like the key of an account; this file alone knows such names and forms, so that none is shown or sent."""

import re

SHORTEST_KEY = 8
"""A shorter one, such as the "none" that some local servers take, is in many a text by chance."""

_NAME = (
    r"(?:[\w-]{0,40}(?:api|access|auth|secret)[_-]?(?:key|token)|key|token|authorization|credentials?|password|secret)"
)
_NAMED = re.compile(_NAME, re.IGNORECASE)
_LINE = re.compile(rf"(?<![\w-])({_NAME}[\"']?\s*[:=]\s*)(.+)", re.IGNORECASE)
_PREFIXES = ("sk", "gsk", "xai", "pplx", "hf", "ghp", "gho", "ghs", "glpat", "github_pat")
_VALUE = re.compile(
    r"(?<![\w-])(?:"
    rf"(?:{'|'.join(_PREFIXES)})[-_](?=[\w-]*\d)[\w-]{{16,}}"
    r"|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}|Bearer\s+(?=[\w.~+/-]*\d)[\w.~+/-]{16,})"
)

_LAST = "".join(sorted({prefix[-1] for prefix in _PREFIXES}))
_MARKED = tuple(
    re.compile(
        rf"{mark}(?<=[{_LAST}]{mark})(?:{'|'.join(f'(?<={prefix}{mark})' for prefix in _PREFIXES)})(?=[\w\\-]{{16}})"
    ).search
    for mark in "-_"
)
"""They look for the mark first, which is found fast; a backslash may stand for any character of the rest."""


def names_a_key(name: str) -> bool:
    return _NAMED.fullmatch(name.strip()) is not None


def holds_a_key(text: str) -> bool:
    return _VALUE.search(text) is not None


def masked(line: str) -> str:
    """The line with stars for what may be a key; everything else keeps its column."""
    line = _LINE.sub(lambda found: found[1] + "*" * len(found[2]), line)
    return _VALUE.sub(lambda found: "*" * len(found[0]), line)


def may_hold_a_key(text: str) -> bool:
    """A quick look, which also finds one in text that is escaped, as in JSON; it does not take `task-1` for one."""
    for marked in _MARKED:
        if marked(text):
            return True
    return "AIza" in text or "AKIA" in text or "Bearer" in text


def without_keys(text: str) -> str:
    """The text with stars for each key, of its length: what stands around it, and where, stays as it is."""
    return _VALUE.sub(lambda found: "*" * len(found[0]), text)


def shown(value: str | float, width: int = 40) -> str:
    """A value for an error message: escaped, masked, cut to `width` characters."""
    if isinstance(value, str):
        value = masked(value[: 2 * width])
    text = repr(value)
    return text if len(text) <= width else text[: width - 2] + "…" + text[-1]
