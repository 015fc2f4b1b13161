"""Days and weeks: it alone knows how they are called, when they end in a zone, and how far one is ahead of another."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo

LENGTHS = {"day": timedelta(days=1), "week": timedelta(weeks=1)}
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def periods_at(at: float, zone: tzinfo) -> dict[str, str]:
    """By level; of one level, the later is the greater text. Weeks begin on Monday, and are those of ISO 8601."""
    today = datetime.fromtimestamp(at, zone).date()
    year, week, _ = today.isocalendar()
    return {"day": f"day:{today.isoformat()}", "week": f"week:{year:04}-W{week:02}"}


def begin_of(period: str, zone: tzinfo) -> float:
    """Seconds since the epoch."""
    return _midnight(_first_day(period), zone).timestamp()


def ends_in_words(periods: Mapping[str, str], now: float, zone: tzinfo) -> dict[str, str]:
    """By level, such as "the day ends at 00:00 UTC, in 3 h"."""
    return {level: _end_in_words(level, period, now, zone) for level, period in periods.items()}


def far_ahead(period: str, present: str) -> bool:
    """By more than one: no difference of zones, and no week that begins in the night, makes that."""
    level, _, _ = period.partition(":")
    return _first_day(period) - _first_day(present) > LENGTHS[level]


def _end_in_words(level: str, period: str, now: float, zone: tzinfo) -> str:
    end = _midnight(_first_day(period) + LENGTHS[level], zone)
    left_s = end.timestamp() - now
    day = "" if left_s <= DAY_S else f"on {end:%Y-%m-%d} "
    name = end.tzname() or ""
    zone_name = name if name.isalpha() else f"UTC{name}"  # many have no other than +03
    return f"the {level} ends {day}at {end:%H:%M} {zone_name}, in {_span(left_s)}"


def _first_day(period: str) -> date:
    level, _, name = period.partition(":")
    return date.fromisoformat(name if level == "day" else f"{name}-1")


def _midnight(day: date, zone: tzinfo) -> datetime:
    """Where clocks skip it, the moment at which they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _span(seconds: float) -> str:
    if seconds < HOUR_S:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / HOUR_S:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"
