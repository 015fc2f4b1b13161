"""The journal: every event of every run on disk, intents before calls and replies before they are shown."""

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from xz_magics.errors import JournalError, SpecError
from xz_magics.events import Observer, Stamped, to_json
from xz_magics.observers.journal.chains import early_end
from xz_magics.observers.journal.exchange import OTHER, read_file, write_file
from xz_magics.observers.journal.keys import AnswerRef, task_key
from xz_magics.observers.journal.owners import this_owner
from xz_magics.observers.journal.placing import Place, place_journal
from xz_magics.observers.journal.reading import Overview, ReadRun, overviews, read_run
from xz_magics.observers.journal.recalling import Foreseen, Past, Recall, unchanged
from xz_magics.observers.journal.recording import About, Recorder
from xz_magics.observers.journal.rows import (
    Origins,
    RunInfo,
    delete_run,
    event_row,
    events_of,
    run_row,
    runs_from,
    runs_of,
    used_bytes,
)
from xz_magics.observers.journal.store import (
    KEPT_IN_MEMORY,
    Connection,
    Opened,
    Row,
    Store,
    connect,
    insert,
    prepare_file,
    reading_from,
    told_of,
    transaction,
    writing_to,
)
from xz_magics.observers.journal.unseen import Unknown, unknowns_of
from xz_magics.observers.journal.writing import Writer

__all__ = [
    "About",
    "AnswerRef",
    "Foreseen",
    "Journal",
    "Origins",
    "Overview",
    "Past",
    "ReadRun",
    "Recall",
    "RunInfo",
    "Unknown",
    "task_key",
]

logger = logging.getLogger("xz_magics")

DAY_S = 86_400.0
RETENTION_S = 0.5
"""Whoever opens a journal waits no longer for old runs to be deleted."""

MEGABYTE = 1_000_000


class Journal:
    """One file, written by one thread of this process and read from any. `note`: one line that a person should see.

    What reads or deletes may take its time: not in an event loop.
    """

    def __init__(self, place: Place, opened: Opened) -> None:
        self.file = place.file
        self.note = opened.note
        self.writable = opened.writable
        self._place = place
        store = Store(place)
        self._writer: Writer[Row] = Writer(store.commit, close=store.close, forget=store.forget)

    @classmethod
    def open(
        cls,
        folder: Path | None = None,
        *,
        keep_s: float | None = 90 * DAY_S,
        keep_bytes: int | None = None,
    ) -> Self:
        """In the user's state folder where none is named. Runs that are too old, or too many, are deleted.

        Raises JournalError, whose message is the line to show: the run goes on without a journal.
        """
        place = place_journal(folder)
        journal = cls(place, prepare_file(place))
        if journal.writable:
            try:
                journal.purge(older_than_s=keep_s, larger_than_bytes=keep_bytes, within_s=RETENTION_S)
            except JournalError as error:
                logger.warning("old runs stay in the journal for now: %s", error.message)
        return journal

    def write(self, row: Row) -> None:
        """From any thread; returns at once."""
        self._writer.write(row)

    async def kept(self) -> None:
        """Returns when all that was written so far is on disk. Raises JournalError where it could not be written."""
        await self._writer.kept()

    async def settled(self) -> None:
        """As `kept`, and nothing was written since: what the caller does at once shows nothing that is not on disk."""
        await self._writer.settled()

    def check(self) -> None:
        """Raises JournalError where no run can be written now. What failed is tried once more: not in an event loop."""
        self._check_writable()
        try:
            this_owner()
        except OSError as error:
            raise JournalError(
                f"no journal is kept: {error.filename} cannot be read ({error.strerror})", KEPT_IN_MEMORY
            ) from error
        self._writer.try_again()

    @property
    def latest_failure(self) -> JournalError | None:
        """What has kept it from being written the last time, even where it has been written since."""
        return self._writer.latest_failure

    @property
    def trouble(self) -> str | None:
        """What keeps it from being written now, in one line."""
        failure = self._writer.failure
        return None if failure is None else f"{failure.message}; {failure.hint}"

    def recalling(self, past: Past | None = None, *, clipped: Callable[[str], str] = unchanged) -> Recall:
        """What a run asks of each of its tasks; without a past it only notes their keys."""
        return Recall(self._place, past, clipped=clipped)

    def find(self, word: str) -> RunInfo:
        """A run by its id, or by the beginning of it. Raises SpecError where none, or more than one, is meant."""
        runs = self.runs()
        found = [run for run in runs if run.id == word] or [run for run in runs if word and run.id.startswith(word)]
        if len(found) == 1:
            return found[0]
        some = ", ".join(run.id for run in (found or runs)[:5])
        if found:
            raise SpecError(f"{word!r} is the beginning of {len(found)} runs", f"give more of it: {some}")
        close = get_close_matches(word, [run.id for run in runs], n=1)
        mend = f"did you mean {close[0]}?" if close else f"the latest are: {some}" if some else "there is none yet"
        raise SpecError(f"no run of the journal is {word!r}", mend)

    def latest(self, origins: Origins, *, alike: bool = False) -> RunInfo | None:
        """The latest that does not go on of the same cell, else with the same work; then, unless it has to be `alike`,
        of the same notebook, else the latest of all.
        """
        with reading_from(self._place) as connection:
            return next((run for run in runs_from(connection, origins, alike=alike) if not run.goes_on), None)

    def early_end(self, run: RunInfo) -> str | None:
        """In words, how a run ended whose work was not done; None: it was."""
        with reading_from(self._place) as connection:
            return early_end(connection, run)

    def observer(self, run_id: str, about: About | None = None, *, content: bool = True) -> Observer:
        """Without `content`, of each text its sha256 is written. Raises JournalError where the journal is only read."""
        self._check_writable()
        return Recorder(self.write, run_id, about or About(), content=content)

    def close(self) -> None:
        """Waits up to 2 s for what is not on disk yet."""
        self._writer.close()

    def runs(self) -> list[RunInfo]:
        """The latest first."""
        with reading_from(self._place) as connection:
            return runs_of(connection)

    def events(self, run_id: str) -> Iterator[Stamped]:
        """In their order; of a run that nobody knows: none."""
        with reading_from(self._place) as connection:
            yield from events_of(connection, run_id)

    def unknowns(self, run_id: str) -> list[Unknown]:
        """The tasks of a run that were sent and whose end nobody has seen; of one that goes on: those under way."""
        with reading_from(self._place) as connection:
            return unknowns_of(connection, run_id)

    def export(self, run_id: str, path: Path, folders: Collection[Path] = ()) -> None:
        """One run as a file of JSON lines, without keys, and without the paths of home directories and `folders`."""
        with reading_from(self._place) as connection:
            read = read_run(connection, run_id)
        if read is None:
            raise JournalError(f"no run of the journal is {run_id!r}", "%subagents runs lists them")
        try:
            write_file(path, read.run, read.events, folders)
        except OSError as error:
            raise JournalError(f"{path} cannot be written: {error.strerror}", "name another file") from error

    def import_(self, path: Path) -> str:
        """Takes in an exported run, and returns its id. It serves nobody: its answers are shown, not reused."""
        self._check_writable()
        run, events = read_file(path)
        with writing_to(self._place) as connection:
            if runs_of(connection, run.id):
                raise JournalError(f"run {run.id} is in the journal already", f"%subagents show {run.id} shows it")
            insert(
                connection,
                [run_row(run), *(event_row(stamped, json.dumps(to_json(stamped.event))) for stamped in events)],
            )
            if not runs_of(connection, run.id) or sum(1 for _ in events_of(connection, run.id)) < len(events):
                raise JournalError(f"{path} holds what no run can hold", OTHER)
        return run.id

    def purge(
        self, *, older_than_s: float | None = None, larger_than_bytes: int | None = None, within_s: float = math.inf
    ) -> int:
        """Deletes runs that began longer ago, then the oldest until the file is small enough. How many there were.

        Runs that go on stay, and for all their age those that were imported. What is deleted is overwritten. After
        `within_s` it leaves the rest to the next time.
        """
        until = time.monotonic() + within_s
        before = None if older_than_s is None else time.time() - older_than_s
        deleted = 0
        with self._emptying() as connection:
            for run in reversed(runs_of(connection)):
                if run.goes_on:
                    continue
                if time.monotonic() > until:
                    break
                too_old = before is not None and run.started_at < before
                is_small = larger_than_bytes is None or used_bytes(connection) <= larger_than_bytes
                if is_small and not too_old:
                    break
                if is_small and not run.owner:
                    continue
                with transaction(connection):  # one for each: others that write wait for no more than this
                    delete_run(connection, run.id)
                deleted += 1
        return deleted

    def delete(self, run_ids: Collection[str]) -> int:
        """These runs, whether they go on or not. How many bytes of the file that made free."""
        with self._emptying() as connection:
            before = used_bytes(connection)
            for run_id in run_ids:
                with transaction(connection):
                    delete_run(connection, run_id)
            return max(0, before - used_bytes(connection))

    def _check_writable(self) -> None:
        if not self.writable:
            raise JournalError(self.note or f"{self.file} is only read", "update xz_magics, or set journal: off")

    @contextmanager
    def _emptying(self) -> Iterator[Connection]:
        """What is deleted in it is overwritten, and then the file is as small as it can be."""
        self._check_writable()
        with told_of(self.file):
            connection = connect(self._place)
            try:
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
                if connection.total_changes:
                    # execute() would take its first step only, which frees one page
                    connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
            finally:
                connection.close()

    def overviews(self, since: float = 0.0) -> list[Overview]:
        """Of the runs that began since then, in seconds since the epoch; the latest first."""
        with reading_from(self._place) as connection:
            connection.execute("BEGIN")  # all that is asked is of one moment
            return overviews(connection, since)

    def read(self, run_id: str) -> ReadRun | None:
        """As far as it can be read. None: there is none of that id."""
        with reading_from(self._place) as connection:
            return read_run(connection, run_id)
