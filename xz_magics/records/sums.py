"""Sums of numbers of which some are unknown."""

from collections.abc import Iterable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def known_sum(numbers: Iterable[Number | None]) -> Number | None:
    """The sum of the known numbers; None where none is known: unknown is never 0."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None
