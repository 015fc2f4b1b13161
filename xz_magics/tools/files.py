"""The built-in tools for files: it alone says how a model sees files and folders, and with which limits."""

from collections.abc import Iterator

from xz_magics.tools import Context, ToolError
from xz_magics.tools.searching import Walk
from xz_magics.tools.workspace import Workspace, read_at_most, shown

MOST_READ_BYTES = 1_000_000
MOST_SHOWN_BYTES = 60_000
MOST_WRITTEN_BYTES = 1_000_000


def read_file(context: Context, path: str, start_line: int = 1, lines: int = 1000) -> str:
    """Reads a text file, or a range of its lines; where not all fits into the answer, it says how to go on.

    path: The file, from the workspace on, such as notes.txt or data/notes.txt.
    start_line: The first line to read; the file's first is 1.
    lines: How many lines to read at most.
    """
    if start_line < 1 or lines < 1:
        raise ToolError(f"start_line={start_line}, lines={lines}: both are at least 1", "lines count from 1")
    with Workspace(context.workspace) as workspace, workspace.opened(path, "file") as fd:
        content, whole = read_at_most(fd, MOST_READ_BYTES)
    if b"\0" in content:
        raise ToolError(f"{shown(path)} is a binary file: byte {content.index(0)} is NUL", "only text can be read")
    if not content:
        return "(the file is empty)"
    notes = [] if whole else [f"[only the file's first {MOST_READ_BYTES} bytes can be read]"]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content.decode(errors="replace")
        if whole or error.end < len(content):
            notes.append(f"[not UTF-8 at byte {error.start}: what is no UTF-8 is shown as \N{REPLACEMENT CHARACTER}]")
    return "\n".join([_range(path, text, start_line, lines), *notes])


def list_directory(context: Context, path: str = ".") -> str:
    """Lists a folder, sorted by name: folders end in /, links are marked. Hidden names are left out.

    path: The folder, from the workspace on; . is the workspace itself.
    """
    walk = Walk()
    with Workspace(context.workspace) as workspace, workspace.opened(path, "folder") as folder:
        found = [entry.shown for entry in walk.entries(workspace, folder, (), lambda _: False)]
    return "\n".join([*(found or ["(the folder is empty)"]), *walk.left_out])


def write_file(context: Context, path: str, content: str) -> str:
    """Writes a whole text file into the workspace, with the folders on its way. An existing file
    is replaced only if that is allowed.

    path: The file, from the workspace on, such as report.md or out/report.md.
    content: The whole text of the file.
    """
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:
        raise ToolError(f"character {error.start} of the content is half a surrogate pair", "leave it out") from error
    if len(encoded) > MOST_WRITTEN_BYTES:
        raise ToolError(f"the content has {len(encoded)} bytes; the most is {MOST_WRITTEN_BYTES}", "write two files")
    with Workspace(context.workspace) as workspace:
        replaced = workspace.write(path, encoded, replaces="overwrite" in context.params)
    return f"{'replaced' if replaced else 'wrote'} {shown(path)}: {len(encoded)} bytes"


def _range(path: str, text: str, start_line: int, lines: int) -> str:
    """Lines end at line feeds alone, as grep counts them."""
    all_lines = text.removesuffix("\n").split("\n")
    if start_line > len(all_lines):
        raise ToolError(f"{shown(path)} has {len(all_lines)} lines; there is no line {start_line}", "start further up")
    chosen = list(_fitting(all_lines[start_line - 1 : start_line - 1 + lines]))
    if len(chosen) == len(all_lines):
        return text
    last = start_line + len(chosen) - 1
    more = f"; go on with start_line={last + 1}" if last < len(all_lines) else ""
    return "\n".join([*chosen, f"[lines {start_line} to {last} of {len(all_lines)}{more}]"])


def _fitting(lines: list[str]) -> Iterator[str]:
    """The first lines, as many as fit into an answer; one at least."""
    room = MOST_SHOWN_BYTES
    for line in lines:
        size = len(line.encode()) + 1
        if size > room and room < MOST_SHOWN_BYTES:
            return
        yield line
        room -= size
