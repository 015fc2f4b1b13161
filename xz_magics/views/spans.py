"""What the spans of subagents tell together: over what time, of what kinds, and how many requests at once."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from xz_magics.records import Outcome, Span, SpanKind

KIND_WORDS: Mapping[SpanKind, str] = {
    "call": "model call",
    "tool": "tool call",
    "children": "waits for its subagents",
    "queued": "queued",
    "retry": "waits to try again",
    "rate_limited": "waits: rate limit (429)",
}
"""In the order in which they are told."""

LEAST_TIME_S = 0.001


def finite_spans(outcome: Outcome) -> list[Span]:
    """Those that have a place in time."""
    return [span for span in outcome.spans if math.isfinite(span.started_at) and math.isfinite(span.ended_at)]


def whole_time(outcomes: Sequence[Outcome]) -> tuple[float, float] | None:
    """From the first span's start to the last one's end, in seconds since the epoch; None where there is no span."""
    times = [at for outcome in outcomes for span in finite_spans(outcome) for at in (span.started_at, span.ended_at)]
    return (min(times), max(times)) if times else None


def kind_seconds(outcomes: Sequence[Outcome]) -> dict[SpanKind, float]:
    """How long all of them together spent with each kind that occurs."""
    found = [span for outcome in outcomes for span in finite_spans(outcome)]
    seconds = {kind: [span.ended_at - span.started_at for span in found if span.kind == kind] for kind in KIND_WORDS}
    return {kind: math.fsum(times) for kind, times in seconds.items() if times}


def requests_under_way(outcomes: Sequence[Outcome]) -> list[tuple[float, int]]:
    """From when on how many; each time once, in order, in seconds since the epoch. The last number is 0.

    A request that begins as another ends is not beside it.
    """
    changes: Counter[float] = Counter()
    for outcome in outcomes:
        for span in finite_spans(outcome):
            if span.kind == "call" and span.started_at < span.ended_at:
                changes[span.started_at] += 1
                changes[span.ended_at] -= 1
    times = sorted(changes)
    return list(zip(times, accumulate(changes[at] for at in times), strict=True))


def most_by_column(outcomes: Sequence[Outcome], columns: int) -> list[int]:
    """The most requests at once in each of so many equal parts of the whole time; empty where there is no span.

    The blink between a request and the next is no dip: a part holds its maximum.
    """
    time = whole_time(outcomes)
    if time is None:
        return []
    most = [0] * columns
    began_at, ended_at = time
    per_second = columns / max(ended_at - began_at, LEAST_TIME_S)
    for (left_at, count), (right_at, _) in pairwise(requests_under_way(outcomes)):
        first = min(columns - 1, int((left_at - began_at) * per_second))
        last = min(columns, max(first + 1, math.ceil((right_at - began_at) * per_second)))
        most[first:last] = [max(count, known) for known in most[first:last]]
    return most


def most_words(most: int) -> str:
    return f"at most {most:,} request{'' if most == 1 else 's'} at once"
