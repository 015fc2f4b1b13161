"""A run in one line, and that line in a terminal."""

import math
import shutil
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate

from xz_magics.errors import XzMagicsError
from xz_magics.outcomes import Outcomes, State
from xz_magics.records import STATUSES
from xz_magics.views.watched import Watched
from xz_magics.views.wording import dollars_words, harmless, seconds_words, tasks_words, tokens_words

Finished = Callable[[], Mapping[str, str]]
"""Draws the results as a page shows them, text/plain and text/html: only where they are shown, for it takes time."""

WAITS = "waits for room in the limit of the day or week"
QUIET_S, SOON_S = 10.0, 1.0

TOLD: tuple[State, ...] = ("running", *(status for status in STATUSES if status != "done"))


def watched_line(watched: Watched) -> str:
    """`progress_line`, and that the run waits for others where it does."""
    return " · ".join(filter(None, [progress_line(watched.outcomes), waiting_words(watched)]))


def waiting_words(watched: Watched) -> str:
    """A run that has no request under way waits for room that others hold, such as another kernel; else empty."""
    outcomes = watched.outcomes
    is_idle = outcomes.started_at is not None and outcomes.duration_s is None and not outcomes.requests
    return WAITS if is_idle and watched.waits() else ""


def progress_line(outcomes: Outcomes) -> str:
    """What goes on before the start; then such as `3 of 12 · 2 running · 1 failed · 1,204 tokens · $0.0012 · 3.2 s`.

    Nested subagents are counted apart, such as `4 nested (2 running)`; tokens and cost are everybody's.
    """
    if outcomes.note:
        return outcomes.note
    parts = [f"{outcomes.ended} of {len(outcomes.written)}", *_states(outcomes.counts)]
    nested = len(outcomes.rows) - len(outcomes.written)
    if nested:
        states = ", ".join(_states(outcomes.nested))
        parts.append(f"{nested:,} nested ({states})" if states else f"{nested:,} nested")
    estimated = any(row.estimated for row in outcomes.rows.values())
    parts.append(f"{tokens_words(outcomes.tokens, sent=True, estimated=estimated)} tokens")
    if outcomes.cost_usd:
        parts.append(dollars_words(outcomes.cost_usd))
    if outcomes.duration_s is not None:
        parts.append(seconds_words(outcomes.duration_s))
    elif outcomes.started_at is not None:
        parts.append(seconds_words(time.time() - outcomes.started_at))
    pause_s = (outcomes.resumes_at or 0) - time.time()
    if pause_s > 0:
        parts.append(f"rate limited, resumes in {pause_s:.0f} s")
    parts += [f"! {alert}" for alert in outcomes.alerts]
    return " · ".join(parts)


def _states(counts: Mapping[State, int]) -> list[str]:
    return [f"{counts[state]} {state.replace('_', ' ')}" for state in TOLD if counts[state]]


def time_left_s(outcomes: Outcomes, now: float) -> float | None:
    """How much longer the run may take. None: nobody can tell, or it does not go on.

    Those that wait begin at the pace at which others have ended, and the last of them takes the mean time. One at work
    takes as long as those did that took longer than it has so far; where there are none, and nobody waits, it may take
    any time. What was never sent tells nothing of that. Costs a look at every task.
    """
    rows, started_at = outcomes.written, outcomes.started_at
    asked = (row.outcome for row in rows if row.outcome is not None and row.outcome.reused is None)
    ended = sorted(outcome.duration_s for outcome in asked if outcome.duration_s is not None)
    if started_at is None or outcomes.duration_s is not None or not ended:
        return None
    rests = [0.0]
    waiting, sums = outcomes.counts["waiting"], [0.0, *accumulate(ended)]
    if waiting:
        rests.append((now - started_at) / len(ended) * waiting + sums[-1] / len(ended))
    for row in rows:
        if row.state != "running":
            continue
        since_s = 0.0 if row.started_at is None else now - row.started_at
        shorter = bisect_right(ended, since_s)
        if shorter < len(ended):
            rests.append((sums[-1] - sums[shorter]) / (len(ended) - shorter) - since_s)
        elif not waiting:
            return None
    return round(max(rests), 1)


def done_words(done: int, tasks: int, what: str = "done") -> str:
    """Such as "1 of 3 tasks are done"."""
    return f"{done:,} of {tasks_words(tasks)} {'is' if tasks == 1 else 'are'} {what}"


def ended_words(ended: int, tasks: int) -> str:
    return f"{ended:,} of {tasks_words(tasks)} {'has' if tasks == 1 else 'have'} ended"


def error_words(error: XzMagicsError) -> str:
    """What a person is told of a run that could not begin."""
    return harmless(f"{type(error).__name__}: {error}")


class TerminalView:
    """One line that redraws itself, and is gone at the end. Where there is no terminal, plain lines: at the start, when
    another tenth of the tasks has ended, after ten seconds of silence, and at the end. In the background, where
    somebody types meanwhile, only the last of them.
    """

    def __init__(self, *, background: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._background = background
        self._live = sys.stderr.isatty() and not background
        self._width = 0
        self._tenth = -1
        self._told_at = -math.inf
        self._watched: Watched | None = None

    def attach(self, watched: Watched) -> None:
        self._watched = watched

    def draw(self) -> None:
        if self._watched is None or self._background:
            return
        if self._live:
            self._redraw(watched_line(self._watched))
        elif self._is_due(self._watched.outcomes):
            self._say(watched_line(self._watched))

    def end(self, finished: Finished | None) -> int | None:
        """The result is left to the cell's value to show; None: it has not been shown here."""
        del finished
        if self._live:
            self._redraw("")
            sys.stderr.write("\r")
            sys.stderr.flush()
        elif self._watched is not None:
            run = f"run {self._watched.run_id}: " if self._background else ""
            self._say(run + progress_line(self._watched.outcomes))
        return None

    def fail(self, error: XzMagicsError) -> None:
        if self._background:
            self._say(error_words(error))
        elif self._live:
            self.end(None)

    def _is_due(self, outcomes: Outcomes) -> bool:
        now = self._clock()
        quiet_s = now - self._told_at
        tenth = -1 if outcomes.note else 10 * outcomes.ended // max(1, len(outcomes.written))
        if quiet_s < QUIET_S and (tenth == self._tenth or (quiet_s < SOON_S and self._tenth >= 0)):
            return False
        self._tenth, self._told_at = tenth, now
        return True

    def _say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _redraw(self, line: str) -> None:
        """A line that the terminal wraps could not be drawn over."""
        line = line[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)
