"""What is asked of a ledger of days and weeks: it alone says what this room knows of one."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from xz_magics.quotas.level import Amounts
from xz_magics.records import Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Room that a ledger has taken: in which periods, and how much in each."""

    id: str
    periods: tuple[str, ...]
    amounts: Amounts


class Ledger(Protocol):
    """Counts, on disk, what all processes of a user use and hold in the present day and week.

    Its methods wait for the disk, and raise XzMagicsError where it cannot be written.
    """

    def group(self) -> AbstractContextManager[None]:
        """What is done within is written together, or not at all."""
        ...

    def reserve(self, need: Amounts, limits: Mapping[str, Quota]) -> Hold | None:
        """None: it does not fit now. `limits` by level: "day", "week"."""
        ...

    def settle(self, hold: Hold | None, used: Amounts) -> None:
        """None: it was used without any room being reserved."""
        ...

    def reap(self) -> int:
        """Gives back what processes hold that are gone; how many those were."""
        ...

    def standing(self) -> Mapping[str, tuple[Amounts, Amounts]]:
        """By level, what is used and what is reserved on top."""
        ...

    def ends(self) -> Mapping[str, str]:
        """By level, in words, when that begins anew."""
        ...

    def note(self) -> str | None:
        """One line: a clock that was wrong keeps days from beginning anew, with its mend; or a new file was begun."""
        ...

    def take_back(self) -> None:
        """Leaves the days of a clock that was wrong."""
        ...

    def close(self) -> None: ...
