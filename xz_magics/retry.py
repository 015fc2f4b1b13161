"""Whether a failed model call may be tried again, and when: pure functions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from xz_magics.errors import ProviderError

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
LONGEST_WAIT_S = 60.0
RETRIED = frozenset({"network", "rate_limited", "bad_response"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """`delay_s` None: give up, and `reason` says why where the error alone does not."""

    delay_s: float | None
    reason: str = ""


def plan_retry(
    error: ProviderError, *, attempt: int, retries: int, time_left_s: float | None, random: Callable[[], float]
) -> RetryPlan:
    """What follows the failure of attempt number `attempt` (from 1); `random` gives numbers from 0 to 1.

    The server's own wish comes first; without one the delay is drawn from a range that doubles (full jitter).
    """
    if error.error_type not in RETRIED or error.should_retry is False:
        return RetryPlan(delay_s=None)
    asked_s = error.retry_after_s
    if asked_s is not None and asked_s > LONGEST_WAIT_S:
        return RetryPlan(
            delay_s=None, reason=f"the server asks to wait {asked_s:,.0f} s: longer than {LONGEST_WAIT_S:.0f} s"
        )
    if attempt > retries:
        return RetryPlan(delay_s=None, reason=f"tried {attempt} times" if attempt > 1 else "")
    delay_s = asked_s if asked_s is not None else random() * _backoff_s(attempt)
    if time_left_s is not None and delay_s >= time_left_s:
        return RetryPlan(
            delay_s=None, reason=f"the next try would be in {delay_s:.1f} s, with {max(0.0, time_left_s):.1f} s left"
        )
    return RetryPlan(delay_s=delay_s)


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """The seconds that a server asks to wait, inf included; None where it says nothing usable.

    `headers` have lower-case names or ignore case. `now` is in seconds since the epoch: `retry-after` may be a date.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and milliseconds > 0:
        return milliseconds / 1000
    written = headers.get("retry-after")
    wait_s = _number(written)
    if wait_s is None and written is not None:
        wait_s = _seconds_until(written, now)
    return wait_s if wait_s is not None and wait_s > 0 else None


def _backoff_s(attempt: int) -> float:
    return LONGEST_DELAY_S if attempt > 10 else min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempt - 1))


def _number(written: str | None) -> float | None:
    try:
        number = float(written or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _seconds_until(written: str, now: float) -> float | None:
    try:
        date = parsedate_to_datetime(written)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
