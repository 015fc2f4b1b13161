"""Reads what a server says of its rate limits in the headers of an answer: how much is left, and when it is back."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LONGEST_WAIT_S = 60.0
"""No server is waited for longer, whatever it asks."""

LONGEST_RESET_S = 24 * 3600.0
LARGEST_LIMIT = 1e12
UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[dhms]))+")
PART = re.compile(r"([0-9.]+)(ms|[dhms])")

Kind = Literal["requests", "tokens"]
PREFIXES: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "requests": (("x-ratelimit-{}-requests",), ("anthropic-ratelimit-requests-{}",)),
    "tokens": (
        ("x-ratelimit-{}-tokens",),
        ("anthropic-ratelimit-tokens-{}",),
        ("anthropic-ratelimit-input-tokens-{}", "anthropic-ratelimit-output-tokens-{}"),
    ),
}
"""For each kind the groups of names in which servers write of it; the first group that says something counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Of `limit` in all `remaining` are left; all are there again in `reset_s` seconds."""

    limit: float
    remaining: float
    reset_s: float


def read_allowances(headers: Mapping[str, str], *, now: float) -> dict[Kind, Allowance]:
    """What the headers, with lower-case names, say; nonsense is left out. `now` is in seconds since the epoch."""
    found: dict[Kind, Allowance] = {}
    for kind, groups in PREFIXES.items():
        for group in groups:
            said = [one for form in group if (one := _allowance(headers, form, now))]
            if said:
                found[kind] = min(said, key=lambda one: one.remaining / one.limit)
                break
    return found


def longest_reset_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """When all that the headers speak of is there again, in seconds from now; None where they say nothing usable."""
    forms = [form for groups in PREFIXES.values() for group in groups for form in group]
    resets_s = [parse_reset(headers.get(form.format("reset")), now=now) for form in forms]
    return max((reset_s for reset_s in resets_s if reset_s), default=None)


def parse_reset(written: str | None, *, now: float) -> float | None:
    """Seconds from now of "1m30s", "500ms", "6s", "12.5" (seconds) or an RFC 3339 time; 0 is past, None is nonsense."""
    text = (written or "").strip()
    reset_s = _duration_s(text)
    if reset_s is None:
        reset_s = _number(text)
    if reset_s is None:
        reset_s = _seconds_until(text, now)
    return reset_s if reset_s is not None and 0 <= reset_s <= LONGEST_RESET_S else None


def _allowance(headers: Mapping[str, str], form: str, now: float) -> Allowance | None:
    limit, remaining = (_number(headers.get(form.format(part), "")) for part in ("limit", "remaining"))
    reset_s = parse_reset(headers.get(form.format("reset")), now=now)
    if limit is None or remaining is None or reset_s is None:
        return None
    if not (1 <= limit <= LARGEST_LIMIT and 0 <= remaining <= limit):
        return None
    return Allowance(limit=limit, remaining=remaining, reset_s=reset_s)


def _duration_s(text: str) -> float | None:
    if not DURATION.fullmatch(text):
        return None
    return sum(float(number) * UNITS_S[unit] for number, unit in PART.findall(text))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(text: str, now: float) -> float | None:
    try:
        time = datetime.fromisoformat(text)
        left_s = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return max(0.0, left_s)
