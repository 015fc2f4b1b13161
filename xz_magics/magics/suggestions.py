"""What may stand at a cursor in a `%%subagents` cell or a `%subagents` line: told by the text before it alone."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from xz_magics.config import PRESETS
from xz_magics.magics.bodies import Found, Known, in_body, last_of_list
from xz_magics.options import FORMS, TAKES, VERBS, Parser, cell_parser, line_parser
from xz_magics.specs.scoring import WORDS

MOST_CHARACTERS = 200_000
MOST = 300
OF_RUNS = frozenset({"show", "export", "purge"})

_CELL = re.compile(r"%%subagents(?=[ \t]|$)")
_LINE = re.compile(r"\s*(?:[\w, \t]+=\s*)?%subagents[ \t]")
_WORD = re.compile(r"(?:\"[^\"]*\"?|'[^']*'?|[^\s\"'])+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestions:
    """`fragment` is what stands before the cursor and gives way to one of the texts."""

    fragment: str
    texts: Sequence[str]


def is_ours(text: str) -> bool:
    """Whether it is worth a look: every key in every cell asks."""
    return "%subagents" in text and len(text) <= MOST_CHARACTERS


def suggest(text: str, line: int, column: int, known: Known) -> Suggestions | None:
    """None where nothing of ours fits. `line` and `column` count from 0."""
    lines = text.split("\n")
    before = lines[line][:column]
    head = _head(lines)
    if head is not None and line > head:
        return _fitting(in_body(lines[head + 1 : line], before, lines[line + 1 :], known))
    if head == line and (found := _CELL.match(before)) and found.end() < len(before):
        return _fitting(_in_options(before[found.end() :], known))
    if found := _LINE.match(before):
        return _fitting(_in_line(before[found.end() :], known))
    return None


def _head(lines: Sequence[str]) -> int | None:
    """Where the cell's `%%subagents` stands: other magics, such as %%time, may stand before it."""
    for at, line in enumerate(lines):
        if _CELL.match(line):
            return at
        if line.strip() and not line.startswith("%%"):
            return None
    return None


def _fitting(found: Found | None) -> Suggestions | None:
    if found is None:
        return None
    fragment, words = found
    begun = fragment.casefold()
    texts = [word for word in dict.fromkeys(words) if word.strip("'\"").casefold().startswith(begun)]
    return Suggestions(fragment=fragment, texts=texts[:MOST]) if texts else None


def _in_options(rest: str, known: Known) -> Found | None:
    parser = cell_parser()
    words, fragment = _split(rest)
    if _awaits_value(parser, words, fragment):
        return _value_of(words, fragment, known)
    if fragment and not fragment.startswith("-"):
        return None
    return fragment, [name for name in parser.options if name.startswith("--") and name not in words]


def _in_line(rest: str, known: Known) -> Found | None:
    parser = line_parser()
    words, fragment = _split(rest)
    if not words:
        return fragment, VERBS
    if _awaits_value(parser, words, fragment):
        return _value_of(words, fragment, known)
    takes = TAKES.get(words[0], frozenset())
    options = [name for name, action in parser.options.items() if action.dest in takes and name not in words]
    if fragment.startswith("-") or "name" not in takes:
        return fragment, options
    labels = known.labels(running=words[0] == "cancel") if words[0] in {"cancel", "show"} else ()
    named = [*map(shlex.quote, labels), *(known.runs() if words[0] in OF_RUNS else ())]
    return fragment.lstrip("\"'"), named if fragment else [*named, *options]


def _split(rest: str) -> tuple[list[str], str]:
    """The words before the one at the cursor, and what there is of that one."""
    found = [(word[0], word.end()) for word in _WORD.finditer(rest)]
    if found and found[-1][1] == len(rest):
        return [word for word, _ in found[:-1]], found[-1][0]
    return [word for word, _ in found], ""


def _awaits_value(parser: Parser, words: Sequence[str], fragment: str) -> bool:
    option, _ = _option_at(words, fragment)
    return option in parser.options and parser.options[option].nargs != 0


def _value_of(words: Sequence[str], fragment: str, known: Known) -> Found | None:
    option, written = _option_at(words, fragment)
    written = written.lstrip("\"'")
    match option:
        case "--model":
            found: Found | None = (last_of_list(written), known.models())
        case "--allowed-tools":
            found = (last_of_list(written), known.tools())
        case "--foreach":
            found = (written, known.tables())
        case "--schema":
            found = (written, known.schemas())
        case "--score":
            found = (last_of_list(written), [*WORDS, *known.functions()])
        case "--format":
            found = (written, FORMS)
        case "--preset":
            found = (written, PRESETS)
        case "--run":
            found = (written, known.runs())
        case "--resume":
            found = (written, ["last", *known.runs()])
        case _:
            found = None
    return found


def _option_at(words: Sequence[str], fragment: str) -> tuple[str, str]:
    """The option whose value the cursor is in, and what there is of the value."""
    if fragment.startswith("--") and "=" in fragment:
        option, _, written = fragment.partition("=")
        return option, written
    return (words[-1] if words else ""), fragment
