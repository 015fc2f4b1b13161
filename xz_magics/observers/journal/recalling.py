"""What a run knows of its tasks' keys, and what was answered to the same before."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from xz_magics.errors import JournalError, XzMagicsError
from xz_magics.events import TaskEnded
from xz_magics.observers.journal.chains import chain_of
from xz_magics.observers.journal.keys import AnswerRef, Origin, Sent, matched, task_key
from xz_magics.observers.journal.placing import Place
from xz_magics.observers.journal.rows import answers_of, event_at, runs_of
from xz_magics.observers.journal.store import Connection, reading_from
from xz_magics.observers.journal.unseen import sent_of
from xz_magics.providers import Provider
from xz_magics.records import AnswerSchema, Reused, Task, ToolSpec
from xz_magics.schemas import SchemaError
from xz_magics.schemas.answers import value_of

logger = logging.getLogger("xz_magics")


def unchanged(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What may serve a run: the answers of the chain of runs that `resumes` begins; and with `since`, in seconds since
    the epoch, whatever was answered from then on. `resend`: what was sent in the chain and never seen is sent again.

    `workspace` is the folder that the tools of the run work in; `dollars` words a cost.
    """

    resumes: str | None = None
    since: float | None = None
    resend: bool = False
    workspace: Path | None = None
    dollars: Callable[[float], str] = "${:,.4f}".format


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """By the labels of the tasks: what will serve them; and what was sent and never seen, and is not sent again."""

    reused: Mapping[str, AnswerRef] = field(default_factory=dict)
    unknown: Mapping[str, Sent] = field(default_factory=dict)


class Recall:
    """Asked of each task that is about to begin, on the loop of its run; it notes the key of each.

    Made and told of the tasks that are complete beforehand outside of any loop, for it reads the journal then. What
    these tasks leave may serve those that are complete later. Raises JournalError.
    """

    def __init__(self, place: Place, past: Past | None = None, *, clipped: Callable[[str], str] = unchanged) -> None:
        """`clipped` cuts an output to the size that this run lets it have."""
        self.foreseen = Foreseen()
        self._place = place
        self._past = past = past or Past()
        self._clipped = clipped
        self._keys: dict[str, str] = {}
        self._resends: dict[str, Origin] = {}
        self._ended: dict[str, TaskEnded] = {}
        self._taken: set[Origin] = set()
        self._looked_up: dict[str, str] = {}
        self._chain: dict[str, int] = {}
        self._others: frozenset[str] = frozenset()
        self._sent: list[Sent] = []
        self._serves = past.resumes is not None or past.since is not None
        if self._serves:
            with reading_from(place) as connection:
                runs = runs_of(connection)
                chain = [] if past.resumes is None else chain_of(connection, runs, past.resumes)
                self._sent = sent_of(connection, chain)
            self._chain = {run: number for number, run in enumerate(chain)}
            if past.since is not None:
                self._others = frozenset(run.id for run in runs if not run.goes_on)

    def __call__(self, task: Task, provider: Provider, tools: Sequence[ToolSpec]) -> TaskEnded | None:
        self._keys[task.label] = key = task_key(task, provider.identity, tools, self._past.workspace)
        if not self._serves or self._looked_up.get(task.label) == key:
            return None
        reused, unknown = self.foreseen.reused.get(task.label), self.foreseen.unknown.get(task.label)
        if task.label in self._ended and reused is not None and reused.key == key:
            return self._reuse(task, reused, self._ended.pop(task.label))
        if unknown is not None and unknown.key == key:
            return self._left_out(task, unknown)
        return self._recall_late(task, key)

    def key_of(self, label: str) -> str | None:
        return self._keys.get(label)

    def resends(self, label: str) -> Origin | None:
        """What was sent before and is sent once more under this label."""
        return self._resends.get(label)

    def foresee(
        self,
        wanted: Sequence[tuple[str, str]],
        *,
        schemas: Mapping[str, AnswerSchema] | None = None,
        read: bool = True,
    ) -> Foreseen:
        """For tasks as (key, label), some with schemas. All that serves them is read, unless this is only to know how
        much it is.
        """
        with reading_from(self._place) as connection:
            reused = self._serving(connection, wanted, schemas or {}, read=read)
        unknown = matched([(key, label) for key, label in wanted if label not in reused], self._sent)
        self._taken.update(ref.origin for ref in reused.values())
        self._taken.update(sent.origin for sent in unknown.values())
        if self._past.resend:
            self._resends |= {label: sent.origin for label, sent in unknown.items()}
            unknown = {}
        self._looked_up = {label: key for key, label in wanted if label not in reused and label not in unknown}
        self.foreseen = Foreseen(reused=reused, unknown=unknown)
        return self.foreseen

    def _serving(
        self,
        connection: Connection,
        wanted: Sequence[tuple[str, str]],
        schemas: Mapping[str, AnswerSchema],
        *,
        read: bool,
    ) -> dict[str, AnswerRef]:
        """None that cannot be read, or that the schema as it is now refuses: its place is taken by the next."""
        known = self._answers(connection, list(dict.fromkeys(key for key, _ in wanted)))
        endings: dict[AnswerRef, TaskEnded | None] = {}
        while True:
            serving = matched(wanted, known)
            faulty = set()
            for label, ref in serving.items():
                schema = schemas.get(label)
                if not read and schema is None:
                    continue
                if ref not in endings:
                    endings[ref] = _answer_at(connection, ref)
                ended = endings[ref]
                if ended is None or not _fits(ended, schema):
                    faulty.add(ref)
            if not faulty:
                self._ended = {
                    label: ended for label, ref in serving.items() if (ended := endings.get(ref)) is not None
                }
                return serving
            known = [ref for ref in known if ref not in faulty]

    def _recall_late(self, task: Task, key: str) -> TaskEnded | None:
        """A look that takes a fraction of a millisecond: these tasks are few, and the loop may wait for it."""
        wanted = [(key, task.label)]
        try:
            with reading_from(self._place) as connection:
                for ref in matched(wanted, self._answers(connection, [key])).values():
                    if (ended := _answer_at(connection, ref)) is not None:
                        self._taken.add(ref.origin)
                        return self._reuse(task, ref, ended)
        except JournalError:
            logger.exception("what was answered to task %s before cannot be looked up", task.label)
        sent = matched(wanted, [sent for sent in self._sent if sent.origin not in self._taken]).get(task.label)
        if sent is None:
            return None
        self._taken.add(sent.origin)
        if self._past.resend:
            self._resends[task.label] = sent.origin
            return None
        return self._left_out(task, sent)

    def _answers(self, connection: Connection, keys: Sequence[str]) -> list[AnswerRef]:
        """That may serve and have not, the best first: of the nearest run, then of all others the latest.

        One on which an answer rests that has served already is no sample of its own.
        """
        found = list(answers_of(connection, keys))
        taken = self._taken.union(ref.origin for ref in found if self._is_beneath_one_taken(ref))
        return sorted((ref for ref in found if ref.origin not in taken and self._is_offered(ref)), key=self._rank)

    def _is_beneath_one_taken(self, ref: AnswerRef) -> bool:
        return any((ref.run, label) in self._taken for label in ref.under)

    def _is_offered(self, ref: AnswerRef) -> bool:
        since = self._past.since
        return ref.run in self._chain or (since is not None and ref.run in self._others and ref.ended_at >= since)

    def _rank(self, ref: AnswerRef) -> tuple[float, float, int]:
        place = self._chain.get(ref.run)
        return (len(self._chain), -ref.ended_at, ref.number) if place is None else (place, 0.0, ref.number)

    def _reuse(self, task: Task, ref: AnswerRef, ended: TaskEnded) -> TaskEnded:
        """As it ended then; the output is cut to what is its most now."""
        whole, work = ended.output, ended.work
        if task.summary_prompt is None:
            whole, work = work or whole, None
        output = None if whole is None else self._clipped(whole)
        run, label = ref.origin
        return replace(
            ended,
            label=task.label,
            output=output,
            work=work if output == whole else work or whole,
            duration_s=None,
            queued_s=None,
            reused=Reused(
                run=run,
                label=label,
                ended_at=ref.ended_at,
                tokens=ref.tokens,
                cost_usd=ref.cost_usd,
                age_s=max(0.0, time.time() - ref.ended_at),
            ),
        )

    def _left_out(self, task: Task, sent: Sent) -> TaskEnded:
        at = datetime.fromtimestamp(sent.sent_at, UTC)
        cost = may_have_cost_words(sent.most_tokens, sent.most_cost_usd, self._past.dollars)
        return TaskEnded(
            label=task.label,
            status="unknown",
            error=(
                f"it was sent in run {sent.run} at {at:%Y-%m-%d %H:%M:%S} UTC, and nobody has seen its end: {cost}\n"
                "--resend-unknown sends it again"
            ),
        )


def may_have_cost_words(most_tokens: int, most_cost_usd: float | None, dollars: Callable[[float], str]) -> str:
    cost = "an unknown price" if most_cost_usd is None else dollars(most_cost_usd)
    return f"it may have cost up to {most_tokens:,} tokens and {cost}"


def _answer_at(connection: Connection, ref: AnswerRef) -> TaskEnded | None:
    """None: it was deleted meanwhile, or cannot be read; then the task is asked anew."""
    try:
        event = event_at(connection, ref.run, ref.number).event
    except (ValueError, XzMagicsError):
        logger.exception("the answer to %s in run %s cannot be read", ref.label, ref.run)
        return None
    return event if isinstance(event, TaskEnded) else None


def _fits(ended: TaskEnded, schema: AnswerSchema | None) -> bool:
    """A schema is a part of the key, but not what its model class checks besides."""
    if schema is None or schema.model is None:
        return True
    for text in (ended.work, ended.output):
        with suppress(SchemaError):
            value_of(schema, text or "")
            return True
    return False
