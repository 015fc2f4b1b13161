"""One run as a file of JSON lines, to hand to somebody: it alone knows that form."""

import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xz_magics.errors import JournalError, XzMagicsError
from xz_magics.events import Stamped, from_json, to_json
from xz_magics.observers.journal.checking import check
from xz_magics.observers.journal.cleaning import without_paths
from xz_magics.observers.journal.rows import RunInfo

FORM = 1
HEAD = "xz_magics_run"
OTHER = "give a file that %subagents export has written"
ID = re.compile(r"[\w-]{1,64}")


def write_file(path: Path, run: RunInfo, events: Iterable[Stamped], folders: Collection[Path] = ()) -> None:
    """A line that tells of the run, then one for each event; without keys and the paths of homes and `folders`.

    Of the notebook only its name is told: its folder is one of those whose paths are left out. A file takes its place
    whole, or what was there stays as it was. Raises JournalError where that is no exported run.
    """
    if path.exists() and not _is_export(path):
        raise JournalError(f"{path} is there already, and is no exported run", "name another file, or delete it first")
    notebook = None if run.notebook is None else Path(run.notebook)
    cleaned = without_paths(folders if notebook is None else [*folders, notebook.parent])
    name = None if notebook is None else notebook.name
    about = asdict(replace(run, owner="", notebook=name, cell=None, spec_hash=None))
    target = path.resolve()
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("x", encoding="ascii") as file:
            for line in ({HEAD: FORM, "about": about}, *map(to_json, events), {"end": run.id}):
                file.write(cleaned(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[RunInfo, list[Stamped]]:
    """Raises JournalError for a file that is none, that is cut, or that a newer version wrote."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}", OTHER) from error
    except ValueError as error:
        raise JournalError(f"{path} is no exported run: it is no text", OTHER) from error
    values = _values(path, lines)
    head = next(values, None)
    if not isinstance(head, dict) or HEAD not in head:
        raise JournalError(f"{path} is no exported run: {'it is empty' if not lines else 'it begins otherwise'}", OTHER)
    if head[HEAD] != FORM:
        raise JournalError(f"another version of xz_magics wrote {path}", "update xz_magics")
    try:
        run = _run(head.get("about"))
    except (ValueError, TypeError) as error:
        raise _broken(path, 1, error) from error
    if _end_of(lines) != {"end": run.id}:
        raise JournalError(f"{path} is cut: its last line is missing", "export the run again")
    stamped: list[Stamped] = []
    for number, value in enumerate(values, 2):
        if number == len(lines):
            break
        try:
            stamped.append(_event(value, run))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, XzMagicsError) as error:
            raise _broken(path, number, error) from error
    return run, stamped


def _is_export(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEAD) + 3).startswith(f'{{"{HEAD}"'.encode())


def _values(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken(path, number, ValueError("it is no JSON")) from error


def _end_of(lines: list[str]) -> Any:
    try:
        return json.loads(lines[-1])
    except (ValueError, RecursionError):
        return None  # the file is cut, as the caller says


def _run(about: Any) -> RunInfo:
    if not isinstance(about, dict):
        raise TypeError("it tells of no run")
    run = replace(RunInfo(**about), owner="")
    check(run)
    if not ID.fullmatch(run.id):
        raise ValueError(f"no run is called {run.id[:40]!r}")
    return run


def _event(value: Any, run: RunInfo) -> Stamped:
    stamped = from_json(value)
    if not isinstance(stamped, Stamped) or stamped.run != run.id:
        raise ValueError("it is no event of that run")
    check(stamped)
    return stamped


def _broken(path: Path, line: int, error: Exception) -> JournalError:
    reason = error.message if isinstance(error, XzMagicsError) else str(error) or type(error).__name__
    return JournalError(f"{path} is no exported run: line {line}: {reason}", OTHER)
