import asyncio
import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.errors import QuotaExceeded, SpecError
from xz_magics.quotas import Tracker, prompt_bound
from xz_magics.records import Message, Quota, Usage


def used(tokens):
    return Usage(input_tokens=tokens, output_tokens=0)


async def test_a_settled_reservation_books_what_was_used_and_gives_the_rest_back():
    tracker = Tracker(Quota(max_total_tokens=1000))

    async with tracker.reserve(tokens=600) as grant:
        while_held = tracker.remaining_tokens
        grant.settle(used(250))

    assert (while_held, tracker.remaining_tokens, tracker.usage.tokens) == (400, 750, 250)


async def test_leaving_without_settling_gives_everything_back():
    tracker = Tracker(Quota(max_total_tokens=1000, max_executions=1))

    with pytest.raises(RuntimeError, match="network"):
        async with tracker.reserve(tokens=600, executions=1):
            raise RuntimeError("network")

    assert (tracker.remaining_tokens, tracker.remaining_executions) == (1000, 1)


async def test_what_can_never_fit_is_refused_with_limit_use_and_need():
    tracker = Tracker(Quota(max_total_tokens=1000), level="run")
    async with tracker.reserve(tokens=600) as grant:
        grant.settle(used(600))

    with pytest.raises(QuotaExceeded) as caught:
        async with tracker.reserve(tokens=401):
            pass

    assert (
        caught.value.message
        == "max_total_tokens of the run is 1,000 tokens, and 600 are used; this needs up to 401 more"
    )
    assert caught.value.hint == "raise max_total_tokens, or lower max_tokens"
    assert caught.value.limit == "max_total_tokens"


async def test_what_does_not_fit_now_waits_until_others_give_room_back():
    tracker = Tracker(Quota(max_total_tokens=1000))
    order = []

    async def call(name, tokens):
        async with tracker.reserve(tokens=tokens) as grant:
            order.append(name)
            await asyncio.sleep(0.01)
            grant.settle(used(100))

    await asyncio.gather(call("first", 900), call("large", 800), call("small", 100))

    assert order == ["first", "large", "small"], "the large one is not starved by the small one that came later"
    assert tracker.usage.tokens == 300


async def test_a_waiter_that_can_no_longer_fit_is_refused_while_it_waits():
    tracker = Tracker(Quota(max_total_tokens=1000))

    async def greedy():
        async with tracker.reserve(tokens=900) as grant:
            await asyncio.sleep(0.01)
            grant.settle(used(900))

    async with asyncio.TaskGroup() as group:
        group.create_task(greedy())
        await asyncio.sleep(0)
        with pytest.raises(QuotaExceeded):
            async with tracker.reserve(tokens=101):
                pass


async def test_a_reservation_is_taken_at_every_level_or_at_none():
    session = Tracker(Quota(max_total_tokens=1000))
    run = session.child(Quota(max_total_tokens=100))

    with pytest.raises(QuotaExceeded, match="of the run"):
        async with run.reserve(tokens=101):
            pass
    async with run.reserve(tokens=100):
        assert (run.reserved.tokens, session.reserved.tokens) == (100, 100)

    assert (run.reserved.tokens, session.reserved.tokens) == (0, 0)


async def test_one_run_that_waits_at_its_own_limit_does_not_hold_up_another():
    session = Tracker(Quota(max_total_tokens=1000))
    narrow, wide = session.child(Quota(max_total_tokens=100)), session.child()

    async with narrow.reserve(tokens=100):
        waiting = asyncio.ensure_future(narrow.reserve(tokens=50).__aenter__())
        await asyncio.sleep(0)
        async with wide.reserve(tokens=500):
            assert session.reserved.tokens == 600
    (await waiting).give_back()


async def test_more_than_was_reserved_is_booked_truly_and_stops_further_sends():
    tracker = Tracker(Quota(max_total_tokens=100))

    async with tracker.reserve(tokens=80) as grant:
        grant.settle(used(130))

    assert (tracker.usage.tokens, tracker.overshoot_tokens, tracker.remaining_tokens) == (130, 30, 0)
    with pytest.raises(QuotaExceeded):
        async with tracker.reserve(tokens=1):
            pass


async def test_dollars_add_up_exactly():
    tracker = Tracker(Quota(max_total_cost=0.3))

    for _ in range(3):
        async with tracker.reserve(cost=Decimal("0.1")) as grant:
            grant.settle_all()

    assert tracker.remaining_cost == 0


async def test_a_cancelled_waiter_leaves_no_trace_and_lets_the_next_one_in():
    tracker = Tracker(Quota(max_total_tokens=100))
    async with tracker.reserve(tokens=60):
        large = asyncio.ensure_future(tracker.reserve(tokens=90).__aenter__())
        small = asyncio.ensure_future(tracker.reserve(tokens=40).__aenter__())
        await asyncio.sleep(0)
        large.cancel()
        grant = await small
        assert tracker.reserved.tokens == 100
        grant.give_back()
    assert tracker.reserved.tokens == 0


async def test_raising_a_limit_lets_waiters_in_and_reset_keeps_live_reservations():
    tracker = Tracker(Quota(max_total_tokens=100))
    async with tracker.reserve(tokens=100):
        waiting = asyncio.ensure_future(tracker.reserve(tokens=100).__aenter__())
        await asyncio.sleep(0)
        tracker.quota = Quota(max_total_tokens=200)
        (await waiting).settle_all()
        tracker.reset()
        assert (tracker.usage.tokens, tracker.reserved.tokens) == (0, 100)


async def test_time_counts_only_while_somebody_is_at_work():
    now = [0.0]
    session = Tracker(Quota(max_total_time=10), clock=lambda: now[0])
    run = session.child(Quota(max_total_time=100))

    now[0] = 50.0
    with run.working(), run.working():
        now[0] = 54.0
    now[0] = 90.0

    assert (session.remaining_time, run.remaining_time) == (6.0, 96.0)
    with session.working():
        now[0] = 96.0
        assert "max_total_time of the session is 10 s" in str(run.out_of_time())
        with pytest.raises(QuotaExceeded):
            async with run.reserve(tokens=1):
                pass


async def test_zero_is_nothing_at_all():
    with pytest.raises(QuotaExceeded):
        async with Tracker(Quota(max_executions=0)).reserve(executions=1):
            pass


@pytest.mark.parametrize(
    "limits",
    [
        {"max_total_tokens": -1},
        {"max_total_cost": float("nan")},
        {"max_total_time": float("inf")},
        {"max_executions": True},
        {"max_executions": 1.5},
        {"max_total_tokens": 2**60},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_the_mend(limits):
    with pytest.raises(SpecError) as caught:
        Tracker(Quota(**limits))

    assert caught.value.hint.startswith("give a")


async def test_settling_twice_is_a_defect_that_shows():
    async with Tracker().reserve(tokens=1) as grant:
        grant.settle_all()
        with pytest.raises(RuntimeError):
            grant.settle_all()


def test_threads_with_loops_of_their_own_share_one_limit():
    tracker = Tracker(Quota(max_total_tokens=5_000))
    highest, refused = [], []

    async def calls():
        for _ in range(100):
            try:
                async with tracker.reserve(tokens=70) as grant:
                    highest.append(tracker.usage.tokens + tracker.reserved.tokens)
                    await asyncio.sleep(0)
                    grant.settle(used(13))
            except QuotaExceeded:
                refused.append(1)

    threads = [threading.Thread(target=lambda: asyncio.run(calls())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert tracker.usage.tokens == 13 * (800 - len(refused))
    assert tracker.reserved.tokens == 0
    assert tracker.usage.tokens > 5_000 - 70 - 13
    assert max(highest) <= 5_000


CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),  # run
        st.integers(0, 60),  # tokens reserved
        st.sampled_from(["settle", "settle all", "raise", "cancel early", "cancel late"]),
        st.integers(0, 60),  # share used
        st.integers(0, 4),  # pauses before
        st.integers(0, 4),  # pauses inside
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=300)
@given(session_limit=st.integers(0, 200), run_limit=st.integers(0, 120), executions=st.integers(0, 20), calls=CALLS)
def test_no_schedule_of_calls_failures_and_cancellations_passes_a_limit_or_hangs(
    session_limit, run_limit, executions, calls
):
    session = Tracker(Quota(max_total_tokens=session_limit, max_executions=executions))
    runs = [session.child(Quota(max_total_tokens=run_limit)) for _ in range(4)]
    settled = []

    async def call(run, tokens, way, share, before, inside):
        for _ in range(before):
            await asyncio.sleep(0)
        try:
            async with runs[run].reserve(tokens=tokens, executions=1) as grant:
                for tracker in (session, runs[run]):
                    assert tracker.usage.tokens + tracker.reserved.tokens <= tracker.quota.max_total_tokens
                assert session.usage.executions + session.reserved.executions <= executions
                for _ in range(inside):
                    await asyncio.sleep(0)
                if way == "raise":
                    raise ValueError
                spent = tokens if way == "settle all" else min(share, tokens)
                settled.append(spent)
                grant.settle(used(spent))
        except (QuotaExceeded, ValueError):
            pass

    async def everything():
        jobs = [asyncio.ensure_future(call(*one)) for one in (c[:3] + c[3:] for c in calls)]
        for turn in range(6):
            await asyncio.sleep(0)
            for job, (_, _, way, *_) in zip(jobs, calls, strict=True):
                if (way, turn) in {("cancel early", 1), ("cancel late", 4)}:
                    job.cancel()
        await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 20)
        return [job.exception() for job in jobs if not job.cancelled()]

    errors = asyncio.run(everything())

    assert [error for error in errors if error] == []
    assert session.reserved == (0, 0, 0)
    assert all(run.reserved == (0, 0, 0) for run in runs)
    assert session.usage.tokens == sum(settled) == sum(run.usage.tokens for run in runs)


@given(st.text(), st.text())
def test_the_bound_of_a_prompt_is_its_bytes_and_the_overhead(system, prompt):
    messages = [Message(role="system", content=system), Message(role="user", content=prompt)]

    bound = prompt_bound(messages, 64)

    assert bound == len((system + prompt).encode("utf-8", "surrogatepass")) + 64


def test_a_runs_page_shows_the_limits_of_the_session_too_where_they_are_set():
    run = Tracker(Quota(max_total_tokens=1000)).child(Quota(max_executions=3))

    uses = run.uses(above=True)

    assert [(use.level, use.name) for use in uses if use.limit is not None] == [
        ("run", "max_executions"),
        ("session", "max_total_tokens"),
    ]
    assert len(uses) == 5


def test_a_waiter_whose_loop_is_gone_holds_nothing():
    tracker = Tracker(Quota(max_total_tokens=100))

    async def two():
        async with tracker.reserve(tokens=100):
            waiting = tracker.reserve(tokens=50).__aenter__()
            waiting.send(None)
            waiting.close()

    asyncio.run(two())

    assert tracker.reserved.tokens == 0
    assert tracker.remaining_tokens == 100
