"""Regular expressions over answers, in a child program that ends whatever takes too long."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MATCHER = Path(__file__).with_name("pattern_matcher.py")
WALL_S = 30.0
BATCH_CHARACTERS = 4_000_000


class Search(NamedTuple):
    pattern: str
    ignore_case: bool
    text: str


def found(searches: Sequence[Search]) -> list[bool | None]:
    """Whether each finds something; None: it took too long. Raises OSError where no program can be started."""
    return [answer for batch in _batches(searches) for answer in _found(batch)]


def _batches(searches: Sequence[Search]) -> Iterator[list[Search]]:
    """Of so many characters that they need little memory."""
    batch: list[Search] = []
    room = BATCH_CHARACTERS
    for search in searches:
        batch.append(search)
        room -= len(search.text)
        if room <= 0:
            yield batch
            batch, room = [], BATCH_CHARACTERS
    if batch:
        yield batch


def _found(searches: Sequence[Search]) -> list[bool | None]:
    sent = "".join(f"{json.dumps(search)}\n" for search in searches).encode()
    matcher = subprocess.Popen(  # noqa: S603 - our own program, no shell
        [sys.executable, "-P", "-S", "-E", str(MATCHER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt goes to the kernel's whole process group
    )
    with matcher:
        try:
            said, _ = matcher.communicate(sent, WALL_S)
        except subprocess.TimeoutExpired:
            matcher.kill()
            said, _ = matcher.communicate()
    answers: list[bool | None] = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
    return [*answers, *[None] * (len(searches) - len(answers))]
