"""Texts cut to the room that they may have, in bytes of UTF-8."""

from dataclasses import replace

from xz_magics.records import Message

SMALLEST_RESULT_BYTES = 16
"""The mark of a cut, and a few characters."""


def clip(text: str, limit_bytes: int | None) -> str:
    """The text within so many bytes of UTF-8, cut at a character with a mark that counts; None is no limit."""
    raw = text.encode("utf-8", "surrogatepass")
    if limit_bytes is None or len(raw) <= limit_bytes:
        return text
    mark = " …[cut]".encode()[: max(0, limit_bytes)]
    kept = raw[: max(0, limit_bytes - len(mark))].decode("utf-8", "ignore")
    return kept + mark.decode("utf-8", "ignore")


def within(results: list[Message], room_bytes: int | None) -> list[Message]:
    """The results cut so that all fit into the room; a small one leaves its part to the others."""
    if room_bytes is None:
        return results
    fitted = {}
    for number, place in enumerate(sorted(range(len(results)), key=lambda place: len(results[place].content))):
        share = max(SMALLEST_RESULT_BYTES, room_bytes // (len(results) - number))
        fitted[place] = replace(results[place], content=clip(results[place].content, share))
        room_bytes -= len(fitted[place].content.encode())
    return [fitted[place] for place in range(len(results))]
