"""A table as the text of a CSV file, in which no spreadsheet finds a formula; it alone knows what looks like one."""

import re
import unicodedata
from typing import Any

from xz_magics.frames import DataFrame

LINE_BREAK = re.compile("\r\n?")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All but tab and line feed, and the nine that reorder the text beside them."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
PASSED_OVER = "\"'"


def csv_text(frame: DataFrame) -> str:
    """Commas, a head line, UTF-8's characters; NA is an empty cell.

    A text that a spreadsheet might compute gets an apostrophe in front, as OWASP advises ("CSV Injection"). A first
    apostrophe is of that kind where `may_compute` holds for what follows it. Line breaks become line feeds.
    """
    texts: DataFrame = frame.select_dtypes(["string", "category", "object"]).astype(object)
    safe = frame.assign(**{str(name): texts[name].map(_cell, na_action="ignore") for name in texts})
    return safe.rename(columns=_cell).to_csv(index=False, lineterminator="\n")


def may_compute(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula; what it skips over and full-width signs are thought of.

    A plain number is none, though it begins with a sign.
    """
    if text.startswith(("\t", "\n")):
        return True
    first = next((char for char in text if not _is_passed_over(char)), "")
    return unicodedata.normalize("NFKC", first) in {"=", "+", "-", "@"} and not NUMBER.fullmatch(text)


def _cell(value: Any) -> Any:
    """A column of a user's own table may hold any kind of value beside texts."""
    if not isinstance(value, str):
        return value
    text = CONTROL.sub("", LINE_BREAK.sub("\n", value))
    return f"'{text}" if may_compute(text) else text


def _is_passed_over(char: str) -> bool:
    return char in PASSED_OVER or char.isspace() or unicodedata.category(char) == "Cf"
