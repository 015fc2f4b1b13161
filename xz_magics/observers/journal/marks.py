"""What is told of an intent or an answer beside the event itself: as text, and read as far as it can be trusted."""

import json
import logging
from dataclasses import dataclass, fields
from typing import Any

from xz_magics.observers.journal.checking import check
from xz_magics.observers.journal.keys import Origin

logger = logging.getLogger("xz_magics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """`under`: the labels of those that led to it, the task as written first. Tokens and cost are those of its turns.

    The origin of an intent is the call that is made once more; that of an answer, the task that it was first given to,
    `answered_at` in seconds since the epoch, and for which it was paid.
    """

    under: tuple[str, ...] = ()
    origin_run: str | None = None
    origin_label: str | None = None
    answered_at: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None

    @property
    def text(self) -> str | None:
        """None: there is nothing to tell."""
        told = {name: value for name in NAMES if (value := getattr(self, name)) not in {None, ()}}
        return json.dumps(told, default=float) if told else None

    @property
    def origin(self) -> Origin | None:
        return None if self.origin_run is None or self.origin_label is None else (self.origin_run, self.origin_label)

    @staticmethod
    def of(text: str | None) -> "Mark | None":
        """None: it cannot be read, for another program has written it."""
        if text is None:
            return UNMARKED
        try:
            told = json.loads(text)
            known: dict[str, Any] = {name: told[name] for name in NAMES if told.get(name) is not None}
            if isinstance(known.get("under"), list):
                known["under"] = tuple(known["under"])
            mark = Mark(**known)
            check(mark)
        except (ValueError, TypeError, AttributeError, RecursionError):
            logger.exception("what stands beside an event cannot be read")
            return None
        return mark


NAMES = tuple(field.name for field in fields(Mark))
UNMARKED = Mark()
