"""What a live view is shown of a run, and what a person can do to the run from there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xz_magics.outcomes import Outcomes
from xz_magics.records import LimitUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """`uses` tells where each limit stands, the run's own first. `stop` and `cancel` may be called from any thread.

    `waits` tells whether something of this process waits for room in the limits of day or week.

    `outcomes` changes on the loop of the run, which is also where the view is drawn.
    """

    run_id: str
    outcomes: Outcomes
    uses: Callable[[], Sequence[LimitUse]]
    stop: Callable[[], None]
    cancel: Callable[[str], None]
    waits: Callable[[], bool] = bool
