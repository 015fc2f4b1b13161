"""Days and weeks in a zone: how they are called, when they end, which is far ahead."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from xz_magics.observers.journal.periods import begin_of, ends_in_words, far_ahead, periods_at

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Asia/Tokyo", "Pacific/Apia")
BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts, zone=UTC):
    return datetime(*parts, tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ((2026, 12, 27), "week:2026-W52"),
        ((2026, 12, 28), "week:2026-W53"),
        ((2027, 1, 3), "week:2026-W53"),
        ((2027, 1, 4), "week:2027-W01"),
        ((2024, 12, 30), "week:2025-W01"),
    ],
)
def test_the_week_of_the_end_of_a_year_is_that_of_iso_8601(day, week):
    assert periods_at(at(*day), UTC)["week"] == week


@given(
    zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is beside it
)
def test_each_moment_lies_in_its_day_and_week_and_the_one_before_its_begin_does_not(zone, now):
    zone, now = ZoneInfo(zone), now.timestamp()
    periods = periods_at(now, zone)

    for level, period in periods.items():
        begin = begin_of(period, zone)
        assert begin <= now
        assert periods_at(begin, zone)[level] == period
        assert periods_at(begin - 1, zone)[level] < period


@given(days=st.integers(-800, 800))
def test_more_than_one_ahead_is_far_and_what_is_past_never_is(days):
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    present, other = (periods_at(moment.timestamp(), UTC) for moment in (now, now + timedelta(days=days)))

    assert far_ahead(other["day"], present["day"]) == (days > 1)
    assert far_ahead(other["week"], present["week"]) == (days > 8)  # the 21st is a Saturday


@pytest.mark.parametrize(
    ("now", "zone", "day", "week"),
    [
        (at(2026, 11, 21, 21), UTC, "at 00:00 UTC, in 3 h", "on 2026-11-23 at 00:00 UTC, in 27 h"),
        (at(2026, 11, 16, 12), UTC, "at 00:00 UTC, in 12 h", "on 2026-11-23 at 00:00 UTC, in 6 days"),
        (at(2026, 11, 22, 23, 30, 1), UTC, "at 00:00 UTC, in 30 min", "at 00:00 UTC, in 30 min"),
        (at(2026, 11, 22, 23, 59, 59), UTC, "at 00:00 UTC, in 1 min", "at 00:00 UTC, in 1 min"),
        (at(2026, 11, 22), ZoneInfo("America/Sao_Paulo"), "at 00:00 UTC-03, in 3 h", "on 2026-11-23 at 00:00 UTC-03, in 27 h"),
        # an hour more, when summer ends: what is left is counted by the clock that ticks
        (at(2026, 10, 25, zone=BERLIN), BERLIN, "on 2026-10-26 at 00:00 CET, in 25 h", "on 2026-10-26 at 00:00 CET, in 25 h"),
        (at(2026, 3, 29, zone=BERLIN), BERLIN, "at 00:00 CEST, in 23 h", "at 00:00 CEST, in 23 h"),
    ],
)  # fmt: skip
def test_the_end_of_a_day_and_a_week_is_told_by_its_clock_and_by_what_is_left(now, zone, day, week):
    told = ends_in_words(periods_at(now, zone), now, zone)

    assert told == {"day": f"the day ends {day}", "week": f"the week ends {week}"}
