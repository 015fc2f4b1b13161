"""The gate that all calls to one account pass."""

import asyncio

import pytest

from xz_magics.errors import ProviderError
from xz_magics.pacing import SPREAD_S, Gate, Gates


def refusal():
    return ProviderError("the key was refused", "check OPENAI_API_KEY", "auth", "nothing", 401)


async def arrivals(gate, callers):
    """When each caller came through, in order, in seconds from now."""
    loop = asyncio.get_running_loop()
    begun, times = loop.time(), []

    async def call():
        await gate.passed()
        times.append(loop.time() - begun)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return times


async def test_an_open_gate_lets_all_through_at_once():
    gate = Gate()
    assert not gate.closed
    assert gate.delay_left_s == 0
    await asyncio.wait_for(arrivals(gate, 1000), 5)


async def test_a_pause_holds_everybody_and_ends_by_itself():
    gate = Gate(random=lambda: 0.0)
    gate.pause(0.1)
    assert gate.closed
    times = await arrivals(gate, 20)
    assert min(times) >= 0.09
    assert not gate.closed


def test_a_pause_is_extended_and_never_shortened():
    now = [100.0]
    gate = Gate(clock=lambda: now[0])

    gate.pause(10)
    gate.pause(3)
    assert gate.delay_left_s == 10
    now[0] = 105.0
    gate.pause(10)
    assert gate.delay_left_s == 10
    now[0] = 115.0
    assert not gate.closed


async def test_who_waits_when_the_pause_is_extended_waits_on():
    gate = Gate(random=lambda: 0.0)
    gate.pause(0.05)
    waiting = asyncio.create_task(arrivals(gate, 3))
    await asyncio.sleep(0.02)
    gate.pause(0.15)
    assert min(await waiting) >= 0.15


async def test_after_a_pause_callers_come_one_by_one_so_that_the_first_can_close_the_gate_again():
    gate = Gate(random=lambda: 1.0)
    gate.pause(0.01)
    first, last = [], []

    async def call():
        await gate.passed()
        if not first:
            gate.pause(0.3)
        (last if first else first).append(asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(call())
    assert len(first) == 1
    assert min(last) - first[0] >= 0.3


@pytest.mark.parametrize("callers", [2, 40, 1000])
async def test_the_gaps_after_a_pause_add_up_to_a_short_time_for_any_crowd(callers):
    now = [0.0]
    gate = Gate(clock=lambda: now[0], random=lambda: 0.5)

    async def sleep(delay_s):
        now[0] += delay_s
        await asyncio.sleep(0)

    gate._sleep = sleep
    gate.pause(10)
    await arrivals(gate, callers)
    assert 0 < now[0] - 10 < 1.1 * SPREAD_S


async def test_a_refusal_ends_the_waiting_at_once_and_every_later_call():
    gate = Gate()
    gate.pause(60)
    waiting = [asyncio.create_task(gate.passed()) for _ in range(5)]
    await asyncio.sleep(0.01)
    gate.refuse(refusal())
    ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    with pytest.raises(ProviderError) as late:
        await gate.passed()
    assert gate.closed
    for error in (*ended, late.value):
        assert error.message == "not sent: the key was refused"
        assert error.hint == "check OPENAI_API_KEY"
        assert (error.error_type, error.charge, error.status) == ("auth", "nothing", 401)


async def test_a_refusal_is_told_once_however_often_it_is_handed_on():
    gate = Gate()
    gate.refuse(refusal())
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"^not sent: the key was refused") as caught:
            await gate.passed()
        gate.refuse(caught.value)


async def test_who_gives_up_waiting_does_not_hold_up_the_others():
    gate = Gate(random=lambda: 0.0)
    gate.pause(0.1)
    waiting = [asyncio.create_task(gate.passed()) for _ in range(10)]
    await asyncio.sleep(0.01)
    for task in waiting[::2]:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*waiting[1::2]), 5)
    await asyncio.wait_for(gate.passed(), 5)


def test_each_account_has_its_own_gate_and_keeps_it():
    gates = Gates()

    gates["one"].pause(60)

    assert gates["one"].closed
    assert not gates["two"].closed
