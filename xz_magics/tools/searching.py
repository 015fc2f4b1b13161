"""Finding files and lines: it alone walks folders, and bounds what that takes and gives."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

from xz_magics.tools import Context, ToolError
from xz_magics.tools.workspace import MOST_DEPTH, Workspace, read_at_most, shown

MOST_ENTRIES = 20_000
MOST_WALK_S = 5.0
MOST_FOUND = 1000
MOST_PATTERN_CHARS = 1000
MOST_FILE_BYTES = 1_000_000
MOST_SEARCHED_BYTES = 16_000_000
MOST_MATCHES = 200
MOST_PER_FILE = 20
MOST_LINE_CHARS = 300
MATCHER = Path(__file__).with_name("line_matcher.py")
MATCHER_WALL_S = 20.0

Reading = tuple[str, bytes]
"""A file's shown path and its content."""


def find_files(context: Context, pattern: str, path: str = ".") -> str:
    """Lists the files and folders whose path fits a glob pattern; folders end in /, links are named but not entered.

    pattern: such as *.csv (in any folder), data/*.csv or data/**/notes?.txt; ** stands for any number of folders.
    path: The folder to look in, from the workspace on.
    """
    glob = Glob(pattern)
    walk = Walk()
    with Workspace(context.workspace) as workspace, workspace.opened(path, "folder") as folder:
        at = workspace.parts(path)
        entries = walk.entries(workspace, folder, at, lambda parts: glob.leads_to(parts[len(at) :]))
        found = list(islice((entry for entry in entries if glob.fits(entry.parts[len(at) :])), MOST_FOUND + 1))
    lines = [entry.shown for entry in found[:MOST_FOUND]] or [f"(nothing fits {shown(pattern)})"]
    if len(found) > MOST_FOUND:
        lines.append(f"[only the first {MOST_FOUND} are shown: narrow the pattern or the path]")
    return "\n".join([*lines, *walk.left_out])


def grep(context: Context, pattern: str, path: str = ".", glob: str = "*") -> str:
    """Finds the lines that a regular expression matches: file:line number: text. Binary and hidden files are left out.

    pattern: A regular expression of Python's re; begin with (?i) to ignore case.
    path: The file, or the folder to search with all folders below, from the workspace on.
    glob: Only files that fit it, such as *.py (in any folder) or src/**/*.py.
    """
    if len(pattern) > MOST_PATTERN_CHARS:
        raise ToolError(f"the pattern has {len(pattern)} characters; the most is {MOST_PATTERN_CHARS}", "shorten it")
    walk = Walk()
    with Workspace(context.workspace) as workspace:
        readings = list(_readings(workspace, walk, path, Glob(glob)))
    return "\n".join([*_matches(pattern, readings), *walk.left_out])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a folder holds under a name. `parts` lead to it from the workspace on; `folder` is open until the next."""

    folder: int
    parts: tuple[str, ...]
    kind: Literal["file", "folder", "link", "other"]

    @property
    def shown(self) -> str:
        marks = {"file": "", "folder": "/", "link": " (symbolic link)", "other": " (no regular file)"}
        return shown("/".join(self.parts)) + marks[self.kind]


class Walk:
    """One walk: each folder is opened from its parent's descriptor, links never. It counts what it leaves out."""

    def __init__(
        self,
        *,
        most_entries: int = MOST_ENTRIES,
        most_s: float = MOST_WALK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = most_entries
        self._until_at = clock() + most_s
        self._clock = clock
        self._left_out: dict[str, int] = {}
        self._ended = ""

    @property
    def left_out(self) -> list[str]:
        """Lines for the model, none if all was seen."""
        counts = ", ".join(f"{count} {what}" for what, count in self._left_out.items())
        return [f"[left out: {counts}]"] * bool(counts) + [f"[not all was seen: {self._ended}]"] * bool(self._ended)

    def entries(
        self,
        workspace: Workspace,
        folder: int,
        at: tuple[str, ...],
        enters: Callable[[tuple[str, ...]], bool] = lambda _: True,
    ) -> Iterator[Entry]:
        """Sorted by name, each folder before what is in it. `at` are the names that lead to the open folder."""
        for name, kind in self._named(folder):
            entry = Entry(folder=folder, parts=(*at, name), kind=kind)
            yield entry
            if kind != "folder" or not enters(entry.parts):
                continue
            if len(entry.parts) >= MOST_DEPTH:
                self.leave_out(f"below the {MOST_DEPTH}th folder")
                continue
            try:
                with workspace.entered(folder, name, "folder") as below:
                    yield from self.entries(workspace, below, entry.parts, enters)
            except OSError:
                self.leave_out("that could not be opened")

    def read(self, workspace: Workspace, entry: Entry) -> bytes | None:
        """The content of the file that `entries` gave last; None: it could not be opened."""
        try:
            with workspace.entered(entry.folder, entry.parts[-1], "file") as fd:
                return self.read_open(fd)
        except OSError:
            self.leave_out("that could not be opened")
            return None

    def read_open(self, fd: int) -> bytes:
        content, whole = read_at_most(fd, MOST_FILE_BYTES)
        if not whole:
            self.leave_out(f"rests of files after {MOST_FILE_BYTES} bytes")
        return content

    def leave_out(self, what: str) -> None:
        self._left_out[what] = self._left_out.get(what, 0) + 1

    def end(self, why: str) -> None:
        self._room, self._ended = 0, why

    def _named(self, folder: int) -> Iterator[tuple[str, Literal["file", "folder", "link", "other"]]]:
        with os.scandir(folder) as scanned:
            read = list(islice(scanned, self._room + 1))
        for entry in sorted(read, key=lambda entry: entry.name):
            if self._ended:
                return
            if self._room <= 0:
                self.end("there is too much; name a folder further down")
            elif self._clock() > self._until_at:
                self.end("it took too long; name a folder further down")
            else:
                self._room -= 1
                if entry.name.startswith("."):
                    self.leave_out("hidden")
                else:
                    yield entry.name, _kind(entry)


class Glob:
    """A pattern of names. One without / is looked for in every folder; ** takes any number of folders."""

    def __init__(self, pattern: str) -> None:
        names = [name for name in pattern.split("/") if name not in {"", "."}]
        if not names or len(pattern) > MOST_PATTERN_CHARS or pattern.startswith("/") or ".." in names:
            raise ToolError(
                f"{shown(pattern)} is no pattern of files", "such as *.csv or data/**/*.csv; give the folder as path"
            )
        names = names if "/" in pattern else ["**", *names]
        self._names = [name for before, name in pairwise(["", *names]) if not before == name == "**"]

    def fits(self, parts: Iterable[str]) -> bool:
        return len(self._names) in self._reached(parts)

    def leads_to(self, parts: Iterable[str]) -> bool:
        """Whether something below this folder may fit."""
        return any(state < len(self._names) for state in self._reached(parts))

    def _reached(self, parts: Iterable[str]) -> set[int]:
        """How many names of the pattern may be used up: all ways at once, so that no pattern takes long."""
        reached = self._skipped({0})
        for part in parts:
            on = {state for state in reached if self._name(state) == "**"}
            on |= {state + 1 for state in reached - on if fnmatchcase(part, self._name(state))}
            reached = self._skipped(on)
        return reached

    def _skipped(self, states: set[int]) -> set[int]:
        return states | {state + 1 for state in states if self._name(state) == "**"}

    def _name(self, state: int) -> str:
        return self._names[state] if state < len(self._names) else ""


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder", "link", "other"]:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _readings(workspace: Workspace, walk: Walk, path: str, glob: Glob) -> Iterator[Reading]:
    at = workspace.parts(path)
    with workspace.opened(path, "any") as fd:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            yield shown("/".join(at)), walk.read_open(fd)
            return
        room = MOST_SEARCHED_BYTES
        for entry in walk.entries(workspace, fd, at, lambda parts: glob.leads_to(parts[len(at) :])):
            if entry.kind != "file" or not glob.fits(entry.parts[len(at) :]):
                continue
            content = walk.read(workspace, entry)
            if content is None:
                continue
            if len(content) > room:
                walk.end(f"more than {MOST_SEARCHED_BYTES} bytes to search; name a folder further down")
                return
            room -= len(content)
            yield entry.shown, content


def _matches(pattern: str, readings: list[Reading]) -> Iterator[str]:
    answers = _matched(pattern, readings)
    if answers and "error" in answers[0]:
        raise ToolError(f"{shown(pattern)} is no regular expression: {answers[0]['error']}", "escape it: \\( \\[ \\.")
    unsearched = [name for name, _ in readings[len(answers) :]]
    found = any(answer["matches"] for answer in answers)
    if unsearched and not found:
        raise ToolError(
            f"the pattern takes too much time or memory in {unsearched[0]}",
            "avoid repeats within repeats such as (a+)+, or search less: narrow path and glob",
        )
    more = binary = 0
    for (name, _), answer in zip(readings, answers, strict=False):
        yield from (f"{name}:{number}: {text}" for number, text in answer["matches"])
        more += answer["more"]
        binary += answer["binary"]
    if not found:
        yield f"(no line matches; files searched: {len(answers) - binary})"
    if more:
        yield f"[{more} more matches: at most {MOST_PER_FILE} are shown of a file and {MOST_MATCHES} in all]"
    if binary:
        yield f"[left out: {binary} binary]"
    if unsearched:
        yield f"[not all was searched: the pattern takes too much time or memory in {unsearched[0]}]"


def _matched(pattern: str, readings: list[Reading]) -> list[Mapping[str, Any]]:
    """The matcher's answers, one per file; fewer where it was ended before it was through."""
    asked = {
        "pattern": pattern,
        "sizes": [len(content) for _, content in readings],
        "most_matches": MOST_MATCHES,
        "most_per_file": MOST_PER_FILE,
        "most_chars": MOST_LINE_CHARS,
    }
    sent = b"".join([json.dumps(asked).encode(), b"\n", *(content for _, content in readings)])
    with _started_matcher() as matcher:
        try:
            said, log = matcher.communicate(sent, MATCHER_WALL_S)
        except subprocess.TimeoutExpired:
            matcher.kill()
            said, log = matcher.communicate()
    if matcher.returncode > 0:
        raise ToolError(f"the search failed: {log.decode(errors='replace').strip()[-MOST_LINE_CHARS:]}", "search less")
    return [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]


def _started_matcher() -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-P", "-S", "-E", str(MATCHER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt goes to the kernel's whole process group
        )
    except OSError as error:
        raise ToolError(f"the search could not be started: {error.strerror}", "try again") from error
