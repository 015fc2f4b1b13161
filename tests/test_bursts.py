"""What comes all at once goes on a few at a time."""

import asyncio

import pytest
from hypothesis import given, strategies as st

from xz_magics import bursts
from xz_magics.bursts import AT_ONCE, spread


async def steps_of(count, cancelled=frozenset()):
    """In which step of the loop each went on, in the order in which they did, counted from the first."""
    step, gone_on = 0, []

    async def pass_(number):
        await spread()
        gone_on.append((step, number))

    crowd = [asyncio.create_task(pass_(number)) for number in range(count)]
    while not all(task.done() for task in crowd):
        await asyncio.sleep(0)
        step += 1
        if step == 1:
            for number in cancelled:
                crowd[number].cancel()
    return gone_on


@given(st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_of_a_crowd_a_few_go_on_in_each_step_and_all_in_their_order(count, cancelled):
    cancelled = {number for number in cancelled if number < count}

    gone_on = asyncio.run(steps_of(count, cancelled))

    steps = [step for step, _ in gone_on]
    numbers = [number for _, number in gone_on]
    assert numbers == sorted(numbers)
    assert set(range(count)) - set(numbers) <= {number for number in cancelled if number >= AT_ONCE}
    assert all(steps.count(step) <= AT_ONCE for step in steps)
    assert steps[-1] - steps[0] <= 2 * count / AT_ONCE + 2


async def test_who_comes_alone_goes_on_at_once():
    coroutine = spread()

    with pytest.raises(StopIteration):
        coroutine.send(None)
    await asyncio.sleep(0)
    coroutine = spread()

    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_each_loop_has_a_line_of_its_own():
    assert len(asyncio.run(steps_of(9))) == len(asyncio.run(steps_of(9))) == 9


def test_an_interrupt_that_ends_a_step_holds_nobody_up_for_long(monkeypatch):
    begin_step, interrupted = bursts._Crowd._begin_step, []

    def interrupted_once(crowd, loop):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        begin_step(crowd, loop)

    monkeypatch.setattr(bursts, "LONGEST_S", 0.05)
    monkeypatch.setattr(bursts._Crowd, "_begin_step", interrupted_once)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(spread()) for _ in range(9)]
    crowd = loop.create_task(asyncio.wait(tasks))

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(crowd)
    loop.run_until_complete(asyncio.wait_for(crowd, 20))
    loop.run_until_complete(asyncio.wait_for(asyncio.wait([loop.create_task(spread()) for _ in range(9)]), 20))
    loop.close()


def test_a_loop_that_was_closed_with_a_crowd_in_it_is_not_held():
    loop = asyncio.new_event_loop()
    crowd = [loop.create_task(spread()) for _ in range(9)]
    loop.run_until_complete(asyncio.sleep(0))
    assert loop in bursts._crowds
    loop.close()

    asyncio.run(spread())

    assert loop not in bursts._crowds
    assert sum(task.done() for task in crowd) < 9
