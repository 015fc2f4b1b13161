"""The child program of regex scores: it alone runs patterns over answers, since one can take for ever.

Its input is lines of JSON, [pattern, ignore case, text]; its output is a line of JSON for each: true, false, or null
where the pattern took too long. It is run as a file and imports nothing of this package.
"""

import json
import re
import resource
import signal
import sys
from collections import Counter
from typing import Any

CPU_S = 0.5
"""For one text: thousands of times as long as a pattern without repeats within repeats takes."""
MOST_LATE = 5
"""Then this pattern is not searched for any more: the limit holds for a whole run."""
MEMORY_BYTES = 1 << 30


class Late(Exception):  # noqa: N818 - says what happened
    """Raised into a search, which looks for signals every few thousand steps."""


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    signal.signal(signal.SIGPROF, _raise)
    late: Counter[str] = Counter()
    for line in sys.stdin.buffer:
        pattern, ignore_case, text = json.loads(line)
        found = None if late[pattern] >= MOST_LATE else _found(pattern, ignore_case, text)
        late[pattern] += found is None
        print(json.dumps(found), flush=True)  # noqa: T201 - its output is the answer


def _found(pattern: str, ignore_case: bool, text: str) -> bool | None:  # noqa: FBT001 - as it is sent
    try:
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        try:
            return re.search(pattern, text, re.IGNORECASE if ignore_case else 0) is not None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (Late, re.error, OverflowError, RecursionError, MemoryError):
        return None


def _raise(*_: Any) -> None:
    raise Late


if __name__ == "__main__":
    main()
