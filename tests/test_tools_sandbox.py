"""What programs of a model's can do and cannot: real programs in a real sandbox, and what is left of them."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from xz_magics.tools import Context, ToolError, sandbox
from xz_magics.tools.sandbox import python, run, sandbox_missing, terminal
from xz_magics.tools.watch import Limits

MISSING = sandbox_missing()
needs_sandbox = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
BOTH = [pytest.param(False, marks=needs_sandbox, id="sandbox"), pytest.param(True, id="unsafe")]


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def context(workspace):
    return Context(workspace=workspace)


@pytest.fixture
def name_of_processes():
    """A word for command lines, by which the processes of one test are found; it outlasts none of them."""
    return f"w{uuid.uuid4().hex}"


def alive(word):
    """The processes with this word in their command line, zombies apart."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes().decode()
            state = (folder / "stat").read_text().rpartition(")")[2]
        except OSError:  # it ended meanwhile, or is no process
            continue
        if word in command:
            found.append((folder.name, command[-200:], state[:20]))
    return found


async def gone(word, timeout_s=15):
    deadline = time.monotonic() + timeout_s
    while left := alive(word):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.02)


def shell(script):
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_a_program_s_exit_code_and_all_that_it_printed_are_told(workspace, unsafe_local):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)

    assert await python(context, "print(6 * 7)") == "exit code 0\n42\n"
    assert await terminal(context, "echo out; echo err >&2; exit 3") == "exit code 3\nout\nerr\n"
    assert await terminal(context, "true") == "exit code 0\n(it printed nothing)"
    assert await terminal(context, "kill -SEGV $$") == "exit code 139 (SIGSEGV)\n(it printed nothing)"
    failed = await python(context, "import sys\nprint('before')\nraise ValueError('no')")
    assert failed.startswith("exit code 1\nbefore\nTraceback")
    assert failed.endswith("ValueError: no\n")
    assert await terminal(context, "cat") == "exit code 0\n(it printed nothing)"


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_files_in_the_workspace_are_kept_and_found_by_the_next_program(workspace, unsafe_local):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)
    (workspace / "module.py").write_text("VALUE = 7")

    await python(context, "import module; open('out.txt', 'w').write(str(module.VALUE))")

    assert await terminal(context, "cat out.txt") == "exit code 0\n7"
    assert (workspace / "out.txt").read_text() == "7"


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_the_environment_holds_no_key_and_nothing_else_of_the_kernel_s(workspace, unsafe_local, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/canary")
    context = Context(workspace=workspace, unsafe_local=unsafe_local)

    told = await python(context, "import os; print(sorted(set(os.environ) - {'PWD', 'LC_CTYPE'}))")
    environ = await terminal(context, "env; cat /proc/*/environ 2>/dev/null" if not unsafe_local else "env")

    assert told == "exit code 0\n['HOME', 'LANG', 'PATH']\n"
    assert "canary" not in environ


@needs_sandbox
async def test_the_python_inside_is_this_one_with_its_libraries(context):
    told = await python(context, "import sys, pandas; print(sys.prefix, pandas.__version__)")

    import pandas as pd

    assert told == f"exit code 0\n{sys.prefix} {pd.__version__}\n"


@needs_sandbox
async def test_there_is_no_network_not_even_this_machine_s(context):
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_UNIX) as named:
        named.bind(f"\0{uuid.uuid4()}")
        named.listen()
        listening.settimeout(0)
        ask = (
            "import socket\ntry: socket.create_connection(('127.0.0.1', {}), 3)\nexcept OSError as error: print(error)"
        )
        told = await python(context, ask.format(listening.getsockname()[1]))
        abstract = await python(context, f"import socket; socket.socket(1).connect({named.getsockname()!r})")
        devices = await python(context, "import socket; print(socket.if_nameindex())")

        with pytest.raises(BlockingIOError):
            listening.accept()

    assert told == "exit code 0\n[Errno 111] Connection refused\n"
    assert "ConnectionRefusedError" in abstract
    assert devices == "exit code 0\n[(1, 'lo')]\n"


@needs_sandbox
async def test_nothing_of_the_home_and_of_other_folders_can_be_read(context, workspace, tmp_path):
    in_home = Path.home() / f".xz-magics-canary-{uuid.uuid4().hex}"
    beside = tmp_path / "canary"
    in_home.write_text("canary")
    beside.write_text("canary")
    (workspace / "link").symlink_to(beside)
    try:
        told = await terminal(context, f"cat {in_home} {beside} ../canary link /proc/1/root/{beside} /etc/shadow")
    finally:
        in_home.unlink()

    assert told.startswith("exit code 1\n")
    assert "canary\n" not in told.replace(f"{in_home}", "").replace("/canary:", "")
    assert told.count("No such file") == 6


@needs_sandbox
async def test_nothing_outside_the_workspace_can_be_written(context, tmp_path):
    paths = ["/x", "/usr/x", "/etc/x", "/dev/x", f"{tmp_path}/x", f"{sys.prefix}/x", f"{sys.base_prefix}/x", "/proc/sys/x",
             "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/self/oom_score_adj", "/proc/sysrq-trigger"]  # fmt: skip
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()

    opened = (
        "import sys\nfor path in sys.argv[1:]:\n  try: open(path, 'a'); print('wrote', path)\n  except OSError: pass"
    )
    told = await run(context, [sys.executable, "-c", opened, *paths])
    within = await terminal(context, "touch here /tmp/there /dev/shm/there && ls /tmp/there /dev/shm/there")
    later = await terminal(context, "find /tmp/there /dev/shm/there 2>/dev/null || true")

    assert told == "exit code 0\n(it printed nothing)"
    assert within == "exit code 0\n/dev/shm/there\n/tmp/there\n"
    assert later == "exit code 0\n(it printed nothing)"
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@needs_sandbox
async def test_a_program_sees_no_other_process_and_has_no_rights(context):
    told = await terminal(
        context, "grep -E 'Cap(Eff|Bnd|Prm)|NoNewPrivs' /proc/self/status; ls -d /proc/[0-9]* | wc -l"
    )

    lines = told.splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["0" * 16, "0" * 16, "0" * 16, "1"]
    assert int(lines[5]) <= 6
    assert "exit code 0" not in await terminal(context, "unshare --user true")
    assert "exit code 0" not in await terminal(context, f"kill -0 {os.getpid()}")


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_what_runs_too_long_is_stopped_and_its_output_so_far_told(workspace, unsafe_local, name_of_processes):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)

    script = f"echo before; exec >&-; sleep 100; : {name_of_processes}"
    told = await run(
        context, shell(f"echo {name_of_processes[:3]}; sleep 100; : {name_of_processes}"), Limits(wall_s=0.5)
    )
    silent = await run(context, shell(script), Limits(wall_s=0.5))

    assert told == f"stopped: it ran longer than 0.5 s\n{name_of_processes[:3]}\n"
    assert silent == "stopped: it ran longer than 0.5 s\nbefore\n"
    await gone(name_of_processes)


@needs_sandbox
@pytest.mark.parametrize("end", ["exit 0", "sleep 100"], ids=["ended", "stopped"])
async def test_a_child_in_a_session_of_its_own_dies_with_the_sandbox(context, end, name_of_processes):
    script = f"setsid sh -c 'sleep 100; : {name_of_processes}' & sleep 0.1; echo begun; {end}"

    told = await run(context, shell(script), Limits(wall_s=1))

    assert told.endswith("\nbegun\n")
    await gone(name_of_processes)


async def test_without_a_sandbox_the_process_group_dies_with_the_command(workspace, name_of_processes):
    context = Context(workspace=workspace, unsafe_local=True)

    told = await run(context, shell(f"sh -c 'sleep 100; : {name_of_processes}' & echo begun"))

    assert told == "exit code 0\nbegun\n"
    await gone(name_of_processes)


async def test_without_a_sandbox_a_child_that_holds_the_output_does_not_hold_the_call(workspace):
    context = Context(workspace=workspace, unsafe_local=True)
    began = time.monotonic()

    told = await run(context, shell("setsid sleep 6 & echo begun"))

    assert told == "exit code 0\nbegun\n"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_a_flood_of_output_is_stopped_and_only_its_ends_are_kept(workspace, unsafe_local, name_of_processes):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)

    told = await run(context, ["yes", name_of_processes], Limits(output_bytes=2**20))

    assert told.startswith(f"stopped: it printed more than 1 MiB\n{name_of_processes}\n")
    assert " bytes left out …]\n" in told
    assert len(told) < 61_000
    await gone(name_of_processes)


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_of_a_long_output_the_beginning_and_the_end_are_told(workspace, unsafe_local):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)

    told = await run(context, ["seq", "100000"], Limits(told_bytes=100))

    first, last = told.split("\n[… 588795 bytes left out …]\n")
    assert first.startswith("exit code 0\n1\n2\n")
    assert last.endswith("99999\n100000\n")
    assert len(last) == 50
    assert await run(context, ["printf", "x" * 100], Limits(told_bytes=100)) == "exit code 0\n" + "x" * 100


@needs_sandbox
@pytest.mark.parametrize(
    "bomb",
    ["while :; do sleep 100 & done", "bomb() { bomb | bomb & }; bomb; sleep 100"],
    ids=["steady", "doubling"],
)
async def test_a_fork_bomb_is_bounded_and_leaves_no_process(context, bomb, name_of_processes):
    told = await run(context, ["bash", "-c", f"{bomb}; : {name_of_processes}"], Limits(wall_s=5, threads=48))

    assert told.startswith("stopped: it ") or "Resource temporarily unavailable" in told
    await gone(name_of_processes, timeout_s=40)


@needs_sandbox
async def test_memory_is_bounded_for_one_process_and_for_all_together(context, name_of_processes):
    hog = f"held = b'x' * (64 << 20); import time; time.sleep(100); '{name_of_processes}'"

    one = await run(context, [sys.executable, "-c", "b'x' * (1 << 30)"], Limits(memory_bytes=2**28))
    many = await run(context, shell(f'for i in 1 2 3 4 5 6; do {sys.executable} -c "{hog}" & done; wait'),
                     Limits(memory_bytes=2**28))  # fmt: skip

    assert one.startswith("exit code 1\n")
    assert one.endswith("MemoryError\n")
    assert many == "stopped: it took more than 256 MiB of memory\n(it printed nothing)"
    await gone(name_of_processes)


@needs_sandbox
async def test_files_and_temporary_folders_are_bounded(context, workspace):
    limits = Limits(file_bytes=2**20)

    told = await run(context, shell("head -c 2000000 /dev/zero > big"), limits)
    shm = await terminal(context, "head -c 100000000 /dev/zero > /dev/shm/big")

    assert told.startswith("exit code 1")
    assert (workspace / "big").stat().st_size == 2**20
    assert "No space left" in shm


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_a_cancelled_call_leaves_no_process_whenever_it_is_cancelled(workspace, unsafe_local, name_of_processes):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)
    script = f"sh -c 'sleep 100; : {name_of_processes}' & sleep 100"
    moment = random.Random(7)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(30):
        call = asyncio.create_task(run(context, shell(script)))
        await asyncio.sleep(moment.uniform(0, 0.03))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await gone(name_of_processes)
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


@needs_sandbox
async def test_a_kernel_that_is_killed_takes_its_sandboxes_along(workspace, name_of_processes):
    program = (
        "import asyncio, sys; from pathlib import Path; from xz_magics.tools import Context\n"
        "from xz_magics.tools.sandbox import run\n"
        f"script = 'touch begun; sleep 100; : {name_of_processes}'\n"
        "asyncio.run(run(Context(workspace=Path(sys.argv[1])), ['sh', '-c', script]))"
    )
    kernel = subprocess.Popen([sys.executable, "-c", program, str(workspace)])
    while not (workspace / "begun").exists():
        await asyncio.sleep(0.02)

    kernel.kill()
    kernel.wait()

    await gone(name_of_processes)


@pytest.mark.parametrize("unsafe_local", BOTH)
async def test_a_program_ends_in_time_even_while_the_loop_is_blocked(workspace, unsafe_local, name_of_processes):
    context = Context(workspace=workspace, unsafe_local=unsafe_local)
    call = asyncio.create_task(run(context, shell(f"touch begun; sleep 100; : {name_of_processes}"), Limits(wall_s=1)))
    while not (workspace / "begun").exists():
        await asyncio.sleep(0.01)

    deadline = time.monotonic() + 20
    while alive(name_of_processes) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert alive(name_of_processes) == []
    assert await call == "exit code 137 (SIGKILL)\n(it printed nothing)"


async def test_where_bubblewrap_is_not_installed_nothing_runs(context, workspace):
    with pytest.raises(ToolError, match="bubblewrap-is-not-here is not installed") as caught:
        await run(context, ["touch", "ran"], bwrap="bubblewrap-is-not-here")

    assert "apt-get install bubblewrap" in caught.value.hint
    assert "unsafe_local: true" in caught.value.hint
    assert list(workspace.iterdir()) == []
    assert str(sandbox_missing(bwrap="bubblewrap-is-not-here")) == str(caught.value)


async def test_where_bubblewrap_is_not_permitted_nothing_runs_and_its_reason_is_told(context, workspace, tmp_path):
    refused = tmp_path / "bwrap"
    refused.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    refused.chmod(0o755)

    with pytest.raises(ToolError, match="does not start here: bwrap: setting up uid map: Permission denied") as caught:
        await run(context, ["touch", "ran"], bwrap=str(refused))

    assert "unsafe_local: true" in caught.value.hint
    assert list(workspace.iterdir()) == []
    assert str(sandbox_missing(bwrap=str(refused))) == str(caught.value)


@pytest.mark.parametrize("folder", [Path.home(), Path.home().parent, Path("/")], ids=["home", "above", "root"])
async def test_a_workspace_that_holds_the_home_is_refused(folder):
    with pytest.raises(ToolError, match="holds the home") as caught:
        await run(Context(workspace=folder), ["true"])

    assert "set `workspace`" in caught.value.hint
    assert str(sandbox_missing(folder)) == str(caught.value)


@pytest.mark.parametrize("at", ["deep/venv", "venv"])
async def test_a_workspace_may_hold_python_s_own_folder_beside_its_files_alone(workspace, at, monkeypatch):
    (workspace / at).mkdir(parents=True)
    monkeypatch.setattr(sandbox.sys, "prefix", str(workspace / at))

    unfit = sandbox_missing(workspace)

    assert (unfit is not None and "holds Python's own folder" in unfit) is (at == "deep/venv")


@needs_sandbox
async def test_python_s_own_folder_in_the_workspace_stays_as_it_is(workspace, monkeypatch):
    (workspace / "venv").mkdir()
    monkeypatch.setattr(sandbox.sys, "prefix", str(workspace / "venv"))

    told = await terminal(Context(workspace=workspace), f"touch venv/x; touch {workspace}/venv/x; mv venv y; touch z")

    assert told.count("Read-only file system") == 2
    assert sorted(path.name for path in workspace.rglob("*")) == ["venv", "z"]


@pytest.mark.parametrize("tool", [python, terminal])
@pytest.mark.parametrize(
    ("text", "told"),
    [("a\0b", "a NUL"), ("a\ud800", "half a character at place 2"), ("#" * 100_001, "has 100001 bytes")],
)
async def test_a_text_that_no_program_can_be_given_is_refused(context, tool, text, told):
    with pytest.raises(ToolError, match=told) as caught:
        await tool(context, text)

    assert caught.value.hint


async def test_a_workspace_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ToolError, match="is no folder"):
        await terminal(Context(workspace=tmp_path / "nowhere"), "true")
