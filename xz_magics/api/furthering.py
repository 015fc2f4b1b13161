"""What a run does after its tasks: it scores the answers and puts them together. What fails there loses nothing."""

import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from xz_magics.engine import Work
from xz_magics.errors import XzMagicsError
from xz_magics.events import TaskEnded
from xz_magics.plan import Plan
from xz_magics.records import Outcome, Task
from xz_magics.records.scores import Score
from xz_magics.results import Results
from xz_magics.scores import combining, judging
from xz_magics.scores.functions import Faults
from xz_magics.specs.scoring import Filter, Merge, Summarise
from xz_magics.views.wording import tasks_words

logger = logging.getLogger("xz_magics")


class Furthering:
    """Called by the engine once the tasks as written have ended; what comes of it stands in the Results.

    `stopped`: whether somebody pressed Stop, after which nothing more is begun.
    """

    def __init__(self, plan: Plan, results: Results, stopped: Callable[[], bool]) -> None:
        self._tasks = {task.label: task for task in plan.tasks if task.scores}
        self._combine = plan.combine
        self._results = results
        self._stopped = stopped
        self._scored_all = False

    @property
    def is_needed(self) -> bool:
        return bool(self._tasks) or self._combine is not None

    async def __call__(self, work: Work) -> None:
        if self._tasks:
            await self._attempt("score", self._score(work))
        self._scored_all = True
        if self._combine is not None and not self._stopped():
            await self._attempt("combine", self._put_together(work, self._combine))

    def tell_of_stop(self) -> None:
        """Where a Stop came before the scores, a person can still have them."""
        if self._tasks and not self._scored_all:
            self._results.note("Stop came before the end of scoring: results.score() scores what is done by its rules")

    async def _attempt(self, what: str, attempt: Coroutine[Any, Any, None]) -> None:
        try:
            await attempt
        except Exception as error:
            logger.exception("%s failed in run %s", what, self._results.run_id)
            why = error.message if isinstance(error, XzMagicsError) else f"{type(error).__name__}: {error}"
            self._results.note(f"{what} failed: {why}; the answers are all there")

    async def _score(self, work: Work) -> None:
        await self._score_by_rules()
        await self._judge(work)

    async def _score_by_rules(self) -> None:
        from xz_magics.scores.rules import rule_scores
        from xz_magics.tools.function import in_thread

        faults = Faults()
        pairs = [(outcome, task.scores) for outcome, task in self._scored()]
        found: Any = await in_thread(lambda: rule_scores(pairs, faults), "xz_magics scores")
        self._results.add_scores(found)
        for name, line in faults.told():
            self._results.note(line, about=f"score {name}")

    def _scored(self) -> list[tuple[Outcome, Task]]:
        outcomes = self._results.outcomes
        return [(outcome, self._tasks[outcome.label]) for outcome in outcomes if outcome.label in self._tasks]

    async def _judge(self, work: Work) -> None:
        from xz_magics.tools.function import in_thread

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
        for step in combine.steps:
            texts = [outcome.output or "" for outcome in outcomes] if text is None else [text]
            match step:
                case Filter():
                    outcomes = await self._kept(step, outcomes)
                case Merge():
                    text = combining.merged(step, texts)
                case Summarise():
                    text = await self._summary(work, step, texts)
        self._results.combined = outcomes if text is None else text

    async def _kept(self, step: Filter, outcomes: Sequence[Outcome]) -> list[Outcome]:
        from xz_magics.tools.function import in_thread

        faults = Faults("filter {name} leaves out")
        scores = self._results.scores
        kept: Any = await in_thread(lambda: combining.kept(step, outcomes, scores, faults), "xz_magics filter")
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
    return f"{len(endings):,} ({', '.join(_reasons(endings))})"


def _reasons(endings: Sequence[TaskEnded]) -> Iterator[str]:
    for (status, error_type), count in Counter((ended.status, ended.error_type) for ended in endings).items():
        yield f"{count:,} {status}" + (f": {error_type}" if error_type else "")
