"""How statuses, numbers, limits and a model's text are worded and marked: the same in every view."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from xz_magics.records import STATUSES, LimitUse, Outcome, Purpose, Status, known_sum

SIGNS: Mapping[Status, str] = {
    "done": "✓",
    "incomplete": "◐",
    "refused": "⊘",
    "failed": "✗",
    "timed_out": "◷",
    "cancelled": "■",
    "skipped": "○",
    "unknown": "?",
}

COLOURS: Mapping[Status, str] = {
    "done": "#009E73",
    "incomplete": "#E69F00",
    "refused": "#CC79A7",
    "failed": "#D55E00",
    "timed_out": "#0072B2",
    "cancelled": "#56B4E9",
    "skipped": "#8C8C8C",
    "unknown": "#B5A000",
}
"""Told apart by colour-blind eyes too: the palette of Okabe and Ito (jfly.uni-koeln.de/color), a grey, and for
what is unknown an olive of our own."""

RUN_CHARACTERS = 6
"""Of a run's id, where there is little room."""

LIMIT_NOUNS = {
    "max_executions": "executions",
    "max_total_tokens": "tokens",
    "max_total_time": "time",
    "max_total_cost": "cost",
}

NESTED_NOUNS: Mapping[Purpose, tuple[str, str]] = {
    "task": ("nested subagent", "nested subagents"),
    "judge": ("judge", "judges"),
    "combine": ("summary", "summaries"),
}

Family = tuple[Outcome, ...]
"""A task as written, then the subagents that it led to, at every depth."""

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
    """The status, and why it is that one where the status alone does not say, or whose answer it is."""
    if outcome.reused is not None:
        reused = outcome.reused
        return (
            f"{status_word(outcome.status)}: reused, {age_words(reused.age_s)} old, run {reused.run[:RUN_CHARACTERS]}"
        )
    if outcome.error_type in {None, "refused", "timeout", "cancelled"}:
        return status_word(outcome.status)
    return f"{status_word(outcome.status)}: {str(outcome.error_type).replace('_', ' ')}"


def reused_words(outcomes: Iterable[Outcome]) -> str:
    """Such as "12 of 40 answers are reused from run 3f09: used nothing here, 900 tokens ($0.40) there"; or empty."""
    told = [outcome.reused for outcome in outcomes if outcome.success]
    reused = [one for one in told if one is not None]
    if not reused:
        return ""
    runs = list(dict.fromkeys(one.run for one in reused))
    named = f"run {runs[0]}" if len(runs) == 1 else f"{len(runs):,} runs"
    costs = [one.cost_usd for one in reused]
    cost = cost_words(known_sum(costs), sent=True, unpriced=None in costs)
    answers = f"{len(reused):,} of {len(told):,} answers {'is' if len(reused) == 1 else 'are'} reused from {named}"
    tokens = known_sum(one.tokens for one in reused)
    there = "" if tokens is None else f": used nothing here, {tokens:,} tokens ({cost}) there"
    return answers + there


def left_out_words(outcomes: Iterable[Outcome]) -> str:
    """What stands beside histograms, such as "3 reused are in neither"; or empty."""
    reused = sum(outcome.reused is not None for outcome in outcomes)
    return f"{reused:,} reused {'is' if reused == 1 else 'are'} in neither" if reused else ""


def age_words(seconds: float) -> str:
    """Such as "3 h"."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:,.0f} {unit}"
    return f"{seconds:.0f} s"


def status_counts(outcomes: Sequence[Outcome]) -> dict[Status, int]:
    """How many ended in each status that occurs."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in STATUSES if counts[status]}


def families(outcomes: Sequence[Outcome]) -> list[Family]:
    """One per task, without its judges; left out are the subagents whose task has not ended.

    A parent stands before its children.
    """
    found: list[list[Outcome]] = []
    family_of: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.written:
            found.append(family := [])
        elif outcome.purpose == "task" and outcome.parent in family_of:
            family = family_of[outcome.parent]
        else:
            continue
        family.append(outcome)
        family_of[outcome.label] = family
    return [tuple(family) for family in found]


def nested_words(outcomes: Sequence[Outcome]) -> str:
    """Such as "and 12 nested subagents (11 done, 1 failed), 20 judges (20 done): see .all_df", or empty."""
    others = [outcome for outcome in outcomes if not outcome.written]
    kinds = []
    for purpose, (one, many) in NESTED_NOUNS.items():
        nested = [outcome for outcome in others if outcome.purpose == purpose]
        counts = ", ".join(f"{count:,} {status_word(status)}" for status, count in status_counts(nested).items())
        kinds += [f"{len(nested):,} {one if len(nested) == 1 else many} ({counts})"] if nested else []
    return f"and {', '.join(kinds)}: see .all_df" if kinds else ""


def number_columns(found: Sequence[Family], *, costs: bool) -> list[tuple[str, list[str]]]:
    """A head, and a cell for each task as written. Only what tells something has a column; empty: nothing was sent.

    "tools" counts tool calls; "with nested" has a number in the rows of tasks that led to subagents.
    """
    roots = [family[0] for family in found]
    calls = [sum(turn.tool_calls for turn in root.turns) for root in roots]
    nesting = any(len(family) > 1 for family in found)
    columns = [
        ("turns", [_count(len(root.turns)) for root in roots], any(len(root.turns) > 1 for root in roots)),
        ("tools", [_count(count) for count in calls], any(calls)),
        ("tokens", [spent_tokens(root) for root in roots], True),
        ("with nested", [spent_tokens(*family) if len(family) > 1 else "" for family in found], nesting),
    ]
    if costs and any(outcome.cost_usd for family in found for outcome in family):
        columns += [
            ("cost", [spent_cost(root) for root in roots], True),
            ("with nested", [spent_cost(*family) if len(family) > 1 else "" for family in found], nesting),
        ]
    columns.append(("time", [outcome_seconds(root) for root in roots], True))
    return [(head, cells) for head, cells, tells in columns if tells]


def tasks_words(number: int) -> str:
    return f"{number:,} task{'' if number == 1 else 's'}"


def totals_words(outcomes: Sequence[Outcome], duration_s: float | None) -> list[str]:
    """Tokens and cost of all where something was sent, and the time where the run has ended."""
    tokens = spent_tokens(*outcomes)
    spent = [f"{tokens} tokens", spent_cost(*outcomes)] if tokens else []
    return spent if duration_s is None else [*spent, seconds_words(duration_s)]


def spent_tokens(*outcomes: Outcome) -> str:
    """Of all together; empty where nothing was sent."""
    turns = [turn for outcome in outcomes for turn in outcome.turns]
    tokens = known_sum(turn.total_tokens for turn in turns)
    return tokens_words(tokens, sent=bool(turns), estimated=any(turn.estimated for turn in turns))


def spent_cost(*outcomes: Outcome) -> str:
    """Of all together; empty where nothing was sent."""
    costs = [turn.cost_usd for outcome in outcomes for turn in outcome.turns]
    return cost_words(known_sum(costs), sent=bool(costs), unpriced=None in costs)


def tokens_words(tokens: int | None, *, sent: bool, estimated: bool) -> str:
    if tokens is None:
        return "unknown" if sent else ""
    return f"≈ {tokens:,}" if estimated else f"{tokens:,}"


def cost_words(usd: float | None, *, sent: bool, unpriced: bool) -> str:
    if usd is None:
        return "unpriced" if sent else ""
    return (dollars_words(usd) if usd else "free") + (" + unpriced" if unpriced else "")


def outcome_seconds(outcome: Outcome) -> str:
    """Empty where nothing was sent."""
    return "" if outcome.duration_s is None else seconds_words(outcome.duration_s)


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


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


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
