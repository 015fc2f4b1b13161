"""What every call passes before it is sent: pauses and probes, places in flight, requests and tokens a minute."""

import asyncio
import inspect
import random
import selectors

import pytest
from hypothesis import example, given, settings, strategies as st

from xz_magics.errors import ProviderError
from xz_magics.pacing import Gates
from xz_magics.pacing.account import PROBE_S, SPREAD_S
from xz_magics.pacing.pace import Pace
from xz_magics.ratelimits import Allowance

WALL = 1_800_000_000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is a number: where nothing else is to be done, it jumps to when the next thing is due."""

    def __init__(self):
        super().__init__(_Jumping(self))
        self.now = 1000.0

    def time(self):
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        assert timeout is not None, "locked up: nothing will ever happen again"
        self._loop.now += timeout
        return super().select(0)


def virtually(scenario):
    """Runs a coroutine function in virtual time; it is given a function that tells the seconds since it began."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        return runner.run(scenario(lambda: loop.now - 1000.0))


def in_virtual_time(test):
    """A test that takes no time, whatever it waits for. It is given the clock, and its arguments."""

    def run(**arguments):
        return virtually(lambda clock: test(clock, **arguments))

    run.__name__ = test.__name__
    signature = inspect.signature(test)
    others = [parameter for name, parameter in signature.parameters.items() if name != "clock"]
    run.__signature__ = signature.replace(parameters=others)
    return run


def gates(clock, *, jitter=lambda: 0.5, **limits):
    return Gates(clock=clock, wall=lambda: WALL + clock(), random=jitter, **limits)


def refusal():
    return ProviderError("the key was refused", "check OPENAI_API_KEY", "auth", "nothing", 401)


async def call(lane, *, tokens=10, lasts_s=0.0, used=None, limited=False, headers=None, sent=lambda: None):
    """One call that is let through, sent and answered."""
    async with lane.entering(tokens) as passage:
        passage.sent()
        sent()
        await asyncio.sleep(lasts_s)
        passage.ended(tokens=used, headers=headers or {}, limited=limited)


async def sending_times(clock, lane, count, **how):
    """When each of so many calls that come at once is sent."""
    times = []
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(call(lane, sent=lambda: times.append(clock()), **how))
    return times


# --- no limits ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_without_limits_all_go_at_once(clock):
    lane = gates(clock).lane("account", "model")

    times = await sending_times(clock, lane, 1000, lasts_s=5)

    assert times == [0.0] * 1000
    assert not lane.closed


@in_virtual_time
async def test_each_model_has_one_lane_and_the_lanes_of_an_account_share_its_pause_and_refusal(clock):
    all_gates = gates(clock)
    one, other, foreign = (all_gates.lane(*names) for names in (("a", "m"), ("a", "n"), ("b", "m")))

    one.pause_after_limit(30.0)

    assert all_gates.lane("a", "m") is one
    assert (one.closed, other.closed, foreign.closed) == (True, True, False)
    one.refuse(refusal())
    with pytest.raises(ProviderError):
        await call(other)
    await call(foreign)


# --- requests and tokens a minute --------------------------------------------------------------------------------


@in_virtual_time
async def test_of_many_calls_at_once_rpm_go_in_each_minute_and_no_minute_is_wasted(clock):
    lane = gates(clock, rpm=10).lane("account", "model")

    times = await sending_times(clock, lane, 35)

    assert [round(at, 2) for at in times] == [60.0 * (number // 10) for number in range(35)]


@in_virtual_time
async def test_less_than_one_request_a_minute_is_a_request_every_so_many_minutes(clock):
    lane = gates(clock, rpm=0.5).lane("account", "model")

    times = await sending_times(clock, lane, 3)

    assert [round(at, 2) for at in times] == [0.0, 120.0, 240.0]


def most_in_a_minute(times_and_amounts):
    return max(
        (
            sum(amount for at, amount in times_and_amounts if begins <= at < begins + 60)
            for begins, _ in times_and_amounts
        ),
        default=0,
    )


MOMENTS = st.integers(0, 1500).map(lambda tenths: tenths / 10)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "comes_at": MOMENTS,
            "tokens": st.integers(1, 400),
            "prepares_s": st.sampled_from([0.0, 0.3, 45.0]),
            "lasts_s": st.sampled_from([0.0, 0.7, 20.0, 70.0]),
            "used": st.none() | st.integers(0, 300),
            "limited": st.sampled_from([False, False, False, True]),
            "asked_s": st.sampled_from([None, 1.0, 20.0, 300.0]),
            "given_up_at": st.none() | MOMENTS,
        }
    ),
    min_size=1,
    max_size=30,
)
LIMITS = st.fixed_dictionaries(
    {
        "rpm": st.none() | st.sampled_from([0.7, 1, 3, 7.5]),
        "tpm": st.none() | st.sampled_from([100, 500]),
        "max_concurrent": st.none() | st.integers(1, 4),
    }
)


@settings(max_examples=150, deadline=None)
@given(calls=CALLS, limits=LIMITS, seed=st.integers(0, 5))
def test_whatever_comes_is_cancelled_or_limited_no_minute_holds_more_than_allowed_and_nothing_leaks(
    calls, limits, seed
):
    sent, most_in_flight = [], 0

    async def scenario(clock):
        nonlocal most_in_flight
        lane = gates(clock, jitter=random.Random(seed).random, **limits).lane("account", "model")

        async def one(how):
            nonlocal most_in_flight
            await asyncio.sleep(how["comes_at"])
            async with lane.entering(how["tokens"]) as passage:
                most_in_flight = max(most_in_flight, lane.in_flight)
                await asyncio.sleep(how["prepares_s"])
                if passage.closed:
                    return
                passage.sent()
                sent.append((clock(), how["tokens"]))
                await asyncio.sleep(how["lasts_s"])
                passage.ended(tokens=how["used"], headers={}, limited=how["limited"])
                if how["limited"]:
                    lane.pause_after_limit(how["asked_s"])

        tasks = [asyncio.create_task(one(how)) for how in calls]
        for task, how in zip(tasks, calls, strict=True):
            if how["given_up_at"] is not None:
                asyncio.get_running_loop().call_later(how["given_up_at"], task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert lane.in_flight == 0
        await asyncio.sleep(600)
        before = clock()
        await asyncio.gather(*(call(lane) for _ in range(2)))
        return clock() - before, [task.exception() for task in tasks if not task.cancelled()]

    took_s, errors = virtually(scenario)

    assert not any(errors)
    assert took_s < 121
    if limits["rpm"] is not None:
        assert most_in_a_minute([(at, 1) for at, _ in sent]) <= max(1, limits["rpm"])
    if limits["max_concurrent"] is not None:
        assert most_in_flight <= limits["max_concurrent"]


@settings(max_examples=150, deadline=None)
@given(
    amounts=st.lists(st.integers(1, 250), min_size=1, max_size=25),
    pauses_s=st.lists(st.sampled_from([0.0, 0.0, 1.0, 31.0]), min_size=25, max_size=25),
    tpm=st.sampled_from([100, 200]),
)
def test_no_minute_holds_more_tokens_than_tpm_but_for_one_that_is_larger_and_goes_alone(amounts, pauses_s, tpm):
    sent = []

    async def scenario(clock):
        lane = gates(clock, tpm=tpm).lane("account", "model")
        async with asyncio.TaskGroup() as group:
            for amount, pause_s in zip(amounts, pauses_s, strict=False):
                group.create_task(call(lane, tokens=amount, sent=lambda amount=amount: sent.append((clock(), amount))))
                await asyncio.sleep(pause_s)

    virtually(scenario)

    assert [amount for _, amount in sent] == amounts
    for begins, first in sent:
        within = [amount for at, amount in sent if begins <= at < begins + 60]
        assert sum(within) <= tpm or within == [first]


@in_virtual_time
async def test_a_call_larger_than_tpm_goes_when_a_minute_is_free_and_counts_for_as_many_as_it_is_large(clock):
    lane = gates(clock, tpm=100).lane("account", "model")
    sent = []

    async with asyncio.TaskGroup() as group:
        for tokens in (10, 250, 10):
            group.create_task(call(lane, tokens=tokens, sent=lambda: sent.append(round(clock(), 2))))

    assert sent == [0.0, 60.0, 60.0 + 150.0]


@in_virtual_time
async def test_what_a_call_really_used_takes_the_place_of_the_estimate(clock):
    lane = gates(clock, tpm=100).lane("account", "model")

    await call(lane, tokens=90, used=10)
    await call(lane, tokens=90, used=100)
    assert clock() == 0.0
    await call(lane, tokens=1)

    assert round(clock(), 2) == 60.0


@in_virtual_time
async def test_what_was_let_through_and_never_sent_is_given_back(clock):
    lane = gates(clock, rpm=1, tpm=100, max_concurrent=1).lane("account", "model")

    for _ in range(5):
        async with lane.entering(100):
            pass
    with pytest.raises(RuntimeError):
        async with lane.entering(100):
            raise RuntimeError
    await call(lane, tokens=100)

    assert clock() == 0.0


@in_virtual_time
async def test_what_was_sent_and_cancelled_stays_used_and_its_place_comes_back(clock):
    lane = gates(clock, rpm=1, max_concurrent=1).lane("account", "model")
    cancelled = asyncio.create_task(call(lane, lasts_s=100))
    await asyncio.sleep(1)

    cancelled.cancel()
    await call(lane)

    assert round(clock(), 2) == 60.0


@in_virtual_time
async def test_a_request_that_waits_for_room_after_it_was_let_through_counts_from_when_it_is_sent(clock):
    lane = gates(clock, rpm=1).lane("account", "model")

    async with lane.entering(10) as passage:
        await asyncio.sleep(50)
        passage.sent()
        passage.ended(tokens=10, headers={}, limited=False)
    await call(lane)

    assert round(clock(), 2) == 110.0


# --- what servers say of their limits ----------------------------------------------------------------------------


@in_virtual_time
async def test_what_the_server_says_is_left_holds_calls_back_until_there_is_more(clock):
    lane = gates(clock).lane("account", "model")
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "58s",
    }
    await call(lane, headers=headers)

    times = await sending_times(clock, lane, 5)

    assert [round(at, 2) for at in times] == [0.0, 0.0, 1.0, 2.0, 3.0]


@in_virtual_time
async def test_tokens_that_the_server_says_are_left_count_too_and_a_larger_call_goes_when_all_are_back(clock):
    lane = gates(clock).lane("account", "model")
    headers = {
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "400",
        "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:30Z",
    }
    await call(lane, headers=headers)

    await call(lane, tokens=400)
    assert clock() == 0.0
    await call(lane, tokens=100)
    assert round(clock(), 2) == 5.0
    await call(lane, tokens=5000)
    assert round(clock(), 2) == 55.0


@in_virtual_time
async def test_a_time_of_reset_is_counted_from_when_the_request_was_sent(clock):
    lane = gates(clock).lane("account", "model")
    headers = {
        "anthropic-ratelimit-requests-limit": "40",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:40Z",
    }
    await call(lane, lasts_s=20, headers=headers)

    times = await sending_times(clock, lane, 22)

    assert [round(at, 1) for at in times] == [20.0] * 20 + [21.0, 22.0]


@in_virtual_time
async def test_what_was_let_through_and_not_yet_sent_counts_against_what_the_server_has_left(clock):
    lane = gates(clock).lane("account", "model")
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "59s",
    }
    await call(lane, headers=headers)

    async with lane.entering(10):
        await call(lane)

    assert round(clock(), 2) == 1.0


@in_virtual_time
async def test_the_user_s_own_limit_stays_the_upper_bound(clock):
    lane = gates(clock, rpm=2).lane("account", "model")
    headers = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
    }

    times = await sending_times(clock, lane, 5, headers=headers)

    assert [round(at) for at in times] == [0, 0, 60, 60, 120]


def test_older_news_do_not_replace_newer_ones_and_none_is_believed_for_more_than_a_minute():
    pace = Pace()
    early, late = pace.take(1), pace.take(1)
    pace.send(early, 90.0)
    pace.send(late, 100.0)
    pace.learn(Allowance(limit=10, remaining=0, reset_s=86400), late)

    pace.learn(Allowance(limit=10, remaining=9, reset_s=1), early)

    assert pace.wait_s(1, 110.0) == 50.0
    assert pace.wait_s(1, 160.0) == 0.0


NUMBERS = st.sampled_from(["0", "1", "40", "100", "1e12", "1e-320", "1e308", "nan", "-1"]) | st.text(
    "0123456789.e-", max_size=6
)
RESETS = st.sampled_from(["0s", "1ms", "1e-320", "6s", "24h", "2027-01-15T08:00:20Z", "never"]) | st.text(
    "0123456789.smhd-+TZ: ", max_size=24
)
HEADERS = st.fixed_dictionaries(
    {
        form.format(part, kind): RESETS if part == "reset" else NUMBERS
        for form, kinds in (
            ("x-ratelimit-{}-{}", ("requests", "tokens")),
            ("anthropic-ratelimit-{1}-{0}", ("requests", "tokens", "input-tokens", "output-tokens")),
        )
        for part in ("limit", "remaining", "reset")
        for kind in kinds
    }
)


@given(headers=HEADERS)
@settings(max_examples=300, deadline=None)
def test_no_headers_whatever_raise_or_hold_a_call_up_for_more_than_a_minute(headers):
    async def scenario(clock):
        lane = gates(clock).lane("account", "model")
        await call(lane, headers=headers)
        await call(lane, tokens=10_000)
        return clock()

    assert virtually(scenario) <= 60.1


# --- places in flight --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_no_more_than_max_concurrent_are_in_flight_and_first_come_is_first_served(clock):
    lane = gates(clock, max_concurrent=3).lane("account", "model")

    times = await sending_times(clock, lane, 10, lasts_s=1)

    assert times == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


@in_virtual_time
async def test_a_burst_of_429s_cuts_the_places_once_and_those_of_the_next_requests_again(clock):
    lane = gates(clock, max_concurrent=10).lane("account", "model")

    await sending_times(clock, lane, 10, lasts_s=1, limited=True)
    assert lane.places == 8.0
    await call(lane, limited=True)

    assert lane.places == pytest.approx(6.4)


@in_virtual_time
async def test_however_many_429s_come_one_place_stays(clock):
    lane = gates(clock, max_concurrent=4).lane("account", "model")

    for _ in range(50):
        await call(lane, limited=True)

    assert lane.places == 1.0


@in_virtual_time
async def test_answers_raise_the_places_by_one_for_as_many_as_there_are_but_only_when_all_are_taken(clock):
    lane = gates(clock, max_concurrent=10).lane("account", "model")
    await sending_times(clock, lane, 10, lasts_s=1, limited=True)
    for _ in range(50):
        await call(lane, lasts_s=1)
    assert lane.places == 8.0

    await sending_times(clock, lane, 9, lasts_s=1)
    assert 8.0 < lane.places < 8.5
    await sending_times(clock, lane, 500, lasts_s=1)

    assert lane.places == 10.0


@in_virtual_time
async def test_where_no_number_of_places_is_given_a_429_makes_one_of_those_in_flight(clock):
    lane = gates(clock).lane("account", "model")

    await sending_times(clock, lane, 20, lasts_s=1, limited=True)

    assert lane.places == 16.0


@in_virtual_time
async def test_the_429s_of_one_model_leave_the_places_of_another_alone(clock):
    all_gates = gates(clock, max_concurrent=10)

    await call(all_gates.lane("a", "m"), limited=True)

    assert all_gates.lane("a", "m").places == 8.0
    assert all_gates.lane("a", "n").places == 10.0


@in_virtual_time
async def test_where_two_models_are_limited_at_once_the_places_of_both_are_cut_once(clock):
    all_gates = gates(clock, max_concurrent=10)
    lanes = [all_gates.lane("a", model) for model in ("m", "n")]

    await asyncio.gather(*(sending_times(clock, lane, 10, lasts_s=1, limited=True) for lane in lanes))

    assert [lane.places for lane in lanes] == [8.0, 8.0]


# --- the pause after a 429 and the probe after it ----------------------------------------------------------------


@in_virtual_time
async def test_the_server_s_time_is_kept_exactly_extended_and_never_shortened(clock):
    lane = gates(clock).lane("account", "model")

    assert lane.pause_after_limit(10.0) == 10.0
    assert lane.pause_after_limit(3.0, 1.0) == 10.0
    assert lane.closed
    await asyncio.sleep(5)
    assert lane.pause_after_limit(10.0) == 10.0
    await call(lane)

    assert clock() == pytest.approx(15.0, abs=0.01)
    assert not lane.closed


@in_virtual_time
async def test_without_the_server_s_word_the_pauses_double_up_to_eight_seconds_and_start_again_after_an_answer(clock):
    lane = gates(clock, jitter=lambda: 1.0).lane("account", "model")
    pauses_s = []

    for limited in [True] * 7 + [False, True]:
        await call(lane, limited=limited)
        if limited:
            pauses_s.append(lane.pause_after_limit(None))

    assert pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 0.5]


@in_virtual_time
async def test_a_burst_of_429s_without_the_server_s_word_makes_one_pause(clock):
    lane = gates(clock, jitter=lambda: 1.0).lane("account", "model")
    pauses_s = []

    async def limited():
        await call(lane, lasts_s=1, limited=True)
        pauses_s.append(lane.pause_after_limit(None))

    await asyncio.gather(*(limited() for _ in range(10)))

    assert pauses_s == [0.5] * 10


@in_virtual_time
async def test_who_gives_a_longer_delay_of_its_own_is_heard_and_what_is_too_long_to_wait_for_makes_no_pause(clock):
    lane = gates(clock, jitter=lambda: 0.0).lane("account", "model")

    assert lane.pause_after_limit(None, 3.0) == 3.0
    await asyncio.sleep(3)
    assert lane.pause_after_limit(61.0) == 0.0
    assert lane.pause_after_limit(float("inf")) == 0.0
    assert not lane.closed
    assert lane.pause_after_limit(60.0) == 60.0


@in_virtual_time
async def test_after_a_pause_one_goes_as_a_probe_and_the_others_wait_for_its_answer(clock):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(5.0)

    times = await sending_times(clock, lane, 20, lasts_s=3)

    assert times[0] == pytest.approx(5.0, abs=0.01)
    assert min(times[1:]) >= 8.0
    assert max(times) < 8.0 + SPREAD_S
    assert len(set(times)) == 20


@in_virtual_time
async def test_the_first_part_of_an_answer_is_enough_for_the_others_to_follow(clock):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(1.0)
    times = []

    async def streamed():
        async with lane.entering(10) as passage:
            passage.sent()
            times.append(clock())
            await asyncio.sleep(0.5)
            passage.accepted()
            await asyncio.sleep(100)
            passage.ended(tokens=10, headers={}, limited=False)

    await asyncio.gather(streamed(), streamed())

    assert times == pytest.approx([1.0, 1.5], abs=0.01)


@in_virtual_time
async def test_a_probe_that_is_limited_pauses_all_again(clock):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(5.0)
    times = []

    async def probing(number):
        async with lane.entering(10) as passage:
            passage.sent()
            times.append(clock())
            await asyncio.sleep(1)
            passage.ended(tokens=0, headers={}, limited=number == 0)
        if number == 0:
            lane.pause_after_limit(10.0)

    await asyncio.gather(*(probing(number) for number in range(4)))

    assert times[:2] == pytest.approx([5.0, 16.0], abs=0.01)
    assert min(times[2:]) >= 17.0


@pytest.mark.parametrize("sent", [False, True])
@in_virtual_time
async def test_a_probe_that_is_cancelled_hands_the_probe_on(clock, sent):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(5.0)

    async def hanging():
        async with lane.entering(10) as passage:
            if sent:
                passage.sent()
            await asyncio.sleep(1000)

    probe = asyncio.create_task(hanging())
    others = asyncio.create_task(sending_times(clock, lane, 3, lasts_s=2))
    await asyncio.sleep(7)
    probe.cancel()
    times = await others

    assert times[0] == pytest.approx(7.0, abs=0.01)
    assert min(times[1:]) >= 9.0


@in_virtual_time
async def test_a_probe_without_an_answer_is_joined_by_the_next_after_a_time(clock):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(5.0)

    times = await sending_times(clock, lane, 3, lasts_s=1000)

    assert times == pytest.approx([5.0, 5.0 + PROBE_S, 5.0 + 2 * PROBE_S], abs=0.01)


@in_virtual_time
async def test_answers_to_requests_from_before_the_pause_do_not_end_it(clock):
    lane = gates(clock).lane("account", "model")
    early = asyncio.create_task(call(lane, lasts_s=3))
    await asyncio.sleep(1)
    lane.pause_after_limit(1.0)

    times = await sending_times(clock, lane, 2, lasts_s=10 - 0.5)
    await early

    assert times == pytest.approx([2.0, 11.5], abs=0.01)


@in_virtual_time
async def test_who_was_let_through_before_a_pause_and_not_sent_is_told_that_it_may_not_go(clock):
    lane = gates(clock).lane("account", "model")
    async with lane.entering(10) as passage:
        assert not passage.closed
        lane.pause_after_limit(5.0)
        assert passage.closed
        await asyncio.sleep(6)
        assert not lane.closed
        assert passage.closed

    async with lane.entering(10) as passage:
        assert not passage.closed


@pytest.mark.parametrize("callers", [2, 40, 1000])
@in_virtual_time
async def test_the_gaps_after_a_pause_add_up_to_a_short_time_for_any_crowd(clock, callers):
    lane = gates(clock).lane("account", "model")
    lane.pause_after_limit(10.0)

    times = await sending_times(clock, lane, callers)

    assert 0 <= times[-1] - 10 < 1.1 * SPREAD_S
    assert await sending_times(clock, lane, 50) == [clock()] * 50


@example(seed=6268, asked_s=None, answer_s=0.0, models=1)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    asked_s=st.sampled_from([None, 1.0]),
    answer_s=st.sampled_from([0.0, 0.05, 2.0]),
    models=st.integers(1, 3),
)
def test_a_storm_of_429s_costs_at_most_a_fifth_more_requests_than_answers_and_one_for_each_pause(
    seed, asked_s, answer_s, models
):
    requests = pauses = 0

    async def scenario(clock):
        chance = random.Random(seed)
        all_gates = gates(clock, jitter=chance.random, max_concurrent=10 // models)

        async def task(lane):
            nonlocal requests, pauses
            while True:
                async with lane.entering(10) as passage:
                    passage.sent()
                    requests += 1
                    stormy = clock() < 10
                    await asyncio.sleep(chance.random() * 0.05 if stormy else answer_s)
                    passage.ended(tokens=None, headers={}, limited=stormy)
                if not stormy:
                    return
                before_s = lane.account.wait_s()
                if lane.pause_after_limit(asked_s) > 0 and not before_s:
                    pauses += 1

        await asyncio.gather(*(task(all_gates.lane("a", f"m{number % models}")) for number in range(60)))

    virtually(scenario)

    assert requests <= 1.2 * 60 + pauses


# --- refusals and waiting ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_refusal_ends_the_waiting_at_once_and_every_later_call(clock):
    lane = gates(clock, rpm=1, max_concurrent=1).lane("account", "model")
    hanging = asyncio.create_task(call(lane, lasts_s=1000))
    waiting = [asyncio.create_task(call(lane)) for _ in range(5)]
    await asyncio.sleep(1)

    lane.refuse(refusal())
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    with pytest.raises(ProviderError) as late:
        await call(lane)

    assert clock() == 1.0
    assert lane.closed
    hanging.cancel()
    for error in (*ended, late.value):
        assert error.message == "not sent: the key was refused"
        assert error.hint == "check OPENAI_API_KEY"
        assert (error.error_type, error.charge, error.status) == ("auth", "nothing", 401)


@in_virtual_time
async def test_a_refusal_is_told_once_however_often_it_is_handed_on(clock):
    lane = gates(clock).lane("account", "model")
    lane.refuse(refusal())

    for _ in range(2):
        with pytest.raises(ProviderError, match=r"^not sent: the key was refused") as caught:
            await call(lane)
        lane.refuse(caught.value)


@in_virtual_time
async def test_who_was_let_through_is_told_of_a_refusal(clock):
    lane = gates(clock).lane("account", "model")

    async with lane.entering(10) as passage:
        lane.refuse(refusal())

        assert passage.closed


@in_virtual_time
async def test_who_gives_up_waiting_does_not_hold_up_the_others(clock):
    lane = gates(clock, jitter=lambda: 0.0).lane("account", "model")
    lane.pause_after_limit(10.0)
    waiting = [asyncio.create_task(call(lane)) for _ in range(10)]
    await asyncio.sleep(1)

    for task in waiting[::2]:
        task.cancel()
    await asyncio.gather(*waiting[1::2])

    assert clock() == pytest.approx(10.0, abs=0.05)


async def test_the_gates_hold_by_the_real_clock_too():
    lane = Gates(max_concurrent=2).lane("account", "model")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    lane.pause_after_limit(0.1)

    times = await sending_times(lambda: loop.time() - begun, lane, 5, lasts_s=0.01)

    assert times[0] >= 0.099
    assert times == sorted(times)
