"""`%%subagents` and `%subagents`: from the line to arguments, run, show, return. Thin."""

import sys
from collections.abc import Mapping
from typing import Any

from IPython.core.async_helpers import _asyncio_runner
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display
from traitlets import Bool, Float, Int, TraitError, TraitType, Unicode, validate

from xz_magics.config import DEFAULTS, KINDS, LIMITS, changed, with_preset
from xz_magics.errors import ConfigError, RunInterrupted
from xz_magics.interrupt import Guard
from xz_magics.options import CellOptions, cell_help, line_help, parse_cell_line, parse_line

TRAITS: Mapping[type, type[TraitType[Any, Any]]] = {str: Unicode, int: Int, float: Float, bool: Bool}
PLAIN_CALL = "get_ipython().run_cell_magic('subagents', "
AWAITED_CALL = "await get_ipython().magics_manager.registry['SubagentMagics'].run_cell("


@magics_class
class SubagentMagics(Magics):
    """The settings of this kernel: %config SubagentMagics.NAME = VALUE. They win over the file and the environment."""

    def __init__(self, shell: InteractiveShell) -> None:
        # First of all, for what stands in ipython_config.py is given to the traits that are there.
        self.add_traits(**{name: _trait(name) for name in KINDS})
        self.observe(self._apply_config, names=list(KINDS))
        super().__init__(shell)

    @no_var_expand
    @cell_magic
    def subagents(self, line: str, cell: str) -> Any:
        # Reached from code that cannot await: inside %%time or %%capture, in a function, in a loop.
        from xz_magics.session import session

        options = parse_cell_line(line)
        if options.help or not cell.strip():
            return _print(cell_help())
        with session.guards.guard() as guard:
            from xz_magics.api import run_here

            return self._keep(options, run_here(self._launch(options, cell, guard)))

    async def run_cell(self, line: str, cell: str) -> Any:
        """What an ordinary cell awaits, on the kernel's own loop."""
        from xz_magics.session import session

        options = parse_cell_line(line)
        if options.help or not cell.strip():
            return _print(cell_help())
        with session.guards.guard() as guard:
            return self._keep(options, await self._launch(options, cell, guard))

    @no_var_expand
    @line_magic("subagents")
    def subagents_line(self, line: str) -> Any:
        from xz_magics import frames
        from xz_magics.session import session

        verb, arguments = parse_line(line)
        match verb:
            case "quota":
                _change_quota(arguments)
                self._show_config()
                last = [] if session.last_tracker is None else session.last_tracker.uses()
                return frames.quota_frame([*session.quota.uses(), *last])
            case "metrics":
                display(frames.metrics_frame(session.metrics))
                return frames.spawn_frame(session.metrics)
            case "last":
                return session.last
            case _:
                return _print(line_help())

    def _launch(self, options: CellOptions, cell: str, guard: Guard) -> Any:
        """The variable is unbound first: Run All cannot go on with an old table."""
        from xz_magics.api import launch

        if options.out is not None:
            self.shell.user_ns.pop(options.out, None)
        return launch(cell, guard, show=True, names=self.shell.user_ns, **options.arguments)

    def _keep(self, options: CellOptions, results: Any) -> Any:
        """Binds the name that was asked for, then ends the cell as the run and the options want it."""
        from xz_magics.api import interruption

        if options.out is not None:
            self.shell.user_ns[options.out] = results
        if results.interrupted:
            if results.shown_in_cell is None:
                display(results)
            raise RunInterrupted(interruption(results))
        return results.raise_for_failures() if options.check else results

    @validate(*KINDS)
    def _checked(self, proposal: Any) -> Any:
        try:
            changed(DEFAULTS, {proposal.trait.name: proposal.value}, "%config SubagentMagics")
        except ConfigError as error:
            raise TraitError(str(error)) from error
        return proposal.value

    def _apply_config(self, change: Any) -> None:
        from xz_magics.session import session

        session.settings = changed(session.settings, {change.name: change.new}, "%config SubagentMagics")

    def _show_config(self) -> None:
        """What `%subagents quota` has changed: a trait that keeps its old value would not notice being set to it."""
        from xz_magics.session import session

        settings = session.settings
        for name in KINDS:
            setattr(self, name, getattr(settings.quota if name in LIMITS else settings, name))


SubagentMagics.subagents.__doc__ = cell_help()  # what `%%subagents?` shows
SubagentMagics.subagents_line.__doc__ = line_help()


def _trait(name: str) -> TraitType[Any, Any]:
    trait = TRAITS[KINDS[name]](allow_none=True, default_value=None, help=f"`{name}`, as in the configuration file")
    return trait.tag(config=True)


def load(shell: InteractiveShell) -> None:
    """Registers the magics, and the rewriting of ordinary cells into an await; loads nothing heavy."""
    shell.register_magics(SubagentMagics)
    shell.input_transformers_post.append(_Awaiting(shell))


def unload(shell: InteractiveShell) -> None:
    rewriters = shell.input_transformers_post
    rewriters[:] = [rewriter for rewriter in rewriters if not isinstance(rewriter, _Awaiting)]
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("subagents", None)


class _Awaiting:
    """Rewrites `%%subagents` into a top-level await on the kernel's own loop, where that is possible.

    IPython does not await magics. Other code on the stack (%%time, %run, run_cell) means that this cell is not the
    kernel's: it keeps the plain call.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        if not lines or not lines[0].startswith(PLAIN_CALL) or not self._can_await():
            return lines
        return [AWAITED_CALL + lines[0].removeprefix(PLAIN_CALL), *lines[1:]]

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


def _change_quota(arguments: Mapping[str, Any]) -> None:
    from xz_magics.session import session

    settings = session.settings
    if "preset" in arguments:
        settings = with_preset(settings, arguments["preset"], "--preset")
    limits = {name: value for name, value in arguments.items() if name in LIMITS}
    session.settings = changed(settings, limits, "%subagents quota")
    if arguments.get("reset"):
        session.quota.reset()


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a page of help is what was asked for
