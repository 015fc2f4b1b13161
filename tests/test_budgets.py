"""Limits of a day and a week in whole runs: in this process, in two at once, and after one was killed."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis, strategies as st

from xz_magics.api import run_sync
from xz_magics.config import changed
from xz_magics.errors import QuotaExceeded, RunInterrupted
from xz_magics.events import RequestSent
from xz_magics.magics import verbs
from xz_magics.observers.journal.ledger import Ledger
from xz_magics.observers.journal.owners import this_owner
from xz_magics.quotas import NOTHING, Amounts
from xz_magics.records import Quota

NOON = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
"""A zone in which no day ends while these tests run."""

CONFIG = """
scripts:
  ten: {steps: [{answer: ten tokens, input_tokens: 6, output_tokens: 4}]}
  brief: {steps: [{answer: ten tokens, latency_s: 1, input_tokens: 6, output_tokens: 4}]}
  slow: {steps: [{answer: a slow answer, latency_s: 120}]}
  priced: {steps: [{answer: dear, input_tokens: 6, output_tokens: 4}], price: {input: 1000, output: 1000}}
"""
MANY = """
import json, sys, xz_magics
results = xz_magics.run_sync({f"t{i}": "Say hi." for i in range(60)}, model="scripted:ten", max_concurrent=20)
print(json.dumps([outcome.status for outcome in results]))
"""
BRIEF = """
import xz_magics
def tell(stamped):
    if type(stamped.event).__name__ == "RequestSent":
        print("under way", flush=True)
xz_magics.run_sync({"a": "Say hi."}, model="scripted:brief", max_tokens=10, observers=[tell])
"""
SLOW = """
import xz_magics
xz_magics.run_sync({"a": "Say hi."}, model="scripted:slow", max_tokens=900)
"""


@pytest.fixture(autouse=True)
def state(session, tmp_path):
    (tmp_path / "config.yaml").write_text(f"{CONFIG}\nagent: {{subagent: {{budget_zone: {NOON}}}}}")
    return tmp_path / "state"


@pytest.fixture
def limited(session):
    def limit(**limits):
        session.settings = changed(session.settings, limits, "a test")

    return limit


def begun(script, **limits):
    environ = {f"XZ_MAGICS_{name.upper()}": str(value) for name, value in limits.items()}
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | environ)


def run_of(count, model="scripted:ten", **options):
    return run_sync({f"t{at}": "Say hi." for at in range(count)}, model=model, max_tokens=10, **options)


def statuses(results):
    return [outcome.status for outcome in results]


def spent(session, level="day"):
    return {use.name: use.used for use in session.budgets.standing()[0] if use.level == level}


@pytest.mark.parametrize(
    ("limits", "model", "expected", "mend"),
    [
        (
            {"daily_max_executions": 2},
            "scripted:ten",
            "max_executions of the day is 2 subagents, and 2 are used; this needs up to 1 more",
            "raise daily_max_executions; the day ends at 00:00",
        ),
        (
            {"daily_max_tokens": 100},
            "scripted:ten",
            "max_total_tokens of the day is 100 tokens, and 20 are used; this needs up to 81 more",
            "raise daily_max_tokens, or lower max_tokens; the day ends at 00:00",
        ),
        (
            {"weekly_max_cost": 0.1},
            "scripted:priced",
            "max_total_cost of the week is 0.1 USD, and 0.02 are used; this needs up to 0.081 more",
            "raise weekly_max_cost, or take a cheaper model; the week ends ",
        ),
    ],
)
def test_a_run_stops_at_the_limit_of_the_day_and_says_when_it_opens_again(limited, limits, model, expected, mend):
    limited(**limits)

    results = run_of(4, model)

    message, hint = results[3].error.split("\n")
    assert statuses(results) == ["done", "done", "skipped", "skipped"]
    assert results[3].error_type == "quota_exceeded"
    assert message == expected
    assert hint.startswith(mend)
    assert " in " in hint


def test_the_morning_counts_for_a_limit_that_is_set_at_noon(session, limited):
    run_of(3)

    limited(daily_max_executions=5)

    assert statuses(run_of(4)) == ["done", "done", "skipped", "skipped"]
    assert spent(session) == {"max_executions": 5, "max_total_tokens": 50, "max_total_cost": 0}


def test_what_the_morning_spent_with_a_limit_counts_after_that_was_taken_away(session, limited):
    limited(daily_max_executions=9)
    run_of(3)
    limited(daily_max_executions=None)
    run_of(3)

    assert (
        spent(session)
        == spent(session, "week")
        == {
            "max_executions": 6,
            "max_total_tokens": 60,
            "max_total_cost": 0,
        }
    )


def test_with_a_limit_nothing_is_sent_where_the_ledger_cannot_be_written(state, limited):
    (state / "ledger.db").mkdir(parents=True)
    limited(weekly_max_cost=5.0)
    events = []

    with pytest.raises(QuotaExceeded, match=r"the limits of day and week cannot be kept: .*ledger.db"):
        run_of(1, observers=[events.append])

    assert not any(isinstance(stamped.event, RequestSent) for stamped in events)


def test_without_a_limit_a_ledger_that_cannot_be_written_is_no_trouble(session, state, caplog):
    (state / "ledger.db").mkdir(parents=True)

    results = run_of(2)
    frame = verbs.quota()

    assert statuses(results) == ["done", "done"]
    assert set(frame["level"]) == {"session", "run"}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_quota_shows_four_levels_side_by_side_and_before_them_what_the_week_cost(session, limited):
    limited(daily_max_cost=2.0)
    run_sync(
        {"tasks": [{"prompt": "Say hi.", "tags": ["greeting"]}, {"prompt": "Say bye."}]},
        model="scripted:priced",
        max_tokens=10,
    )
    shown = []

    frame = verbs.quota(shown.append)

    costs = frame[frame["name"] == "max_total_cost"].set_index("level")
    assert costs["used"].to_dict() == {"session": 0.02, "run": 0.02, "day": 0.02, "week": 0.02}
    assert costs["remaining"]["day"] == 1.98
    (spending,) = shown
    assert dict(zip(zip(spending["by"], spending["value"].fillna("none"), strict=True), spending["week_usd"], strict=True)) == {
        ("tag", "greeting"): 0.01,
        ("tag", "none"): 0.01,
        ("model", "scripted:priced"): 0.02,
    }  # fmt: skip
    assert spending["day_tokens"].tolist() == [10, 10, 20]


@pytest.mark.parametrize("journal", ["off", "on"])
def test_what_the_week_cost_is_not_shown_where_there_is_no_journal_of_it(limited, journal):
    limited(journal=journal)
    shown = []
    if journal == "off":
        run_of(1)

    frame = verbs.quota(shown.append)

    assert shown == []
    assert "day" in set(frame["level"])


def test_two_processes_share_the_limit_of_a_day_exactly(session):
    both = [begun(MANY, daily_max_executions=70, daily_max_tokens=100_000) for _ in range(2)]

    ended = [status for one in both for status in json.loads(one.communicate(timeout=60)[0])]

    assert (ended.count("done"), ended.count("skipped")) == (70, 50)
    assert spent(session) == {"max_executions": 70, "max_total_tokens": 700, "max_total_cost": 0}


def test_what_a_killed_process_held_comes_back_to_the_others(session, limited):
    limited(daily_max_tokens=1_000)
    killed = begun(SLOW, daily_max_tokens=1_000)
    deadline = time.monotonic() + 60
    while not any(use.reserved > 900 for use in session.budgets.standing()[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    results = run_sync("Say hi.", model="scripted:ten", max_tokens=900)

    assert statuses(results) == ["done"]
    assert spent(session)["max_total_tokens"] == 10


def locked(state):
    lock = sqlite3.connect(state / "ledger.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    return lock


def test_stop_ends_a_run_that_waits_for_a_locked_ledger_as_a_stopped_one(session, state, limited):
    limited(daily_max_tokens=1_000)
    run_of(1)
    lock = locked(state)
    begun_at = time.monotonic()
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()

    with pytest.raises(RunInterrupted):
        run_of(1)
    lasted_s = time.monotonic() - begun_at
    lock.execute("COMMIT")

    assert lasted_s < 15
    assert session.last[0].error.startswith("stopped by you")


def test_what_is_used_while_others_lock_the_ledger_is_there_after_the_end_of_the_interpreter(session, state, limited):
    limited(daily_max_tokens=1_000)
    run_of(1)
    one = begun(BRIEF, daily_max_tokens=1_000)
    assert one.stdout.readline() == "under way\n"
    lock = locked(state)
    threading.Timer(3, lock.execute, ["COMMIT"]).start()

    one.communicate(timeout=60)

    assert one.returncode == 0
    assert spent(session)["max_total_tokens"] == 20


def test_what_a_forked_process_uses_is_in_the_ledger_when_its_run_ends(session):
    run_of(1)

    child = multiprocessing.get_context("fork").Process(target=run_of, args=(2,))
    child.start()
    child.join(60)

    assert child.exitcode == 0
    assert spent(session)["max_total_tokens"] == 30


def test_reset_forgets_what_the_session_used_and_not_the_day(session):
    run_of(2)

    session.quota.reset()

    assert session.quota.usage.tokens == 0
    assert spent(session)["max_total_tokens"] == 20


LIMIT = Quota(max_executions=6, max_total_tokens=100)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("take"),
            st.integers(0, 2),
            st.builds(Amounts, st.integers(0, 2), st.integers(0, 60), st.just(Decimal(0))),
        ),
        st.tuples(st.just("settle"), st.integers(0, 2), st.floats(0, 1)),
        st.tuples(st.just("die"), st.integers(0, 2), st.none()),
    ),
    max_size=30,
)


@hypothesis(max_examples=25)
@given(steps=STEPS)
def test_whoever_takes_settles_or_dies_in_whatever_order_the_limit_holds_and_in_the_end_nothing_is_held(
    tmp_path_factory, steps
):
    file = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with ExitStack() as ended:
        owners = [living() for _ in range(3)]
        for owner in owners:
            ended.callback(kill, owner)
        ledgers = [Ledger(file, owner=owner_of(owner.pid)) for owner in owners]
        holds = [[] for _ in owners]
        for step, who, what in steps:
            if owners[who].poll() is not None:
                continue
            match step:
                case "take":
                    hold = ledgers[who].reserve(what, {"day": LIMIT, "week": LIMIT})
                    holds[who] += [] if hold is None else [hold]
                case "settle" if holds[who]:
                    hold = holds[who].pop()
                    part = Amounts(hold.amounts.executions, int(hold.amounts.tokens * what))
                    ledgers[who].settle(hold, part)
                case "die":
                    kill(owners[who])
            for used, reserved in ledgers[0].standing().values():
                assert used.executions + reserved.executions <= LIMIT.max_executions
                assert used.tokens + reserved.tokens <= LIMIT.max_total_tokens
        for owner in owners:
            kill(owner)

        last = Ledger(file)
        standing = last.standing()
        for ledger in (last, *ledgers):
            ledger.close()

    assert [reserved for _, reserved in standing.values()] == [NOTHING, NOTHING]


def living():
    return subprocess.Popen(["sleep", "600"])


def kill(process):
    process.kill()
    process.wait()


def owner_of(number):
    began = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{this_owner().rsplit(' ', 2)[0]} {number} {began}"
