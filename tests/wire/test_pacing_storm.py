"""Whole runs against a server in trouble: what a storm of refusals costs, and what it does to the calls in flight."""

import asyncio

import fault_server as fs
import pytest
from calling import a_provider
from fault_server import FaultServer
from strategies import Ran, task

from xz_magics.events import AccountPaused

pytestmark = pytest.mark.slow

TASKS = 60
MAX_CONCURRENT = 10
STORM_S = 10.0


class Storm:
    """A server that refuses as long as it is told to. Its first answers wait until so many can be given `together`."""

    def __init__(self, refusal, *, lasts_s=float("inf"), refusals=10**9, together=1):
        self._refusal = refusal
        self._lasts_s = lasts_s
        self._refusals = refusals
        self._together = together
        self._began_at = None
        self.requests = 0
        self.answers = 0

    async def __call__(self, call):
        now = asyncio.get_running_loop().time()
        self._began_at = self._began_at or now
        self.requests += 1
        stormy = now - self._began_at < self._lasts_s and self.requests <= self._refusals
        await asyncio.sleep(0.03)
        if stormy:
            await call.send(self._refusal)
            return
        self.answers += 1
        while self.answers < self._together:
            await asyncio.sleep(0.005)
        await fs.answering(call)


async def ran_in(storm, *, retries):
    """The end of a run of many tasks through this storm."""
    async with FaultServer(storm) as server:
        provider = a_provider(f"http://127.0.0.1:{server.port}")
        tasks = [task(f"task-{number}", model="test:m", index=number) for number in range(TASKS)]
        ran = Ran(tasks, {"test:m": provider}, retries=retries, max_concurrent=MAX_CONCURRENT).start()
        await asyncio.wait_for(ran.job, 100)
        await provider.aclose()
    return ran


def pauses_of(ran):
    """How often the account was paused anew; what lengthens a pause that goes on is no new one."""
    pauses, ends_at = 0, 0.0
    for stamped in ran.events:
        if isinstance(stamped.event, AccountPaused):
            pauses += stamped.at >= ends_at
            ends_at = max(ends_at, stamped.at + stamped.event.delay_s)
    return pauses


@pytest.mark.slow
@pytest.mark.parametrize("headers", [b"", b"retry-after: 1\r\n"])
async def test_a_storm_of_429s_costs_at_most_a_fifth_more_requests_than_answers_and_one_for_each_pause(headers):
    storm = Storm(fs.refusal(429, headers=headers), lasts_s=STORM_S)

    ran = await ran_in(storm, retries=1000)

    assert [outcome.status for outcome in ran.outcomes.roots()] == ["done"] * TASKS
    assert storm.answers == TASKS
    assert storm.requests <= 1.2 * TASKS + pauses_of(ran)


async def test_a_storm_of_server_errors_leaves_the_number_of_calls_in_flight_alone():
    storm = Storm(fs.refusal(500), refusals=2 * MAX_CONCURRENT, together=MAX_CONCURRENT)

    ran = await ran_in(storm, retries=1000)

    assert [outcome.status for outcome in ran.outcomes.roots()] == ["done"] * TASKS
    assert storm.requests == TASKS + 2 * MAX_CONCURRENT
    assert pauses_of(ran) == 0


@pytest.mark.parametrize("status", [401, 403, 402])
async def test_a_refused_key_or_a_spent_account_ends_all_after_the_calls_that_were_under_way(status):
    storm = Storm(fs.refusal(status))

    ran = await ran_in(storm, retries=2)

    error_type = "spent_account" if status == 402 else "auth"
    assert {outcome.error_type for outcome in ran.outcomes.roots()} == {error_type}
    assert storm.requests <= MAX_CONCURRENT


async def test_a_wait_that_is_too_long_fails_each_task_at_once_and_says_how_long_it_is():
    storm = Storm(fs.refusal(429, headers=b"retry-after: 3600\r\n"))

    ran = await ran_in(storm, retries=1000)

    assert {outcome.error_type for outcome in ran.outcomes.roots()} == {"rate_limited"}
    assert all("3,600 s" in outcome.error for outcome in ran.outcomes.roots())
    assert storm.requests <= TASKS
