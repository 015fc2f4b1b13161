"""The tools that run a model's own programs, and the walls around them: bubblewrap and the kernel's limits.

Inside there is no network, nothing of the home and of the kernel's environment; what is needed of the system is
read-only, and the workspace is the one place that lasts. A sandbox that is not there is an error, never a way round.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from xz_magics.tools import Context, ToolError
from xz_magics.tools.watch import Limits, run_watched

WORKSPACE = "/workspace"
MOST_CODE_BYTES = 100_000  # one argument of a program may have 128 KiB
INSTALL = (
    "install bubblewrap 0.8 or newer (`apt-get install bubblewrap`, `dnf install bubblewrap`) on a system that permits"
    " user namespaces; only `unsafe_local: true` in the user's configuration runs programs without a sandbox"
)
CHOOSE = "set `workspace` in the user's configuration to a folder of its own"


async def python(context: Context, code: str) -> str:
    """Run a Python program in a sandbox; gives its exit code and what it printed, errors included.

    There is no network. The current directory is the workspace: only files there are kept. Each call is a new program,
    which knows nothing of the variables of earlier ones. Print what you want to see.

    code: The whole program.
    """
    return await run(context, [sys.executable, "-u", "-c", _argument("code", code)])


async def terminal(context: Context, command: str) -> str:
    """Run a shell command in a sandbox; gives its exit code and what it printed, errors included.

    There is no network and no keyboard. The current directory is the workspace: only files there are kept. What still
    runs in the background when the command ends is ended too.

    command: One or more lines for the shell.
    """
    shell = shutil.which("bash", path="/usr/bin:/bin") or "/bin/sh"
    return await run(context, [shell, "-c", _argument("command", command)])


FUNCTIONS: tuple[Callable[..., object], ...] = (python, terminal)


def sandbox_missing(workspace: Path | None = None, bwrap: str = "bwrap") -> str | None:
    """Why programs cannot run in a sandbox here, or not over this workspace, and the mend; None: one just did."""
    if unfit := workspace and _unfit(workspace.resolve()):
        return f"{unfit}\n{CHOOSE}"
    found = shutil.which(bwrap)
    if found is None:
        return f"there is no sandbox for programs here: {bwrap} is not installed\n{INSTALL}"
    try:
        ran = subprocess.run(  # noqa: S603 - our own words alone
            [*_walls(found, workspace), *_limited(Limits()), sys.executable, "-I", "-S", "-c", ""],
            env=_environ("/"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the sandbox for programs does not start here: {error}\n{INSTALL}"
    if ran.returncode == 0:
        return None
    said = ran.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ran.returncode}"]
    return f"the sandbox for programs does not start here: {said[0]}\n{INSTALL}"


async def run(context: Context, command: Sequence[str], limits: Limits | None = None, bwrap: str = "bwrap") -> str:
    """Exit code and output of a command between the walls. However this ends, nothing of it runs on."""
    limits = limits or Limits()
    workspace = context.workspace.resolve()
    if not workspace.is_dir():
        raise ToolError(f"the workspace {str(workspace)!r} is no folder", CHOOSE)
    if context.unsafe_local:
        return await run_watched(
            [*_limited(limits, alone=False), *command], workspace, _environ(str(workspace)), limits
        )
    if unfit := _unfit(workspace):
        raise ToolError(unfit, CHOOSE)
    found = shutil.which(bwrap)
    if found is None:
        raise ToolError(f"there is no sandbox for programs here: {bwrap} is not installed", INSTALL)
    argv = [*_walls(found, workspace), *_limited(limits), *command]
    told = await run_watched(argv, workspace, _environ(WORKSPACE), limits)
    if told.startswith("exit code 1\nbwrap: "):
        raise ToolError(f"the sandbox for programs does not start here: {told.splitlines()[1]}", INSTALL)
    return told


def _argument(name: str, text: str) -> str:
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise ToolError(f"{name} holds half a character at place {error.start + 1}", "write it as an escape") from None
    if b"\0" in encoded:
        raise ToolError(f"{name} holds a NUL character", "write it as an escape")
    if len(encoded) > MOST_CODE_BYTES:
        raise ToolError(
            f"{name} has {len(encoded)} bytes, the most is {MOST_CODE_BYTES}",
            "write it to a file in the workspace and run that",
        )
    return text


def _unfit(workspace: Path) -> str:
    """Why this folder may not be given to programs that may change whatever is in it; empty if it may."""
    if Path.home().resolve().is_relative_to(workspace):
        return f"the workspace {str(workspace)!r} holds the home"
    for prefix in _prefixes():
        # Seen from inside, a mount's own folder cannot be moved away; the folders above it can, and then a link in
        # their place would lead the next sandbox astray.
        beside = prefix.parent.resolve() == workspace and not prefix.is_symlink()
        if prefix.resolve().is_relative_to(workspace) and not beside:
            return f"the workspace {str(workspace)!r} holds Python's own folder {str(prefix)!r}"
    return ""


def _prefixes() -> list[Path]:
    """Where this Python lives, apart from what every sandbox shows; never a folder with the home in it."""
    home = Path.home().resolve()
    prefixes = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix)}
    shown = [prefix for prefix in prefixes if not prefix.is_relative_to("/usr")]
    return sorted(prefix for prefix in shown if not home.is_relative_to(prefix.resolve()))


def _walls(bwrap: str, workspace: Path | None) -> list[str]:
    walls = [
        # Should memory become short, the kernel ends this before anything else.
        *("choom", "-n", "1000", "--", bwrap),
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
        *("--ro-bind", "/usr", "/usr"),
    ]
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if Path(folder).is_symlink():
            walls += ["--symlink", str(Path(folder).readlink()), folder]
        else:
            walls += ["--ro-bind-try", folder, folder]
    for name in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"):
        walls += ["--ro-bind-try", name, name]
    walls += ["--proc", "/proc", "--dev", "/dev"]
    walls += ["--size", str(64 * 2**20), "--tmpfs", "/dev/shm", "--size", str(256 * 2**20), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    walls += ["--bind", str(workspace), WORKSPACE] if workspace else ["--dir", WORKSPACE]
    for prefix in _prefixes():
        walls += ["--ro-bind", str(prefix), str(prefix)]
        if workspace and prefix.parent.resolve() == workspace:
            walls += ["--ro-bind", str(prefix), f"{WORKSPACE}/{prefix.name}"]
    # Root's own files stay root's inside: were /proc writable, a kernel run by root could be told to run a program.
    return [*walls, "--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE, "--"]


def _limited(limits: Limits, *, alone: bool = True) -> list[str]:
    """Within a sandbox of its own the kernel counts threads there alone; outside it counts all of the user's."""
    options = {"as": 2 * limits.memory_bytes, "cpu": int(limits.wall_s) + 1, "fsize": limits.file_bytes, "core": 0}
    if alone:
        options["nproc"] = limits.threads
    # Politely, so that who ends a flood of processes is not held up by it. `timeout` ends it where nobody else can: our
    # loop is blocked, or the kernel is dead.
    latest = ["timeout", "-s", "KILL", str(limits.wall_s + 1)]
    return ["nice", "-n", "19", "prlimit", *(f"--{name}={most}" for name, most in options.items()), "--", *latest]


def _environ(home: str) -> dict[str, str]:
    return {"PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home}
