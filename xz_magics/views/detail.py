"""What a live page reads of one row: its line of text as it streams, and all of it once it is opened."""

from typing import Any

from xz_magics.outcomes import Row
from xz_magics.records import Message, Turn
from xz_magics.views.wording import cost_words, harmless, seconds_words, tokens_words

LINE_CHARACTERS = 160
FEW_PARTS, MANY_PARTS = 50, 1_000
"""So many pieces from the end are looked at for the last line; many, where the few hold no whole line."""

DETAIL_BYTES = 64_000
FRAME_BYTES = 1_000
"""What a detail takes beside its texts."""
MESSAGE_BYTES, CALL_BYTES, TURN_BYTES = 120, 40, 160
"""What a message, a tool call in it, and a turn take beside their texts."""


def short(text: str) -> str:
    return shown(text[:LINE_CHARACTERS])[:LINE_CHARACTERS]


def row_line(row: Row) -> str:
    """The last line as it streams; at the end the first line of the answer, or of the error."""
    if row.outcome is None:
        return last_line(row.parts) if row.parts else ""
    return first_line(row.outcome.output or row.outcome.error or "")


def first_line(text: str) -> str:
    return short(text[:1_000].lstrip().partition("\n")[0].rstrip())


def last_line(parts: list[str]) -> str:
    """Of a text in pieces; where the line is long, its end. A long text is never put together for it."""
    for pieces in (FEW_PARTS, MANY_PARTS):
        end = "".join(parts[-pieces:])[-4 * LINE_CHARACTERS :].rstrip()
        line = end.rpartition("\n")[2]
        if len(line) < len(end) or len(line) > LINE_CHARACTERS:
            break
    line = shown(line.lstrip())
    return line if len(line) <= LINE_CHARACTERS else "…" + line[1 - LINE_CHARACTERS :]


def shown(text: str) -> str:
    """`harmless`, at once where there is nothing to escape, as in nearly every line."""
    if text.isprintable():
        return text
    return "\n".join(line if line.isprintable() else harmless(line) for line in text.split("\n"))


def row_detail(row: Row) -> dict[str, Any]:
    """The whole text, the error with its mend, the turns and the messages, as much as fits into `DETAIL_BYTES`.

    While it runs, the messages are what the model was asked.
    """
    outcome, task = row.outcome, row.task
    room = _Room(DETAIL_BYTES - FRAME_BYTES)
    error = room.take((outcome and outcome.error) or "", DETAIL_BYTES // 8)
    text = room.take((row.text if outcome is None else outcome.output) or "", DETAIL_BYTES // 2)
    turns = [_turn(turn) for turn in tuple(row.turns) if room.spend(TURN_BYTES)]
    asked = (Message(role="system", content=task.system or ""), Message(role="user", content=task.prompt))
    messages = (outcome and outcome.messages) or asked
    told = [_told(message, room) for message in messages if message.content or message.tool_calls]
    cut = f"… {room.cut:,} more characters in results[{short(repr(task.label))}]" if room.cut else ""
    return {"text": text, "error": error, "turns": turns, "messages": [one for one in told if one], "cut": cut}


def json_size(value: object) -> int:
    """At most so many bytes of JSON in UTF-8, for plain values: a literal of Python differs by quotes that need none.

    It takes a third of the time.
    """
    literal = repr(value)
    return len(literal.encode()) + literal.count('"')


def _turn(turn: Turn) -> dict[str, str]:
    """What it came to with all its tries; cached tokens are a part of the input's."""
    sent = turn.started_at is not None
    return {
        "turn": f"{turn.number} ({turn.attempts} tries)" if turn.attempts > 1 else f"{turn.number}",
        "in": tokens_words(turn.input_tokens, sent=sent, estimated=turn.estimated),
        "cached": f"{turn.cache_read_tokens:,}" if turn.cache_read_tokens else "",
        "out": tokens_words(turn.output_tokens, sent=sent, estimated=turn.estimated),
        "cost": cost_words(turn.cost_usd, sent=sent, unpriced=False),
        "time": "" if turn.duration_s is None else seconds_words(turn.duration_s),
    }


def _told(message: Message, room: "_Room") -> dict[str, Any]:
    """Empty where there is no room for it."""
    if not room.spend(MESSAGE_BYTES):
        room.cut += len(message.content)
        return {}
    told: dict[str, Any] = {"role": message.role, "content": room.take(message.content), "error": message.error}
    if message.tool:
        told["tool"] = room.take(message.tool)
    told["calls"] = [
        {"name": room.take(call.name), "arguments": room.take(call.arguments)}
        for call in message.tool_calls
        if room.spend(CALL_BYTES)
    ]
    return told


class _Room:
    """How many bytes are left for texts, and how many characters found no room."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.cut = 0

    def spend(self, size: int) -> bool:
        if self.left < size:
            return False
        self.left -= size
        return True

    def take(self, text: str, most: int = DETAIL_BYTES) -> str:
        """The beginning of the text, as much of it as there is room for."""
        room = min(most, self.left)
        kept = text[:room]
        while (size := json_size(shown(kept)) - len('""')) > room:
            kept = kept[: len(kept) * room // size]
        self.left -= size
        self.cut += len(text) - len(kept)
        return shown(kept)
