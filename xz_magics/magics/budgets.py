"""What this day and week cost over all kernels, as a table."""

import logging
import time
from dataclasses import asdict

from xz_magics import frames
from xz_magics.config import zone_of
from xz_magics.errors import JournalError
from xz_magics.frames import DataFrame
from xz_magics.session import session

logger = logging.getLogger("xz_magics")

DTYPES = {
    "by": "string",
    "value": "string",
    "day_tokens": "Int64",
    "day_usd": "Float64",
    "week_tokens": "Int64",
    "week_usd": "Float64",
    "unpriced": "Int64",
}


def spending_frame() -> DataFrame | None:
    """A row per tag, model and notebook, from the journal; None: there is none, or it tells of nothing.

    A journal that cannot be read keeps nobody from seeing the limits: that is a line in the log.
    """
    settings = session.settings
    if settings.journal == "off":
        return None
    from xz_magics.observers.journal.periods import begin_of, periods_at
    from xz_magics.observers.journal.spending import spending

    zone = zone_of(settings.budget_zone)
    begin_at = {f"{level}_at": begin_of(period, zone) for level, period in periods_at(time.time(), zone).items()}
    try:
        found = spending(session.journal.file, **begin_at)
    except JournalError as error:
        logger.warning("what this week cost cannot be told: %s", error.message)
        logger.debug("the journal cannot be read", exc_info=True)
        return None
    return frames.table([asdict(one) for one in found], DTYPES) if found else None
