"""The folder that file tools work in: it alone opens and writes files there, and lets no name lead out of it."""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from importlib.machinery import all_suffixes
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal, Self

from xz_magics.tools import ToolError
from xz_magics.tools.openat2 import open_beneath

MOST_PATH_BYTES = 4096
MOST_DEPTH = 32
SHOWN_CHARS = 200

NEVER_WRITTEN = {
    "~*": "a shell takes it for a home folder",
    "*~[0-9]*": "on NTFS it may be the short name of another file, as GIT~1 is of .git",
    "*.ipynb": "a notebook that is open would be lost or overwritten by its own page",
    "*.pth": "Python runs its lines at every start",
    "sitecustomize*": "Python runs it at every start",
    "usercustomize*": "Python runs it at every start",
    "*.dist-info": "pytest, Jupyter and others run the entry points it names",
    "*.egg-info": "pytest, Jupyter and others run the entry points it names",
    "__pycache__": "Python runs what is there in place of the source",
    "*.pyc": "Python runs it in place of the source",
    "*.so": "Python runs it in place of the source",
}
"""Names of files and folders, lower case, that run without anyone choosing to run them, or destroy; and why."""

READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
FOLDER = READ | os.O_DIRECTORY
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Kind = Literal["file", "folder", "any"]


class Workspace:
    """The folder, opened once: all in it is reached from its descriptor, so nothing renamed meanwhile leads elsewhere.

    Names that begin with a dot are no part of it: there git, shells, editors and IPython keep what they run, and people
    keep keys. Links are followed within the folder when reading, if the kernel can see to it (`follows_links`), and
    never when writing. A hard link to a file elsewhere is that file: nothing tells them apart, and nothing here makes
    one. Every method raises ToolError; leaving does where the folder is gone by then.
    """

    def __init__(self, root: Path, *, follows_links: bool = sys.platform == "linux") -> None:
        self._given = root.absolute()
        self.root = Path(os.path.realpath(root))
        try:
            self.fd = os.open(self.root, FOLDER)
        except OSError as error:
            raise ToolError(f"the workspace cannot be opened: {error.strerror}", "tell the user") from error
        self._kernel_devices = {os.stat(path).st_dev for path in ("/proc", "/sys") if os.path.ismount(path)}  # noqa: PTH116
        self._follows_links = follows_links and self._resolves_beneath()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            stays = os.path.samestat(os.fstat(self.fd), os.stat(self.root))  # noqa: PTH116
        except OSError:
            stays = False
        os.close(self.fd)
        if error is None and not stays:
            raise ToolError("the workspace was deleted or moved during the call", "tell the user")

    def parts(self, path: str) -> tuple[str, ...]:
        """The names on the way from the root: () is the root itself. An absolute path inside the root is accepted."""
        if "\0" in path or len(_encoded(path)) > MOST_PATH_BYTES:
            raise ToolError(f"{shown(path)}: a path is at most {MOST_PATH_BYTES} bytes long and holds no NUL")
        pure = PurePosixPath(path)
        if pure.is_absolute():
            inside = [pure.relative_to(root) for root in (self._given, self.root) if pure.is_relative_to(root)]
            if not inside:
                raise ToolError(f"{shown(path)} is outside the workspace", 'paths start at the workspace: "notes.txt"')
            pure = inside[0]
        if ".." in pure.parts:
            raise ToolError(f"{shown(path)} holds '..'", 'say the path from the workspace on: "folder/notes.txt"')
        if any(part.startswith(".") for part in pure.parts):
            raise ToolError(f"{shown(path)}: hidden names (with a dot in front) are not available", "choose another")
        if len(pure.parts) > MOST_DEPTH:
            raise ToolError(f"{shown(path)} is {len(pure.parts)} names deep; the most is {MOST_DEPTH}")
        return pure.parts

    @contextmanager
    def opened(self, path: str, kind: Kind) -> Iterator[int]:
        """A descriptor to read from, of a regular file or a folder: nothing else is ever given, and nothing blocks."""
        parts = self.parts(path)
        with told(path):
            fd = self._open(parts, FOLDER if kind == "folder" else READ)
            try:
                self._check(fd, kind)
                yield fd
            finally:
                os.close(fd)

    @contextmanager
    def entered(self, folder: int, name: str, kind: Kind) -> Iterator[int]:
        """As `opened`, for a name in an open folder; a link is not followed. Raises OSError, for a walk to count."""
        fd = os.open(name, (FOLDER if kind == "folder" else READ) | os.O_NOFOLLOW, dir_fd=folder)
        try:
            self._check(fd, kind)
            yield fd
        finally:
            os.close(fd)

    def write(self, path: str, content: bytes, *, replaces: bool) -> bool:
        """Writes a whole file or nothing, making folders as needed; whether a file was replaced.

        Readers see the old file or the new one. Unless `replaces`, an existing name is an error however late it came.
        """
        parts = self.parts(path)
        self._check_writable(path, parts)
        with told(path):
            folder = _descended(self.fd, parts[:-1], _entered_or_made)
            try:
                return _written(folder, parts[-1], content, replaces=replaces)
            except FileExistsError as error:
                hint = "choose a new name" + ("" if replaces else ": you may not replace files")
                raise ToolError(f"{shown(path)} exists already", hint) from error
            finally:
                os.close(folder)

    def _resolves_beneath(self) -> bool:
        """Old kernels have no openat2, and old containers refuse it."""
        try:
            os.close(open_beneath(self.fd, ".", FOLDER))
        except OSError as error:
            return error.errno not in {errno.ENOSYS, errno.EPERM}
        return True

    def _open(self, parts: tuple[str, ...], flags: int) -> int:
        if self._follows_links:
            return open_beneath(self.fd, "/".join(parts) or ".", flags)
        folder = _descended(self.fd, parts[:-1], _entered)
        try:
            return os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)

    def _check(self, fd: int, kind: Kind) -> None:
        """By descriptor, since a name may mean something else by now."""
        status = os.fstat(fd)
        if status.st_dev in self._kernel_devices:
            raise OSError(errno.EACCES, "it belongs to the kernel, not to the workspace")
        if stat.S_ISDIR(status.st_mode) and kind == "file":
            raise OSError(errno.EISDIR, "it is a folder")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    def _check_writable(self, path: str, parts: tuple[str, ...]) -> None:
        if not parts:
            raise ToolError(f"{shown(path)} is the workspace itself", "name a file in it")
        for part in parts:
            if "\\" in part or not part.isprintable():
                raise ToolError(f"{shown(path)}: a name is plain text without \\", "separate folders by /")
            for pattern, why in NEVER_WRITTEN.items():
                if fnmatchcase(part.casefold().rstrip(" ."), pattern):
                    raise ToolError(f"{shown(path)} may not be written: {why}", "choose another name")
        stem = parts[-1].split(".")[0]
        folder = parts[:-2] if stem == "__init__" else parts[:-1]
        if parts[-1].endswith(tuple(all_suffixes())) and _imported_from(self.root.joinpath(*folder)):
            raise ToolError(
                f"{shown(path)} may not be written: the notebook imports from that folder, and could import it unasked",
                f'put it into a folder below: "scripts/{stem}.py"',
            )


@contextmanager
def told(path: str) -> Iterator[None]:
    """What the system refuses, as a ToolError that names the path as the caller gave it."""
    try:
        yield
    except OSError as error:
        reason, hint = REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
        raise ToolError(f"{shown(path)}: {reason}", hint) from error


REASONS = {
    errno.ENOENT: ("there is no such file or folder", "list_directory and find_files show what there is"),
    errno.EXDEV: ("it leads out of the workspace", "paths and links must stay inside"),
    errno.ELOOP: ("it is a symbolic link that is not followed", "name the file itself"),
    errno.ENXIO: ("it is neither a file nor a folder", "only those can be read"),
    errno.EAGAIN: ("it was being changed all the time", "try again"),
}


def shown(text: str) -> str:
    """A name on one line: what is not printable (or not UTF-8 on disk) as the escape that JSON has for it, too."""
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return escaped if len(escaped) <= SHOWN_CHARS else f"{escaped[:SHOWN_CHARS]}…"


def read_at_most(fd: int, most_bytes: int) -> tuple[bytes, bool]:
    """The beginning of a file, however much it grows meanwhile; and whether that is all."""
    pieces: list[bytes] = []
    room = most_bytes + 1
    while room > 0 and (piece := os.read(fd, room)):
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)[:most_bytes], room > 0


def _encoded(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ToolError(f"{shown(path)}: no file can have this name", "use plain characters") from error


def _imported_from(folder: Path) -> bool:
    return str(folder) in {os.path.realpath(entry or os.curdir) for entry in sys.path}


def _descended(fd: int, parts: tuple[str, ...], step: Callable[[int, str], int]) -> int:
    """A new descriptor of the folder that lies `parts` below; `step` opens one name in a folder."""
    fd = os.dup(fd)
    for part in parts:
        try:
            below = step(fd, part)
        finally:
            os.close(fd)
        fd = below
    return fd


def _entered(folder: int, name: str) -> int:
    return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _entered_or_made(folder: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return _entered(folder, name)


def _written(folder: int, name: str, content: bytes, *, replaces: bool) -> bool:
    temporary = f".{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, NEW, 0o666, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            old = _mode(folder, name) if replaces else None
            if old is not None:
                os.fchmod(fd, old & 0o777)
            file.write(content)
            file.flush()
            os.fsync(fd)
        if replaces:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:  # unlike a rename, a link never takes an existing name
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        with suppress(FileNotFoundError):  # it has been renamed
            os.unlink(temporary, dir_fd=folder)
    return old is not None


def _mode(folder: int, name: str) -> int | None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "it is no regular file")
    return mode
