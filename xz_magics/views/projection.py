"""What a run that goes on will have cost in the end: it alone guesses, and says where it cannot."""

from collections import Counter, defaultdict

from xz_magics.outcomes import Row
from xz_magics.views.wording import dollars_words


class Projection:
    """By the tasks of each model that have ended: those to come cost as much on average.

    Judges are not counted, nor is what is not sent in this run: what is reused, and what is unknown.
    """

    def __init__(self) -> None:
        self._planned: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._usd: defaultdict[str, float] = defaultdict(float)
        self._counted: set[str] = set()
        self._unpriced = False
        self._judges = False

    def plan(self, row: Row) -> None:
        if row.written:
            self._planned[row.task.model] += 1
            self._judges |= any(scorer.judge is not None for scorer in row.task.scores)

    def note(self, row: Row) -> None:
        """The row has changed; it may have ended."""
        self._unpriced |= row.unpriced
        outcome = row.outcome
        if outcome is not None and outcome.written and outcome.label not in self._counted:
            self._counted.add(outcome.label)
            if outcome.reused is not None or outcome.status == "unknown":
                self._planned[outcome.model] -= 1
                return
            self._ended[outcome.model] += 1
            self._usd[outcome.model] += outcome.tree_cost_usd or 0.0

    def words(self, so_far_usd: float, *, over: bool, limit_usd: float | None = None) -> str:
        """Such as "$0.1204 of about $0.40"; empty where all is free. The whole passes no limit of the run."""
        words = [dollars_words(so_far_usd)] if so_far_usd else []
        total_usd = None if over else self._total_usd()
        if limit_usd is not None and total_usd is not None:
            total_usd = min(total_usd, limit_usd)
        if words and total_usd is not None and total_usd > so_far_usd:
            judges = " and the judges" if self._judges else ""
            words = [f"{words[0]} of about {_roughly(total_usd)}{judges}"]
        return " + ".join([*words, *(["unpriced"] if self._unpriced else [])])

    def _total_usd(self) -> float | None:
        """None before a task of each model has ended."""
        planned = {model: count for model, count in self._planned.items() if count}
        if planned.keys() - self._ended.keys():
            return None
        return sum(self._usd[model] / self._ended[model] * count for model, count in planned.items())


def _roughly(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 0.1 else dollars_words(usd)
