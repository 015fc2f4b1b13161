"""What is counted and measured of subagents: histograms, percentiles, a rolling window and totals, in plain Python."""

import math
import threading
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import Generic, TypeGuard, TypeVar

from xz_magics.records import STATUSES, ErrorType, Outcome, Status

AT_MOST_BINS = 30
SAME_SHARE, SAME_AT_LEAST = 1e-3, 1e-6
"""Values no further apart than this share of them, or a microsecond, are one to whoever looks at them."""
SPAWN_WINDOW = 1_000
P95_FROM = 20

DURATION_BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, math.inf)
"""OpenTelemetry's boundaries for gen_ai.client.operation.duration, and a bucket for all that is longer."""

SPAWN_BOUNDS_S = (*(0.001 * 2**doubled for doubled in range(13)), math.inf)
"""A spawn takes about 2 ms; one that waits for a connection takes up to seconds."""


Group = TypeVar("Group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin(Generic[Group]):
    """How many rows of each group, such as a status, lie from `left` up to `right`, which the last bin includes.

    Both None: rows without a value.
    """

    left: float | None
    right: float | None
    counts: Mapping[Group, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def duration_bins(outcomes: Sequence[Outcome]) -> list[Bin[Status]]:
    """Bins of `duration_s`. What is reused is left out: it took no time here."""
    sent = [one for one in outcomes if one.reused is None]
    return histogram([one.duration_s for one in sent], [one.status for one in sent], whole=False)


def token_bins(outcomes: Sequence[Outcome]) -> list[Bin[Status]]:
    """Bins of `total_tokens`, without what is reused."""
    sent = [one for one in outcomes if one.reused is None]
    return histogram([one.total_tokens for one in sent], [one.status for one in sent], whole=True)


def histogram(values: Sequence[float | None], groups: Sequence[Group], *, whole: bool) -> list[Bin[Group]]:
    """Bins whose totals add up to the number of rows. None, NaN and infinities have no value to be binned by."""
    edges = bin_edges([value for value in values if _is_finite(value)], whole=whole)
    counts: list[Counter[Group]] = [Counter() for _ in edges[1:]]
    unknown: Counter[Group] = Counter()
    for value, group in zip(values, groups, strict=True):
        if _is_finite(value):
            counts[min(bisect_right(edges, value), len(counts)) - 1][group] += 1
        else:
            unknown[group] += 1
    bins = [
        Bin(left=left, right=right, counts=count) for (left, right), count in zip(pairwise(edges), counts, strict=True)
    ]
    return [*bins, Bin(left=None, right=None, counts=unknown)] if unknown else bins


def bin_edges(values: Sequence[float], *, whole: bool, at_most: int = AT_MOST_BINS) -> list[float]:
    """Edges of equally wide bins over finite values; none for no value, one bin where all are as good as equal.

    With `whole`, edges are whole numbers, equally many to a bin; the last edge then lies above all values.
    """
    if not values:
        return []
    low, high = min(values), max(values)
    bins = min(at_most, _auto_bins(values))
    if whole:
        first, numbers = math.floor(low), math.floor(high) - math.floor(low) + 1
        width = math.ceil(numbers / bins)
        return [first + index * width for index in range(math.ceil(numbers / width) + 1)]
    if math.isclose(low, high, rel_tol=SAME_SHARE, abs_tol=SAME_AT_LEAST):
        room = max(0.5, abs(high) * SAME_SHARE)
        return [low - room if low < 0 else max(0.0, low - room), high + room]
    return [*(low + (high - low) * index / bins for index in range(bins)), high]


def percentile(values: Sequence[float], percent: float) -> float:
    """Interpolated between the two nearest ranks, as numpy's default does; 0 <= percent <= 100, at least one value."""
    ranked = sorted(values)
    rank = (len(ranked) - 1) * percent / 100
    below = math.floor(rank)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (rank - below)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnStats:
    """The spawns in the window: `success_rate` is the share whose request was written; times in seconds of those.

    None where there is nothing to say it by; `p95_s` only from 20 times on.
    """

    spawns: int
    success_rate: float | None
    min_s: float | None
    mean_s: float | None
    max_s: float | None
    p95_s: float | None


class Window:
    """The last spawns, 1,000 unless told otherwise. Not safe across threads by itself."""

    def __init__(self, size: int = SPAWN_WINDOW) -> None:
        self._spawns: deque[float | None] = deque(maxlen=size)

    def add(self, spawn_s: float | None) -> None:
        """None is a spawn that failed: no request was written."""
        self._spawns.append(spawn_s)

    def stats(self) -> SpawnStats:
        times = [spawn_s for spawn_s in self._spawns if spawn_s is not None]
        return SpawnStats(
            spawns=len(self._spawns),
            success_rate=len(times) / len(self._spawns) if self._spawns else None,
            min_s=min(times, default=None),
            mean_s=math.fsum(times) / len(times) if times else None,
            max_s=max(times, default=None),
            p95_s=percentile(times, 95) if len(times) >= P95_FROM else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number of one series. None in `status` or `error_type`: not told apart by it, or no error.

    `le` is the upper bound of a cumulative bucket in seconds, as in Prometheus; None for all other samples.
    """

    name: str
    depth: int
    status: Status | None = None
    error_type: ErrorType | None = None
    le: float | None = None
    value: float


class _Times:
    """Times, counted by the bucket that they fall into."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._buckets = [0] * len(bounds_s)
        self._sum_s = 0.0

    def add(self, time_s: float | None) -> None:
        """One that is unknown is left out."""
        if _is_finite(time_s):
            self._sum_s += time_s
            self._buckets[bisect_left(self._bounds_s, time_s)] += 1

    def samples(
        self, name: str, depth: int, status: Status | None = None, error_type: ErrorType | None = None
    ) -> Iterator[Sample]:
        sample = partial(Sample, depth=depth, status=status, error_type=error_type)
        yield sample(name=f"{name}_count", value=sum(self._buckets))
        yield sample(name=f"{name}_sum", value=self._sum_s)
        for le, count in zip(self._bounds_s, accumulate(self._buckets), strict=True):
            yield sample(name=f"{name}_bucket", le=le, value=count)


@dataclass(slots=True)
class _Ended:
    """What has been added up of the subagents that ended alike."""

    count: int = 0
    turns: int = 0
    tokens: int = 0
    durations: _Times = field(default_factory=lambda: _Times(DURATION_BOUNDS_S))


class Metrics:
    """Totals by depth, status and error type, and the spawn window: one for a run, one for the session.

    Safe across threads. Failures count as everything else does; tokens and durations that are unknown are left out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executions: Counter[int] = Counter()
        self._active: Counter[int] = Counter()
        self._ended: defaultdict[tuple[int, Status, ErrorType | None], _Ended] = defaultdict(_Ended)
        self._window = Window()
        self._spawns: defaultdict[int, _Times] = defaultdict(lambda: _Times(SPAWN_BOUNDS_S))

    def started(self, depth: int) -> None:
        """A subagent has got its slot."""
        with self._lock:
            self._executions[depth] += 1
            self._active[depth] += 1

    def ended(self, outcome: Outcome, *, started: bool) -> None:
        """A subagent has ended; one that was skipped or cancelled before it got a slot has not `started`.

        One whose answer is reused was none.
        """
        if outcome.reused is not None:
            return
        with self._lock:
            if started:
                self._active[outcome.depth] -= 1
                self._window.add(outcome.spawn_s)
                self._spawns[outcome.depth].add(outcome.spawn_s)
            ended = self._ended[outcome.depth, outcome.status, outcome.error_type]
            ended.count += 1
            ended.turns += len(outcome.turns)
            ended.tokens += outcome.total_tokens or 0
            ended.durations.add(outcome.duration_s)

    def spawns(self) -> SpawnStats:
        with self._lock:
            return self._window.stats()

    def spawn_rows(self) -> list[Sample]:
        """The spawns since the beginning whose request was written, as a histogram by depth."""
        with self._lock:
            spawns = sorted(self._spawns.items())
            return [sample for depth, times in spawns for sample in times.samples("subagent_spawn_seconds", depth)]

    def rows(self) -> list[Sample]:
        """Every series, by depth, then by how the subagents ended."""
        with self._lock:
            samples = []
            for depth, executions in sorted(self._executions.items()):
                samples += [
                    Sample(name="subagent_executions_total", depth=depth, value=executions),
                    Sample(name="subagent_active_count", depth=depth, value=self._active[depth]),
                ]
            by_end = sorted(
                self._ended.items(), key=lambda item: (item[0][0], STATUSES.index(item[0][1]), item[0][2] or "")
            )
            for key, ended in by_end:
                samples += _samples(*key, ended)
            return samples


def _samples(depth: int, status: Status, error_type: ErrorType | None, ended: _Ended) -> list[Sample]:
    totals = {
        "subagent_completions_total": ended.count,
        "subagent_errors_total": ended.count if error_type else None,
        "subagent_turns_used": ended.turns,
        "subagent_tokens_consumed": ended.tokens,
    }
    samples = [
        Sample(name=name, depth=depth, status=status, error_type=error_type, value=value)
        for name, value in totals.items()
        if value is not None
    ]
    return [*samples, *ended.durations.samples("subagent_duration_seconds", depth, status, error_type)]


def _auto_bins(values: Sequence[float]) -> int:
    """How many bins numpy's "auto" makes: those of Sturges or Freedman-Diaconis, whichever are more.

    Freedman-Diaconis is held to twice the square root of the count, as in numpy 2.4 (numpy.histogram_bin_edges).
    """
    spread = max(values) - min(values)
    quartiles = percentile(values, 75) - percentile(values, 25)
    sturges = spread / (math.log2(len(values)) + 1)
    freedman_diaconis = 2 * quartiles * math.pow(len(values), -1 / 3)
    root = spread / math.sqrt(len(values))
    width = min(max(freedman_diaconis, root / 2), sturges)
    return math.ceil(spread / width) if width else 1


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
