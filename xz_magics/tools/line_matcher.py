"""The child program of `grep`: it alone runs a model's regular expression, under limits, since one can take for ever.

Its input is a line of JSON ({pattern, sizes, most_matches, most_per_file, most_chars}) and then the files' bytes, one
after the other. Its output is a line of JSON per file, as soon as it is searched: {matches: [[line number, text], …],
more: matches left out, binary}; or one {error}; or less than that, where a limit ended it. It is run as a file and
imports nothing of this package.
"""

import json
import re
import resource
import sys
from typing import Any

CPU_S = 2
MEMORY_BYTES = 1 << 30


def main() -> None:
    _limit(resource.RLIMIT_CPU, CPU_S)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        pattern = re.compile(asked["pattern"])
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        _say({"error": str(error) or type(error).__name__})
        return
    room = asked["most_matches"]
    for size in asked["sizes"]:
        content = sys.stdin.buffer.read(size)
        most = min(room, asked["most_per_file"])
        try:
            found = _search(pattern, content, most, asked["most_chars"])
        except MemoryError:
            return
        room -= len(found["matches"])
        _say(found)


def _search(pattern: re.Pattern[str], content: bytes, most: int, most_chars: int) -> dict[str, Any]:
    matches: list[tuple[int, str]] = []
    more = 0
    if b"\0" in content:
        return {"matches": [], "more": 0, "binary": True}
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        match = pattern.search(line.removesuffix("\r"))
        if match is None:
            continue
        if len(matches) < most:
            matches.append((number, _around(line, match.start(), most_chars)))
        else:
            more += 1
    return {"matches": matches, "more": more, "binary": False}


def _around(line: str, at: int, most_chars: int) -> str:
    start = max(0, at - most_chars // 4) if len(line) > most_chars else 0
    end = start + most_chars
    return ("…" if start else "") + line[start:end].removesuffix("\r") + ("…" if len(line) > end else "")


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - its output is the answer


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, hard))


if __name__ == "__main__":
    main()
