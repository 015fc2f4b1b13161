import asyncio
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st
from strategies import Ran, answering, task

from xz_magics.errors import JournalError, QuotaExceeded
from xz_magics.observers.journal.ledger import Ledger
from xz_magics.observers.journal.opening import place_ledger
from xz_magics.observers.journal.owners import this_owner
from xz_magics.quotas import NOTHING, Amounts, Shared, Tracker
from xz_magics.records import Quota, Usage

NONE = (NOTHING, NOTHING)
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
GONE = f"{this_owner().rsplit(' ', 2)[0]} 4194303 1"
"""An owner of this boot and container whose process is no more: above the highest number that there can be."""

WORKER = """
import sys
from pathlib import Path
from xz_magics.observers.journal.ledger import Ledger
from xz_magics.quotas import Amounts
from xz_magics.records import Quota

ledger, need, held, granted = Ledger(Path(sys.argv[1]), wal=sys.argv[2] == "wal"), Amounts(1, 100), [], 0
limits = {"day": Quota(max_total_tokens=500_000), "week": Quota(max_executions=6_000)}
for _ in range(int(sys.argv[3])):
    with ledger.group():
        for at in range(25):
            hold = ledger.reserve(need, limits)
            if hold is not None:
                granted += 1
                ledger.settle(hold, need) if at % 2 else held.append(hold)
with ledger.group():
    for hold in held:
        ledger.settle(hold, need)
print(granted)
"""
HOLDER = """
import sys
from pathlib import Path
from xz_magics.observers.journal.ledger import Ledger
from xz_magics.quotas import Amounts

ledger = Ledger(Path(sys.argv[1]))
ledger.reserve(Amounts(tokens=900), {})
print("held", flush=True)
sys.stdin.read()
"""


class Clock:
    def __init__(self, now=SATURDAY):
        self.now = now

    def __call__(self):
        return self.now.timestamp()


def used(tokens):
    return Usage(input_tokens=tokens, output_tokens=0)


def started(script, file, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(file), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def daily(**limits):
    return {"day": Quota(**limits)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def shared(file):
    """The limits of the day as one process has them; each call is one more process."""
    made = []

    def make(**limits):
        made.append(Shared(lambda: Ledger(file), daily(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("mode", "processes", "groups"), [("wal", 8, "40"), ("rollback", 5, "60")])
def test_many_processes_are_granted_exactly_what_the_limit_has(file, mode, processes, groups):
    workers = [started(WORKER, file, mode, groups) for _ in range(processes)]

    granted = [int(worker.communicate(timeout=150)[0]) for worker in workers]

    assert sum(granted) == 5_000
    assert Ledger(file, wal=mode == "wal").standing()["day"] == (Amounts(5_000, 500_000), NOTHING)


def test_what_a_killed_process_holds_comes_back_and_what_a_living_one_holds_does_not(file):
    holder, ledger = started(HOLDER, file), Ledger(file)
    holder.stdout.readline()
    limits = daily(max_total_tokens=1_000)

    while_it_lives = ledger.reserve(Amounts(tokens=101), limits)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    hold = ledger.reserve(Amounts(tokens=1_000), limits)

    assert while_it_lives is None
    assert hold is not None
    assert ledger.standing()["day"] == (NOTHING, Amounts(tokens=1_000))


def test_a_dead_process_that_nobody_has_collected_yet_holds_nothing(file):
    holder = started(HOLDER, file)
    holder.stdout.readline()

    os.kill(holder.pid, signal.SIGKILL)
    ended = f"/proc/{holder.pid}/stat"
    while " Z " not in Path(ended).read_text():
        time.sleep(0.01)
    reaped = Ledger(file).standing()["day"]
    holder.wait()

    assert reaped == NONE


@pytest.mark.parametrize(
    ("owner", "hours", "comes_back"),
    [
        (this_owner(), 100, False),
        (GONE, 0, True),
        (f"{this_owner()}0", 0, True),  # the number was given to another process
        ("another-boot" + this_owner()[36:], 0, True),
        (this_owner().replace("pid:[", "pid:[9"), 0.9, False),
        (this_owner().replace("pid:[", "pid:[9"), 1.1, True),
    ],
    ids=["this one", "gone", "another of its number", "another boot", "a container", "a container of long ago"],
)
def test_a_hold_comes_back_when_its_boot_or_process_is_gone_or_it_is_an_old_one_of_another_container(
    file, owner, hours, comes_back
):
    clock = Clock(SATURDAY - timedelta(days=3))
    Ledger(file, clock=clock, owner=owner).reserve(Amounts(tokens=5), {})

    clock.now += timedelta(hours=hours)

    assert Ledger(file, clock=clock).reap() == 0, "it was done when the ledger was opened"
    with sqlite3.connect(file) as looked:
        assert bool(looked.execute("SELECT * FROM holds").fetchall()) is not comes_back


def test_a_clock_that_goes_back_frees_nothing_and_days_go_on_when_it_has_caught_up(file):
    clock = Clock()
    ledger, limits = Ledger(file, clock=clock), daily(max_total_tokens=100)
    ledger.settle(ledger.reserve(Amounts(tokens=100), limits), Amounts(tokens=100))

    frees = []
    for days in (0, -1, -30, 0, 1):
        clock.now = SATURDAY + timedelta(days=days)
        frees.append(ledger.reserve(Amounts(tokens=1), limits) is not None)

    assert frees == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0, None),
        (1, None),  # in a zone further east it is tomorrow already
        (2, "for day 2026-11-23, far ahead"),
        (70, "for day 2027-01-30 and week 2027-W04, far ahead"),
    ],
)
def test_a_day_that_a_wrong_clock_made_begin_is_told_with_its_mend(file, days, told):
    clock = Clock(SATURDAY + timedelta(days=days))
    ledger = Ledger(file, clock=clock)
    ledger.settle(None, Amounts(tokens=1))

    clock.now = SATURDAY
    note = ledger.note()

    assert (note is None) == (told is None)
    if told is not None:
        assert told in note
        assert note.endswith("%subagents quota --clock-is-right")


def test_what_a_wrong_clock_froze_is_mended_and_the_present_day_keeps_what_it_has(file):
    clock = Clock()
    ledger, limits = Ledger(file, clock=clock), daily(max_total_tokens=100)
    ledger.settle(None, Amounts(tokens=30))
    clock.now += timedelta(days=70)
    held = ledger.reserve(Amounts(tokens=50), limits)
    ledger.settle(None, Amounts(tokens=50))

    clock.now = SATURDAY
    frozen = ledger.reserve(Amounts(tokens=1), limits)
    ledger.take_back()
    mended = ledger.standing()
    ledger.settle(held, Amounts(tokens=45))

    assert frozen is None
    assert mended["day"] == mended["week"] == (Amounts(tokens=30), Amounts(tokens=50))
    assert ledger.standing()["day"] == (Amounts(tokens=75), NOTHING)
    assert ledger.note() is None


def test_nothing_is_taken_back_of_a_day_that_is_the_present_one_or_the_next(file):
    clock = Clock()
    ledger = Ledger(file, clock=clock)
    for _ in range(2):
        ledger.settle(None, Amounts(tokens=5))
        clock.now += timedelta(days=1)
    clock.now = SATURDAY

    ledger.take_back()

    assert ledger.standing() == {"day": (Amounts(tokens=5), NOTHING), "week": (Amounts(tokens=10), NOTHING)}


async def test_a_refusal_by_a_day_that_is_far_ahead_says_so_and_who_says_that_the_clock_is_right_opens_it(file):
    Ledger(file, clock=Clock(datetime.now(UTC) + timedelta(days=70))).settle(None, Amounts(tokens=100))
    limits = Shared(lambda: Ledger(file), daily(max_total_tokens=100))
    tracker = Tracker(shared=limits)

    with pytest.raises(QuotaExceeded) as caught:
        async with tracker.reserve(tokens=1):
            pass
    tracker.reset()
    note_after_a_reset = await limits.check()
    limits.take_back()
    note = await limits.check()
    async with tracker.reserve(tokens=1) as grant:
        grant.give_back()
    limits.close()

    assert re.search(
        r"in (70|71) days; the ledger counts for day .*, or %subagents quota --clock-is-right$", caught.value.hint
    )
    assert note_after_a_reset is not None
    assert note is None


def test_a_week_goes_from_monday_to_sunday_also_over_the_end_of_a_year(file):
    clock = Clock(datetime(2026, 12, 28, tzinfo=UTC))
    ledger, limits = Ledger(file, clock=clock), {"week": Quota(max_executions=1)}
    ledger.settle(ledger.reserve(Amounts(executions=1), limits), Amounts(executions=1))

    fits = {}
    for day in (datetime(2027, 1, 3, 23, 59, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC)):
        clock.now = day
        fits[day.day] = ledger.reserve(Amounts(executions=1), limits) is not None

    assert fits == {3: False, 4: True}
    with sqlite3.connect(file) as looked:
        weeks = looked.execute("SELECT DISTINCT period FROM budgets WHERE period LIKE 'week%'").fetchall()
    assert weeks == [("week:2026-W53",), ("week:2027-W01",)]


@pytest.mark.parametrize(
    ("zone", "turns_at"),
    [
        (UTC, datetime(2026, 11, 22, tzinfo=UTC)),
        (ZoneInfo("Asia/Tokyo"), datetime(2026, 11, 21, 15, tzinfo=UTC)),
        (ZoneInfo("America/New_York"), datetime(2026, 11, 22, 5, tzinfo=UTC)),
    ],
)
def test_a_day_is_one_of_the_zone(file, zone, turns_at):
    clock = Clock(turns_at - timedelta(seconds=1))
    ledger, limits = Ledger(file, zone=lambda: zone, clock=clock), daily(max_total_tokens=10)
    ledger.reserve(Amounts(tokens=10), limits)

    before = ledger.reserve(Amounts(tokens=1), limits)
    clock.now = turns_at
    after = ledger.reserve(Amounts(tokens=1), limits)

    assert (before is None, after is None) == (True, False)


def test_a_day_has_its_23_and_its_25_hours_where_clocks_are_changed(file):
    clock = Clock()
    ledger = Ledger(file, zone=lambda: ZoneInfo("Europe/Berlin"), clock=clock)

    for hours in range(26):
        clock.now = datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(hours=hours)
        ledger.settle(ledger.reserve(Amounts(executions=1), {}), Amounts(executions=1))

    with sqlite3.connect(file) as looked:
        days = looked.execute(
            "SELECT period, used FROM budgets WHERE period LIKE 'day%' AND name = 'max_executions'"
        ).fetchall()
    assert days == [("day:2026-10-25", 25), ("day:2026-10-26", 1)]


def test_what_is_reserved_before_midnight_is_booked_on_the_day_before(file):
    clock = Clock(datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC))
    ledger = Ledger(file, clock=clock)
    hold = ledger.reserve(Amounts(tokens=50), {})

    clock.now += timedelta(seconds=2)
    ledger.settle(hold, Amounts(tokens=30))

    assert ledger.standing() == {"day": NONE, "week": (Amounts(tokens=30), NOTHING)}


def test_ten_times_a_tenth_of_a_dollar_is_a_dollar(file):
    ledger, need = Ledger(file), Amounts(cost=Decimal("0.1"))

    holds = [ledger.reserve(need, daily(max_total_cost=1.0)) for _ in range(11)]

    assert [hold is None for hold in holds] == [False] * 10 + [True]


def test_the_file_is_for_its_owner_alone(file):
    Ledger(file).reserve(Amounts(tokens=1), {})

    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (file.parent, *file.parent.iterdir())}

    assert modes == {"state": "0o700", "journal.db": "0o600", "journal.db-wal": "0o600", "journal.db-shm": "0o600"}


def test_a_damaged_ledger_is_moved_aside_and_the_new_one_says_so(file):
    file.parent.mkdir(mode=0o700)
    file.write_text("no database at all " * 100)
    ledger = Ledger(file)

    fits = ledger.reserve(Amounts(tokens=5), daily(max_total_tokens=5)) is not None

    (aside,) = file.parent.glob("journal-damaged-*.db")
    assert fits
    assert aside.read_text().startswith("no database at all")
    assert ledger.note() == f"the ledger was damaged and a new one began: the old one was moved aside as {aside.name}"


def test_a_ledger_that_is_damaged_under_a_living_kernel_is_replaced_with_what_that_knew(file):
    ledger, limits = Ledger(file), daily(max_total_tokens=100)
    ledger.settle(None, Amounts(tokens=60))
    ledger.close()
    file.write_text("no database at all " * 100)

    fits = [ledger.reserve(Amounts(tokens=tokens), limits) is not None for tokens in (41, 40)]

    assert fits == [False, True]


@pytest.mark.parametrize("tails", [("",), ("", "-wal", "-shm")], ids=["the file alone", "with all of it"])
def test_in_a_ledger_that_was_deleted_all_kernels_begin_with_what_they_knew_of(file, tails):
    first, limits = Ledger(file), daily(max_total_tokens=1_000)
    held = first.reserve(Amounts(tokens=100), limits)
    first.settle(None, Amounts(tokens=100))
    for tail in tails:
        file.with_name(file.name + tail).unlink()
    second = Ledger(file)

    spent = 0
    for at in range(24):
        ledger = (first, second)[at % 2]
        hold = ledger.reserve(Amounts(tokens=100), limits)
        if hold is not None:
            ledger.settle(hold, Amounts(tokens=100))
            spent += 100
    first.settle(held, Amounts(tokens=100))

    assert spent == 800
    assert second.standing()["day"] == (Amounts(tokens=1_000), NOTHING)
    assert "was moved or deleted" in first.note()


def test_a_ledger_of_a_newer_version_is_left_alone(file):
    Ledger(file).standing()
    with sqlite3.connect(file) as newer:
        (version,) = newer.execute("PRAGMA user_version").fetchone()
        newer.execute(f"PRAGMA user_version = {version + 1}")

    with pytest.raises(JournalError, match="a newer version of xz_magics wrote the ledger"):
        Ledger(file).standing()

    assert list(file.parent.glob("*damaged*")) == []


@pytest.mark.parametrize("hours", [0.9, 1.1])
def test_on_a_network_the_hold_of_another_machine_comes_back_after_an_hour(file, hours):
    clock, elsewhere = Clock(), "another-boot" + this_owner()[36:]
    Ledger(file, wal=False, clock=clock, owner=elsewhere).reserve(Amounts(tokens=5), {})

    clock.now += timedelta(hours=hours)

    assert Ledger(file, wal=False, clock=clock).standing()["week"][1].tokens == (5 if hours < 1 else 0)


def test_a_zone_that_is_changed_holds_at_once(file):
    zones = [UTC]
    ledger = Ledger(file, zone=lambda: zones[-1], clock=Clock())
    ledger.settle(None, Amounts(tokens=5))

    zones.append(ZoneInfo("Pacific/Kiritimati"))  # there it is tomorrow

    assert ledger.standing()["day"] == NONE


def test_days_of_a_clock_that_is_behind_after_all_count_again_when_their_time_comes(file):
    clock, limits = Clock(), daily(max_total_tokens=100)
    ledger = Ledger(file, clock=clock)
    ledger.settle(None, Amounts(tokens=100))

    clock.now -= timedelta(days=3)
    ledger.take_back()
    behind = ledger.reserve(Amounts(tokens=1), limits)
    clock.now = SATURDAY

    assert behind is not None
    assert ledger.reserve(Amounts(tokens=1), limits) is None


def test_the_ledger_lies_in_the_state_folder_or_nowhere(tmp_path):
    (tmp_path / "in the way").touch()
    environ = {"XZ_MAGICS_STATE": str(tmp_path / "in the way"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    network = place_ledger(environ={"XZ_MAGICS_STATE": str(tmp_path / "home")}, file_system=lambda _: "nfs")

    with pytest.raises(JournalError, match=r"no ledger is kept: .*in the way"):
        place_ledger(environ=environ)

    assert (network.file, network.shared) == (tmp_path / "home" / "ledger.db", True)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("take"),
            st.booleans(),
            st.builds(
                Amounts,
                executions=st.integers(0, 2),
                tokens=st.integers(0, 60),
                cost=st.integers(0, 60).map(lambda cents: Decimal(cents) / 100),
            ),
        ),
        st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 70)),
        st.tuples(st.just("clock"), st.integers(-40, 40), st.none()),
        st.tuples(st.just("reap"), st.none(), st.none()),
    ),
    max_size=40,
)
LIMITS = st.fixed_dictionaries(
    {
        level: st.builds(
            Quota,
            max_executions=st.none() | st.integers(0, 5),
            max_total_tokens=st.none() | st.integers(0, 200),
            max_total_cost=st.none() | st.sampled_from([0.0, 0.5, 1.1]),
        )
        for level in ("day", "week")
    }
)


class Model:
    """What a ledger should do, in plain Python: holds by number, uses by period."""

    def __init__(self, limits):
        self.limits, self.used, self.holds, self.newest = limits, {}, {}, {"day": "", "week": ""}

    def periods(self, now):
        self.newest["day"] = max(self.newest["day"], now.strftime("%Y-%m-%d"))
        self.newest["week"] = max(self.newest["week"], now.strftime("%G-W%V"))
        return dict(self.newest)

    def standing(self, now):
        return {
            level: (
                self.used.get((level, period), NOTHING),
                sum_of(need for periods, need, _ in self.holds.values() if periods[level] == period),
            )
            for level, period in self.periods(now).items()
        }

    def fits(self, need, now):
        for level, (use, held) in self.standing(now).items():
            quota = self.limits[level]
            for most, wanted, taken, reserved in zip(
                (quota.max_executions, quota.max_total_tokens, quota.max_total_cost), need, use, held, strict=True
            ):
                if wanted and most is not None and taken + reserved + wanted > Decimal(str(most)):
                    return False
        return True

    def take(self, hold, need, now, *, is_gone):
        if not self.fits(need, now) and not is_gone:
            self.reap()
        if not self.fits(need, now):
            return False
        self.holds[hold] = (self.periods(now), need, is_gone)
        return True

    def settle(self, hold, use):
        periods, _, _ = self.holds.pop(hold)
        for where in periods.items():
            self.used[where] = self.used.get(where, NOTHING).plus(use)

    def reap(self):
        self.holds = {hold: kept for hold, kept in self.holds.items() if not kept[2]}


def sum_of(amounts):
    total = NOTHING
    for one in amounts:
        total = total.plus(one)
    return total


@settings(deadline=None, max_examples=200)
@given(limits=LIMITS, steps=STEPS)
def test_any_row_of_reservations_settlements_deaths_and_clocks_is_counted_as_in_plain_python(
    tmp_path_factory, limits, steps
):
    file = tmp_path_factory.mktemp("ledger") / "journal.db"
    clock, model, holds = Clock(), Model(limits), []
    ledger = Ledger(file, clock=clock)
    with ledger.group():  # one commit: what each step writes is what is looked at here
        for number, (step, what, much) in enumerate(steps):
            ledger._owner = GONE if step == "take" and what else this_owner()
            match step:
                case "take":
                    hold = ledger.reserve(much, limits)
                    assert (hold is not None) == model.take(number, much, clock.now, is_gone=what)
                    if hold is not None and not what:
                        holds.append((number, hold))
                case "settle" if what < len(holds):
                    settled, hold = holds.pop(what)
                    use = Amounts(1, much, Decimal(much) / 1000)
                    model.settle(settled, use)
                    ledger.settle(hold, use)
                case "clock":
                    clock.now += timedelta(hours=what)
                case "reap":
                    model.reap()
                    ledger.reap()
            assert ledger.standing() == model.standing(clock.now)
    ledger.close()


async def test_the_day_has_what_all_kernels_use_and_no_more(shared):
    first, second = shared(max_total_tokens=1_000), shared(max_total_tokens=1_000)

    async with Tracker(shared=first).child().reserve(tokens=700) as grant:
        grant.settle(used(600))
    with pytest.raises(QuotaExceeded) as caught:
        async with Tracker(shared=second).child().reserve(tokens=401):
            pass

    expected = "max_total_tokens of the day is 1,000 tokens, and 600 are used; this needs up to 401 more"
    assert caught.value.message == expected
    opens = r"raise daily_max_tokens, or lower max_tokens; the day ends at 00:00 UTC, in (\d+ h|\d+ min)"
    assert re.fullmatch(opens, caught.value.hint)
    assert caught.value.limit == "max_total_tokens"


async def test_a_refusal_by_the_day_leaves_nothing_reserved_in_the_session_or_the_run(shared):
    session = Tracker(shared=shared(max_total_tokens=10))
    run = session.child()

    with pytest.raises(QuotaExceeded, match="of the day"):
        async with run.reserve(tokens=11):
            pass

    assert (run.reserved, session.reserved) == NONE


async def test_what_does_not_fit_into_the_day_now_waits_for_another_kernel(shared):
    here, there = Tracker(shared=shared(max_total_tokens=100)), Tracker(shared=shared(max_total_tokens=100))
    async with there.reserve(tokens=80):
        waiting = asyncio.ensure_future(here.reserve(tokens=50).__aenter__())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done

    (await asyncio.wait_for(waiting, 20)).give_back()


async def test_the_large_one_that_came_first_is_not_starved_by_small_ones_of_its_kernel(shared):
    tracker = Tracker(shared=shared(max_total_tokens=100))
    async with tracker.reserve(tokens=60):
        large = asyncio.ensure_future(tracker.reserve(tokens=90).__aenter__())
        await asyncio.sleep(0.1)
        small = asyncio.ensure_future(tracker.reserve(tokens=30).__aenter__())
        done, _ = await asyncio.wait({small}, timeout=0.5)
        assert not done

    for waiting in (large, small):
        (await asyncio.wait_for(waiting, 20)).give_back()


@pytest.mark.parametrize("held_tokens", [0, 100], ids=["perhaps granted", "waiting"])
async def test_who_is_cancelled_holds_nothing_whenever_that_is(shared, file, held_tokens):
    limits = shared(max_total_tokens=100)
    tracker = Tracker(shared=limits)
    async with tracker.reserve(tokens=held_tokens):
        waiting = [asyncio.ensure_future(tracker.reserve(tokens=1).__aenter__()) for _ in range(50)]
        for one in waiting:
            await asyncio.sleep(0.001)
            one.cancel()
        came = await asyncio.gather(*waiting, return_exceptions=True)
        for grant in came:
            if not isinstance(grant, asyncio.CancelledError):
                grant.give_back()
    limits.close()

    assert tracker.reserved == NOTHING
    assert Ledger(file).standing()["day"] == NONE


async def test_who_is_cancelled_between_the_grant_and_hearing_of_it_holds_nothing(shared, file):
    limits = shared(max_total_tokens=100)
    waiting = asyncio.ensure_future(limits.take(Amounts(tokens=70)))
    await asyncio.sleep(0)

    while not any(use.reserved for use in limits.uses()):
        time.sleep(0.01)  # the loop hears of nothing meanwhile
    time.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting})
    limits.close()

    assert waiting.cancelled()
    assert Ledger(file).standing()["day"] == NONE


async def test_a_thousand_tasks_at_a_limit_of_ten_a_day_are_ten_done_and_the_rest_skipped(shared, file):
    limits = shared(max_executions=10)
    tasks = [task(f"t{index}", index=index) for index in range(1_000)]
    ran = Ran(tasks, {"scripted:": answering("hi")}, session=Tracker(shared=limits), max_concurrent=50)

    outcomes = await ran.to_the_end()
    limits.close()

    states = [outcome.status for outcome in outcomes]
    assert (states.count("done"), states.count("skipped")) == (10, 990)
    (spent, reserved), _ = Ledger(file).standing().values()
    assert (spent.executions, spent.tokens, reserved) == (10, ran.session.usage.tokens, NOTHING)


async def test_the_limits_of_day_and_week_stand_beside_those_of_session_and_run(shared):
    limits = shared(max_total_tokens=1_000, max_total_cost=2)
    run = Tracker(Quota(max_executions=5), shared=limits).child()

    async with run.reserve(tokens=100) as grant:
        grant.settle(used(30))
        await limits.check()
    rows = [(use.level, use.name, use.used) for use in run.uses(above=True) if use.limit is not None]

    assert rows == [("session", "max_executions", 0), ("day", "max_total_tokens", 30), ("day", "max_total_cost", 0)]
    assert run.left("max_total_tokens") == 970


async def test_a_need_that_no_day_has_room_for_is_not_told_to_wait_for_the_next(shared):
    with pytest.raises(QuotaExceeded) as caught:
        async with Tracker(shared=shared(max_total_tokens=10)).reserve(tokens=11):
            pass

    assert caught.value.hint == "raise daily_max_tokens, or lower max_tokens"


async def test_what_is_used_without_limits_is_known_to_a_limit_that_is_set_at_noon(shared, file):
    limits = shared()
    tracker = Tracker(shared=limits)
    morning = [tracker.reserve(tokens=100) for _ in range(9)]
    for one in morning:
        async with one as grant:
            grant.settle(used(90), Decimal("0.01"))
    async with tracker.reserve(tokens=100) as under_way:
        limits.limits = daily(max_total_tokens=1_000)
        under_way.settle(used(90))

        with pytest.raises(QuotaExceeded, match="is 1,000 tokens, and 900 are used; this needs up to 101 more"):
            async with tracker.reserve(tokens=101):
                pass
    limits.close()

    assert Ledger(file).standing()["day"] == (Amounts(0, 900, Decimal("0.09")), NOTHING)


async def test_without_limits_what_is_used_is_on_disk_soon_though_nobody_asks(shared, file):
    tracker = Tracker(shared=shared())

    async with tracker.reserve(executions=1) as grant:
        grant.settle_all()

    async with asyncio.timeout(20):
        while not file.exists() or Ledger(file).standing()["day"][0] != Amounts(executions=1):
            await asyncio.sleep(0.05)


async def test_without_limits_many_settlements_are_few_commits(file):
    commits = []

    class Counting(Ledger):
        def settle(self, hold, used):
            commits.append(used)
            super().settle(hold, used)

    limits = Shared(lambda: Counting(file))
    tracker = Tracker(shared=limits)
    for _ in range(1_000):
        async with tracker.reserve(tokens=1) as grant:
            grant.settle(used(1))
    limits.close()

    assert sum(one.tokens for one in commits) == 1_000
    assert len(commits) < 100


async def test_without_limits_a_ledger_that_cannot_be_written_is_one_line_for_who_looks_for_it(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="xz_magics")
    (tmp_path / "state").write_text("in the way")
    limits = Shared(lambda: Ledger(tmp_path / "state" / "journal.db"))
    tracker = Tracker(shared=limits)

    for _ in range(3):
        async with tracker.reserve(tokens=10) as grant:
            grant.settle(used(10))
        assert await asyncio.to_thread(limits.standing) == ([], None)
    told = [record.levelname for record in caplog.records if record.name == "xz_magics"]
    (tmp_path / "state").unlink()
    await asyncio.to_thread(limits.standing)
    limits.close()

    assert told == ["DEBUG"]
    assert Ledger(tmp_path / "state" / "journal.db").standing()["day"] == (Amounts(tokens=30), NOTHING)


async def test_a_ledger_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path):
    (tmp_path / "state").write_text("in the way")
    limits = Shared(lambda: Ledger(tmp_path / "state" / "journal.db"), daily(max_total_tokens=1))

    with pytest.raises(QuotaExceeded, match=r"of day and week cannot be kept: the ledger .* cannot be written"):
        await limits.check()
    limits.limits = {}
    await limits.check()
    limits.close()


async def test_trouble_in_mid_run_refuses_what_comes_after_and_books_what_runs_when_it_is_over(shared, file):
    limits = shared(max_total_tokens=1_000)
    tracker = Tracker(shared=limits)
    in_the_way = None
    async with tracker.reserve(tokens=100) as grant:
        in_the_way = sqlite3.connect(file, isolation_level=None)
        in_the_way.execute("CREATE TRIGGER full BEFORE UPDATE ON budgets BEGIN SELECT RAISE(FAIL, 'disk full'); END")
        with pytest.raises(QuotaExceeded, match="disk full"):
            async with tracker.reserve(tokens=1):
                pass
        grant.settle(used(40))

    assert tracker.usage.tokens == 40
    in_the_way.execute("DROP TRIGGER full")
    limits.close()
    assert Ledger(file).standing()["day"] == (Amounts(tokens=40), NOTHING)


async def test_a_ledger_that_others_lock_holds_up_no_loop(shared, file):
    tracker = Tracker(shared=shared(max_total_tokens=1_000))
    async with tracker.reserve(tokens=1):
        pass
    lock = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    threading.Timer(1, lambda: lock.execute("COMMIT")).start()

    waiting = asyncio.ensure_future(tracker.reserve(tokens=1).__aenter__())
    beats = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        beats += 1

    (await waiting).give_back()
    assert beats > 20


async def test_after_a_failure_whoever_asks_is_refused_at_once_and_to_look_takes_no_longer_than_2_s(shared, file):
    limits = shared(max_total_tokens=1_000)
    tracker = Tracker(shared=limits)
    await limits.check()
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    _, note = await asyncio.to_thread(limits.standing)
    async with asyncio.timeout(40):
        refused = await asyncio.gather(*(tried(tracker) for _ in range(10)))
        later = await tried(tracker)
    lock.execute("COMMIT")

    assert "has not answered for 2 s" in note
    assert {str(one) for one in refused} == {str(later)}
    assert "another program keeps it locked\nend that program" in str(later)


async def tried(tracker):
    with pytest.raises(QuotaExceeded) as caught:
        async with tracker.reserve(tokens=1):
            pass
    return caught.value


async def test_who_no_longer_waits_for_a_locked_ledger_is_gone_at_once(shared, file):
    limits = shared(max_total_tokens=1_000)
    await limits.check()
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await limits.check()
    lock.execute("COMMIT")

    assert await limits.check() is None


async def test_what_is_settled_is_on_disk_when_it_was_waited_for(shared, file):
    limits = shared()
    tracker = Tracker(shared=limits)
    async with tracker.reserve(executions=1) as grant:
        grant.settle_all()

    await limits.written()

    assert Ledger(file).standing()["day"][0] == Amounts(executions=1)


async def test_many_that_wait_cost_the_ledger_no_more_than_one(file):
    looks = []

    class Looked(Ledger):
        def standing(self):
            looks.append(1)
            return super().standing()

    other, limits = Ledger(file), daily(max_total_tokens=1_000)
    other.reserve(Amounts(tokens=900), limits)
    shared = Shared(lambda: Looked(file), limits)
    waiting = [asyncio.ensure_future(shared.take(Amounts(tokens=200))) for _ in range(100)]
    await asyncio.sleep(1)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    shared.close()

    assert len(looks) < 50


async def test_a_limit_with_more_decimals_than_the_ledger_keeps_refuses_what_it_has_no_room_for(shared):
    limits = shared(max_total_cost=5e-10)

    with pytest.raises(QuotaExceeded):
        await asyncio.wait_for(limits.take(Amounts(cost=Decimal("4e-10"))), 20)


async def test_what_the_dead_held_is_not_shown(shared, file):
    limits = shared(max_total_tokens=1_000)
    await limits.check()
    Ledger(file, owner=GONE).reserve(Amounts(tokens=900), {})

    uses, _ = await asyncio.to_thread(limits.standing)

    assert [use.reserved for use in uses if use.name == "max_total_tokens"] == [0, 0]


async def test_it_is_known_whether_somebody_waits_for_room_that_another_process_holds(shared):
    one, other = shared(max_total_tokens=100), shared(max_total_tokens=100)
    held = await other.take(Amounts(tokens=100))
    waiting = asyncio.ensure_future(one.take(Amounts(tokens=1)))

    async with asyncio.timeout(20):
        while not one.waits:
            await asyncio.sleep(0.02)
        other_waits = other.waits
        other.settle(held, NOTHING)
        await waiting

    assert (one.waits, other_waits) == (False, False)
