"""Limits, and where each stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Hard limits; None is no limit, 0 is nothing at all. Time in seconds, cost in US dollars."""

    max_executions: int | None = None
    max_total_tokens: int | None = None
    max_total_time: float | None = None
    max_total_cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """Where one limit of one level stands: `level` is "session" or "run", `name` a field of Quota; limit None: none."""

    level: str
    name: str
    limit: float | None
    used: float
    reserved: float

    @property
    def remaining(self) -> float | None:
        return None if self.limit is None else max(0, self.limit - self.used - self.reserved)
