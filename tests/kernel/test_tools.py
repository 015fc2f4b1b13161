"""The notebook's functions as tools in a real kernel: where they run, what Stop does to them, and that cells keep order."""

import json
import time

import pytest

pytestmark = pytest.mark.slow

STEPS = [
    {"when": "Say", "answer": "Said at once."},
    {"when": "Found", "answer": "It is there."},
    {"when": "go on without it", "answer": "It is nowhere."},
    {"when": "Look", "tool_calls": [{"name": "look", "arguments": {"city": "Lima"}}]},
]
TICKER = """
import time, threading
ticks = []
async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0.01)
ticker = asyncio.ensure_future(tick())
"""
ANSWERING = """
@xz_magics.tool
def look(city: str) -> str:
    looked.append(city)
    return "Found " + city
looked = []
"""
OUTPUTS = "[outcome.output for outcome in xz_magics.last]"
RESULT = "next(message.content for message in xz_magics.last['a'].messages if message.role == 'tool')"
PLACES = [pytest.param("", id="awaited"), pytest.param("%%time\n", id="nested")]


def cell(options="", body="a: Look for it"):
    return f"%%subagents --allowed-tools look {options}\n{body}"


@pytest.fixture
def kernel(kernel, tmp_path):
    """A kernel whose model plays the steps above, and in which a task of the user's ticks."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"scripts": {"looks": {"steps": STEPS}}}), encoding="utf-8")
    environ = {"XZ_MAGICS_CONFIG": str(config), "XZ_MAGICS_MODEL": "scripted:looks"}
    kernel.run(f"import os\nos.environ.update({environ})", TICKER)
    return kernel


@pytest.mark.parametrize("place", PLACES)
def test_the_users_own_tasks_go_on_while_a_plain_function_works(kernel, place):
    kernel.run("""
@xz_magics.tool
def look(city: str) -> str:
    begun, until = len(ticks), time.monotonic() + 20
    while len(ticks) < begun + 5 and time.monotonic() < until:
        time.sleep(0.01)
    print("looked for", city)
    ticked = "after the others went on" if len(ticks) >= begun + 5 else "and all stood still"
    return f"Found {city} {ticked}, in main: {threading.current_thread() is threading.main_thread()}"
""")

    (ran,) = kernel.run(place + cell())

    assert ran.error is None
    assert "looked for Lima" in ran.text
    assert kernel.value(RESULT) == "'Found Lima after the others went on, in main: False'"
    assert kernel.value(OUTPUTS) == "['It is there.']"


@pytest.mark.parametrize("place", PLACES)
def test_an_async_tool_may_await_what_the_notebook_does_meanwhile(kernel, place):
    kernel.run("""
asked, answered = asyncio.Event(), asyncio.Event()
async def reply():
    await asked.wait()
    answered.set()
replying = asyncio.ensure_future(reply())

@xz_magics.tool
async def look(city: str) -> str:
    asked.set()
    await answered.wait()
    return "Found " + city
""")

    (ran,) = kernel.run(place + cell())

    assert ran.error is None
    assert kernel.value(RESULT) == "'Found Lima'"


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "run",
    [cell(), "%%time\n" + cell(), "await asyncio.to_thread(xz_magics.run_sync, {'a': 'Look'}, allowed_tools=['look'])"],
    ids=["awaited", "nested", "from another thread"],
)
def test_a_tool_on_the_kernel_has_its_main_thread_and_the_notebooks_variables(kernel, run, kind):
    kernel.run(f"""
place = "Lima"
@xz_magics.tool(on="kernel")
{kind} look(city: str) -> str:
    global place
    in_main = threading.current_thread() is threading.main_thread()
    loop_is_the_kernels = asyncio.get_running_loop() is ticker.get_loop()
    told, place = f"Found {{place}} {{in_main}} {{loop_is_the_kernels}}", "Cusco"
    return told
""")
    kernel.run(cell())
    kernel.run("place = 'Lima'")

    (ran,) = kernel.run(run)

    assert ran.error is None
    assert kernel.value(RESULT) == "'Found Lima True True'"
    assert kernel.value("place") == "'Cusco'"


HANGING = """
@xz_magics.tool
{kind} look(city: str) -> str:
    open({begun!r}, "w").close()
    {wait}(600)
"""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("kind", "wait"), [("def", "time.sleep"), ("async def", "await asyncio.sleep")])
def test_stop_while_a_tool_hangs_ends_the_cell_and_keeps_what_there_is(kernel, tmp_path, place, kind, wait):
    begun = tmp_path / "begun"
    kernel.run(HANGING.format(begun=str(begun), kind=kind, wait=wait))
    body = "quick: Say hello\na: {prompt: Look for it, after: quick}\nlater: {prompt: Look, after: a}"
    cells = kernel.send(place + cell("--out answers", body), "after = 1")
    wait_for(begun.exists)

    kernel.interrupt()
    done = kernel.finish(cells, timeout_s=15)

    assert "Stopped: 1 of 3 tasks are done" in done[0].error
    assert len(done[0].error.splitlines()) == 1
    assert done[1].status == "aborted"
    assert kernel.value("[outcome.status for outcome in answers]") == "['done', 'cancelled', 'skipped']"
    assert kernel.value("xz_magics.last is answers") == "True"
    assert kernel.value("answers['a'].messages[-1].tool_calls[0].name") == "'look'"
    assert kernel.value("xz_magics.quota.reserved.tokens") == "0"
    assert kernel.value("ticker.done()") == "False"
    assert kernel.value("[t.get_name() for t in asyncio.all_tasks() if 'xz_magics' in t.get_name()]") == "[]"
    kernel.run(ANSWERING, cell())
    assert kernel.value(OUTPUTS) == "['It is there.']"


def wait_for(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_kernel_with_a_hung_tool_ends_by_itself(kernel, tmp_path):
    begun = tmp_path / "begun"
    kernel.run(HANGING.format(begun=str(begun), kind="def", wait="time.sleep").replace(".tool", ".tool(timeout_s=0.2)"))
    kernel.run(cell())
    assert begun.exists()

    kernel.client.shutdown()

    # ipykernel itself may wait for its own output, ten seconds at a time; the tool would sleep for ten minutes.
    wait_for(lambda: not kernel.manager.is_alive(), timeout_s=90)


def test_tools_work_inside_a_function_a_loop_and_a_tool(kernel):
    kernel.run(ANSWERING)

    (looped,) = kernel.run("""
def several():
    for _ in range(2):
        yield get_ipython().run_cell_magic('subagents', '--allowed-tools look', 'a: Look')
print([results["a"].output for results in several()], looked)
""")
    (called,) = kernel.run("""
@xz_magics.tool
def look(city: str) -> str:
    return "Found by another: " + xz_magics.run_sync({"inner": "Say it"})["inner"].output
outer = await xz_magics.run({"a": "Look"}, allowed_tools=["look"])
print([message.content for message in outer["a"].messages if message.role == "tool"])
""")

    assert "['It is there.', 'It is there.'] ['Lima', 'Lima']" in looped.text
    assert "['Found by another: Said at once.']" in called.text


def test_queued_cells_with_tools_all_run_in_order(kernel):
    kernel.run(ANSWERING)
    cells = [cell(), "looked.append(1)", "%%time\n" + cell(), "looked.append(2)", cell(), "looked.append(3)"]

    done = kernel.run(*cells)

    assert [one.status for one in done] == ["ok"] * len(cells)
    assert kernel.value("looked") == "['Lima', 1, 'Lima', 2, 'Lima', 3]"


def test_a_cell_that_is_run_again_puts_its_tool_in_the_place_of_the_old_one(kernel):
    kernel.run(ANSWERING, cell())

    kernel.run(ANSWERING.replace("Found ", "Found again: "), cell())

    assert kernel.value(RESULT) == "'Found again: Lima'"


@pytest.mark.parametrize("raised", ["KeyError('x')", "SystemExit(1)", "KeyboardInterrupt", "asyncio.CancelledError"])
@pytest.mark.parametrize("kind", ["@xz_magics.tool\ndef", '@xz_magics.tool(on="kernel")\nasync def'])
def test_a_tool_that_raises_ends_neither_its_task_nor_the_kernel(kernel, kind, raised):
    kernel.run(f"{kind} look(city: str):\n    raise {raised}")

    ran, after = kernel.run(cell(), "went_on = True")

    assert (ran.error, after.status) == (None, "ok")
    assert kernel.value(OUTPUTS) == "['It is nowhere.']"
    assert kernel.value("ticker.done()") == "False"


@pytest.mark.parametrize("grant", ["loook", "look(x)", "http_get(a"])
def test_a_grant_that_cannot_be_is_one_short_error_before_anything_runs(kernel, grant):
    kernel.run(ANSWERING)

    (wrong,) = kernel.run(f"%%subagents --allowed-tools {grant}\na: Look")

    assert "SpecError" in wrong.error
    assert len(wrong.error.splitlines()) <= 4
    assert "Traceback" not in wrong.error
    assert kernel.value("looked") == "[]"
