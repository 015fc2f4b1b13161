"""Which runs one goes on from: those that it resumes, and those of its cell before it whose work was never finished."""

from collections.abc import Sequence

from xz_magics.observers.journal.rows import RunInfo, left_any_unsent, reason_of
from xz_magics.observers.journal.store import Connection


def chain_of(connection: Connection, runs: Sequence[RunInfo], latest: str) -> list[str]:
    """A run with all that it resumes; and before each whose work was not done, the one before it in its cell, if its
    work was not done, either. As far as they are in the journal; of `runs` the latest come first, as here.
    """
    place_of = {run.id: place for place, run in enumerate(runs)}
    found: set[int] = set()
    waiting = [place_of.get(latest)]
    while waiting:
        place = waiting.pop()
        if place is None or place in found:
            continue
        found.add(place)
        run = runs[place]
        waiting.append(place_of.get(run.resumes or ""))
        before = _before(runs[place + 1 :], run) if _is_unfinished(connection, run) else None
        if before is not None and _is_unfinished(connection, before):
            waiting.append(place_of[before.id])
    return [runs[place].id for place in sorted(found)]


def _before(earlier: Sequence[RunInfo], run: RunInfo) -> RunInfo | None:
    """The latest that has ended of the same cell, else with the same work."""
    for name in ("cell", "spec_hash"):
        same = getattr(run, name)
        for other in earlier if same is not None else ():
            if getattr(other, name) == same and other.owner and not other.nested and not other.goes_on:
                return other
    return None


def early_end(connection: Connection, run: RunInfo) -> str | None:
    """In words, how a run ended whose work was not done: it died, was stopped, or left tasks unsent; None: it was."""
    if run.ended_at is None:
        return "died with its kernel"
    if (reason := reason_of(connection, run.id)) is not None:
        return f"ended early ({reason.partition(chr(10))[0]})"
    return "left tasks unsent" if left_any_unsent(connection, run.id) else None


def _is_unfinished(connection: Connection, run: RunInfo) -> bool:
    return not run.goes_on and early_end(connection, run) is not None
