"""The runs of this kernel: those under way, and the last few that ended."""

import threading
from difflib import get_close_matches

from xz_magics.errors import XzMagicsError
from xz_magics.results import Results

KEPT = 8
"""So many that ended are kept, with all their answers."""


class Runs:
    """In the order in which they were begun. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Results] = {}

    def add(self, results: Results) -> None:
        with self._lock:
            self._runs[results.run_id] = results
            over = [run_id for run_id, run in self._runs.items() if not run.running]
            for run_id in over[:-KEPT]:
                del self._runs[run_id]

    def drop(self, results: Results) -> None:
        with self._lock:
            self._runs.pop(results.run_id, None)

    def all(self) -> list[Results]:
        with self._lock:
            return list(self._runs.values())

    def running(self) -> list[Results]:
        return [run for run in self.all() if run.running]

    def current(self) -> Results:
        """The latest that is under way. Raises XzMagicsError where there is none."""
        running = self.running()
        if not running:
            raise XzMagicsError("no run is under way", "what the last one brought is in xz_magics.last")
        return running[-1]

    def find(self, run_id: str) -> Results:
        """By its id or the beginning of it. Raises XzMagicsError where no run, or more than one, is meant."""
        found = [run for run in self.all() if run.run_id.startswith(run_id)]
        if len(found) == 1:
            return found[0]
        ids = [run.run_id for run in found or self.all()]
        if found:
            raise XzMagicsError(
                f"{run_id!r} is the beginning of {len(found)} runs", f"give more of it: {', '.join(ids)}"
            )
        close = get_close_matches(run_id, ids, n=1)
        mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(ids) or 'none yet'}"
        raise XzMagicsError(f"no run of this kernel is {run_id!r}", mend)
