"""Results as files: each takes its place whole, or what was there stays as it was."""

import os
import secrets
import shutil
from html import escape
from pathlib import Path

from xz_magics.errors import XzMagicsError

FilePath = str | os.PathLike[str]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Holds even where a page should let something through: no script runs, and nothing is fetched or sent."""
LOOK = "body{font:14px/1.4 system-ui,sans-serif;max-width:90em;margin:2em auto;padding:0 1em}"


def document(page: str, title: str) -> str:
    """One file of HTML that needs nothing else; light or dark as the reader's system is."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{LOOK}</style>\n</head>\n<body>\n{page}\n</body>\n</html>\n"
    )


def write(content: bytes, path: FilePath) -> None:
    """A file that is there keeps its rights, and a link goes on pointing to it. Raises XzMagicsError."""
    try:
        target = Path(path).expanduser().resolve()
        if not target.parent.is_dir():
            raise XzMagicsError(f"there is no folder {target.parent}", "make it first, or give another path")
        _replace(target, content)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise XzMagicsError(
            f"{path!r} could not be written: {reason}",
            "no file was changed; give a text or a pathlib.Path that names a file where you may write",
        ) from error


def _replace(target: Path, content: bytes) -> None:
    """By way of a file beside it, so that nobody ever sees a half."""
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
