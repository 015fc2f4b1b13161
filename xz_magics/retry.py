"""Whether a failed model call may be tried again, and when: pure functions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from xz_magics.errors import ProviderError
from xz_magics.ratelimits import LONGEST_WAIT_S, longest_reset_s

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
NEVER_RETRIED = frozenset({400, 404, 413, 422})
RETRIED = frozenset({"network", "rate_limited", "bad_response"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """`delay_s` None: give up, and `reason` says why where the error alone does not."""

    delay_s: float | None
    reason: str = ""


def plan_retry(
    error: ProviderError,
    *,
    attempt: int,
    retries: int,
    time_left_s: float | None,
    random: Callable[[], float],
    pause_s: float | None = None,
) -> RetryPlan:
    """What follows the failure of attempt number `attempt` (from 1); `random` gives numbers from 0 to 1.

    After a 429 the whole account waits `pause_s`, and this call with it. Else the server's own wish comes first;
    without one the delay is drawn from a range that doubles (full jitter).
    """
    may_be = error.error_type == "bad_request" and error.status not in {None, *NEVER_RETRIED}
    if error.should_retry is False or not (error.error_type in RETRIED or (may_be and error.should_retry)):
        return RetryPlan(delay_s=None)
    asked_s = error.retry_after_s
    if asked_s is not None and asked_s > LONGEST_WAIT_S:
        return RetryPlan(
            delay_s=None, reason=f"the server asks to wait {asked_s:,.0f} s: longer than {LONGEST_WAIT_S:.0f} s"
        )
    if attempt > retries:
        return RetryPlan(delay_s=None, reason=f"tried {attempt} times" if attempt > 1 else "")
    delay_s = pause_s if pause_s is not None else asked_s
    if delay_s is None:
        delay_s = random() * _backoff_s(attempt)
    if time_left_s is not None and delay_s >= time_left_s:
        return RetryPlan(
            delay_s=None, reason=f"the next try would be in {delay_s:.1f} s, with {max(0.0, time_left_s):.1f} s left"
        )
    return RetryPlan(delay_s=delay_s)


def parse_retry_after(headers: Mapping[str, str], *, now: float, status: int | None = None) -> float | None:
    """The seconds that a server asks to wait, inf included; None where it says nothing usable.

    `headers` have lower-case names or ignore case. `now` is in seconds since the epoch: `retry-after` may be a date.
    A 429 without a word on retrying may tell when its limits are reset; they fill up before that, so no such time is
    too long to wait.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and milliseconds > 0:
        return milliseconds / 1000
    written = headers.get("retry-after")
    wait_s = _number(written)
    if wait_s is None and written is not None:
        wait_s = _seconds_until(written, now)
    if wait_s is None and status == 429 and (reset_s := longest_reset_s(headers, now=now)) is not None:
        wait_s = min(reset_s, LONGEST_WAIT_S)
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
