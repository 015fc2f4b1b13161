"""The rewriting of `%%subagents` cells: it alone knows when a cell can be awaited, and what its source becomes."""

import linecache
import sys
from types import FrameType

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell

OURS = "get_ipython().magics_manager.registry['SubagentMagics']"
PLAIN_CALL = "get_ipython().run_cell_magic('subagents', "
AWAITED_CALL = f"await {OURS}.run_cell("
EMPTY_CALL = f"{OURS}.subagents("


class Awaiting:
    """Rewrites `%%subagents` into a top-level await on the kernel's own loop, where that is possible.

    IPython does not await magics. Other code on the stack (%%time, %run, run_cell) means that this cell is not the
    kernel's: it keeps the plain call. That call would refuse a cell without a body before it reaches us.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or not lines[0].startswith(PLAIN_CALL):
            return lines
        if self._can_await():
            call = AWAITED_CALL
        elif lines[0].rstrip().endswith(", '')"):
            call = EMPTY_CALL
        else:
            return lines
        return [call + lines[0].removeprefix(PLAIN_CALL), *lines[1:]]

    def _can_await(self) -> bool:
        shell = self._shell
        if not shell.autoawait or shell.loop_runner is not _asyncio_runner:
            return False
        frame = sys._getframe()  # noqa: SLF001 - whether cell code is on the stack is known there alone
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_name == "run_code" and frame.f_globals.get("__name__") == InteractiveShell.__module__:
                return False
        return True


def show_as_written(frame: FrameType, line: str, cell: str) -> None:
    """Tracebacks that pass through the frame of a rewritten cell will quote what its author wrote."""
    name = frame.f_code.co_filename
    if linecache.getline(name, 1).startswith(AWAITED_CALL):
        written = f"%%subagents {line}".rstrip() + f"\n{cell}"
        linecache.cache[name] = (len(written), None, written.splitlines(keepends=True), name)
