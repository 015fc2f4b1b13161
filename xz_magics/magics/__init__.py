"""`%%subagents` and `%subagents`: from the line to arguments, run, show, return. Thin."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display
from traitlets import Bool, Float, Int, TraitError, TraitType, Undefined, Unicode, validate

from xz_magics.config import DEFAULTS, KINDS, Settings, changed, value_of, with_preset
from xz_magics.errors import ConfigError, RunInterrupted, SpecError
from xz_magics.interrupt import Guard
from xz_magics.magics import completion
from xz_magics.magics.awaiting import Awaiting, show_as_written
from xz_magics.magics.mending import mend_kernel
from xz_magics.magics.pages import SETTINGS, TEMPLATE, help_page
from xz_magics.options import CellOptions, named_out, parse_cell_line, parse_line

if TYPE_CHECKING:
    from xz_magics.api.dry_run import DryRun
    from xz_magics.api.preparing import Prepared
    from xz_magics.background import Handle
    from xz_magics.frames import DataFrame
    from xz_magics.results import Results

TRAITS: Mapping[type, type[TraitType[Any, Any]]] = {str: Unicode, int: Int, float: Float, bool: Bool}
CONFIG = "%config SubagentMagics"


@magics_class
class SubagentMagics(Magics):
    """The settings of this kernel: %config SubagentMagics.NAME = VALUE. They win over the file and the environment."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.changed_by: dict[str, str] = {}
        """By what each setting was changed in this kernel."""
        # First of all, for what stands in ipython_config.py is given to the traits that are there.
        self.add_traits(**{name: _trait(name) for name in KINDS})
        self.observe(self._apply_config, names=list(KINDS))
        super().__init__(shell)

    @no_var_expand
    @cell_magic
    def subagents(self, line: str, cell: str) -> Any:
        # Reached from code that cannot await: inside %%time or %%capture, in a function, in a loop.
        options = self._parsed(line)
        if options.help or not cell.strip():
            return _print(help_page() if options.help else TEMPLATE)
        if options.dry_run:
            return self._looked_at(options, cell)
        handle = self._start(options, self._ready_here(options, cell)) if options.background else None
        if handle is not None and self._somebody_is_there():
            return handle
        from xz_magics.api import run_here
        from xz_magics.session import session

        with session.guards.guard() as guard:
            if handle is None:
                return self._keep(options, run_here(self._run(options, cell, guard)))
            _unless_interrupted(run_here(_ended(handle, guard)))
            return handle

    async def run_cell(self, line: str, cell: str) -> Any:
        """What an ordinary cell awaits, on the kernel's own loop."""
        show_as_written(sys._getframe(1), line, cell)  # noqa: SLF001 - the cell's own frame
        options = self._parsed(line)
        if options.help or not cell.strip():
            return _print(help_page() if options.help else TEMPLATE)
        if options.dry_run:
            return self._looked_at(options, cell)
        handle = self._start(options, await self._ready(options, cell)) if options.background else None
        if handle is not None and self._somebody_is_there():
            return handle
        from xz_magics.session import session

        with session.guards.guard() as guard:
            if handle is None:
                return self._keep(options, await self._run(options, cell, guard))
            _unless_interrupted(await _ended(handle, guard))
            return handle

    @no_var_expand
    @line_magic("subagents")
    def subagents_line(self, line: str) -> Any:
        from xz_magics.magics import doctor, offers, verbs

        verb, arguments = parse_line(line)
        answers: Mapping[str, Callable[..., Any]] = {
            "help": lambda: _print(help_page()),
            "status": verbs.status,
            "cancel": verbs.cancel,
            "last": verbs.last,
            "show": verbs.show,
            "runs": verbs.runs,
            "export": verbs.export,
            "import": verbs.import_,
            "purge": verbs.purge,
            "quota": self._quota,
            "costs": verbs.costs,
            "metrics": partial(verbs.metrics, display),
            "models": offers.models,
            "tools": offers.tools,
            "config": partial(offers.config, self.changed_by),
            "doctor": doctor.report,
        }
        return answers[verb](**arguments)

    def _parsed(self, line: str) -> CellOptions:
        """Whatever may be wrong, the name of --out is unbound first: Run All cannot go on with an old table."""
        try:
            options = parse_cell_line(line)
        except SpecError:
            self._unbind(named_out(line))
            raise
        if not options.help:
            self._unbind(options.out)
        return options

    def _unbind(self, name: str | None) -> None:
        """A run in the background whose handle it was can be found again."""
        value = self.shell.user_ns.pop(name, None)
        if name is not None and value is not None:
            from xz_magics.background import lost_words

            if words := lost_words(name, value):
                print(words, file=sys.stderr)  # noqa: T201 - a line above the cell's own output

    async def _run(self, options: CellOptions, cell: str, guard: Guard) -> "Results":
        from xz_magics.api.launching import see_through
        from xz_magics.views.live import view_here

        return await see_through(await self._ready(options, cell), guard, view_here())

    def _start(self, options: CellOptions, prepared: "Prepared") -> "Handle":
        from xz_magics.background import Handle
        from xz_magics.views.live import view_here

        handle = Handle(prepared, view_here(background=True))
        if options.out is not None:
            self.shell.user_ns[options.out] = handle
        return handle

    async def _ready(self, options: CellOptions, cell: str) -> "Prepared":
        """The journal is read in a thread. Raises ConfirmationNeeded where it takes a --yes to go on."""
        from xz_magics.api.recollecting import recollect

        return _confirmed(options, await asyncio.to_thread(recollect, self._prepared(options, cell)))

    def _ready_here(self, options: CellOptions, cell: str) -> "Prepared":
        """The same for code that cannot await."""
        from xz_magics.api.recollecting import recollect

        return _confirmed(options, recollect(self._prepared(options, cell)))

    def _prepared(self, options: CellOptions, cell: str) -> "Prepared":
        from xz_magics.api.preparing import prepare
        from xz_magics.session import session

        session.note_kernel_loop()
        return prepare(cell, names=self.shell.user_ns, **options.arguments)

    def _looked_at(self, options: CellOptions, cell: str) -> "DryRun":
        from xz_magics.api.dry_run import dry_run

        looked = dry_run(cell, names=self.shell.user_ns, **options.arguments)
        if options.out is not None:
            self.shell.user_ns[options.out] = looked
        return looked

    def _keep(self, options: CellOptions, results: Any) -> Any:
        """Binds the name that was asked for, then ends the cell as the run and the options want it."""
        if options.out is not None:
            self.shell.user_ns[options.out] = results
        if results.interrupted and results.shown_in_cell is None:
            display(results)
        _unless_interrupted(results)
        return results.raise_for_failures() if options.check else results

    def _somebody_is_there(self) -> bool:
        """Who runs a notebook without a person (nbclient, papermill) gives no input, and ends the kernel at its end."""
        return bool(getattr(getattr(self.shell, "kernel", None), "_allow_stdin", True))

    @validate(*KINDS)
    def _checked(self, proposal: Any) -> Any:
        try:
            changed(DEFAULTS, {proposal.trait.name: proposal.value}, CONFIG)
        except ConfigError as error:
            raise TraitError(str(error)) from error
        return proposal.value

    def _apply_config(self, change: Any) -> None:
        from xz_magics.session import session

        self._set(changed(session.settings, {change.name: change.new}, CONFIG), CONFIG)

    def _quota(
        self, *, preset: str | None = None, reset: bool = False, clock_is_right: bool = False, **limits: float
    ) -> "DataFrame":
        """What is spent is read from the journal, and shown, where nothing is set."""
        from xz_magics.magics import verbs
        from xz_magics.session import session

        settings = session.settings
        if preset is not None:
            settings = with_preset(settings, preset, "--preset")
        self._set(changed(settings, limits, "%subagents quota"), "%subagents quota")
        if reset:
            session.quota.reset()
        if clock_is_right:
            session.budgets.take_back()
        for name in KINDS:  # a trait that keeps its old value would not notice being set to it
            setattr(self, name, value_of(session.settings, name))
        is_look = preset is None and not (reset or clock_is_right or limits)
        return verbs.quota(display) if is_look else verbs.quota()

    def _set(self, settings: Settings, by: str) -> None:
        from xz_magics.session import session

        before = session.settings
        self.changed_by |= {name: by for name in KINDS if value_of(settings, name) != value_of(before, name)}
        session.settings = settings


SubagentMagics.subagents.__doc__ = SubagentMagics.subagents_line.__doc__ = help_page()  # what `%%subagents?` shows


def load(shell: InteractiveShell) -> None:
    """Registers the magics, the rewriting of ordinary cells into an await, and completion; loads nothing heavy."""
    shell.register_magics(SubagentMagics)
    shell.input_transformers_post.append(Awaiting(shell))
    completion.register(shell)
    mend_kernel(getattr(shell, "kernel", None))


def unload(shell: InteractiveShell) -> None:
    rewriters = shell.input_transformers_post
    rewriters[:] = [rewriter for rewriter in rewriters if not isinstance(rewriter, Awaiting)]
    completion.unregister(shell)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("subagents", None)


def _confirmed(options: CellOptions, prepared: "Prepared") -> "Prepared":
    """Says first what could be reused, where nobody has asked for it."""
    from xz_magics.api.dry_run import confirm

    if prepared.recollection is not None and prepared.recollection.hint is not None:
        _print(prepared.recollection.hint)
    if not options.yes:
        confirm(prepared)
    return prepared


async def _ended(handle: "Handle", guard: Guard) -> "Results":
    guard.attach(handle.cancel)
    return await handle


def _unless_interrupted(results: "Results") -> None:
    from xz_magics.api import interruption

    if results.interrupted:
        raise RunInterrupted(interruption(results))


def _trait(name: str) -> TraitType[Any, Any]:
    """Until it is set, it shows what holds; then it counts as a change even to be set to None."""

    def value_now(_: object) -> Any:
        from xz_magics.session import session

        return value_of(session.settings, name)

    trait = TRAITS[KINDS[name]](allow_none=True, help=SETTINGS[name])
    trait.default_value, trait.default = Undefined, value_now
    return trait.tag(config=True)


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a page of help is what was asked for
