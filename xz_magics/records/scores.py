"""What answers scored: a value by label and scorer, None where it is missing; this file alone knows the columns."""

from collections.abc import Iterator, Mapping

Score = float | bool | None
Scores = Mapping[str, Mapping[str, Score]]
"""By the task's label, then by the scorer's name; of a function that gave several numbers by `name.key` of each."""


def score_columns(scores: Scores) -> dict[str, str]:
    """The column of each name: `score` of the only scorer, `score.name` of several."""
    names = dict.fromkeys(name for of_one in scores.values() for name in of_one)
    alone = len({scorer_of(name) for name in names}) == 1
    return {name: ".".join(_column(name, alone=alone)) for name in names}


def scorer_of(name: str) -> str:
    """The scorer's own name, which holds no dot."""
    return name.partition(".")[0]


def _column(name: str, *, alone: bool) -> Iterator[str]:
    scorer, _, key = name.partition(".")
    yield "score"
    if not alone:
        yield scorer
    if key:
        yield key
