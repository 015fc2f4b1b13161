"""What the journal does for one run: it hears it, holds back what is not on disk yet, and recalls what was answered."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xz_magics.agent import nothing_to_keep, nothing_to_recall
from xz_magics.api.inner import is_inner
from xz_magics.api.preparing import Prepared
from xz_magics.api.recollecting import Recollection
from xz_magics.errors import JournalError
from xz_magics.events import Observer, TaskEnded
from xz_magics.providers import Provider
from xz_magics.records import Task, ToolSpec
from xz_magics.session import session

if TYPE_CHECKING:
    from xz_magics.observers.journal import About, Journal

logger = logging.getLogger("xz_magics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journalling:
    """`note` is one line that a person should see; None: all is well, or no journal is wanted."""

    observers: tuple[Observer, ...] = ()
    kept: Callable[[], Awaitable[None]] = nothing_to_keep
    settled: Callable[[], Awaitable[None]] = nothing_to_keep
    recall: Callable[[Task, Provider, Sequence[ToolSpec]], TaskEnded | None] = nothing_to_recall
    note: str | None = None
    journal: "Journal | None" = field(default=None, compare=False)

    @property
    def trouble(self) -> str | None:
        """What keeps the journal from being written now, in one line."""
        return None if self.journal is None else self.journal.trouble


def journal_run(prepared: Prepared, run_id: str) -> Journalling:
    """Of a run that has its recollection; not in an event loop. A journal in trouble is a note."""
    recollection, trouble = prepared.recollection, prepared.journal_trouble
    if recollection is not None:
        try:
            journal = session.journal
            journal.check()
            about, content = _about(prepared, recollection), prepared.settings.journal == "on"
            observer = journal.observer(run_id, about, content=content)
        except JournalError as error:
            if prepared.resume is not None or prepared.reuse:
                raise
            trouble = error
    if recollection is None or trouble is not None:
        note = None if trouble is None else f"{trouble.message}; the run goes on without a journal"
        return Journalling(note=note)
    return Journalling(
        observers=(observer,),
        kept=journal.kept,
        settled=journal.settled,
        recall=recollection.recall,
        note=journal.note,
        journal=journal,
    )


def _about(prepared: Prepared, recollection: Recollection) -> "About":
    from xz_magics.observers.journal import About

    tasks, origins, recall = prepared.plan.tasks, recollection.origins, recollection.recall
    return About(
        tasks=len(tasks),
        notebook=origins.notebook,
        cell=origins.cell,
        label=_name_of(tasks),
        spec_hash=origins.spec_hash,
        resumes=recollection.resumes,
        nested=is_inner(),
        secrets=tuple(prepared.secrets),
        key_of=recall.key_of,
        resends=recall.resends,
    )


def _name_of(tasks: Sequence[Task]) -> str:
    """Such as "review-1 and 9 more"."""
    first = tasks[0].label if tasks else ""
    return f"{first} and {len(tasks) - 1:,} more" if len(tasks) > 1 else first
