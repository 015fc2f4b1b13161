"""Bins, percentiles, the rolling window and the totals of subagents."""

import math
import random
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st

from xz_magics.metrics import Metrics, Window, bin_edges, duration_bins, histogram, percentile, token_bins
from xz_magics.records import STATUSES, Outcome, Turn

SECONDS = st.floats(min_value=0, max_value=1e9)
TOKENS = st.integers(min_value=0, max_value=10**12)
STATUS = st.sampled_from(STATUSES)
NO_VALUE = st.sampled_from([None, math.nan, math.inf, -math.inf])


def outcome(status="done", *, depth=0, error_type=None, tokens=10, spawn_s=0.1, duration_s=1.0):
    turn = Turn(number=1, attempts=1, max_tokens=64, started_at=0.0, duration_s=1.0, input_tokens=tokens)
    return Outcome(
        index=0,
        label="a",
        status=status,
        model="scripted:x",
        max_tokens=64,
        depth=depth,
        error_type=error_type,
        turns=(turn,),
        spawn_s=spawn_s,
        duration_s=duration_s,
    )


def value_of(metrics, name, **labels):
    samples = [one for one in metrics.rows() if one.name == name]
    found = [one.value for one in samples if all(getattr(one, key) == value for key, value in labels.items())]
    assert len(found) == 1, (name, labels, samples)
    return found[0]


@given(st.lists(st.tuples(SECONDS | NO_VALUE, STATUS)))
def test_bins_of_seconds_add_up_in_all_and_by_status(rows):
    bins = histogram([value for value, _ in rows], [status for _, status in rows], whole=False)

    assert sum(one.total for one in bins) == len(rows)
    assert sum((Counter(one.counts) for one in bins), Counter()) == Counter(status for _, status in rows)
    assert len([one for one in bins if one.left is not None]) <= 30


@given(st.lists(TOKENS, min_size=1))
def test_bins_of_tokens_have_whole_edges_of_one_width_and_each_counts_its_own_values(values):
    bins = histogram(values, ["done"] * len(values), whole=True)

    assert len(bins) <= 30
    assert all(isinstance(one.left, int) and isinstance(one.right, int) for one in bins)
    assert len({one.right - one.left for one in bins}) == 1
    assert [one.total for one in bins] == [sum(one.left <= value < one.right for value in values) for one in bins]


@given(st.lists(SECONDS, min_size=1))
def test_edges_rise_and_hold_every_value(values):
    edges = bin_edges(values, whole=False)

    assert edges == sorted(set(edges))
    assert edges[0] <= min(values)
    assert edges[-1] >= max(values)


@given(SECONDS, st.integers(min_value=1, max_value=50), st.booleans())
def test_equal_values_stand_in_one_bin(value, count, whole):
    bins = histogram([value] * count, ["done"] * count, whole=whole)

    assert [one.total for one in bins] == [count]
    assert 0 <= bins[0].left <= value < bins[0].right


@pytest.mark.parametrize(
    "values", [[5.0, 5.0 + 1e-9], [0.1 + 0.2, 0.3], [0.0, 1e-12], [1e6, 1e6 + 0.001], [60.0, 60.05]]
)
def test_values_that_nobody_could_tell_apart_stand_in_one_bin_as_equal_ones_do(values):
    (one,) = histogram(values, ["done", "failed"], whole=False)

    assert one.total == 2
    assert one.left <= min(values)
    assert one.right - one.left >= max(0.5, values[0] / 1_000)


@pytest.mark.parametrize("seed", range(200))
def test_the_number_of_bins_is_numpys_up_to_30(seed):
    generator = random.Random(seed)
    values = [generator.lognormvariate(1, generator.random()) for _ in range(generator.randint(2, 400))]

    edges = bin_edges(values, whole=False)

    assert len(edges) == min(30, len(np.histogram_bin_edges(values, "auto")) - 1) + 1


def test_counts_are_numpys_for_the_same_edges():
    values = [random.Random(7).gauss(5, 1) for _ in range(500)]

    bins = histogram(values, ["done"] * 500, whole=False)

    edges = [one.left for one in bins] + [bins[-1].right]
    assert [one.total for one in bins] == np.histogram(values, edges)[0].tolist()


def test_no_rows_make_no_bins_and_rows_without_a_value_only_the_last_one():
    assert histogram([], [], whole=False) == []

    (unknown,) = histogram([None, math.nan], ["skipped", "failed"], whole=True)

    assert (unknown.left, unknown.right, unknown.counts) == (None, None, {"skipped": 1, "failed": 1})


def test_outcomes_are_binned_by_their_duration_and_by_all_their_tokens():
    outcomes = [outcome(duration_s=2.0, tokens=7), outcome("skipped", duration_s=None, tokens=None)]

    seconds, tokens = duration_bins(outcomes), token_bins(outcomes)

    assert [one.counts for one in seconds] == [{"done": 1}, {"skipped": 1}]
    assert [(one.left, one.right) for one in tokens] == [(7, 8), (None, None)]


@given(st.lists(SECONDS, min_size=1), st.floats(min_value=0, max_value=100))
def test_percentiles_are_numpys(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-9)


def test_the_window_forgets_the_oldest_spawns_and_says_what_share_worked():
    window = Window(size=4)

    for spawn_s in (99.0, None, 1.0, 2.0, 3.0):
        window.add(spawn_s)

    stats = window.stats()
    assert (stats.spawns, stats.success_rate) == (4, 0.75)
    assert (stats.min_s, stats.mean_s, stats.max_s) == (1.0, 2.0, 3.0)


def test_a_window_holds_a_thousand_spawns_and_tells_p95_from_the_twentieth_on():
    window = Window()

    for number in range(19):
        window.add(float(number))
    assert window.stats().p95_s is None
    for number in range(19, 1_500):
        window.add(float(number))

    assert window.stats().spawns == 1_000
    assert window.stats().p95_s == pytest.approx(np.percentile(range(500, 1_500), 95))


def test_an_empty_window_knows_nothing():
    stats = Window().stats()

    assert stats.spawns == 0
    assert (stats.success_rate, stats.min_s, stats.mean_s, stats.max_s, stats.p95_s) == (None,) * 5


def test_totals_are_kept_by_depth_status_and_error_type_failures_included():
    metrics = Metrics()

    for one in (
        outcome(tokens=5),
        outcome(tokens=7),
        outcome("failed", error_type="network", tokens=None, duration_s=None, spawn_s=None),
        outcome("failed", error_type="auth"),
        outcome(depth=1),
    ):
        metrics.started(one.depth)
        metrics.ended(one, started=True)
    metrics.started(1)

    assert value_of(metrics, "subagent_executions_total", depth=0) == 4
    assert value_of(metrics, "subagent_executions_total", depth=1) == 2
    assert value_of(metrics, "subagent_active_count", depth=0) == 0
    assert value_of(metrics, "subagent_active_count", depth=1) == 1
    assert value_of(metrics, "subagent_completions_total", depth=0, status="done") == 2
    assert value_of(metrics, "subagent_tokens_consumed", depth=0, status="done") == 12
    assert value_of(metrics, "subagent_turns_used", depth=0, status="done") == 2
    assert value_of(metrics, "subagent_completions_total", depth=0, status="failed", error_type="network") == 1
    assert value_of(metrics, "subagent_errors_total", depth=0, error_type="network") == 1
    assert value_of(metrics, "subagent_errors_total", depth=0, error_type="auth") == 1
    assert value_of(metrics, "subagent_duration_seconds_count", depth=0, error_type="network") == 0
    assert metrics.spawns().success_rate == 4 / 5


def test_what_never_got_a_slot_counts_as_an_end_but_neither_as_active_nor_as_a_spawn():
    metrics = Metrics()

    metrics.started(0)
    metrics.ended(outcome(), started=True)
    metrics.ended(outcome("skipped", error_type="quota_exceeded", spawn_s=None), started=False)

    assert value_of(metrics, "subagent_active_count", depth=0) == 0
    assert value_of(metrics, "subagent_executions_total", depth=0) == 1
    assert value_of(metrics, "subagent_completions_total", depth=0, status="skipped") == 1
    assert metrics.spawns().spawns == 1


def test_duration_buckets_are_cumulative_and_end_with_all():
    metrics = Metrics()

    for seconds in (0.01, 0.5, 0.64, 3.0, 1e6):
        metrics.started(0)
        metrics.ended(outcome(duration_s=seconds), started=True)

    buckets = {one.le: one.value for one in metrics.rows() if one.name == "subagent_duration_seconds_bucket"}
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets[0.01], buckets[0.32], buckets[0.64], buckets[81.92], buckets[math.inf]) == (1, 1, 3, 4, 5)
    assert value_of(metrics, "subagent_duration_seconds_sum") == pytest.approx(1_000_004.15)
    assert value_of(metrics, "subagent_duration_seconds_count") == 5


def test_spawns_are_a_histogram_by_depth_of_those_whose_request_was_written():
    metrics = Metrics()

    for depth, spawn_s in ((0, 0.001), (0, 0.0015), (0, None), (0, 60.0), (1, 0.5)):
        metrics.started(depth)
        metrics.ended(outcome(depth=depth, spawn_s=spawn_s), started=True)

    rows = {
        (one.name.removeprefix("subagent_spawn_seconds_"), one.depth, one.le): one.value for one in metrics.spawn_rows()
    }
    assert [rows["bucket", 0, le] for le in (0.001, 0.002, 4.096, math.inf)] == [1, 2, 2, 3]
    assert [rows["bucket", 1, le] for le in (0.256, 0.512, math.inf)] == [0, 1, 1]
    assert (rows["count", 0, None], rows["count", 1, None]) == (3, 1)
    assert rows["sum", 0, None] == pytest.approx(60.0025)


def test_threads_lose_no_count():
    metrics = Metrics()

    def work():
        for _ in range(2_000):
            metrics.started(0)
            metrics.ended(outcome(), started=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert value_of(metrics, "subagent_active_count") == 0
    assert value_of(metrics, "subagent_executions_total") == 8_000
    assert value_of(metrics, "subagent_completions_total") == 8_000
