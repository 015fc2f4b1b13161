"""Arms of a run, compared by inputs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame
    from xz_magics.results.experiments import Experiments


class Comparison:
    pass


def compare(results: "Experiments", variable: str, score: str | None) -> Comparison:
    raise NotImplementedError


def pivot(results: "Experiments", variable: str, value: str) -> "DataFrame":
    raise NotImplementedError
