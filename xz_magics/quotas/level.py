"""One level of limits and what stands against them: plain arithmetic, no lock and no waiting."""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from xz_magics.errors import QuotaExceeded, SpecError
from xz_magics.records import LimitUse, Quota


class Amounts(NamedTuple):
    """What a reservation holds and what a level has used: subagents, tokens, dollars."""

    executions: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, other: "Amounts") -> "Amounts":
        return Amounts(self.executions + other.executions, self.tokens + other.tokens, self.cost + other.cost)

    def minus(self, other: "Amounts") -> "Amounts":
        return Amounts(self.executions - other.executions, self.tokens - other.tokens, self.cost - other.cost)

    def limits(self) -> tuple[str, ...]:
        """The limits that it counts against."""
        return tuple(name for name, amount in zip(COUNTED, self, strict=True) if amount)


NOTHING = Amounts()
BILLIONTH = Decimal("1e-9")
COUNTED = ("max_executions", "max_total_tokens", "max_total_cost")
LIMITS = tuple(field.name for field in fields(Quota))
UNITS = dict(zip((*COUNTED, "max_total_time"), ("subagents", "tokens", "USD", "s"), strict=True))
PREFIXES = {"day": "daily_", "week": "weekly_"}
MENDS = {"max_total_tokens": ", or lower max_tokens", "max_total_cost": ", or take a cheaper model"}


class Level:
    """The session's limits, a run's, a nested run's. Whoever changes it holds the lock."""

    def __init__(self, name: str, quota: Quota, clock: Callable[[], float]) -> None:
        self.name = name
        self.quota = quota
        self.used = NOTHING
        self.reserved = NOTHING
        self.end = ""
        """In words, when what is used counts no more; empty: that does not come of itself."""
        self._clock = clock
        self._spent_s = 0.0
        self._entered = 0
        self._entered_at = 0.0

    def over(self, need: Amounts) -> list[str]:
        """The limits that the need would pass now."""
        return self._over(need, self.reserved)

    def refusal(self, need: Amounts) -> QuotaExceeded | None:
        """The error, if the need cannot fit even when every reservation comes back."""
        for name in self._over(need, NOTHING):
            at = COUNTED.index(name)
            waiting_helps = need[at] <= _exact(getattr(self.quota, name))
            more = f"; this needs up to {_plain(need[at])} more"
            return self._exceeded(name, self.used[at], more, self.end if waiting_helps else "")
        return self.out_of_time()

    def out_of_time(self) -> QuotaExceeded | None:
        limit = self.quota.max_total_time
        return None if limit is None or self.time_used_s < limit else self._exceeded("max_total_time", self.time_used_s)

    @property
    def time_used_s(self) -> float:
        return self._spent_s + (self._clock() - self._entered_at if self._entered else 0.0)

    def count_time(self, step: int) -> None:
        """Time runs while the number of entrants is above 0: +1 enters, -1 leaves."""
        self._spent_s = self.time_used_s
        self._entered += step
        self._entered_at = self._clock()

    def reset(self) -> None:
        self.used = NOTHING
        self._spent_s = 0.0
        self._entered_at = self._clock()

    def limits(self, names: Iterable[str] = LIMITS) -> list[str]:
        """Those of these that are set."""
        return [name for name in names if getattr(self.quota, name) is not None]

    def uses(self, names: Iterable[str] = LIMITS) -> list[LimitUse]:
        """A row for each of these limits."""
        return [self._use(name) for name in names]

    def _use(self, name: str) -> LimitUse:
        used, reserved = self.time_used_s, 0.0
        if name in COUNTED:
            at = COUNTED.index(name)
            used, reserved = float(self.used[at]), float(self.reserved[at])
        return LimitUse(level=self.name, name=name, limit=getattr(self.quota, name), used=used, reserved=reserved)

    def _over(self, need: Amounts, held: Amounts) -> list[str]:
        """What is needed of a limit's kind counts against it, and nothing else."""
        quota, used = self.quota, self.used
        executions, tokens, cost = need
        over = []
        most = quota.max_executions
        if executions and most is not None and used.executions + held.executions + executions > most:
            over.append("max_executions")
        most = quota.max_total_tokens
        if tokens and most is not None and used.tokens + held.tokens + tokens > most:
            over.append("max_total_tokens")
        usd = quota.max_total_cost
        if cost and usd is not None and used.cost + held.cost + cost > _exact(usd):
            over.append("max_total_cost")
        return over

    def _exceeded(self, name: str, used: float | Decimal, need: str = "", end: str = "") -> QuotaExceeded:
        limit = _plain(getattr(self.quota, name))
        message = f"{name} of the {self.name} is {limit} {UNITS[name]}, and {_plain(used)} are used{need}"
        hint = f"raise {setting_of(self.name, name)}{MENDS.get(name, '')}"
        return QuotaExceeded(message, f"{hint}; {end}" if end else hint, name)


def setting_of(level: str, limit: str) -> str:
    """What a limit is called where it is set, such as daily_max_cost."""
    return f"{PREFIXES[level]}{limit.replace('total_', '')}" if level in PREFIXES else limit


def check_quota(quota: Quota) -> None:
    """Raises SpecError for a limit that is negative, not finite, or not a whole number where it must be one."""
    for limit in fields(Quota):
        value = getattr(quota, limit.name)
        if value is None:
            continue
        whole = limit.name in {"max_executions", "max_total_tokens"}
        fine = not isinstance(value, bool) and isinstance(value, int if whole else (int, float))
        if not fine or not math.isfinite(value) or not 0 <= value <= 2**53:
            kind = "a whole number" if whole else "a number"
            raise SpecError(f"{limit.name} is {value!r}", f"give {kind} from 0 up, or leave it out for no limit")


def in_billionths(quota: Quota) -> Quota:
    """With its dollars rounded down to what a ledger can keep: nobody waits for room that is none there."""
    usd = quota.max_total_cost
    if usd is None:
        return quota
    return replace(quota, max_total_cost=float(Decimal(str(usd)).quantize(BILLIONTH, ROUND_FLOOR)))


def _exact(limit: float) -> Decimal | int:
    """A limit as the number that was written: 0.1 is a tenth."""
    return limit if isinstance(limit, int) else Decimal(str(limit))


def _plain(number: float | Decimal) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{float(number):,.6g}"
