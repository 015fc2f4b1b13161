"""The observer that journals one run: what of an event is written, and which answers may serve again."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xz_magics.events import (
    CallIntended,
    Event,
    RunEnded,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TextReceived,
    TurnEnded,
    to_json,
)
from xz_magics.keys import SHORTEST_KEY
from xz_magics.observers.journal.cleaning import Cleaned, without_content, without_secrets
from xz_magics.observers.journal.keys import Origin
from xz_magics.observers.journal.marks import Mark
from xz_magics.observers.journal.owners import this_owner
from xz_magics.observers.journal.rows import RunInfo, event_row, run_row
from xz_magics.observers.journal.store import Row
from xz_magics.records import Turn, known_sum

logger = logging.getLogger("xz_magics")

MASK = "*" * SHORTEST_KEY


def nothing_of(_: str) -> None:
    """Of a task whose answer serves no other, and that sends nothing once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a run beside its events. `secrets` are written nowhere.

    `key_of` tells a task's key by its label, once the task is at work; `resends` what it sends once more, of an earlier
    run. `cell` is the page's id of it; `resumes` and `nested` as in RunInfo.
    """

    tasks: int = 0
    notebook: str | None = None
    cell: str | None = None
    label: str | None = None
    spec_hash: str | None = None
    resumes: str | None = None
    nested: bool = False
    secrets: tuple[str, ...] = ()
    key_of: Callable[[str], str | None] = nothing_of
    resends: Callable[[str], Origin | None] = nothing_of


class Recorder:
    """Called with each stamped event of its run; it hands over what is to be written, and never waits or raises."""

    def __init__(self, write: Callable[[Row], None], run_id: str, about: About, *, content: bool) -> None:
        self._write = write
        self._run_id = run_id
        self._owner = this_owner()
        self._about = about
        self._content = content
        secret_free = without_secrets(about.secrets)
        self._cleaned: Cleaned = secret_free if content else lambda value: secret_free(without_content(value))
        self._turns: dict[str, list[Turn]] = {}
        """Of each task at work and of those that it led to."""
        self._under: dict[str, tuple[str, ...]] = {}
        self._begun = False

    def __call__(self, stamped: Stamped) -> None:
        event = stamped.event
        if isinstance(event, TextReceived):
            return
        if not self._begun:
            self._begun = True
            self._write(run_row(self._run(stamped.at)))
        try:
            self._note(event)
            body = self._cleaned(to_json(event))
            row = event_row(stamped, body, *self._marked(event, body))
        except Exception:
            logger.exception("event %d of run %s cannot be written and is left out", stamped.number, stamped.run)
            return
        self._write(row)
        if isinstance(event, RunEnded):
            self._write(Row("ended", (stamped.at, stamped.run)))

    def _note(self, event: Event) -> None:
        """Who led to whom, and the turns of each task with those that it led to."""
        match event:
            case TaskPlanned(task=task, parent=str(parent)) if task.of is None:
                self._under[task.label] = (*self._under.get(parent, ()), parent)
            case TurnEnded(label=label, turn=turn):
                for one in (label, *self._under.get(label, ())):
                    self._turns.setdefault(one, []).append(turn)

    def _marked(self, event: Event, body: str) -> tuple[str | None, str | None]:
        """The key of its task and its mark: of an intent, and of an answer that may serve again."""
        match event:
            case CallIntended(label=label):
                under, (run, origin) = self._under.get(label, ()), self._about.resends(label) or (None, None)
                return self._about.key_of(label), Mark(under=under, origin_run=run, origin_label=origin).text
            case TaskEnded(label=label):
                turns, key = self._turns.pop(label, []), self._about.key_of(label)
                if self._content and key is not None and _serves(event, turns, body):
                    return key, _answer(event, turns, self._under.get(label, ())).text
        return None, None

    def _run(self, at: float) -> RunInfo:
        about = self._about
        return RunInfo(
            id=self._run_id,
            started_at=at,
            owner=self._owner,
            notebook=about.notebook,
            label=about.label,
            tasks=about.tasks,
            spec_hash=about.spec_hash,
            cell=about.cell,
            resumes=about.resumes,
            nested=about.nested,
        )


def _serves(ended: TaskEnded, turns: Sequence[Turn], body: str) -> bool:
    """Whether it may serve again: not where its summary failed, nor where a key was masked on its way to the disk."""
    return (
        ended.status == "done"
        and ended.error is None
        and (bool(turns) or ended.reused is not None)
        and not _is_masked(ended, body)
    )


def _is_masked(ended: TaskEnded, body: str) -> bool:
    return MASK in body and json.loads(body) != json.loads(json.dumps(to_json(ended), default=str))


def _answer(ended: TaskEnded, turns: Sequence[Turn], under: tuple[str, ...]) -> Mark:
    """Of one that was itself reused: its origin, when that was answered, and what it cost there."""
    if (reused := ended.reused) is None:
        tokens, cost_usd = known_sum(turn.total_tokens for turn in turns), known_sum(turn.cost_usd for turn in turns)
        return Mark(under=under, tokens=tokens, cost_usd=cost_usd)
    return Mark(
        under=under,
        origin_run=reused.run,
        origin_label=reused.label,
        answered_at=reused.ended_at,
        tokens=reused.tokens,
        cost_usd=reused.cost_usd,
    )
