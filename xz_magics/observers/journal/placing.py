"""Where the journal lies: it alone knows the folders, whether a disk is another host's, and who may read the file."""

import ctypes
import fcntl
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xz_magics.errors import JournalError

logger = logging.getLogger("xz_magics")

NAME = "journal.db"

NETWORK: Mapping[int, str] = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x0BD00BD0: "lustre",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x47504653: "gpfs",
    0x5346414F: "afs",
    0x19830326: "beegfs",
}
"""What statfs(2) calls the file systems that other hosts may write, too: the write-ahead log of SQLite shares memory
between its processes, which no network carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`shared`: another host may write there, so no write-ahead log. `note`: what a person should know of it."""

    file: Path
    shared: bool = False
    note: str | None = None


def place_journal(
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    file_system: Callable[[Path], str | None] | None = None,
) -> Place:
    """The file, in a folder that is made where it is missing; nothing in it is opened.

    A folder that is named is taken as it is. The user's own gives way to one on this machine where it lies on a network
    or cannot be written. Raises JournalError where no folder can be written.
    """
    file_system = file_system or network_file_system
    named = folder or named_folder(environ)
    wanted = named or state_folder()
    trouble = "the home directory is unknown" if wanted is None else trouble_with(wanted)
    network = None if wanted is None or trouble else file_system(wanted)
    if wanted is not None and not trouble and network is None:
        return Place(file=wanted / NAME)
    if named is not None and network is not None:
        note = f"{wanted} is on a network ({network}): the journal is slow there, and for one machine at a time"
        return Place(file=named / NAME, shared=True, note=note)
    why = trouble or f"{wanted} is on a network ({network})"
    for other in _local_folders(environ):
        if not trouble_with(other) and file_system(other) is None:
            note = f"{why}: the journal is {other / NAME}, which this machine may clear; XZ_MAGICS_STATE names another"
            return Place(file=other / NAME, note=note)
    if wanted is not None and network is not None:
        return Place(file=wanted / NAME, shared=True, note=f"{why}, and no other folder can be written")
    raise JournalError(
        f"no journal is kept: {why}", "name a folder of your own in XZ_MAGICS_STATE, or set journal: off"
    )


def network_file_system(folder: Path) -> str | None:
    """The name of a file system that other hosts share; None for this machine's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    told = ctypes.create_string_buffer(512)  # struct statfs has 120 bytes; its first word is the type
    if libc.statfs(ctypes.c_char_p(os.fsencode(folder)), told) != 0:
        return None
    word = ctypes.sizeof(ctypes.c_long)
    return NETWORK.get(int.from_bytes(told.raw[:word], sys.byteorder) & 0xFFFFFFFF)


def trouble_with(folder: Path) -> str | None:
    """What keeps a journal from lying there. The folder is made; one that is there is never changed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror})"
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return f"others can write in {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written"
    return None


def make_file(file: Path) -> None:
    """Makes it, empty, for its owner alone; one that is there is only closed to others.

    It is never opened a second time: to close any handle of a file drops all locks that this process has on it.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise JournalError(
                f"{file} is no file of yours", "move it away, or name a folder in XZ_MAGICS_STATE"
            ) from None
        if found.st_mode & 0o077:
            file.chmod(0o600)


def move_aside(file: Path) -> Path:
    """With all that belongs to it, or with what is left of that: nothing is deleted."""
    stem = f"{file.stem}-damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    for tail in ("-wal", "-shm", "-journal", ""):
        beside = file.with_name(file.name + tail)
        if beside.exists():
            beside.rename(file.with_name(f"{stem}{file.suffix}{tail}"))
    return file.with_name(stem + file.suffix)


@contextmanager
def alone(folder: Path, longest_s: float) -> Iterator[None]:
    """One process at a time makes, mends or moves the file. Where the file system has no locks, it goes without."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + longest_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise JournalError(f"another program holds {folder}", "try again, or set journal: off") from None
                time.sleep(0.02)
                continue
            except OSError as error:
                logger.debug("%s cannot be locked: %s", folder, error)
            break
        yield
    finally:
        os.close(handle)


def identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def named_folder(environ: Mapping[str, str]) -> Path | None:
    named = environ.get("XZ_MAGICS_STATE")
    return Path(named).expanduser() if named else None


def state_folder() -> Path | None:
    from platformdirs import user_state_path

    folder = user_state_path("xz_magics")
    return folder if folder.is_absolute() else None


def _local_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Of this user alone: a name in a folder that all share carries the user's number."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_absolute():
        yield Path(runtime) / "xz_magics"
    yield Path(tempfile.gettempdir()) / f"xz_magics-{os.geteuid()}"
