"""Who of those that wait gets room in the ledger, who is refused, and who goes on waiting."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from xz_magics.errors import QuotaExceeded
from xz_magics.quotas.ledger import Hold, Ledger
from xz_magics.quotas.level import NOTHING, Amounts, Level

Asked = tuple[Amounts, "Future[Hold]"]
"""Who waits: what is needed, and where the hold is awaited."""

Decided = tuple[Asked, Hold | QuotaExceeded | None]
"""None: it goes on waiting."""


def decide(ledger: Ledger, levels: Mapping[str, Level], asked: Sequence[Asked]) -> list[Decided]:
    """Within a group of the ledger. The levels are those of the day and the week."""
    decided: list[Decided] = []
    full: set[str] = set()
    limits = {name: level.quota for name, level in levels.items()}
    if any(need == NOTHING for need, _ in asked):
        ledger.reap()  # somebody looks at it,
        ledger.settle(None, NOTHING)  # or at whether it can be written: to read alone would not tell
    stands = False  # whether the levels stand as the ledger does
    for one in asked:
        need = one[0]
        decision: Hold | QuotaExceeded | None = None
        if full.isdisjoint(need.limits()):
            decision, stands = ledger.reserve(need, limits), False
        if decision is None and not stands:
            stand_as(ledger, levels)
            stands = True
        if decision is None:
            decision = next(filter(None, (level.refusal(need) for level in levels.values())), None)
        if decision is None:
            full.update(limit for level in levels.values() for limit in level.over(need))
        decided.append((one, decision))
    return decided


def stand_as(ledger: Ledger, levels: Mapping[str, Level]) -> str | None:
    """The levels are as the ledger is; the line that a person should see, if there is one."""
    ends, note = ledger.ends(), ledger.note()
    for name, (used, reserved) in ledger.standing().items():
        level = levels[name]
        level.used, level.reserved = used, reserved
        level.end = ends[name] if note is None else f"{ends[name]}; {note}"
    return note
