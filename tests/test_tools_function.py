"""Functions as tools: what may become one, and in which thread and on which loop each is called."""

import asyncio
import concurrent.futures
import contextvars
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from xz_magics.errors import SpecError
from xz_magics.schemas import SchemaError
from xz_magics.tools import Context, ToolError
from xz_magics.tools.function import ToolDecorator, tool_of

HERE = Context(workspace=Path())
WHERE = contextvars.ContextVar("WHERE", default="nowhere")


def weather(city: str, days: int = 3) -> str:
    """The weather of a city."""
    return f"{city} {days}"


class Shop:
    def price(self, item: str) -> int:
        """What an item costs."""
        return len(item)


async def called(tool, **arguments):
    return await tool.run(tool.check(arguments), HERE)


def sync_or_async(kind, function):
    """The function as it is, or one that is the same but for its `async def`."""

    async def later():
        return function()

    return function if kind == "sync" else later


@pytest.fixture
def kernel():
    """A loop that runs in a thread of its own, as a kernel's does beside a run in the background."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the kernel's")
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_function_becomes_a_tool_with_its_name_schema_and_docstring():
    tool = tool_of(weather)

    assert (tool.name, tool.description) == ("weather", "The weather of a city.")
    assert (tool.timeout_s, tool.cache_s, tool.params, tool.delegates) == (60.0, None, None, False)
    assert tool.parameters["required"] == ["city"]
    assert tool.check({"city": "Bonn"}) == {"city": "Bonn"}


@pytest.mark.parametrize("name", ["gr\u00f6\u00dfe", "a b", "a" * 65, "", "a.b", "a\n", "\uff21"])
def test_a_name_that_the_apis_refuse_is_refused_with_the_mend(name):
    with pytest.raises(SpecError) as caught:
        tool_of(weather, name=name)

    assert "cannot be the name of a tool" in caught.value.message
    assert "@tool(name=" in caught.value.hint


def test_a_function_whose_own_name_will_not_do_may_be_given_another():
    def size(of: str):
        return len(of)

    size.__name__ = "gr\u00f6\u00dfe"

    with pytest.raises(SpecError):
        tool_of(size)

    assert tool_of(size, name="size-of_1").name == "size-of_1"


def yields():
    yield 1


async def yields_later():
    yield 1


@pytest.mark.parametrize(
    ("function", "message", "hint"),
    [
        (lambda city: city, "a lambda has no name", "with `def`"),
        (Shop, "a tool is a function, and this is type", "above a `def`"),
        (len, "a tool is a function", "above a `def`"),
        ("weather", "a tool is a function, and this is str", "above a `def`"),
        (yields, "yields yields", "return a list"),
        (yields_later, "yields_later yields", "return a list"),
    ],
    ids=["lambda", "class", "built in", "text", "generator", "async generator"],
)
def test_what_is_no_function_with_one_result_is_refused(function, message, hint):
    with pytest.raises(SpecError) as caught:
        tool_of(function, name="named")

    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "60"])
@pytest.mark.parametrize("option", ["timeout_s", "cache_s"])
def test_seconds_are_numbers_above_0(option, seconds):
    with pytest.raises(SpecError, match=f"{option} is"):
        tool_of(weather, **{option: seconds})


def test_on_is_the_kernel_or_left_out():
    with pytest.raises(SpecError, match="on is 'cernel'"):
        tool_of(weather, on="cernel")


def test_the_decorator_gives_the_function_back_and_adds_the_tool():
    added = []
    tool = ToolDecorator(added.append, lambda: None)

    @tool
    def plain(x: int) -> int:
        return x + 1

    @tool(name="Named", timeout_s=5, cache_s=30)
    async def other(x: int) -> int:
        return x + 1

    assert plain(1) == 2
    assert asyncio.run(other(1)) == 2
    assert [(made.name, made.timeout_s, made.cache_s) for made in added] == [("plain", 60.0, None), ("Named", 5, 30)]


def test_a_function_that_cannot_be_described_is_refused_where_it_is_defined_and_not_added():
    added = []
    tool = ToolDecorator(added.append, lambda: None)

    with pytest.raises(SchemaError):

        @tool
        def everything(**things):
            pass

    assert added == []


async def test_a_sync_function_runs_in_a_daemon_thread_of_its_own():
    tool = tool_of(current_thread)

    first, second = await called(tool), await called(tool)

    assert first.daemon
    assert len({first, second, threading.main_thread()}) == 3


def current_thread():
    return threading.current_thread()


async def test_an_async_function_runs_on_the_runs_own_loop():
    async def where():
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), threading.current_thread()

    assert await called(tool_of(where)) == (asyncio.get_running_loop(), threading.current_thread())


async def test_hung_tools_hold_up_neither_others_nor_the_default_executor():
    release = threading.Event()

    def hang():
        release.wait(30)

    hung = [asyncio.ensure_future(called(tool_of(hang))) for _ in range(50)]
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(called(tool_of(weather), city="Bonn"), 10) == "Bonn 3"
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
    finally:
        release.set()
    assert await asyncio.gather(*hung) == [None] * 50


def test_a_hung_tool_does_not_hold_up_the_end_of_the_process():
    code = """
        import asyncio, threading
        from pathlib import Path
        from xz_magics.tools import Context
        from xz_magics.tools.function import tool_of

        def hang():
            threading.Event().wait()

        async def main():
            job = asyncio.ensure_future(tool_of(hang).run({}, Context(workspace=Path())))
            await asyncio.wait({job}, timeout=0.1)

        asyncio.run(main())
        print("ended")
    """

    command = [sys.executable, "-c", textwrap.dedent(code)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr, ran.returncode) == ("ended\n", "", 0)


async def test_a_tool_that_ends_after_its_loop_was_closed_makes_no_noise(monkeypatch):
    release, threads, raised = threading.Event(), [], []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def slow():
        threads.append(threading.current_thread())
        release.wait(30)

    def abandoned():
        loop = asyncio.new_event_loop()
        job = loop.create_task(called(tool_of(slow)))
        loop.call_later(0.05, job.cancel)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(job)
        loop.close()

    await asyncio.to_thread(abandoned)
    release.set()
    await asyncio.to_thread(threads[0].join, 10)

    assert not threads[0].is_alive()
    assert raised == []


@pytest.mark.parametrize("on", [None, "kernel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_context_variables_are_carried_over(kernel, kind, on):
    tool = tool_of(sync_or_async(kind, read_variable), on=on, kernel_loop=lambda: kernel)
    WHERE.set("here")

    assert await called(tool) == "here"


def read_variable():
    return WHERE.get()


async def test_the_context_is_given_to_a_function_that_asks_for_it():
    def where(context: Context, path: str):
        return context.workspace / path

    assert await called(tool_of(where), path="x") == Path("x")


async def test_a_bound_method_keeps_its_object():
    assert await called(tool_of(Shop().price), item="tea") == 3


async def test_a_sync_function_that_gives_a_coroutine_has_it_awaited_on_the_loop():
    async def inner():
        return asyncio.get_running_loop()

    def outer():
        return inner()

    assert await called(tool_of(outer)) is asyncio.get_running_loop()


def whereabouts():
    return threading.current_thread().name, asyncio.get_running_loop()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_on_the_kernel_a_tool_runs_in_the_kernels_thread_while_the_run_goes_on_in_its_own(kernel, kind):
    tool = tool_of(sync_or_async(kind, whereabouts), name="where", on="kernel", kernel_loop=lambda: kernel)

    assert await called(tool) == ("the kernel's", kernel)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_on_the_kernel_and_in_its_loop_already_a_tool_is_called_there(kind):
    own = asyncio.get_running_loop()
    tool = tool_of(sync_or_async(kind, whereabouts), name="where", on="kernel", kernel_loop=lambda: own)

    assert await called(tool) == (threading.current_thread().name, own)


async def test_cancelling_the_call_cancels_what_runs_on_the_kernel(kernel):
    begun, ended = threading.Event(), concurrent.futures.Future()

    async def wait():
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise

    job = asyncio.ensure_future(called(tool_of(wait, on="kernel", kernel_loop=lambda: kernel)))
    await asyncio.to_thread(begun.wait, 10)
    job.cancel()

    with pytest.raises(asyncio.CancelledError):
        await job
    assert await asyncio.wait_for(asyncio.wrap_future(ended), 10) == "cancelled"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_is_cancelled_before_the_kernel_is_free_never_begins(kernel, kind):
    release, begun = threading.Event(), []
    kernel.call_soon_threadsafe(release.wait, 30)
    tool = tool_of(sync_or_async(kind, noting(begun)), on="kernel", kernel_loop=lambda: kernel)
    job = asyncio.ensure_future(called(tool))
    await asyncio.sleep(0.05)

    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    release.set()
    for _ in range(5):  # whatever was to run on the kernel's loop has run after that
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), kernel))

    assert begun == []


def noting(begun):
    def note():
        begun.append(1)

    return note


@pytest.mark.parametrize("closed", [True, False])
async def test_without_a_kernels_loop_its_tools_say_so(closed):
    loop = asyncio.new_event_loop()
    loop.close()

    with pytest.raises(ToolError, match="there is none"):
        await called(tool_of(weather, on="kernel", kernel_loop=lambda: loop if closed else None), city="x")


class OddError(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, OddError])
@pytest.mark.parametrize("on", [None, "kernel"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_would_end_the_process_ends_the_call_alone(kernel, error, on, kind):
    def fail():
        raise error

    tool = tool_of(sync_or_async(kind, fail), on=on, kernel_loop=lambda: kernel)
    job = asyncio.ensure_future(called(tool))
    await asyncio.wait({job}, timeout=10)

    assert error.__name__ in repr(job.exception())
    assert not isinstance(job.exception(), SystemExit | KeyboardInterrupt)
    assert await called(tool_of(whereabouts, on="kernel", kernel_loop=lambda: kernel)) == ("the kernel's", kernel)


async def test_stop_iteration_ends_the_call_as_an_error():
    def empty():
        return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await called(tool_of(empty))
