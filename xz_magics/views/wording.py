"""How statuses, numbers, limits and a model's text are worded and marked: the same in every view."""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from xz_magics.records import STATUSES, LimitUse, Outcome, Status, known_sum

SIGNS: Mapping[Status, str] = {
    "done": "✓",
    "incomplete": "◐",
    "refused": "⊘",
    "failed": "✗",
    "timed_out": "◷",
    "cancelled": "■",
    "skipped": "○",
}

COLOURS: Mapping[Status, str] = {
    "done": "#009E73",
    "incomplete": "#E69F00",
    "refused": "#CC79A7",
    "failed": "#D55E00",
    "timed_out": "#0072B2",
    "cancelled": "#56B4E9",
    "skipped": "#8C8C8C",
}
"""Told apart by colour-blind eyes too: the palette of Okabe and Ito (jfly.uni-koeln.de/color), and a grey."""

LIMIT_NOUNS = {
    "max_executions": "executions",
    "max_total_tokens": "tokens",
    "max_total_time": "time",
    "max_total_cost": "cost",
}

KEPT = frozenset("\n\t\u200c\u200d")
"""What `harmless` lets through though it is invisible: the joiners are a part of Persian, Hindi and emoji."""


def harmless(text: str) -> str:
    """Model text whose control, invisible and direction-changing characters are shown as escapes.

    No terminal sequence, no reversed text, no hidden tag character and no lone surrogate is left.
    """
    text = text.replace("\r\n", "\n")
    return "".join(char if char in KEPT or not _is_harmful(char) else _escape(char) for char in text)


def status_word(status: Status) -> str:
    return status.replace("_", " ")


def status_words(outcome: Outcome) -> str:
    """The status, and why it is that one where the status alone does not say."""
    if outcome.error_type in {None, "refused", "timeout", "cancelled"}:
        return status_word(outcome.status)
    return f"{status_word(outcome.status)}: {str(outcome.error_type).replace('_', ' ')}"


def status_counts(outcomes: Sequence[Outcome]) -> dict[Status, int]:
    """How many ended in each status that occurs."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in STATUSES if counts[status]}


def tasks_words(number: int) -> str:
    return f"{number:,} task{'' if number == 1 else 's'}"


def totals_words(outcomes: Sequence[Outcome], duration_s: float | None) -> list[str]:
    """Tokens and cost of all where something was sent, and the time where the run has ended."""
    time = [] if duration_s is None else [seconds_words(duration_s)]
    turns = [turn for outcome in outcomes for turn in outcome.turns]
    if not turns:
        return time
    tokens = tokens_words(
        known_sum(turn.total_tokens for turn in turns), estimated=any(turn.estimated for turn in turns)
    )
    costs = [turn.cost_usd for turn in turns]
    known = known_sum(costs)
    cost = cost_words(known)
    if known is not None and None in costs:
        cost += " + unpriced"
    return [f"{tokens} tokens", cost, *time]


def tokens_words(tokens: int | None, *, estimated: bool) -> str:
    if tokens is None:
        return "unknown"
    return f"≈ {tokens:,}" if estimated else f"{tokens:,}"


def outcome_tokens(outcome: Outcome) -> str:
    """Empty where nothing was sent."""
    return tokens_words(outcome.total_tokens, estimated=outcome.estimated) if outcome.turns else ""


def outcome_cost(outcome: Outcome) -> str:
    """Empty where nothing was sent."""
    return cost_words(outcome.cost_usd) if outcome.turns else ""


def outcome_seconds(outcome: Outcome) -> str:
    """Empty where nothing was sent."""
    return "" if outcome.duration_s is None else seconds_words(outcome.duration_s)


def cost_words(cost_usd: float | None) -> str:
    if cost_usd is None:
        return "unpriced"
    return dollars_words(cost_usd) if cost_usd else "free"


def dollars_words(usd: float) -> str:
    if 0 < usd < 0.0001:
        return "< $0.0001"
    return f"${usd:,.4f}" if 0 < usd < 1 else f"${usd:,.2f}"


def seconds_words(seconds: float) -> str:
    if seconds < 60 or not math.isfinite(seconds):
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"


def limit_name(use: LimitUse) -> str:
    """Such as "run tokens"."""
    return f"{use.level} {LIMIT_NOUNS.get(use.name, use.name)}"


def limit_words(use: LimitUse) -> str:
    """Such as "8,204 of 10,000 used, 400 reserved, 1,396 left"."""
    used = _amount(use.name, use.used)
    reserved = f", {_amount(use.name, use.reserved)} reserved" if use.reserved else ""
    if use.limit is None or use.remaining is None:
        return f"{used} used{reserved}, no limit"
    return f"{used} of {_amount(use.name, use.limit)} used{reserved}, {_amount(use.name, use.remaining)} left"


def limit_shares(use: LimitUse) -> tuple[float, float] | None:
    """The used and the reserved part of a limit, 0 to 1 together; None where there is no limit."""
    if use.limit is None:
        return None
    if not use.limit:
        return 1.0, 0.0
    used = min(1.0, use.used / use.limit)
    return used, min(1.0 - used, use.reserved / use.limit)


def _is_harmful(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _amount(limit: str, number: float) -> str:
    match limit:
        case "max_total_time":
            return seconds_words(number)
        case "max_total_cost":
            return dollars_words(number)
        case _:
            return f"{number:,.0f}"
