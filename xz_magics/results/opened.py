"""Results of a run that is over, from its events: folded as they were while it ran, with an end for what had none."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

from xz_magics.engine import STOPPED
from xz_magics.errors import SpecError
from xz_magics.events import (
    AnswersCombined,
    AnswersScored,
    Event,
    Observer,
    RunEnded,
    RunStarted,
    Stamped,
    TableRead,
    TaskEnded,
    TaskStarted,
    TurnEnded,
    Warned,
)
from xz_magics.metrics import Metrics
from xz_magics.observers.journal import ReadRun, Unknown
from xz_magics.outcomes import Outcomes, Row
from xz_magics.records import LimitUse, Quota
from xz_magics.results import Results
from xz_magics.views.progress import ended_words
from xz_magics.views.wording import dollars_words

logger = logging.getLogger("xz_magics")

HASH = re.compile("sha256:[0-9a-f]{64}")
"""What is left of a text in a journal that keeps none."""

Counting = Callable[[Outcomes, Metrics], Observer]


def open_results(read: ReadRun, counting: Counting) -> Results:
    """What had no end when the process died has one here: "unknown" where a call was open. Nothing of it goes on.

    A run that another process is at work on stands as it was when it was read.
    """
    return Opened(read, counting).results


class Opened:
    """Hears the events of one run, then ends what has no end."""

    def __init__(self, read: ReadRun, counting: Counting) -> None:
        self._run = read.run
        self._fold, metrics = Outcomes(), Metrics()
        self._count = counting(self._fold, metrics)
        self._limits = Spent(self._fold)
        self._dtypes: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._queued_s: dict[str, float] = {}
        self._heard_at: dict[str, float] = {}
        self._lost = read.lost
        self.results = Results(
            self._fold,
            run_id=self._run.id,
            tracker=self._limits,
            metrics=metrics,
            stop=self._nothing_to_stop,
            cancel=self._nothing_to_stop,
            dtypes=self._dtypes,
        )
        self.results.running = False
        for stamped in read.events:
            self._try_to_hear(stamped)
        if self._run.goes_on:
            at = datetime.fromtimestamp(read.events[-1].at if read.events else self._run.started_at, UTC)
            self.results.note(f"this run goes on: so it stood at {at:%H:%M:%S} UTC")
        elif self._fold.started_at is not None:
            self._end_all(read)
        self.results.interrupted = self._fold.stop_reason == STOPPED.error
        if self._lost:
            self.results.note(f"{self._lost:,} of its events cannot be read, and are left out here")

    def _try_to_hear(self, stamped: Stamped) -> None:
        """Of an event that another program has written anything may be wrong."""
        try:
            self._hear(stamped)
        except Exception:
            logger.exception("event %d of run %s does not fit those before it", stamped.number, stamped.run)
            self._lost += 1

    def _hear(self, stamped: Stamped) -> None:
        self._fold(stamped)
        self._count(stamped)
        match stamped.event:
            case RunStarted(quota=quota):
                self._limits.quota = quota
            case TaskStarted(label=label, queued_s=queued_s):
                self._queued_s[label] = queued_s
            case TurnEnded(label=label, text=text) if text:
                self._texts[label] = text
            case Warned(text=line, about=about) if not HASH.fullmatch(line):
                self.results.note(line, about=about)
            case TableRead(dtypes=dtypes):
                self._dtypes.update(dtypes)
            case AnswersScored(scores=scores):
                self.results.add_scores(scores)
            case AnswersCombined(text=None, labels=labels):
                rows = self._fold.rows
                self.results.add_combined([one for name in labels or () if (one := rows[name].outcome) is not None])
            case AnswersCombined(text=str() as combined):
                self.results.add_combined(combined)
        if (subagent := getattr(stamped.event, "label", None)) is not None:
            self._heard_at[subagent] = stamped.at

    def _end_all(self, read: ReadRun) -> None:
        """Children before their parents, all at the time of the last event."""
        fold, last = self._fold, read.events[-1]
        died = fold.duration_s is None
        why = "the kernel ended first" if died else "its end is not in the journal"
        unknowns = {unknown.label: unknown for unknown in read.unknowns}
        missing = [row for row in reversed(fold.rows.values()) if row.outcome is None]
        events: list[Event] = [self._ending(row, unknowns.get(row.task.label), why) for row in missing]
        if died:
            events.append(RunEnded(duration_s=last.at - (fold.started_at or last.at), reason=why))
            self.results.note(f"{ended_words(fold.ended, len(fold.written))}: {why}; {self._resume} goes on from here")
        for number, event in enumerate(events, last.number + 1):
            self._hear(Stamped(run=last.run, number=number, at=last.at, event=event))

    def _ending(self, row: Row, unknown: Unknown | None, why: str) -> TaskEnded:
        label, started_at = row.task.label, row.started_at
        ended = TaskEnded(
            label=label,
            status="cancelled" if row.started else "skipped",
            output=self._texts.get(label),
            error=f"{why}\n{self._resume} goes on from here",
            error_type="cancelled",
            duration_s=None if started_at is None else self._heard_at[label] - started_at,
            queued_s=self._queued_s.get(label),
        )
        if unknown is None:
            return ended
        cost = "" if unknown.most_cost_usd is None else f" and {dollars_words(unknown.most_cost_usd)}"
        used = f"it was sent, and {why}: it may have used up to {unknown.most_tokens:,} tokens{cost}"
        error = f"{used}\n{self._resume} --resend-unknown sends it again"
        return replace(ended, status="unknown", error=error, error_type=None, duration_s=None)

    @property
    def _resume(self) -> str:
        return f"%%subagents --resume {self._run.id}"

    def _nothing_to_stop(self, label: str | None = None) -> NoReturn:
        del label
        if self._run.goes_on:
            raise SpecError(f"run {self._run.id} goes on in another kernel", "stop it there")
        raise SpecError(f"run {self._run.id} has ended", "%subagents status shows those that go on here")


class Spent:
    """The limits of a run that is over, and what its events tell that it used of them."""

    def __init__(self, fold: Outcomes) -> None:
        self.quota = Quota()
        self._fold = fold

    def uses(self, *, above: bool = False) -> list[LimitUse]:
        """Of the limits above nothing is known: they were another session's."""
        del above
        fold = self._fold
        used = {
            "max_executions": sum(row.started_at is not None for row in fold.rows.values()),
            "max_total_tokens": fold.tokens,
            "max_total_time": fold.duration_s or 0.0,
            "max_total_cost": fold.cost_usd,
        }
        return [
            LimitUse(level="run", name=name, limit=getattr(self.quota, name), used=float(amount), reserved=0.0)
            for name, amount in used.items()
        ]
