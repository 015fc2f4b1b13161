"""What a run does after its tasks: it scores the answers and puts them together. What fails there loses nothing."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from xz_magics.engine import Work
from xz_magics.errors import XzMagicsError
from xz_magics.events import TaskEnded
from xz_magics.plan import Plan
from xz_magics.records import Outcome, Task
from xz_magics.records.scores import Score
from xz_magics.results import Results
from xz_magics.results.scoring import LATE
from xz_magics.scores import combining, judging
from xz_magics.scores.functions import Faults
from xz_magics.specs.scoring import Filter, Merge, Summarise
from xz_magics.tools.function import in_thread
from xz_magics.views.scored import kept_words, lost_words
from xz_magics.views.wording import tasks_words

logger = logging.getLogger("xz_magics")

AFTER_STOP_S = 1.0
KINDS_BY_HASTE = ({"equals", "contains", "json_path"}, {"regex"}, {"function"})
"""After a Stop: each may take longer than those before it."""


class Furthering:
    """Called by the engine once the tasks as written have ended; what comes of it stands in the Results.

    `stopped`: whether somebody pressed Stop, after which nothing more is begun.
    """

    def __init__(self, plan: Plan, results: Results, stopped: Callable[[], bool]) -> None:
        self._tasks = {task.label: task for task in plan.tasks if task.scores}
        self._combine = plan.combine
        self._results = results
        self._stopped = stopped
        self._rules_began = self._rules_ended = self._given_up = False

    @property
    def is_needed(self) -> bool:
        return bool(self._tasks) or self._combine is not None

    async def __call__(self, work: Work) -> None:
        if self._tasks:
            await self._attempt("score", self._score(work))
        if self._combine is not None and not self._stopped():
            await self._attempt("combine", self._put_together(work, self._combine))

    async def end_stopped(self) -> None:
        """What was done before a Stop is scored by what needs no model, for a second only: a function may hang."""
        ended = self._scored()
        if self._rules_ended or not ended:
            return
        missing = {outcome.label: dict.fromkeys(scorer.name for scorer in task.scores) for outcome, task in ended}
        self._results.add_scores(missing)
        late = self._rules_began and any(scorer.kind == "function" for _, task in ended for scorer in task.scores)
        try:
            async with asyncio.timeout(AFTER_STOP_S):
                for kinds in KINDS_BY_HASTE[:-1] if late else KINDS_BY_HASTE:
                    await self._attempt("score", self._score_by_rules(kinds))
        except TimeoutError:
            late = self._given_up = True
        if late:
            told = "Stop left no time for all scores: results.score() scores what is done by its rules"
            self._results.note(told, about=LATE)

    async def _attempt(self, what: str, attempt: Coroutine[Any, Any, None]) -> None:
        """What can be expected to fail is one line; a defect is in the log with its traceback, too."""
        try:
            await attempt
        except XzMagicsError as error:
            self._results.note(f"{what} failed: {error.message}; the answers are all there")
        except Exception as error:
            logger.exception("%s failed in run %s", what, self._results.run_id)
            self._results.note(f"{what} failed: {type(error).__name__}: {error}; the answers are all there")

    async def _score(self, work: Work) -> None:
        self._rules_began = True
        await self._score_by_rules()
        self._rules_ended = True
        await self._judge(work)

    async def _score_by_rules(self, kinds: Collection[str] = ()) -> None:
        """By all scorers, or by those of some kinds only."""
        faults = Faults()
        pairs = [
            (outcome, [scorer for scorer in task.scores if not kinds or scorer.kind in kinds])
            for outcome, task in self._scored()
        ]
        if not any(scorers for _, scorers in pairs):
            return

        def found_scores() -> dict[str, dict[str, Score]]:
            from xz_magics.scores.rules import rule_scores

            # After a Stop only the short time of `end_stopped` is left, and a function may cost money at each call.
            return rule_scores((pair for pair in pairs if not (self._given_up if kinds else self._stopped())), faults)

        found: Any = await in_thread(found_scores, "xz_magics scores")
        self._results.add_scores(found)
        for name, line in faults.told():
            self._results.note(line, about=f"score {name}")

    def _scored(self) -> list[tuple[Outcome, Task]]:
        outcomes = self._results.outcomes
        return [(outcome, self._tasks[outcome.label]) for outcome in outcomes if outcome.label in self._tasks]

    async def _judge(self, work: Work) -> None:
        pairs = [(outcome, task) for outcome, task in self._scored() if any(scorer.judge for scorer in task.scores)]
        if not pairs:
            return
        asked: Any = await in_thread(lambda: judging.made_ready(pairs), "xz_magics judges")
        endings = await work([one.task for one in asked])
        scores: dict[str, dict[str, Score]] = {}
        missing: dict[str, list[TaskEnded]] = {}
        for one, ended in zip(asked, endings, strict=True):
            found = judging.verdict(one.judge, ended)
            scores.setdefault(one.outcome.label, {})[one.name] = found
            if found is None:
                missing.setdefault(one.name, []).append(ended)
        self._results.add_scores(scores)
        for name, lost in missing.items():
            self._results.note(f"score {name} is missing for {_lost(lost)}: see all_df", about=f"score {name}")
        if parts := sum(one.part for one in asked):
            self._results.note(f"judges were shown only the beginning of what is too long for them, {parts:,} times")

    async def _put_together(self, work: Work, combine: combining.Combine) -> None:
        """Filters narrow the outcomes; what comes after them is one text."""
        written = self._results.outcomes
        outcomes = combining.whole_ones(written)
        if not outcomes:
            raise XzMagicsError("no task is done")
        if len(outcomes) < len(written):
            self._results.note(f"combine takes what is done alone: {len(outcomes):,} of {tasks_words(len(written))}")
        text: str | None = None
        kept = ""
        for step in combine.steps:
            if not isinstance(step, Filter) and not outcomes:
                raise XzMagicsError(f"nothing is left to put together: {kept}")
            texts = [outcome.output or "" for outcome in outcomes] if text is None else [text]
            match step:
                case Filter():
                    outcomes = await self._kept(step, outcomes)
                    kept = kept_words(outcomes, len(written))
                case Merge():
                    text = combining.merged(step, texts)
                case Summarise():
                    text = await self._summary(work, step, texts)
        if kept and text is not None:
            self._results.note(f"combine puts together what its filters keep: {kept}")
        self._results.add_combined(outcomes if text is None else text)

    async def _kept(self, step: Filter, outcomes: Sequence[Outcome]) -> list[Outcome]:
        faults = Faults("filter {name} leaves out")
        scores = self._results.scores
        going_on = (outcome for outcome in outcomes if not self._stopped())
        kept: Any = await in_thread(lambda: combining.kept(step, going_on, scores, faults), "xz_magics filter")
        for _, line in faults.told():
            self._results.note(line)
        return list(kept)

    async def _summary(self, work: Work, step: Summarise, texts: Sequence[str]) -> str:
        """Raises XzMagicsError where a part of it has no text: the rest would look like a summary of all."""
        level = 1
        while True:
            endings = await work(combining.summaries(step, texts, level=level))
            if lost := [ended for ended in endings if not _text(ended)]:
                raise XzMagicsError(f"{len(endings):,} summaries were asked for, and missing are {_lost(lost)}")
            texts = [_text(ended) for ended in endings]
            if len(texts) <= 1:
                return "".join(texts)
            texts = [combining.shortened(text, step) for text in texts]
            level += 1


def _text(ended: TaskEnded) -> str:
    """One that is cut says so."""
    if ended.status not in {"done", "incomplete"} or not ended.output:
        return ""
    return ended.output if ended.status == "done" else f"{ended.output}\n[{ended.status}: {ended.error_type}]"


def _lost(endings: Sequence[TaskEnded]) -> str:
    """Such as "3 (2 skipped: quota_exceeded, 1 failed: schema)"."""
    return f"{len(endings):,} ({', '.join(lost_words(endings))})"
