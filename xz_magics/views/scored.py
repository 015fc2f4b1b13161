"""Scores and what the outputs were combined to, in words: the same in every view."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from xz_magics.events import TaskEnded
from xz_magics.records import Outcome
from xz_magics.records.scores import Score, Scores, score_columns, scorer_of

MOST_COLUMNS = 3
MOST_LINES = 8
MOST_KEPT = 50
MOST_CHARACTERS = 60
"""Of a column's name: a function may give any key."""


def score_lines(outcomes: Sequence[Outcome], scores: Scores) -> list[str]:
    """Such as "score: mean 0.75 over 20 answers, 4 missing (verdicts: 4 cut at max_tokens)", a line per column.

    `outcomes` hold judges, too: they tell why a verdict is missing.
    """
    roots = [outcome for outcome in outcomes if outcome.written]
    judges = {outcome.label: outcome for outcome in outcomes if outcome.purpose == "judge"}
    columns = score_columns(scores)
    lines = []
    for name, column in [*columns.items()][:MOST_LINES]:
        asked = [*zip(roots, _asked(name, roots, scores), strict=True)]
        missing = [judges.get(f"{outcome.label}/{name}") for outcome, score in asked if score == (None,)]
        facts = _facts([score for _, score in asked if score], [judge for judge in missing if judge])
        lines.append(f"{column[:MOST_CHARACTERS]}: {', '.join(facts)}")
    more = len(columns) - MOST_LINES
    return [*lines, f"… and {more:,} more in .scores"] if more > 0 else lines


def lost_words(lost: Iterable[Outcome | TaskEnded]) -> Iterator[str]:
    """Such as "2 skipped: quota_exceeded", "1 cut at max_tokens", for those that came to nothing."""
    for (status, error_type), count in Counter((one.status, one.error_type) for one in lost).items():
        if error_type == "length":
            yield f"{count:,} cut at max_tokens"
        else:
            yield f"{count:,} {status}" + (f": {error_type}" if error_type else "")


def score_cells(outcomes: Sequence[Outcome], scores: Scores) -> list[tuple[str, list[str]]]:
    """A head, and a cell for each outcome, of the first few columns; empty: no such score was asked for."""
    columns = [*score_columns(scores).items()][:MOST_COLUMNS]
    return [
        (column[:MOST_CHARACTERS], [_cell(*score) if score else "" for score in _asked(name, outcomes, scores)])
        for name, column in columns
    ]


def kept_words(kept: Sequence[Outcome], of: int) -> str:
    """Such as "2 of 3 kept: a, c"."""
    labels = [outcome.label for outcome in kept[:MOST_KEPT]]
    more = f" and {len(kept) - MOST_KEPT:,} more" if len(kept) > MOST_KEPT else ""
    return f"{len(kept):,} of {of:,} kept" + (f": {', '.join(labels)}{more}" if labels else "")


def _asked(name: str, outcomes: Sequence[Outcome], scores: Scores) -> Iterator[tuple[Score] | None]:
    """The score of each outcome; None where its task has no such scorer."""
    scorer = scorer_of(name)
    for outcome in outcomes:
        of_one = scores.get(outcome.label, {})
        yield (of_one.get(name),) if any(scorer_of(other) == scorer for other in of_one) else None


def _facts(scores: Sequence[tuple[Score]], judges: Sequence[Outcome]) -> Iterator[str]:
    """`judges`: of the scores that are missing."""
    known = [float(score) for (score,) in scores if score is not None]
    if known:
        yield f"mean {_number(sum(known) / len(known))} over {len(known):,} answer{'' if len(known) == 1 else 's'}"
    if missing := len(scores) - len(known):
        yield f"{missing:,} missing" + (f" (verdicts: {', '.join(lost_words(judges))})" if judges else "")


def _cell(score: Score) -> str:
    if score is None:
        return "missing"
    if isinstance(score, bool):
        return "yes" if score else "no"
    return _number(score)


def _number(score: float) -> str:
    return f"{score:,.0f}" if abs(score) >= 1_000 else f"{score:.3g}"
