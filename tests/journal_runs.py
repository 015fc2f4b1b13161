"""Runs of scripted models that are journalled."""

from strategies import granting

from xz_magics.agent import Surroundings
from xz_magics.engine import Run
from xz_magics.events import Stream
from xz_magics.observers.journal import About
from xz_magics.outcomes import Outcomes
from xz_magics.pacing import Gates
from xz_magics.quotas import Tracker
from xz_magics.records import Task


def tasks_of(count=12):
    return [
        Task(index=n, label=f"t{n}", prompt=f"Say {n}.", model="scripted:", max_tokens=50, max_turns=1)
        for n in range(count)
    ]


async def journalled(
    journal, run_id, tasks, provider, *, about=None, content=True, first=(), kept=None, beat=None, **run
):
    """Runs to the end; returns the outcomes. `first` hear of each event before the journal does."""
    outcomes = Outcomes()
    observer = journal.observer(run_id, about or About(tasks=len(tasks)), content=content)
    stream = Stream(run_id, critical=[*first, outcomes, observer])
    around = Surroundings(
        tracker=Tracker(),
        gates=Gates(max_concurrent=run.get("max_concurrent", 5)),
        emit=stream.emit,
        emit_text=False,
        kept=kept or journal.kept,
        settled=journal.settled,
    )
    engine = Run(tasks, {"scripted:": provider}, around, granted=granting(()), **run)
    await engine.execute(None if beat is None else lambda: beat(outcomes))
    return outcomes
