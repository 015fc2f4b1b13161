"""What the journal holds that may serve a run, looked up before anything of it happens; and the run that it resumes."""

import hashlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from time import time
from typing import TYPE_CHECKING

from xz_magics.agent import clip
from xz_magics.api.inner import is_inner
from xz_magics.api.whereabouts import cell_id, notebook_path
from xz_magics.errors import ConfigError, JournalError, SpecError
from xz_magics.records import AnswerSchema, ToolSpec
from xz_magics.session import session
from xz_magics.tools.rights import Rights
from xz_magics.views.wording import dollars_words, tasks_words

if TYPE_CHECKING:
    from xz_magics.api.preparing import Prepared
    from xz_magics.observers.journal import Foreseen, Journal, Origins, Past, Recall, RunInfo

logger = logging.getLogger("xz_magics")

LATEST = "last"
"""In the place of a run's id: the latest that this one can go on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """`recall` is asked of each task; `foreseen` is what it will answer to those that are complete already.

    `resumes` is the id of the run that is gone on from. `hint` is one line for who may have forgotten to ask for that,
    or asks in vain.
    """

    origins: "Origins"
    recall: "Recall"
    foreseen: "Foreseen"
    resumes: str | None = None
    hint: str | None = None


def recollect(prepared: "Prepared") -> "Prepared":
    """The same with its recollection, where a journal is kept: not in an event loop, for it reads.

    Raises SpecError, ConfigError or JournalError where an earlier run is asked for that cannot be had; without that, a
    journal in trouble is told of later.
    """
    if prepared.recollection is not None:
        return prepared
    left_out = "--reuse" if prepared.resume is None else "--resume"
    asks = prepared.resume is not None or prepared.reuse
    mode = prepared.settings.journal
    if asks and mode != "on":
        raise ConfigError(f"journal is {mode}, so no answer is kept that could be reused", f"leave {left_out} out")
    if mode == "off":
        return prepared
    try:
        journal = session.journal
        if asks:
            journal.check()
        recollection = _recollection(prepared, journal)
    except JournalError as error:
        if not asks:
            return replace(prepared, journal_trouble=error)
        raise JournalError(f"{error.message}; nothing was sent", f"{error.hint}, or leave {left_out} out") from error
    return replace(prepared, recollection=recollection)


def with_hint(prepared: "Prepared") -> "Prepared":
    """The hint among its warnings."""
    if prepared.recollection is None or prepared.recollection.hint is None:
        return prepared
    plan = prepared.plan
    return replace(prepared, plan=replace(plan, warnings=(*plan.warnings, prepared.recollection.hint)))


def _recollection(prepared: "Prepared", journal: "Journal") -> Recollection:
    from xz_magics.observers.journal import DAY_S, Foreseen, Origins

    origins = Origins(
        cell=None if is_inner() else cell_id(), spec_hash=_hash_of(prepared.work), notebook=notebook_path()
    )
    earlier = None if prepared.resume is None else _resumed(prepared.resume, journal, origins)
    if earlier is None and prepared.reuse:
        earlier = _unfinished(journal, origins)
    past = replace(
        _past(prepared),
        resumes=None if earlier is None else earlier.id,
        since=time() - prepared.settings.journal_days * DAY_S if prepared.reuse else None,
        resend=prepared.resend_unknown,
    )
    recall = journal.recalling(past, clipped=partial(clip, limit_bytes=prepared.settings.output_max_size))
    foreseen = Foreseen()
    if earlier is not None or prepared.reuse:
        foreseen = recall.foresee(_wanted(prepared), schemas=_schemas(prepared))
    if prepared.resume is not None:
        hint = _vain(earlier, foreseen)
    elif prepared.reuse:
        hint = _withheld(earlier, journal, foreseen)
    else:
        hint = None if is_inner() or prepared.settings.journal != "on" else _hint(prepared, journal, origins)
    return Recollection(origins=origins, recall=recall, foreseen=foreseen, resumes=past.resumes, hint=hint)


def _past(prepared: "Prepared") -> "Past":
    """Of no run yet."""
    from xz_magics.observers.journal import Past

    return Past(workspace=prepared.granted(Rights()).workspace, dollars=dollars_words)


def _hash_of(work: object) -> str:
    return hashlib.sha256(repr(work).encode("utf-8", "replace")).hexdigest()


def _resumed(word: str, journal: "Journal", origins: "Origins") -> "RunInfo | None":
    """None: there is no earlier run at all."""
    run = _latest_alike(journal, origins) if word == LATEST else journal.find(word)
    if run is not None and run.goes_on:
        raise SpecError(f"run {run.id} still runs", "wait for its end, or cancel it")
    if word == LATEST:
        return journal.latest(origins)
    if run is not None and not run.owner:
        raise SpecError(f"run {run.id} was imported: it is shown, not reused", "%subagents runs lists the others")
    return run


def _latest_alike(journal: "Journal", origins: "Origins") -> "RunInfo | None":
    """Of the same cell, else with the same work, whether it goes on or not."""
    runs = [run for run in journal.runs() if run.owner and not run.nested]
    of_cell = (run for run in runs if run.cell is not None and run.cell == origins.cell)
    return next(of_cell, None) or next((run for run in runs if run.spec_hash == origins.spec_hash), None)


def _unfinished(journal: "Journal", origins: "Origins") -> "RunInfo | None":
    """The latest run of the same cell, where it may have sent, or left out, what nobody has seen the end of."""
    earlier = journal.latest(origins, alike=True)
    if earlier is None or (earlier.resumes is None and journal.early_end(earlier) is None):
        return None
    return earlier


def _vain(earlier: "RunInfo | None", foreseen: "Foreseen") -> str | None:
    """For who resumes and gets nothing by it."""
    if earlier is None:
        return "there is no earlier run in the journal to resume: all tasks are sent"
    if foreseen.reused or foreseen.unknown:
        return None
    return f"none of these tasks is done in run {earlier.id}, or none asks the same: all of them are sent"


def _withheld(earlier: "RunInfo | None", journal: "Journal", foreseen: "Foreseen") -> str | None:
    """For who reuses, and has not asked to go on from a run that was never finished."""
    if earlier is None or not foreseen.unknown:
        return None
    end = journal.early_end(earlier) or "left something open"
    return f"run {earlier.id} {end}: {_unknown_words(foreseen)}: --resume --resend-unknown sends it again"


def _hint(prepared: "Prepared", journal: "Journal", origins: "Origins") -> str | None:
    """After a run of the same cell that was stopped, or whose kernel died: what could be taken from it."""
    try:
        earlier = journal.latest(origins, alike=True)
        end = None if earlier is None else journal.early_end(earlier)
        if earlier is None or end is None:
            return None
        recall = journal.recalling(replace(_past(prepared), resumes=earlier.id))
        foreseen = recall.foresee(_wanted(prepared), schemas=_schemas(prepared), read=False)
    except JournalError:
        logger.exception("what an earlier run has left cannot be looked up")
        return None
    if not foreseen.reused and not foreseen.unknown:
        return None
    reused = f"{len(foreseen.reused):,} of its answers"
    if any(ref.run != earlier.id for ref in foreseen.reused.values()):
        reused += " and of the runs before it"
    told = f"run {earlier.id} {end}: --resume (resume=True) would reuse {reused}"
    return f"{told}, and leave out {_unknown_words(foreseen)}" if foreseen.unknown else told


def _unknown_words(foreseen: "Foreseen") -> str:
    from xz_magics.observers.journal.keys import sum_if_all_known
    from xz_magics.observers.journal.recalling import may_have_cost_words

    unknown = foreseen.unknown.values()
    cost_usd = sum_if_all_known([sent.most_cost_usd for sent in unknown])
    cost = may_have_cost_words(sum(sent.most_tokens for sent in unknown), cost_usd, dollars_words)
    return f"{tasks_words(len(unknown))} whose end is unknown ({cost})"


def _schemas(prepared: "Prepared") -> dict[str, AnswerSchema]:
    return {task.label: task.schema for task in prepared.plan.tasks if task.schema is not None}


def _wanted(prepared: "Prepared") -> list[tuple[str, str]]:
    """The tasks that need no other's output, as (key, label)."""
    from xz_magics.observers.journal import task_key

    workspace = _past(prepared).workspace
    offered: dict[tuple[str, ...], tuple[ToolSpec, ...]] = {(): ()}
    wanted = []
    for task in prepared.plan.tasks:
        if task.inserts:
            continue
        if task.allowed_tools not in offered:
            offered[task.allowed_tools] = _tools_of(prepared, Rights.of(task.allowed_tools))
        tools = offered[task.allowed_tools] if task.max_turns > 1 else ()
        wanted.append((task_key(task, prepared.providers[task.model].identity, tools, workspace), task.label))
    return wanted


def _tools_of(prepared: "Prepared", rights: Rights) -> tuple[ToolSpec, ...]:
    granted = prepared.granted(rights)
    if not prepared.plan.max_depth and granted.delegating:
        granted = prepared.granted(rights.only(set(rights.words) - granted.delegating))
    return granted.specs
