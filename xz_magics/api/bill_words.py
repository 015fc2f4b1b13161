"""How bills and what limits make of them are worded."""

from collections.abc import Sequence

from xz_magics.bills import Bill, Sum, standings
from xz_magics.records import LimitUse
from xz_magics.views.wording import dollars_words, seconds_words, tasks_words


def most_words(total: Sum, times: int) -> str:
    """Such as "1,204 tokens, $0.40 + unpriced", so many times over."""
    return f"{tokens_words(total.tokens and total.tokens * times)}, {cost_words(total, times)}"


def calls_words(calls: int) -> str:
    return f"{calls:,} call{'' if calls == 1 else 's'}"


def tokens_words(tokens: int | None) -> str:
    return "tokens without bound" if tokens is None else f"{tokens:,} tokens"


def cost_words(total: Sum, times: int) -> str:
    """What is unknown is said beside what is known."""
    unknown = [
        *(["cost without bound"] if total.unbounded_cost else []),
        *(["unpriced"] if total.unpriced else []),
    ]
    known = float(total.cost_usd or 0) * times
    return " + ".join([price_words(known), *unknown] if known or not unknown else unknown)


def price_words(usd: float) -> str:
    return dollars_words(usd) if usd else "free"


def limit_words(use: LimitUse, bills: Sequence[Bill]) -> str:
    """For how many of the tasks a limit lasts, and how many it never lets start."""
    limit, tasks = f"the {use.level}'s limit of {_amount(use)}", tasks_words(len(bills))
    if use.name == "max_total_time":
        return f"{limit} ends what runs then"
    found = standings(bills, use)
    sure, never = found.count("sure"), found.count("never")
    if use.name == "max_executions":
        return f"{limit} lets {sure:,} of {tasks} start"
    more = ", for more where they use less" if sure + never < len(bills) else ""
    return f"{limit} lasts for {sure:,} of {tasks} at their most{more}" + (
        f"; {never:,} can never start" if never else ""
    )


def _amount(use: LimitUse) -> str:
    limit = use.limit or 0
    match use.name:
        case "max_total_cost":
            return dollars_words(limit)
        case "max_total_time":
            return seconds_words(limit)
    noun = "token" if use.name == "max_total_tokens" else "subagent"
    return f"{limit:,.0f} {noun}{'' if limit == 1 else 's'}"
