"""What looks like the key of an account; this file alone knows such names and forms, so that none is shown or sent."""

import re

SHORTEST_KEY = 8
"""A shorter one, such as the "none" that some local servers take, is in many a text by chance."""

_NAME = (
    r"(?:[\w-]{0,40}(?:api|access|auth|secret)[_-]?(?:key|token)|key|token|authorization|credentials?|password|secret)"
)
_NAMED = re.compile(_NAME, re.IGNORECASE)
_LINE = re.compile(rf"(?<![\w-])({_NAME}[\"']?\s*[:=]\s*)(.+)", re.IGNORECASE)
_VALUE = re.compile(
    r"(?<![\w-])(?:"
    r"(?:sk|gsk|xai|pplx|hf|ghp|gho|ghs|glpat|github_pat)[-_](?=[\w-]*\d)[\w-]{16,}"
    r"|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}|Bearer\s+(?=[\w.~+/-]*\d)[\w.~+/-]{16,})"
)


def names_a_key(name: str) -> bool:
    return _NAMED.fullmatch(name.strip()) is not None


def holds_a_key(text: str) -> bool:
    return _VALUE.search(text) is not None


def masked(line: str) -> str:
    """The line with stars for what may be a key; everything else keeps its column."""
    line = _LINE.sub(lambda found: found[1] + "*" * len(found[2]), line)
    return _VALUE.sub(lambda found: "*" * len(found[0]), line)


def shown(value: str | float, width: int = 40) -> str:
    """A value for an error message: escaped, masked, cut to `width` characters."""
    if isinstance(value, str):
        value = masked(value[: 2 * width])
    text = repr(value)
    return text if len(text) <= width else text[: width - 2] + "…" + text[-1]
