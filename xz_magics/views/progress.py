"""A run in one line, and that line in a terminal."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping

from xz_magics.errors import XzMagicsError
from xz_magics.outcomes import Outcomes, State
from xz_magics.records import STATUSES
from xz_magics.views.watched import Watched
from xz_magics.views.wording import dollars_words, seconds_words

Finished = Callable[[], Mapping[str, str]]
"""Draws the results as a page shows them, text/plain and text/html: only where they are shown, for it takes time."""

TOLD: tuple[State, ...] = ("running", *(status for status in STATUSES if status != "done"))


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
    parts.append(f"{outcomes.tokens:,} tokens")
    if outcomes.cost_usd:
        parts.append(dollars_words(outcomes.cost_usd))
    if outcomes.started_at is not None:
        parts.append(seconds_words(time.time() - outcomes.started_at))
    pause_s = (outcomes.resumes_at or 0) - time.time()
    if pause_s > 0:
        parts.append(f"rate limited, resumes in {pause_s:.0f} s")
    return " · ".join(parts)


def _states(counts: Mapping[State, int]) -> list[str]:
    return [f"{counts[state]} {state.replace('_', ' ')}" for state in TOLD if counts[state]]


class TerminalView:
    """One line that redraws itself, and is gone at the end; where there is no terminal, nothing is drawn."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._width = 0
        self._watched: Watched | None = None

    def attach(self, watched: Watched) -> None:
        self._watched = watched

    def draw(self) -> None:
        if self._live and self._watched is not None:
            self._write(progress_line(self._watched.outcomes))

    def end(self, finished: Finished | None) -> int | None:
        """The result is left to the cell's value to show; None: it has not been shown here."""
        del finished
        if self._live:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()
        return None

    def fail(self, error: XzMagicsError) -> None:
        del error
        self.end(None)

    def _write(self, line: str) -> None:
        """A line that the terminal wraps could not be drawn over."""
        line = line[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)
