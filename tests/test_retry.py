"""Whether a failed call is tried again, and when."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import ProviderError
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.failures import SPENT, Failures
from xz_magics.ratelimits import read_allowances
from xz_magics.records import ERROR_TYPES
from xz_magics.retry import RETRIED, parse_retry_after, plan_retry

LEFT = {"limit": "100", "remaining": "40", "reset": "6s"}
NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)


def failure(error_type="network", *, retry_after_s=None, should_retry=None):
    return ProviderError("it failed", "", error_type, "nothing", None, retry_after_s, should_retry)


def plan(error, *, attempt=1, retries=2, random=lambda: 1.0, time_left_s=None, pause_s=None):
    return plan_retry(error, attempt=attempt, retries=retries, time_left_s=time_left_s, random=random, pause_s=pause_s)


def parsed(status=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_retry_after(headers, now=NOW.timestamp(), status=status)


def answered(status, *, headers=None, **error):
    """What the answer of a server means that refuses with this status."""
    endpoint = Endpoint(name="test", wire="openai", base_url="http://127.0.0.1:9/v1", key_env="TEST_KEY")
    body = json.dumps({"error": {"message": "no"} | error}).encode()
    return Failures(endpoint, lambda text: text).refused(status, headers or {}, body, now=NOW.timestamp())


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 501, 502, 503, 504, 507, 520, 529, 599])
def test_answers_that_may_differ_next_time_are_tried_again(status):
    assert plan(answered(status)).delay_s == 0.5


@pytest.mark.parametrize(
    "status",
    [301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 418, 421, 422, 428, 431, 451],
)
def test_answers_that_stay_the_same_are_not(status):
    assert plan(answered(status)).delay_s is None
    assert plan(answered(status, headers={"retry-after": "1"})).delay_s is None


@pytest.mark.parametrize("word", sorted(SPENT))
@pytest.mark.parametrize("field", ["code", "type"])
def test_a_429_that_means_an_empty_account_is_never_tried_again(word, field):
    error = answered(429, headers={"retry-after": "1"}, **{field: word})

    assert error.error_type == "spent_account"
    assert plan(error).delay_s is None


def test_a_spend_limit_in_the_details_of_a_429_is_found():
    assert answered(429, details={"error_code": "enforced_spend_limit_reached"}).error_type == "spent_account"


@pytest.mark.parametrize(
    ("status", "written", "delay_s"),
    [
        (429, "false", None),
        (500, "FALSE", None),
        (503, "true", 0.5),
        (500, "perhaps", 0.5),
        (400, "true", None),
        (401, "true", None),
        (404, "true", None),
        (307, "true", None),
    ],
)
def test_x_should_retry_ends_the_tries_and_never_begins_any(status, written, delay_s):
    assert plan(answered(status, headers={"x-should-retry": written})).delay_s == delay_s


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_delay_that_is_asked_for_is_kept_whatever_the_status(status):
    assert plan(answered(status, headers={"retry-after-ms": "1500", "retry-after": "7"})).delay_s == 1.5
    assert plan(answered(status, headers={"retry-after": "7"}), attempt=2).delay_s == 7.0


def test_a_429_with_a_long_wait_fails_at_once_as_rate_limited_and_says_how_long():
    error = answered(429, headers={"retry-after": "3600"})

    given_up = plan(error)

    assert error.error_type == "rate_limited"
    assert given_up.delay_s is None
    assert "3,600 s" in given_up.reason


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


def test_the_pause_of_the_account_is_the_delay_and_may_be_too_long_for_the_time_left():
    limited = failure("rate_limited", retry_after_s=2.0)

    assert plan(limited, pause_s=7.0).delay_s == 7.0
    assert plan(failure("rate_limited"), pause_s=0.0).delay_s == 0.0
    assert plan(limited, pause_s=7.0, attempt=3).delay_s is None
    assert plan(limited, pause_s=7.0, time_left_s=8.0).delay_s == 7.0

    given_up = plan(limited, pause_s=7.0, time_left_s=6.5)

    assert given_up.delay_s is None
    assert "in 7.0 s, with 6.5 s left" in given_up.reason
    assert plan(failure("rate_limited", retry_after_s=300.0), pause_s=0.0).delay_s is None


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


@pytest.mark.parametrize(
    ("written", "wait_s"),
    [
        ("1m30s", 60.0),
        ("500ms", 0.5),
        ("6s", 6.0),
        ("1.5s", 1.5),
        ("1m1ms", 60.0),
        ("12ms", 0.012),
        ("0.5", 0.5),
        ("2026-11-03T12:00:20Z", 20.0),
        ("2026-11-03T13:00:20.5+01:00", 20.5),
        ("2026-11-03T12:00:20", 20.0),
        ("1h", 60.0),
        ("24h0m0s", 60.0),
        ("0s", None),
        ("2026-11-03T11:00:00Z", None),
        ("25h", None),
        ("2999-01-01T00:00:00Z", None),
        ("-5s", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("soon", None),
        ("", None),
        ("s", None),
        ("1.2.3s", None),
        ("9" * 400 + "s", None),
        ("٣s", None),
        ("2026-13-45T99:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_a_429_that_says_only_when_its_limits_are_reset_is_waited_for_up_to_a_minute(written, wait_s):
    assert parsed(429, x_ratelimit_reset_tokens=written) == pytest.approx(wait_s)
    assert parsed(429, anthropic_ratelimit_input_tokens_reset=written) == pytest.approx(wait_s)


def test_of_two_resets_the_later_counts_and_a_word_on_retrying_before_both():
    resets = {"x_ratelimit_reset_requests": "20ms", "x_ratelimit_reset_tokens": "6s"}

    assert parsed(429, **resets) == 6.0
    assert parsed(429, **resets, retry_after="soon") == 6.0
    assert parsed(429, **resets, retry_after="2") == 2.0
    assert parsed(429, **resets, retry_after_ms="700") == 0.7
    assert parsed(429, **resets, retry_after="0") is None


def test_resets_are_no_wish_to_wait_where_the_answer_is_no_429():
    assert parsed(500, x_ratelimit_reset_tokens="6s") is None
    assert parsed(None, x_ratelimit_reset_tokens="6s") is None


@given(st.text(), st.text(), st.text() | st.text("0123456789.hmsd-:TZ", max_size=30))
def test_no_header_whatever_raises(milliseconds, seconds, reset):
    wait_s = parsed(429, retry_after_ms=milliseconds, retry_after=seconds, x_ratelimit_reset_requests=reset)

    assert wait_s is None or wait_s > 0


def allowances(prefix="x-ratelimit-{}-{}", kind="requests", limit="100", remaining="40", reset="6s"):
    written = {"limit": limit, "remaining": remaining, "reset": reset}
    headers = {prefix.format(part, kind): value for part, value in written.items() if value is not None}
    found = read_allowances(headers, now=NOW.timestamp())
    return {name: (one.limit, one.remaining, one.reset_s) for name, one in found.items()}


def test_what_is_left_is_read_in_the_forms_of_both_wires():
    anthropic = "anthropic-ratelimit-{1}-{0}"

    assert allowances() == {"requests": (100.0, 40.0, 6.0)}
    assert allowances(kind="tokens") == {"tokens": (100.0, 40.0, 6.0)}
    for kind in ("requests", "tokens"):
        assert allowances(anthropic, kind, reset="2026-11-03T12:00:20Z") == {kind: (100.0, 40.0, 20.0)}
    for kind in ("input-tokens", "output-tokens"):
        assert allowances(anthropic, kind) == {"tokens": (100.0, 40.0, 6.0)}


def test_of_tokens_in_and_out_the_scarcer_count_and_only_where_there_is_no_word_on_both():
    form = "anthropic-ratelimit-{}-{}"
    headers = {form.format("input-tokens", part): value for part, value in LEFT.items()}
    headers |= {form.format("output-tokens", part): value for part, value in (LEFT | {"remaining": "7"}).items()}

    assert read_allowances(headers, now=0)["tokens"].remaining == 7
    headers |= {form.format("tokens", part): value for part, value in (LEFT | {"remaining": "30"}).items()}
    assert read_allowances(headers, now=0)["tokens"].remaining == 30


@pytest.mark.parametrize(
    "nonsense",
    [
        {"limit": None},
        {"remaining": None},
        {"reset": None},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "many"},
        {"limit": "nan"},
        {"limit": "inf"},
        {"remaining": "-1"},
        {"remaining": "101"},
        {"remaining": "nan"},
        {"reset": "never"},
        {"reset": "1000d"},
        {"reset": "-6s"},
    ],
)
def test_of_what_is_nonsense_nothing_is_believed(nonsense):
    assert allowances(**nonsense) == {}


@given(
    st.text("MonTueJanFebGMTUTC+-:, 0123456789", max_size=40)
    | st.from_regex(
        r"[A-Z][a-z]{2}, \d{1,3} (Jan|Feb|Dec) \d{1,6} \d{1,3}:\d{1,3}:\d{1,3} [-+]?\w{1,6}", fullmatch=True
    )
)
def test_no_date_whatever_raises(written):
    wait_s = parsed(retry_after=written)

    assert wait_s is None or wait_s > 0
