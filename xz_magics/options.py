"""The options of `%%subagents` and `%subagents`: what a line may hold, and what each is told to be for."""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from keyword import iskeyword
from typing import Any, NoReturn

from xz_magics.errors import SpecError

VERBS: Mapping[str, str] = {
    "status": "the runs of this kernel: under way, and the last that ended",
    "cancel": "[LABEL] [--run RUN] ends one task, or without a label all runs; what came is kept",
    "last": "the Results of the latest run",
    "show": "[RUN, last or LABEL] the Results of a run, of earlier kernels too, or one task: so much as there is now",
    "runs": "the runs of all kernels, the latest first, as far as the journal keeps them",
    "export": "RUN FILE writes a run as one file for somebody else, without keys and paths",
    "import": "FILE takes such a file into the journal, and shows it",
    "purge": "RUN, --older-than DAYS or --all deletes runs from the journal",
    "quota": "limits and their use: session, run, day and week, and what the last two cost; its options set them",
    "costs": "[WHAT] what the runs of this kernel cost, by model, task, tag, purpose, turn or a variable of a matrix",
    "metrics": "what was counted and measured in this kernel; --serve lets Prometheus scrape it",
    "models": "which models can be had here: key present, price known, weights fetched",
    "tools": "which tools tasks can be granted",
    "config": "each setting, its value, and where that comes from",
    "doctor": "what is here and what is missing, each with its mend",
}
LIMITS = ("max_executions", "max_total_tokens", "max_total_time", "max_total_cost")
BUDGETS = {
    "daily_max_executions": "sets the limit of a day, over all kernels: subagents",
    "daily_max_tokens": "... of tokens",
    "daily_max_cost": "... of US dollars",
    "weekly_max_executions": "sets that of a week, likewise: subagents",
    "weekly_max_tokens": "... of tokens",
    "weekly_max_cost": "... of US dollars",
}
TAKES: Mapping[str, frozenset[str]] = {
    "quota": frozenset({"preset", "reset", "clock_is_right", *LIMITS, *BUDGETS}),
    "cancel": frozenset({"name", "run"}),
    "show": frozenset({"name"}),
    "export": frozenset({"name", "file"}),
    "import": frozenset({"name"}),
    "purge": frozenset({"name", "older_than", "all", "yes"}),
    "costs": frozenset({"name"}),
    "metrics": frozenset({"serve"}),
}
FORMS = ("yaml", "json", "text")
LEAST_PORT, MOST_PORT = 1_024, 65_535
RESEND = "with --resume: sends again what was sent there and nobody has seen the end of"
NO_STREAM = "asks for whole answers: a Stop, a timeout or a cut then keeps nothing and is charged in full"
WITH_STREAM_OFF = "seconds without progress that end a call (60; with --no-stream always 600)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOptions:
    """`arguments` are those of `xz_magics.run`."""

    arguments: Mapping[str, Any]
    out: str | None = None
    check: bool = False
    background: bool = False
    help: bool = False
    yes: bool = False
    dry_run: bool = False


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are ours and which never ends the process."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        _, _, unknown = message.partition("unrecognized arguments: ")
        options = [word.split("=")[0] for word in unknown.split() if word.startswith("--")]
        close = [meant for option in options for meant in _meant(option, known)]
        hint = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
        if unknown and not options:
            hint = "a value with a space in it needs quotes; names of tools stand without spaces: one,two"
        raise SpecError(f"{self.prog}: {message}", hint)

    @property
    def options(self) -> Mapping[str, argparse.Action]:
        """By each of its names."""
        return {name: action for action in self._actions for name in action.option_strings}


def parse_cell_line(line: str) -> CellOptions:
    """Raises SpecError for an option that is unknown or has a wrong value."""
    given = vars(_parse(cell_parser(), line))
    out, asks = given.pop("out"), given.pop("help")
    check, background = given.pop("check"), given.pop("background")
    if out is not None and (not out.isidentifier() or iskeyword(out)):
        raise SpecError(f"--out {out}: this is no name for a variable", "give a Python name, such as --out answers")
    if check and background:
        mend = "leave --check out; in a later cell: (await handle).raise_for_failures()"
        raise SpecError("--check and --background do not go together: the cell ends before the run", mend)
    yes, dry_run = given.pop("yes"), given.pop("dry_run")
    arguments = {name: value for name, value in given.items() if value is not None}
    return CellOptions(
        arguments=arguments, out=out, check=check, background=background, help=asks, yes=yes, dry_run=dry_run
    )


def named_out(line: str) -> str:
    """The name after --out, in a line that is wrong otherwise; empty where there is none."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    spaced = [name for word, name in pairwise(words) if word == "--out"]
    joined = [word.removeprefix("--out=") for word in words if word.startswith("--out=")]
    return next(iter(spaced + joined), "")


def parse_line(line: str) -> tuple[str, dict[str, Any]]:
    """The verb of `%subagents` and its arguments; the verb "help" where none is given. Raises SpecError."""
    given = vars(_parse(line_parser(), line))
    asks, verb = given.pop("help"), given.pop("verb") or "help"
    arguments = {name: value for name, value in given.items() if value is not None and value is not False}
    if asks or verb == "help":
        return "help", {}
    if verb not in VERBS:
        close = get_close_matches(verb, VERBS, n=1)
        mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(VERBS)}"
        raise SpecError(f"%subagents knows no {verb!r}", mend)
    for name in sorted(arguments.keys() - TAKES.get(verb, frozenset())):
        if name == "file":
            line_parser().error(f"unrecognized arguments: {arguments[name]}")
        told = f"name, so not {arguments[name]!r}" if name == "name" else f"--{name.replace('_', '-')}"
        raise SpecError(f"%subagents {verb} takes no {told}", "see %subagents --help")
    return verb, arguments


def cell_parser() -> Parser:
    parser = Parser(prog="%%subagents", add_help=False, allow_abbrev=False, formatter_class=_wide)
    add = parser.add_argument_group("the models").add_argument
    add(
        "--model",
        type=_models,
        metavar="NAME",
        help="local, openai:MODEL, anthropic:MODEL, scripted:NAME or ENDPOINT:MODEL; several: each task with each",
    )
    add("--system", metavar="TEXT", help="the system prompt of all tasks")
    add("--summary-prompt", metavar="TEXT", help="one more turn after the work; the summary becomes the output")
    add("--temperature", type=float, metavar="N", help="0 to 2")
    add("--top-p", type=float, metavar="N", help="0 to 1")
    add("--seed", type=int, metavar="N", help="where the provider knows it")
    add("--stop", action="append", metavar="TEXT", help="ends an answer; may be given several times")
    add("--max-tokens", type=int, metavar="N", help="the most tokens of one answer (1024; local: 512)")
    add("--no-stream", dest="stream", action="store_const", const=False, help=NO_STREAM)
    add(
        "--base-url", metavar="URL", help="where openai: or anthropic: is served; gets a key only if the config says so"
    )
    add = parser.add_argument_group("turns and tools").add_argument
    add("--max-turns", type=int, metavar="N", help="the most model calls of one task, its summary not counted (10)")
    add(
        "--allowed-tools",
        action="extend",
        type=_grants,
        metavar="NAMES",
        help="tools of all tasks: NAME,NAME or NAME(WORD,WORD); may be given several times",
    )
    add("--workspace", metavar="FOLDER", help="where the built-in tools for files and programs work (here)")
    add("--max-depth", type=int, metavar="N", help="how deep subagents may start subagents; 0: not at all (3)")
    add = parser.add_argument_group("experiments").add_argument
    add("--foreach", metavar="NAME", help="a table in the notebook: each task once per row, {{column}} in its prompt")
    add("--repeat", type=int, metavar="N", help="how often each task is asked")
    add("--schema", metavar="NAME", help="a pydantic model in the notebook that each answer must fit")
    add(
        "--score",
        action="extend",
        type=_names,
        metavar="NAMES",
        help="functions in the notebook that score each outcome",
    )
    add("--tags", action="extend", type=_names, metavar="NAMES", help="words by which costs can be told apart")
    add = parser.add_argument_group("limits, pace and time").add_argument
    add("--max-executions", type=int, metavar="N", help="limit of this run: subagents")
    add("--max-total-tokens", type=int, metavar="N", help="limit of this run: tokens, prompts and answers")
    add("--max-total-time", type=float, metavar="S", help="limit of this run: seconds")
    add("--max-total-cost", type=float, metavar="USD", help="limit of this run: US dollars")
    add("--max-concurrent", type=int, metavar="N", help="subagents at work at once (5)")
    add("--rpm", type=float, metavar="N", help="requests a minute that are sent to one model at most")
    add("--tpm", type=float, metavar="N", help="tokens a minute, likewise")
    add("--timeout", type=float, metavar="S", help="seconds for one task, waiting for its start excluded")
    add("--idle-timeout", type=float, metavar="S", help=WITH_STREAM_OFF)
    add("--retries", type=int, metavar="N", help="more tries after a passing failure (2)")
    add("--fail-fast", action="store_const", const=True, help="the first failure stops the others")
    add = parser.add_argument_group("the cell").add_argument
    add("--out", metavar="NAME", help="binds the Results to this variable, after Stop too; in the background a handle")
    add("--background", action="store_true", help="returns at once with a handle, and the run goes on")
    add("--check", action="store_true", help="ends the cell with an error unless every task is done")
    add(
        "--resume",
        nargs="?",
        const="last",
        metavar="RUN",
        help="takes what is done from an earlier run: by its id, or the last of this cell",
    )
    add("--resend-unknown", action="store_const", const=True, help=RESEND)
    add("--reuse", action="store_const", const=True, help="takes answers of all runs that are in the journal")
    add("--yes", action="store_true", help="starts many or costly tasks without asking first")
    add("--dry-run", action="store_true", help="shows what would be sent and what it may cost; nothing is sent")
    add("--format", choices=FORMS, help="how to read the cell, where its look misleads")
    add("-h", "--help", action="store_true", help="shows this page")
    return parser


def line_parser() -> Parser:
    parser = Parser(prog="%subagents", add_help=False, allow_abbrev=False, formatter_class=_wide)
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("name", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)
    add = parser.add_argument_group("options of %subagents").add_argument
    add("--run", metavar="RUN", help="cancel: in this run alone; the beginning of its id will do")
    add("--max-executions", type=int, metavar="N", help="quota: sets the session's limit of subagents")
    add("--max-total-tokens", type=int, metavar="N", help="quota: ... of tokens")
    add("--max-total-time", type=float, metavar="S", help="quota: ... of seconds at work")
    add("--max-total-cost", type=float, metavar="USD", help="quota: ... of US dollars")
    for name, what in BUDGETS.items():
        kind, unit = (float, "USD") if name.endswith("cost") else (int, "N")
        add(f"--{name.replace('_', '-')}", type=kind, metavar=unit, help=f"quota: {what}")
    add("--preset", metavar="NAME", help="quota: cost-optimized, balanced or performance-optimized")
    add(
        "--reset",
        action="store_true",
        help="quota: forgets what this session used; limits, days and weeks stay",
    )
    add(
        "--clock-is-right",
        action="store_true",
        help="quota: leaves days and weeks far ahead, of a clock that was wrong",
    )
    add("--older-than", type=float, metavar="DAYS", help="purge: the runs that began longer ago")
    add("--all", action="store_true", help="purge: all runs but those that go on; it takes --yes, too")
    add("--yes", action="store_true", help="purge: deletes all without asking first")
    add("--serve", type=_port, metavar="PORT", help="metrics: serves them to Prometheus at 127.0.0.1; 0: a free port")
    add("-h", "--help", action="store_true", help="shows this page")
    return parser


def options_of(parser: Parser) -> str:
    """The options as a page shows them, in their groups."""
    _, _, options = parser.format_help().partition("\n\n")
    return options.rstrip()


def _parse(parser: Parser, line: str) -> argparse.Namespace:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise SpecError(f"{parser.prog}: {error} in: {line.strip()}", "close the quotation mark") from error
    return parser.parse_intermixed_args(words)  # an option may stand before a label


def _meant(option: str, known: Sequence[str]) -> list[str]:
    """What begins so comes before what looks alike: --temp is nearer to --tpm than to --temperature."""
    return [*(name for name in known if name.startswith(option)), *get_close_matches(option, known, n=1)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _models(text: str) -> str | list[str]:
    """Several only where commas separate them."""
    names = _names(text)
    return names if len(names) > 1 else text


def _port(text: str) -> int:
    address, colon, port = text.rpartition(":")
    if colon and address not in {"127.0.0.1", "localhost"}:
        raise SpecError(f"--serve {text}: metrics are served at 127.0.0.1 alone", "give a port, such as --serve 9464")
    if not port.isdecimal() or (int(port) and not LEAST_PORT <= int(port) <= MOST_PORT):
        mend = "give a number from 1024 to 65535, such as --serve 9464, or 0 for one that is free"
        raise SpecError(f"--serve {text}: this is no port for it", mend)
    return int(port)


def _grants(text: str) -> list[str]:
    """What commas separate, but for those in brackets."""
    return [grant.strip() for grant in re.findall(r"(?:[^,(]|\([^)]*\)?)+", text) if grant.strip()]


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=26, width=118)
