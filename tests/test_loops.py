"""The thread with a loop of its own: what it carries, what it outlives, and how it ends with its process."""

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from xz_magics.loops import END_S, LoopThread

SPOKEN = contextvars.ContextVar("SPOKEN", default="nothing")


@pytest.fixture
def thread():
    thread = LoopThread("a loop of a test")
    yield thread
    thread.close()


def outcome(thread, coroutine, timeout_s=10):
    """What the coroutine gives there."""
    ended = Future()

    async def told():
        try:
            ended.set_result(await coroutine)
        except BaseException as error:
            ended.set_exception(error)

    thread.run(told())
    return ended.result(timeout_s)


async def where():
    await asyncio.sleep(0)
    return threading.current_thread(), asyncio.get_running_loop()


def test_all_that_it_is_given_runs_on_one_thread_and_one_loop(thread):
    first, second = outcome(thread, where()), outcome(thread, where())

    assert first == second
    assert first[0].name == "a loop of a test"
    assert first[0].daemon
    assert first[0] is not threading.current_thread()


def test_it_knows_whether_it_is_here(thread):
    async def is_here():
        return thread.is_here

    assert outcome(thread, is_here())
    assert not thread.is_here


def test_a_coroutine_has_a_copy_of_the_context_in_which_it_was_given(thread):
    async def speak():
        await asyncio.sleep(0)
        heard = SPOKEN.get()
        SPOKEN.set("something else")
        return heard

    token = SPOKEN.set("a word")
    try:
        assert outcome(thread, speak()) == "a word"
        assert SPOKEN.get() == "a word"
    finally:
        SPOKEN.reset(token)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_loop_elsewhere_ends_nothing_else_here(thread, caplog, error):
    lives, killed = Future(), Future()

    async def live():
        await asyncio.sleep(0.2)
        lives.set_result(threading.current_thread())

    async def kill():
        killed.set_result(threading.current_thread())
        raise error

    thread.run(live())
    thread.run(kill())

    assert lives.result(10) is killed.result(10)
    assert caplog.records[0].exc_info[1] is error
    assert outcome(thread, where())[0] is lives.result()


def test_closing_cancels_what_runs_and_the_next_one_begins_a_new_thread(thread):
    begun, ended = Future(), Future()

    async def wait():
        begun.set_result(asyncio.get_running_loop())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise

    thread.run(wait())
    loop = begun.result(10)
    thread.close()

    assert ended.result(0) == "cancelled"
    assert loop.is_closed()
    assert outcome(thread, where())[1] is not loop
    thread.close()
    thread.close()


def test_closing_does_not_wait_for_what_does_not_end(thread):
    begun, freed = threading.Event(), threading.Event()

    async def block():
        begun.set()
        freed.wait(30)

    thread.run(block())
    begun.wait(10)
    began_at = time.monotonic()
    thread.close()
    took_s = time.monotonic() - began_at
    freed.set()

    assert END_S <= took_s < END_S + 5


def test_what_goes_on_in_its_worker_threads_gives_results_and_errors(thread, caplog):
    async def work():
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return await asyncio.to_thread(lambda number: number + 1, 2)

    assert outcome(thread, work()) == 3
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


PROGRAM = """
import asyncio, os, sys, time
from xz_magics.loops import LoopThread
thread = LoopThread("loop")
async def sleep():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("ended", flush=True)
async def block():
    print("begun", flush=True)
    time.sleep(60)
async def work():
    print("begun", flush=True)
    await asyncio.to_thread(time.sleep, 60)
thread.run({coroutine}())
time.sleep(0.5)
{then}
"""


def ran(coroutine, then=""):
    program = PROGRAM.format(coroutine=coroutine, then=then)
    began_at = time.monotonic()
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]  # newer versions frown at a fork
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began_at < 20
    return done.returncode, done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("coroutine", "told"), [("sleep", ["begun", "ended"]), ("block", ["begun"]), ("work", ["begun"])]
)
def test_nothing_of_it_holds_up_the_end_of_the_process(coroutine, told):
    assert ran(coroutine) == (0, told, "")


FORKED = """
pid = os.fork()
if not pid:
    async def child():
        print("child", flush=True)
    thread.run(child())
    time.sleep(0.5)
    sys.exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(status, flush=True)
"""


def test_a_forked_copy_begins_a_thread_of_its_own_and_leaves_the_other_alone():
    assert ran("sleep", FORKED) == (0, ["begun", "child", "7", "ended"], "")
