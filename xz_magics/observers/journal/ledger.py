"""What all processes of a user use and hold in each day and week, in a file of SQLite; it alone counts over them."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, tzinfo
from pathlib import Path

from xz_magics.observers.journal.opening import DAMAGED, code_of, open_file, persist, told_of
from xz_magics.observers.journal.owners import STRANGE_S, is_alive, this_owner
from xz_magics.observers.journal.periods import ends_in_words, far_ahead, periods_at
from xz_magics.observers.journal.placing import identity
from xz_magics.observers.journal.reckoning import amounts_of, kept_amounts, kept_limits
from xz_magics.quotas import Amounts, Hold
from xz_magics.quotas.level import COUNTED
from xz_magics.records import Quota

BUSY_S = 20.0
"""So long it waits for other processes that write; those who wait for it are in no event loop."""

IMPATIENT_S = 5.0
"""So long where the last wait was in vain."""

TURN_S = 0.003
"""After a commit others get a turn: who begins again at once is faster than all who wait, and they would starve."""

TAKE = """
UPDATE budgets SET reserved = reserved + :amount
WHERE period = :period AND name = :name AND (:most IS NULL OR used + reserved + :amount <= :most)
"""
BOOK = """
INSERT INTO budgets (period, name, used) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET used = used + excluded.used
"""
FREE = """
UPDATE budgets SET reserved = reserved -
    (SELECT sum(amount) FROM holds WHERE {column} = :value AND period = budgets.period AND name = budgets.name)
WHERE (period, name) IN (SELECT period, name FROM holds WHERE {column} = :value)
"""
FORGET = "DELETE FROM holds WHERE {column} = :value"
BEGIN = """
INSERT INTO budgets (period, name, used)
VALUES (:period, :name, coalesce((SELECT used FROM budgets WHERE period = 'was ' || :period AND name = :name), 0))
"""
LAY_ASIDE = "UPDATE OR REPLACE budgets SET period = 'was ' || period, reserved = 0 WHERE period = ?"
RAISE = "UPDATE budgets SET used = max(used, ?) WHERE period = ? AND name = ?"
MOVE = """
UPDATE budgets SET reserved = reserved +
    coalesce((SELECT sum(amount) FROM holds WHERE period = :period AND name = budgets.name), 0)
WHERE period = :to
"""


class Ledger:
    """For one thread at a time; each process, and each thread, has one of its own. It is opened at its first use.

    Days and weeks are those of the zone. They never go back: while a clock is behind the newest day that was written,
    that day goes on. A file that was moved, deleted or damaged is followed by a new one, in which at least that is used
    and held which was known here.
    """

    def __init__(
        self,
        file: Path,
        *,
        wal: bool = True,
        zone: Callable[[], tzinfo] = lambda: UTC,
        clock: Callable[[], float] = time.time,
        owner: str | None = None,
    ) -> None:
        """`wal` False: the file is on a network. All that uses it raises JournalError where it cannot be written."""
        self._file = file
        self._wal = wal
        self._zone = zone
        self._clock = clock
        self._turn_at = 0.0
        self._busy_s = BUSY_S
        with told_of(file):
            self._boot, self._space, *_ = this_owner().split(" ")
            self._owner = owner or this_owner()
        self._opened: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._used: dict[str, tuple[int, ...]] = {}
        self._holds: dict[str, Hold] = {}
        self._news: str | None = None

    def reserve(self, need: Amounts, limits: Mapping[str, Quota]) -> Hold | None:
        """All that is needed, in the day and in the week, or None: it does not fit now. `limits` by "day" and "week".

        Before it says no, what the dead have left behind comes back.
        """
        with self.group():
            periods = self._periods()
            hold = Hold(id=secrets.token_hex(8), periods=tuple(periods.values()), amounts=need)
            mosts = {period: kept_limits(limits.get(level)) for level, period in periods.items()}
            if self._take(hold, mosts) or (self._reap() and self._take(hold, mosts)):
                self._holds[hold.id] = hold
                return hold
            return None

    def settle(self, hold: Hold | None, used: Amounts) -> None:
        """Books what was used in the periods in which it was reserved, and gives the hold back.

        None: nothing was reserved for it; the present day and week have it.
        """
        with self.group():
            periods = tuple(self._periods().values())
            if hold is not None:
                self._free("id", hold.id)
                self._holds.pop(hold.id, None)
                periods = tuple(map(min, hold.periods, periods))  # a later one has been taken back meanwhile
            for period in periods:
                for name, amount in zip(COUNTED, kept_amounts(used), strict=True):
                    self._connection.execute(BOOK, (period, name, amount))

    def reap(self) -> int:
        """Gives back what processes hold that are gone; how many those were."""
        with self.group():
            return self._reap()

    def standing(self) -> dict[str, tuple[Amounts, Amounts]]:
        """Of the present day and week, what is used and what is reserved on top."""
        with self.group():
            return {level: self._stands(period) for level, period in self._periods().items()}

    def ends(self) -> dict[str, str]:
        """In words, when the present day and week end."""
        with self.group():
            return ends_in_words(self._periods(), self._clock(), self._zone())

    def note(self) -> str | None:
        """One line, with its mend: the newest day or week lies far ahead of the clock, or another file was begun."""
        with self.group():
            ahead = [period for period in self._periods().values() if self._is_far_ahead(period)]
        if not ahead:
            return self._news
        told = " and ".join(period.replace(":", " ") for period in ahead)
        mend = "set the clock right, or %subagents quota --clock-is-right"
        return f"the ledger counts for {told}, far ahead of the clock: {mend}"

    def take_back(self) -> None:
        """Leaves the days and weeks that lie far ahead of the clock; what is held in them is held in the present.

        What they have used counts again once their time has come: the clock may be behind after all.
        """
        with self.group():
            execute = self._connection.execute
            found = execute("SELECT DISTINCT period FROM budgets WHERE period NOT LIKE 'was %'").fetchall()
            ahead = [period for (period,) in found if self._is_far_ahead(period)]
            for period in ahead:
                execute(LAY_ASIDE, (period,))
            present = self._periods()
            for period in ahead:
                to = present[period.partition(":")[0]]
                execute(MOVE, {"period": period, "to": to})
                execute("UPDATE holds SET period = ? WHERE period = ?", (to, period))

    @contextmanager
    def group(self) -> Iterator[None]:
        """What is done within is written together, by one commit, or not at all."""
        if self._opened is not None and self._opened.in_transaction:
            yield
            return
        holds = dict(self._holds)
        try:
            with told_of(self._file):
                time.sleep(max(0.0, self._turn_at - time.monotonic()))
                found = self._begin()
                yield
                self._note_use()
                persist(self._connection, "COMMIT", self._busy_s)
                self._identity = found
        except BaseException as error:
            self._holds = holds
            self._give_up(error.__cause__)
            raise
        self._turn_at = time.monotonic() + TURN_S
        self._busy_s = BUSY_S

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._opened is not None, "only within a group"  # noqa: S101 - every use is in one
        return self._opened

    def _begin(self) -> tuple[int, int] | None:
        """Opens the file where it is not the one that was open, and brings into a new one what is known here."""
        is_moved = self._identity is not None and identity(self._file) != self._identity
        if is_moved:
            self.close()
        if self._opened is None:
            self._identity = None  # the new file may have the number of the old one
            self._opened, news = open_file(self._file, wal=self._wal, busy_s=self._busy_s)
            if is_moved and news is None:
                news = f"the ledger {self._file} was moved or deleted: the new one has what this kernel knew of"
            self._news = news or self._news
        persist(self._opened, "BEGIN IMMEDIATE", self._busy_s)  # a deferred one that writes later may fail at once
        found = identity(self._file)
        if found != self._identity:
            self._bring()
        return found

    def _bring(self) -> None:
        """What the new file lacks of what was used and is held. Others bring theirs: it is the more, not the sum."""
        self._reap()
        for period in self._periods().values():
            for name, used in zip(COUNTED, self._used.get(period, ()), strict=False):
                self._connection.execute(RAISE, (used, period, name))
        there = {held for (held,) in self._connection.execute("SELECT DISTINCT id FROM holds")}
        for hold in [hold for hold in self._holds.values() if hold.id not in there]:
            self._take(hold, dict.fromkeys(hold.periods, (None,) * len(COUNTED)))

    def _note_use(self) -> None:
        self._used = {period: self._amounts_in(period)[0] for period in self._periods().values()}

    def _give_up(self, cause: BaseException | None) -> None:
        """A damaged file is opened anew, by which it is moved aside; after a wait in vain the next is shorter."""
        if self._opened is not None and self._opened.in_transaction:  # on a full disk SQLite has ended it already
            with suppress(sqlite3.Error):
                self._opened.execute("ROLLBACK")
        if not isinstance(cause, sqlite3.Error):
            return
        if code_of(cause) == sqlite3.SQLITE_BUSY:
            self._busy_s = IMPATIENT_S
        if code_of(cause) in DAMAGED:
            self.close()

    def _take(self, hold: Hold, mosts: Mapping[str, tuple[int | None, ...]]) -> bool:
        """By one conditional UPDATE for each limit; if one fails, none has been."""
        execute = self._connection.execute
        execute("SAVEPOINT take")
        for period in hold.periods:
            amounts = kept_amounts(hold.amounts)
            for name, amount, most in zip(COUNTED, amounts, mosts[period], strict=True):
                values = {"period": period, "name": name, "amount": amount, "most": most if amount else None}
                if not execute(TAKE, values).rowcount:
                    execute("ROLLBACK TO take")
                    execute("RELEASE take")
                    return False
                if amount:
                    row = (hold.id, self._owner, self._clock(), period, name, amount)
                    execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?)", row)
        execute("RELEASE take")
        return True

    def _periods(self) -> dict[str, str]:
        """The present day and week, or the newest that were written; their rows are there afterwards."""
        periods = periods_at(self._clock(), self._zone())
        for level, period in periods.items():
            (newest,) = self._connection.execute(
                "SELECT max(period) FROM budgets WHERE period BETWEEN ? AND ?", (f"{level}:", f"{level};")
            ).fetchone()
            if newest is None or newest < period:
                rows = [{"period": period, "name": name} for name in COUNTED]
                self._connection.executemany(BEGIN, rows)
            else:
                periods[level] = newest
        return periods

    def _is_far_ahead(self, period: str) -> bool:
        return far_ahead(period, periods_at(self._clock(), self._zone())[period.partition(":")[0]])

    def _stands(self, period: str) -> tuple[Amounts, Amounts]:
        used, reserved = self._amounts_in(period)
        return amounts_of(used), amounts_of(reserved)

    def _amounts_in(self, period: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        rows = self._connection.execute("SELECT name, used, reserved FROM budgets WHERE period = ?", (period,))
        found = {name: (used, reserved) for name, used, reserved in rows}
        used, reserved = zip(*(found[name] for name in COUNTED), strict=True)
        return used, reserved

    def _reap(self) -> int:
        owners = self._connection.execute("SELECT owner, max(taken_at) FROM holds GROUP BY owner").fetchall()
        now = self._clock()
        gone = [owner for owner, taken_at in owners if owner != self._owner and self._is_gone(owner, now - taken_at)]
        for owner in gone:
            self._free("owner", owner)
        return len(gone)

    def _is_gone(self, owner: str, age_s: float) -> bool:
        boot, space, *_ = owner.split(" ")
        if boot != self._boot and not self._wal:  # it may be one of another machine
            return age_s > STRANGE_S
        return not is_alive(owner) or (age_s > STRANGE_S and space != self._space)

    def _free(self, column: str, value: str) -> None:
        """Gives back the holds that have this value, an id or an owner, and forgets them."""
        for statement in (FREE, FORGET):
            self._connection.execute(statement.format(column=column), {"value": value})
