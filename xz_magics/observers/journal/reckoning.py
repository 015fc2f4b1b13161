"""Limits and use as the ledger keeps them: it alone knows that dollars are whole billionths there."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from xz_magics.quotas import Amounts
from xz_magics.quotas.level import COUNTED
from xz_magics.records import Quota

NANO = Decimal(10**9)
"""Sums of whole billionths are exact."""

MOST = 2**60


def kept_limits(quota: Quota | None) -> tuple[int | None, ...]:
    """Rounded down; None: no limit."""
    most = {name: None if quota is None else getattr(quota, name) for name in COUNTED}
    return tuple(None if one is None else _whole(one, name, ROUND_FLOOR) for name, one in most.items())


def kept_amounts(amounts: Amounts) -> tuple[int, ...]:
    """Rounded up."""
    whole: tuple[float | Decimal, ...] = amounts
    return tuple(_whole(one, name, ROUND_CEILING) for name, one in zip(COUNTED, whole, strict=True))


def amounts_of(kept: tuple[int, ...]) -> Amounts:
    executions, tokens, cost = kept
    return Amounts(executions, tokens, cost / NANO)


def _whole(amount: float | Decimal, name: str, rounding: str) -> int:
    if name == "max_total_cost":
        amount = (Decimal(str(amount)) * NANO).to_integral_value(rounding)
    return min(int(amount), MOST)
