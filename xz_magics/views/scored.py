"""Scores and what the outputs were combined to, in words: the same in every view."""

from collections.abc import Iterator, Sequence
from typing import Any

from xz_magics.records import Outcome
from xz_magics.records.scores import Score, Scores, score_columns, scorer_of

MOST_COLUMNS = 3
MOST_LINES = 8
MOST_CHARACTERS = 60
"""Of a column's name: a function may give any key."""


def score_lines(outcomes: Sequence[Outcome], scores: Scores) -> list[str]:
    """Such as "score: mean 0.75 over 20 answers, 4 missing", a line per column."""
    columns = score_columns(scores)
    lines = [
        f"{column[:MOST_CHARACTERS]}: {', '.join(_facts([score for score in _asked(name, outcomes, scores) if score]))}"
        for name, column in [*columns.items()][:MOST_LINES]
    ]
    more = len(columns) - MOST_LINES
    return [*lines, f"… and {more:,} more in .scores"] if more > 0 else lines


def score_cells(outcomes: Sequence[Outcome], scores: Scores) -> list[tuple[str, list[str]]]:
    """A head, and a cell for each outcome, of the first few columns; empty: no such score was asked for."""
    columns = [*score_columns(scores).items()][:MOST_COLUMNS]
    return [
        (column[:MOST_CHARACTERS], [_cell(*score) if score else "" for score in _asked(name, outcomes, scores)])
        for name, column in columns
    ]


def combined_words(combined: Any) -> str:
    """The text, or the labels of the outcomes that a filter has kept."""
    if isinstance(combined, str):
        return combined
    return f"{len(combined):,} kept: {', '.join(outcome.label for outcome in combined)}"


def _asked(name: str, outcomes: Sequence[Outcome], scores: Scores) -> Iterator[tuple[Score] | None]:
    """The score of each outcome; None where its task has no such scorer."""
    scorer = scorer_of(name)
    for outcome in outcomes:
        of_one = scores.get(outcome.label, {})
        yield (of_one.get(name),) if any(scorer_of(other) == scorer for other in of_one) else None


def _facts(scores: Sequence[tuple[Score]]) -> Iterator[str]:
    known = [float(score) for (score,) in scores if score is not None]
    if known:
        yield f"mean {_number(sum(known) / len(known))} over {len(known):,} answer{'' if len(known) == 1 else 's'}"
    if missing := len(scores) - len(known):
        yield f"{missing:,} missing"


def _cell(score: Score) -> str:
    if score is None:
        return "missing"
    if isinstance(score, bool):
        return "yes" if score else "no"
    return _number(score)


def _number(score: float) -> str:
    return f"{score:,.0f}" if abs(score) >= 1_000 else f"{score:.3g}"
