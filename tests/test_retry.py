"""Whether a failed call is tried again, and when."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import ProviderError
from xz_magics.records import ERROR_TYPES
from xz_magics.retry import RETRIED, parse_retry_after, plan_retry

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)


def failure(error_type="network", *, retry_after_s=None, should_retry=None):
    return ProviderError("it failed", "", error_type, "nothing", None, retry_after_s, should_retry)


def plan(error, *, attempt=1, retries=2, time_left_s=None, random=lambda: 1.0):
    return plan_retry(error, attempt=attempt, retries=retries, time_left_s=time_left_s, random=random)


def parsed(**headers):
    return parse_retry_after({name.replace("_", "-"): value for name, value in headers.items()}, now=NOW.timestamp())


@pytest.mark.parametrize("error_type", sorted(set(ERROR_TYPES) - RETRIED))
def test_what_another_try_cannot_mend_is_not_tried_again(error_type):
    assert plan(failure(error_type)).delay_s is None


@pytest.mark.parametrize("error_type", sorted(RETRIED))
def test_trouble_that_may_pass_is_tried_again_as_often_as_allowed(error_type):
    delays = [plan(failure(error_type), attempt=attempt).delay_s for attempt in (1, 2, 3)]

    assert delays == [0.5, 1.0, None]
    assert plan(failure(error_type), retries=0).delay_s is None


def test_the_range_of_the_delay_doubles_up_to_eight_seconds_with_full_jitter():
    longest = [plan(failure(), attempt=attempt, retries=5000).delay_s for attempt in (1, 2, 3, 4, 5, 6, 4999)]
    shortest = [plan(failure(), attempt=attempt, retries=9, random=lambda: 0.0).delay_s for attempt in (1, 6)]

    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert shortest == [0.0, 0.0]


def test_the_server_s_word_on_retrying_is_obeyed_but_never_against_a_certain_failure():
    assert plan(failure("rate_limited", should_retry=False)).delay_s is None
    assert plan(failure("network", should_retry=True)).delay_s == 0.5
    assert plan(failure("bad_request", should_retry=True)).delay_s is None
    assert plan(failure("auth", should_retry=True)).delay_s is None


def test_the_server_s_delay_is_kept_exactly_up_to_a_minute_and_a_longer_one_fails_at_once():
    assert plan(failure("rate_limited", retry_after_s=20.5)).delay_s == 20.5
    assert plan(failure("rate_limited", retry_after_s=60.0)).delay_s == 60.0

    for asked_s in (60.1, 300.0, float("inf")):
        given_up = plan(failure("rate_limited", retry_after_s=asked_s))
        assert given_up.delay_s is None
        assert "longer than 60 s" in given_up.reason
    assert "300 s" in plan(failure("rate_limited", retry_after_s=300.0)).reason


def test_no_try_is_planned_past_the_time_left():
    assert plan(failure(retry_after_s=5.0), time_left_s=5.1).delay_s == 5.0

    given_up = plan(failure(retry_after_s=5.0), time_left_s=5.0)

    assert given_up.delay_s is None
    assert "5.0 s left" in given_up.reason
    assert plan(failure(), time_left_s=-1.0, random=lambda: 0.0).delay_s is None


@pytest.mark.parametrize(
    ("written", "wait_s"),
    [
        ("20.5", 20.5),
        ("61", 61.0),
        ("300", 300.0),
        ("inf", float("inf")),
        ("1e35", 1e35),
        ("0", None),
        ("-10", None),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("-inf", None),
        (format_datetime(NOW + timedelta(seconds=12), usegmt=True), 12.0),
        (format_datetime(NOW - timedelta(days=2), usegmt=True), None),
        ("Tue, 03 Nov 2026 12:00:30 -0000", 30.0),
        ("Tue, 03 Nov 2026 14:00:30 +0200", 30.0),
        ("Fri, 01 Jan 100000 00:00:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None),
        ("Tue, 03 Nov 2026 25:61:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_nothing(written, wait_s):
    assert parsed(retry_after=written) == wait_s


def test_milliseconds_come_first_where_they_are_usable():
    assert parsed(retry_after_ms="1500", retry_after="7") == 1.5
    assert parsed(retry_after_ms="nan", retry_after="7") == 7.0
    assert parsed(retry_after_ms="-1", retry_after="7") == 7.0
    assert parsed() is None


@given(st.text(), st.text())
def test_no_header_whatever_raises(milliseconds, seconds):
    wait_s = parsed(retry_after_ms=milliseconds, retry_after=seconds)

    assert wait_s is None or wait_s > 0


@given(
    st.text("MonTueJanFebGMTUTC+-:, 0123456789", max_size=40)
    | st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,3} (Jan|Feb|Dec) \d{1,6} \d{1,3}:\d{1,3}:\d{1,3} [-+]?\w{1,6}", fullmatch=True
    )
)
def test_no_date_whatever_raises(written):
    wait_s = parsed(retry_after=written)

    assert wait_s is None or wait_s > 0
