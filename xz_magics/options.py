"""The options of `%%subagents` and `%subagents`: what a line may hold, and the page of help that shows it."""

import argparse
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, NoReturn

from xz_magics.errors import SpecError

CELL_HELP_HEAD = """\
%%subagents [options]
Runs the tasks of the cell as concurrent subagents. The cell's value is their Results.

    %%subagents --model local --max-total-tokens 5000
    haiku: Write a haiku about rain.
    capital: What is the capital of Peru?

Or plain prompts, with a line `---` or `--- label` before each; or JSON. Options stand before each task's own fields in
`tasks:`, which win.
"""

NO_STREAM = "asks for whole answers: a Stop, a timeout or a cut then keeps nothing and is charged in full"

EPILOG = """\
python: await xz_magics.run(work, ...) and xz_magics.run_sync(work, ...) take the same options.
See also: %subagents --help
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOptions:
    """`arguments` are those of `xz_magics.run`."""

    arguments: Mapping[str, Any]
    out: str | None = None
    check: bool = False
    help: bool = False


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are ours and which never ends the process."""

    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        _, _, unknown = message.partition("unrecognized arguments: ")
        options = [word.split("=")[0] for word in unknown.split() if word.startswith("--")]
        close = [match for option in options for match in get_close_matches(option, known, n=1)]
        hint = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
        if unknown and not options:
            hint = "a value with a space in it needs quotes; names of tools stand without spaces: one,two"
        raise SpecError(f"{self.prog}: {message}", hint)


def parse_cell_line(line: str) -> CellOptions:
    """Raises SpecError for an option that is unknown or has a wrong value."""
    given = vars(_parse(_cell_parser(), line))
    out, check, asks = given.pop("out"), given.pop("check"), given.pop("help")
    if out is not None and (not out.isidentifier() or iskeyword(out)):
        raise SpecError(f"--out {out}: this is no name for a variable", "give a Python name, such as --out answers")
    return CellOptions(arguments={n: v for n, v in given.items() if v is not None}, out=out, check=check, help=asks)


def parse_line(line: str) -> tuple[str, dict[str, Any]]:
    """The verb of `%subagents` and its arguments; the verb "help" where none is given."""
    parser = _line_parser()
    given = vars(_parse(parser, line))
    asks = given.pop("help")
    verb = given.pop("verb") or "help"
    arguments = {name: value for name, value in given.items() if value is not None and value is not False}
    if arguments and verb != "quota" and not asks:
        raise SpecError(f"%subagents {verb} takes no options", "see %subagents --help")
    return "help" if asks else verb, arguments


def cell_help() -> str:
    return f"{CELL_HELP_HEAD}\n{_options_of(_cell_parser())}\n{EPILOG}"


def line_help() -> str:
    return f"%subagents VERB [options]\n\n{_options_of(_line_parser())}"


def _parse(parser: _Parser, line: str) -> argparse.Namespace:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise SpecError(f"{parser.prog}: {error} in: {line.strip()}", "close the quotation mark") from error
    return parser.parse_args(words)


def _grants(text: str) -> list[str]:
    """What commas separate, but for those in brackets."""
    return [grant.strip() for grant in re.findall(r"(?:[^,(]|\([^)]*\)?)+", text) if grant.strip()]


def _cell_parser() -> _Parser:
    parser = _Parser(prog="%%subagents", add_help=False, allow_abbrev=False, formatter_class=_wide)
    add = parser.add_argument
    add("--model", metavar="NAME", help="local, openai:MODEL, anthropic:MODEL, scripted:NAME or ENDPOINT:MODEL")
    add("--system", metavar="TEXT", help="the system prompt of all tasks")
    add("--summary-prompt", metavar="TEXT", help="one more turn after the work; the summary becomes the output")
    add("--temperature", type=float, metavar="N", help="0 to 2")
    add("--top-p", type=float, metavar="N", help="0 to 1")
    add("--seed", type=int, metavar="N", help="where the provider knows it")
    add("--stop", action="append", metavar="TEXT", help="ends an answer; may be given several times")
    add("--max-tokens", type=int, metavar="N", help="the most tokens of one answer (1024; local: 512)")
    add("--max-turns", type=int, metavar="N", help="the most model calls of one task, its summary not counted (10)")
    add(
        "--allowed-tools",
        action="extend",
        type=_grants,
        metavar="NAMES",
        help="tools of all tasks: NAME,NAME or NAME(WORD,WORD); may be given several times",
    )
    add("--workspace", metavar="FOLDER", help="where the built-in tools for files and programs work (here)")
    add("--timeout", type=float, metavar="S", help="seconds for one task, waiting for its start excluded")
    add(
        "--idle-timeout",
        type=float,
        metavar="S",
        help="seconds without progress that end a call (60; with --no-stream always 600)",
    )
    add("--max-concurrent", type=int, metavar="N", help="subagents at work at once (5)")
    add("--max-depth", type=int, metavar="N", help="how deep subagents may start subagents; 0: not at all (3)")
    add("--rpm", type=float, metavar="N", help="requests a minute that are sent to one model at most")
    add("--tpm", type=float, metavar="N", help="tokens a minute, likewise")
    add("--fail-fast", action="store_const", const=True, help="the first failure stops the others")
    add("--max-executions", type=int, metavar="N", help="limit of this run: subagents")
    add("--max-total-tokens", type=int, metavar="N", help="limit of this run: tokens, prompts and answers")
    add("--max-total-time", type=float, metavar="S", help="limit of this run: seconds")
    add("--max-total-cost", type=float, metavar="USD", help="limit of this run: US dollars")
    add("--retries", type=int, metavar="N", help="more tries after a passing failure (2)")
    add("--no-stream", dest="stream", action="store_const", const=False, help=NO_STREAM)
    add(
        "--base-url", metavar="URL", help="where openai: or anthropic: is served; gets a key only if the config says so"
    )
    add("--format", choices=("yaml", "json", "text"), help="how to read the cell, where its look misleads")
    add("--out", metavar="NAME", help="binds the Results to this variable, after Stop too")
    add("--check", action="store_true", help="ends the cell with an error unless every task is done")
    add("-h", "--help", action="store_true", help="shows this page")
    return parser


def _line_parser() -> _Parser:
    parser = _Parser(prog="%subagents", add_help=False, allow_abbrev=False, formatter_class=_wide)
    add = parser.add_argument
    add("verb", nargs="?", choices=("quota", "metrics", "last", "help"), help="what to show")
    add("--max-executions", type=int, metavar="N", help="quota: sets the session's limit of subagents")
    add("--max-total-tokens", type=int, metavar="N", help="quota: ... of tokens")
    add("--max-total-time", type=float, metavar="S", help="quota: ... of seconds at work")
    add("--max-total-cost", type=float, metavar="USD", help="quota: ... of US dollars")
    add("--preset", metavar="NAME", help="quota: cost-optimized, balanced or performance-optimized")
    add("--reset", action="store_true", help="quota: forgets what was used; limits stay")
    add("-h", "--help", action="store_true", help="shows this page")
    return parser


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=26, width=118)


def _options_of(parser: _Parser) -> str:
    text = parser.format_help()
    return text[text.index("\n\n") + 2 :]
