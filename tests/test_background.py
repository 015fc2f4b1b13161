"""Runs in the background: what a handle gives, from whatever thread or loop, and how they end."""

import asyncio
import contextvars
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace

import pytest
from counting_server import CountingServer
from strategies import answering

import xz_magics
from xz_magics.api import run, run_arguments, run_sync
from xz_magics.api.launching import see_through
from xz_magics.api.preparing import prepare
from xz_magics.background import Handle, lost_words, start
from xz_magics.errors import ModelError, RunInterrupted, SpecError, XzMagicsError
from xz_magics.events import TaskStarted
from xz_magics.interrupt import Guard
from xz_magics.records import Quota
from xz_magics.results import Results
from xz_magics.session import Session, made_once
from xz_magics.tools.function import tool_of
from xz_magics.views.live import NoView

SCRIPTS = """
scripts:
  slow: {steps: [{answer: a slow answer, chunks: 100, latency_s: 30}]}
  quick_then_slow: {steps: [{answer: quick}, {answer: a slow answer, chunks: 100, latency_s: 30}]}
  asking:
    steps:
      - {when: It rains, answer: Take an umbrella.}
      - {when: there is none, answer: I do not know.}
      - {tool_calls: [{name: weather, arguments: {city: Lima}}]}
"""


@pytest.fixture(autouse=True)
def scripts(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)


def wait_for(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def statuses(results):
    return [outcome.status for outcome in results]


class Seen:
    """A view that keeps what it is told."""

    def __init__(self):
        self.failed = None
        self.ended = []

    def attach(self, watched):
        self.run_id = watched.run_id

    def draw(self):
        """Nothing is drawn."""

    def end(self, finished):
        self.ended.append(finished())

    def fail(self, error):
        self.failed = error


# What a handle gives


def test_a_run_in_the_background_gives_its_results_as_they_come(session):
    handle = start(["a", "b"], model="scripted:quick_then_slow")

    assert not handle.done
    assert handle.run_id == handle.results.run_id
    assert session.current() is handle.results
    wait_for(lambda: len(handle.results) == 1)
    assert repr(handle) == f"run {handle.run_id} goes on: 1 of 2 tasks have ended"
    assert xz_magics.last is handle.results

    handle.cancel()
    results = handle.wait(10)

    assert results is handle.results
    assert handle.done
    assert handle.error is None
    assert not results.running
    assert statuses(results) == ["done", "cancelled"]
    assert repr(handle) == f"run {handle.run_id} was stopped: 1 of 2 tasks are done"
    assert session.quota.reserved == (0, 0, 0)


def test_a_run_that_has_ended_says_so():
    handle = start(["a"], model="scripted:")

    handle.wait(10)

    assert repr(handle) == f"run {handle.run_id} has ended: 1 of 1 task is done"
    assert handle.wait() is handle.results


def test_it_goes_on_while_the_thread_that_started_it_is_busy():
    handle = start(["a", "b", "c"], model="scripted:", max_concurrent=1)

    time.sleep(1)  # nothing of this thread's is needed

    assert statuses(handle.results) == ["done"] * 3


def test_runs_in_the_background_share_one_thread():
    threads = []
    handles = [
        start([text], model="scripted:", on_result=lambda _: threads.append(threading.current_thread()))
        for text in ("a", "b", "c")
    ]

    for handle in handles:
        handle.wait(10)

    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_it_has_a_copy_of_the_context_in_which_it_was_started():
    speaker = contextvars.ContextVar("speaker", default="nobody")
    heard = []

    def start_it():
        speaker.set("the cell")
        return start(["a"], model="scripted:", on_result=lambda _: heard.append(speaker.get()))

    contextvars.copy_context().run(start_it).wait(10)

    assert heard == ["the cell"]


def test_it_takes_what_run_takes():
    assert list(start.__signature__.parameters.values()) == list(run_arguments.parameters.values())
    with pytest.raises(TypeError, match="max_token"):
        start(["a"], max_token=3)


def test_what_is_wrong_is_raised_where_it_is_started(session):
    with pytest.raises(SpecError, match="max_tokens"):
        start(["a"], model="scripted:", max_tokens=0)

    assert session.runs.all() == []


# Waiting


def test_waiting_for_no_longer_than_so_long_leaves_the_run_alone():
    handle = start(["a"], model="scripted:slow")

    with pytest.raises(TimeoutError) as raised:
        handle.wait(0.05)

    assert str(raised.value) == f"run {handle.run_id} goes on: 0 of 1 task has ended; it was waited for 0.05 s"
    assert not handle.done


def test_stop_ends_the_waiting_and_leaves_the_run_alone():
    handle = start(["a"], model="scripted:slow")
    stop = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()

    with pytest.raises(RunInterrupted) as raised:
        handle.wait(20)

    assert str(raised.value).startswith(f"Stopped waiting: run {handle.run_id} goes on: 0 of 1 task has ended.")
    assert "handle.cancel() ends it" in str(raised.value)
    assert not handle.done


def test_stop_of_a_run_in_the_foreground_leaves_the_one_in_the_background_alone():
    handle = start(["a"], model="scripted:slow")
    stop = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()

    with pytest.raises(RunInterrupted):
        run_sync(["b"], model="scripted:slow")

    assert not handle.done
    assert handle.results.running


def test_it_can_be_awaited_from_every_loop_and_again_after_its_end():
    handle = start(["a"], model="scripted:")

    async def awaited():
        return await handle

    async def twice():
        return await asyncio.gather(handle, awaited())

    assert asyncio.run(twice()) == [handle.results] * 2
    assert asyncio.run(awaited()) is handle.results
    with asyncio.Runner() as runner:
        assert runner.run(awaited()) is handle.results


async def test_who_is_cancelled_while_waiting_leaves_the_run_alone():
    handle = start(["a"], model="scripted:slow")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle, 0.05)
    async with asyncio.timeout(5):
        waiting = asyncio.ensure_future(handle)
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert not handle.done
    handle.cancel()
    assert statuses(await handle) == ["cancelled"]


async def test_who_is_stopped_while_awaiting_is_told_in_one_line_and_a_timeout_stays_one():
    handle = start(["a"], model="scripted:slow")
    waiting = asyncio.ensure_future(handle)
    await asyncio.sleep(0.05)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await waiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await handle

    assert raised.value._render_traceback_() == [
        f"Stopped waiting: run {handle.run_id} goes on: 0 of 1 task has ended. handle.cancel() ends it."
    ]


async def test_an_await_that_was_given_up_leaves_nothing_behind():
    handle = start(["a"], model="scripted:slow")

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)

    assert handle._ended._done_callbacks == []


def test_whose_name_is_taken_while_it_goes_on_can_be_found_again():
    handle = start(["a"], model="scripted:slow")

    words = lost_words("later", handle)

    assert words == (
        f"run {handle.run_id} goes on, and later is no longer its handle: "
        f"%subagents show {handle.run_id} shows it, %subagents cancel --run {handle.run_id} ends it"
    )
    handle.cancel()
    handle.wait(10)
    assert lost_words("later", handle) == lost_words("later", None) == lost_words("later", "a text") == ""


def test_a_loop_that_is_closed_while_it_waits_disturbs_nobody(caplog):
    handle = start(["a"], model="scripted:slow")
    loop = asyncio.new_event_loop()

    async def waiting():
        await handle

    task = loop.create_task(waiting())
    loop.run_until_complete(asyncio.sleep(0.05))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    handle.cancel()

    assert statuses(handle.wait(10)) == ["cancelled"]
    assert caplog.records == []


def weather(city: str) -> str:
    """The weather."""
    return f"It rains in {city}, says {threading.current_thread().name}."


@pytest.fixture
def on_kernel(session):
    return {
        "tools": [tool_of(weather, on="kernel", kernel_loop=lambda: session.kernel_loop)],
        "allowed_tools": ["weather"],
        "model": "scripted:asking",
    }


async def test_a_wait_that_would_lock_up_is_refused_and_can_be_awaited(on_kernel):
    handle = start(["a"], **on_kernel)

    with pytest.raises(XzMagicsError) as raised:
        handle.wait()

    assert raised.value.message == "this keeps the notebook waiting, and weather can run only while it is free"
    assert raised.value.hint == "await handle"
    (outcome,) = await handle
    assert outcome.output == "Take an umbrella."
    assert "says MainThread" in outcome.messages[2].content
    assert handle.wait() is handle.results


async def test_another_thread_may_wait_for_what_needs_the_kernels_loop(on_kernel):
    handle = start(["a"], **on_kernel)

    results = await asyncio.to_thread(handle.wait, 10)

    assert results["task-1"].output == "Take an umbrella."


def test_where_no_loop_could_be_locked_up_waiting_is_not_refused(on_kernel):
    handle = start(["a"], **on_kernel)

    assert handle.wait(10)["task-1"].output == "I do not know."


def test_on_the_engines_own_thread_a_wait_is_refused():
    handle = start(["a"], model="scripted:slow")
    told = Future()

    def wait(_):
        try:
            handle.wait()
        except XzMagicsError as error:
            told.set_result(error)

    start(["b"], model="scripted:", on_result=wait)

    assert told.result(10).hint == "await handle"


FORKED = """
import os, xz_magics
handle = xz_magics.start(["latency"], model="scripted:slow")
pid = os.fork()
if not pid:
    try:
        handle.wait()
    except xz_magics.XzMagicsError as error:
        print(error.message, flush=True)
    print(xz_magics.start(["a"], model="scripted:").wait(10)[0].status, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(handle, flush=True)
"""


def test_a_forked_copy_of_the_process_does_not_wait_for_ever_and_can_start_its_own():
    told = program(FORKED).splitlines()

    assert told[:2] == ["this run goes on in the process that this one is a copy of", "done"]
    assert "goes on: 0 of 1" in told[2]


# The journal


@pytest.fixture
def held(session, tmp_path):
    """Another process holds the folder of the journal, so that this one cannot open it."""
    (tmp_path / "state").mkdir(mode=0o700)
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "state"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    yield
    process.communicate("\n", timeout=20)


async def test_a_journal_that_cannot_be_opened_yet_does_not_hold_up_the_loop(held):
    began_at = time.monotonic()
    handle = start(["a"], model="scripted:")
    held_up_s = time.monotonic() - began_at
    results = await handle

    assert held_up_s < 1.5  # the folder is waited for longer than that
    assert statuses(results) == ["done"]
    assert "the run goes on without a journal" in "\n".join(results.warnings)


def test_a_run_to_resume_that_is_none_is_told_at_once():
    with pytest.raises(SpecError, match="nothing_such"):
        start(["a"], model="scripted:", resume="nothing_such")


async def test_a_stop_that_came_before_the_run_began_opens_no_provider():
    async def open_slowly(tell):
        opened.append(tell)
        await asyncio.sleep(60)

    opened, provider, guard = [], answering("hi"), Guard()
    provider.open = open_slowly
    guard.stop()
    prepared = prepare(["a"], model="scripted:")
    providers = {task.model: provider for task in prepared.plan.tasks}

    results = await asyncio.wait_for(see_through(replace(prepared, providers=providers), guard, NoView()), 10)

    assert opened == []
    assert statuses(results) == ["skipped"]
    assert results.interrupted


# Errors


async def test_an_error_before_the_start_is_on_the_handle_and_in_the_view(monkeypatch, session, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "no-real-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://127.0.0.1:1/v1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    caplog.set_level(logging.INFO)
    view = Seen()

    handle = Handle(prepare(["a"], model="openai:test"), view)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"/nowhere\.pem"):
            await handle

    assert isinstance(handle.error, ModelError)
    assert handle.done
    assert view.failed is handle.error
    assert repr(handle).startswith("the run failed: ModelError: ")
    assert session.runs.all() == []
    assert not handle.results.running
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)]


def test_an_error_of_ours_is_on_the_handle_and_logged_once(caplog, session):
    handle = Handle(replace(prepare(["a"], model="scripted:"), granted=lambda _: 1 / 0), view := Seen())
    with pytest.raises(BaseExceptionGroup):
        handle.wait(10)
    gc.collect()

    assert isinstance(handle.error, BaseExceptionGroup)
    (shown,) = view.ended
    assert "this run failed: ZeroDivisionError: division by zero" in shown["text/html"]
    assert not handle.results.running
    assert session.quota.reserved == (0, 0, 0)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("xz_magics", "ERROR")
    assert record.exc_info[1] is handle.error


def test_an_exit_in_a_run_ends_that_run_alone(caplog):
    other = start(["a"], model="scripted:slow")

    handle = start(["b"], model="scripted:", on_result=lambda _: sys.exit(3))
    with pytest.raises(BaseException) as raised:
        handle.wait(10)

    assert raised.value is handle.error
    assert not other.done
    other.cancel()
    assert statuses(other.wait(10)) == ["cancelled"]


# Cancelling


def test_one_task_can_be_cancelled_and_the_others_go_on():
    handle = start({"a": "x", "b": "y"}, model="scripted:slow")
    wait_for(lambda: handle.results.fold.counts["running"] == 2)

    handle.cancel("a")
    wait_for(lambda: handle.results["a"].status == "cancelled", 2)

    assert handle.results["b"].status == "running"
    with pytest.raises(KeyError, match="did you mean"):
        handle.cancel("bb")


def test_results_can_be_cancelled_from_any_thread():
    handle = start(["x"] * 3, model="scripted:slow", max_concurrent=1)

    threading.Thread(target=handle.results.cancel).start()

    results = handle.wait(10)
    assert results.interrupted
    assert set(statuses(results)) <= {"cancelled", "skipped"}


async def test_the_current_run_can_be_cancelled_by_another_asyncio_task(session):
    running = asyncio.ensure_future(run({"a": "x", "b": "y"}, model="scripted:quick_then_slow", max_concurrent=2))
    while not session.runs.running() or len(session.current()) < 1:
        await asyncio.sleep(0.01)

    xz_magics.current().cancel("b" if session.current()["a"].success else "a")
    results = await asyncio.wait_for(running, 2)

    assert sorted(statuses(results)) == ["cancelled", "done"]
    assert not results.interrupted


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_a_tool_starts_ends_with_the_run_of_the_tool(kind, session):
    started = []

    def begin(city: str) -> str:
        """The weather."""
        started.append(start(["x"], model="scripted:slow"))
        return "It rains."

    async def begin_there(city: str) -> str:
        """The weather."""
        return begin(city)

    tool = tool_of(begin if kind == "sync" else begin_there, name="weather")
    results = start(["a"], model="scripted:asking", tools=[tool], allowed_tools=["weather"]).wait(10)

    assert results["task-1"].output == "Take an umbrella."
    assert statuses(started[0].wait(5)) in (["cancelled"], ["skipped"])  # whether it was sent yet
    assert started[0].results not in session.runs.all()
    assert session.last is results


# The end of the process


LEFT = """
import time, xz_magics
handle = xz_magics.start(["a"], model="scripted:slow", {options})
time.sleep(0.5)
print(handle)
"""


def program(text, timeout_s=60):
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
    return ran.stdout


@pytest.mark.parametrize("options", ["", "show=True"])
def test_the_end_of_the_process_is_not_held_up_by_a_run(options):
    assert "goes on: 0 of 1" in program(LEFT.format(options=options), timeout_s=20)


# What runs share


def test_a_limit_of_the_session_is_held_by_runs_in_front_and_behind_at_once(monkeypatch, session):
    server = CountingServer()
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    session.quota.quota = Quota(max_executions=30, max_total_tokens=30 * 1_000)
    most = []

    def look(stamped):
        if isinstance(stamped.event, TaskStarted):
            with session.quota._room.lock:
                used, reserved = session.quota.usage, session.quota.reserved
            most.append((used.executions + reserved.executions, used.tokens + reserved.tokens))

    options = {"max_tokens": 200, "max_concurrent": 10, "observers": [look]}
    try:
        behind = [start(["latency=0.02"] * 20, **options) for _ in range(2)]
        before = run_sync(["latency=0.02"] * 20, **options)
        everything = [*before, *(outcome for handle in behind for outcome in handle.wait(30))]
        arrived = len(server.seen()["arrived"])
    finally:
        server.close()

    assert len(everything) == 60
    assert sum(outcome.success for outcome in everything) == arrived == session.quota.usage.executions == 30
    assert session.quota.usage.tokens == arrived * 20
    assert session.quota.reserved == (0, 0, 0)
    assert max(executions for executions, _ in most) == 30
    assert max(tokens for _, tokens in most) <= 30_000
    assert session.metrics.spawns().spawns == 30


def test_what_a_session_makes_at_first_use_is_made_once():
    made = []

    class Slow(Session):
        @made_once
        def thing(self):
            time.sleep(0.1)
            made.append(object())
            return made[-1]

    slow, given = Slow(), []
    threads = [threading.Thread(target=lambda: given.append(slow.thing)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert given == made * 8
    assert Slow.thing is not slow.thing


# How a run is closed


def closing(how):
    """A provider whose `aclose` does as told, and says so."""
    provider = answering("hi")
    provider.closed = False

    async def aclose():
        await how()
        provider.closed = True

    provider.aclose = aclose
    return provider


async def fine():
    """Closes at once."""


async def broken():
    raise OSError("the socket is gone")


async def hanging():
    await asyncio.sleep(60)


def closed_by(*ways):
    """The results of a run whose providers close in these ways, and the providers."""
    providers = {f"scripted:{at}": closing(how) for at, how in enumerate(ways)}
    tasks = [{"prompt": "x", "model": "scripted:"} for _ in ways]
    prepared = prepare(tasks)
    plan = replace(
        prepared.plan,
        tasks=tuple(replace(task, model=model) for task, model in zip(prepared.plan.tasks, providers, strict=True)),
    )
    handle = Handle(replace(prepared, plan=plan, providers=providers), NoView())
    return handle.wait(10), list(providers.values())


def test_a_provider_that_cannot_be_closed_keeps_no_other_open(caplog):
    results, providers = closed_by(broken, fine, broken, fine)

    assert statuses(results) == ["done"] * 4
    assert [provider.closed for provider in providers] == [False, True, False, True]
    assert ["could not be closed" in record.message for record in caplog.records] == [True, True]


def test_a_provider_that_does_not_close_is_not_waited_for_for_ever(caplog):
    began_at = time.monotonic()

    results, providers = closed_by(hanging, fine)

    assert statuses(results) == ["done"] * 2
    assert time.monotonic() - began_at < 8
    assert [provider.closed for provider in providers] == [False, True]
    assert "could not be closed" in caplog.text


def test_a_view_that_cannot_end_loses_nothing(caplog):
    class Failing(NoView):
        def end(self, finished):
            raise OSError("the page is gone")

    handle = Handle(prepare(["a"], model="scripted:"), Failing())

    assert statuses(handle.wait(10)) == ["done"]
    assert "could not end" in caplog.text


def test_a_view_that_cannot_begin_ends_the_run_before_anything_is_sent(session):
    class Failing(NoView):
        def attach(self, watched):
            raise OSError("the page is gone")

    handle = Handle(prepare(["a"], model="scripted:"), Failing())
    with pytest.raises(OSError, match="the page is gone"):
        handle.wait(10)

    assert session.runs.running() == []
    assert session.quota.usage.executions == 0


@pytest.fixture
def drawing(monkeypatch):
    """Told in which thread results are drawn, which takes its time."""
    drawing = Future()

    def draw(results):
        if not drawing.done():
            drawing.set_result(threading.current_thread())
        time.sleep(0.5)
        return {"text/plain": results.run_id}

    monkeypatch.setattr(Results, "bundle", draw)
    return drawing


def test_the_results_are_drawn_beside_the_loop_of_the_run(drawing):
    threads = []
    handle = Handle(
        prepare(["a"], model="scripted:", on_result=lambda _: threads.append(threading.current_thread())),
        view := Seen(),
    )

    handle.wait(10)

    assert view.ended == [{"text/plain": handle.run_id}]
    assert drawing.result() not in {*threads, threading.current_thread()}


async def test_who_is_cancelled_while_the_results_are_drawn_ends_the_view_all_the_same(drawing):
    running = asyncio.ensure_future(see_through(prepare(["a"], model="scripted:"), Guard(), view := Seen()))
    await asyncio.wrap_future(drawing)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert view.ended == [{"text/plain": view.run_id}]


def test_what_stands_below_the_cell_stays_true_while_the_run_goes_on():
    handle = start(["a"], model="scripted:slow")

    shown = handle._repr_mimebundle_()["text/plain"]
    assert shown.startswith(f"run {handle.run_id} in the background: await it")

    handle.cancel()
    handle.wait(10)
    assert handle._repr_mimebundle_()["text/plain"] == repr(handle)


def test_a_run_that_ends_with_its_thread_says_so_and_nobody_waits_for_ever(session):
    handle = start(["a"], model="scripted:slow")

    session.engine.close()

    with pytest.raises(XzMagicsError, match="was ended with the thread"):
        handle.wait(10)
    with pytest.raises(XzMagicsError, match="was ended with the thread"):
        handle.wait(10)
