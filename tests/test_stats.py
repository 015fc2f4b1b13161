"""Intervals, tests, corrections and numbers of inputs: known values, the same by others, and what is degenerate."""

import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as theirs
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from xz_magics import stats
from xz_magics.stats.intervals import mean_interval, paired_proportions_interval, proportion_interval, sd
from xz_magics.stats.power import inputs_for_means, inputs_for_proportions, least_inputs
from xz_magics.stats.tests import exact_sign, holm, paired_t

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: round(number, 6))
counts = st.integers(0, 200)


def cells(*inputs):
    return {f"input {number}": {"": list(repeats)} for number, repeats in enumerate(inputs)}


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((14, 5, 0, 22), 0.011, 0.226),  # Altman and others, Statistics with confidence, 2000, table 6.2
        ((1, 1, 7, 12), -0.507, -0.026),  # Fagerland and others, Statistics in Medicine 33, 2014: Bentur's children
        ((59, 6, 16, 80), -0.119, -0.005),  # the same: Cavo's patients
    ],
)
def test_newcombes_paired_interval_is_that_of_published_examples(table, low, high):
    interval = paired_proportions_interval(*table)

    assert (round(interval.low, 3), round(interval.high, 3)) == (low, high)


@given(counts, counts, counts, counts)
def test_newcombes_paired_interval_holds_the_difference_and_turns_round_with_the_arms(both, first, second, neither):
    inputs = both + first + second + neither
    if not inputs:
        return

    one = paired_proportions_interval(both, first, second, neither)
    other = paired_proportions_interval(both, second, first, neither)

    assert -1 <= one.low <= (first - second) / inputs <= one.high <= 1
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


@given(st.integers(1, 2_000), st.data())
def test_wilsons_interval_is_that_of_statsmodels(inputs, data):
    yes = data.draw(st.integers(0, inputs))

    interval = proportion_interval(yes, inputs)

    expected = proportion_confint(yes, inputs, method="wilson")
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


@given(st.lists(numbers, min_size=2, max_size=40))
def test_the_t_interval_and_the_t_test_are_those_of_scipy(values):
    spread = np.std(values, ddof=1)
    if spread <= 1e-6 * max(map(abs, values)):
        return

    interval, p = mean_interval(values), paired_t(values)

    expected = theirs.t.interval(0.95, len(values) - 1, np.mean(values), spread / math.sqrt(len(values)))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-6, abs=1e-6 * spread)
    assert p == pytest.approx(theirs.ttest_1samp(values, 0).pvalue, rel=1e-6, abs=1e-300)


@given(counts, counts)
def test_mcnemars_exact_test_is_that_of_statsmodels(first, second):
    expected = mcnemar([[7, first], [second, 9]], exact=True).pvalue

    assert exact_sign(first, second) == pytest.approx(min(1, expected), rel=1e-9)


@pytest.mark.slow
@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=30))
def test_holms_correction_is_that_of_statsmodels(ps):
    _, expected, *_ = multipletests(ps, method="holm")

    assert holm(ps) == pytest.approx(list(expected))


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.3])
def test_the_inputs_that_a_t_test_needs_are_those_of_statsmodels(effect):
    expected = TTestPower().solve_power(effect, alpha=0.05, power=0.8)

    assert inputs_for_means(effect, 1) == math.ceil(expected)


@pytest.mark.parametrize("pairs", [3, 66])
@pytest.mark.parametrize("effect", [0.1, 0.5, 1.3])
def test_more_pairs_need_more_inputs_as_statsmodels_says(effect, pairs):
    expected = TTestPower().solve_power(effect, alpha=0.05 / pairs, power=0.8)

    assert inputs_for_means(effect, 1, pairs=pairs) == math.ceil(expected)


def test_among_many_pairs_an_exact_test_needs_so_many_inputs_as_can_be_significant():
    for pairs in (1, 2, 3, 66):
        least = least_inputs(pairs)
        assert pairs * exact_sign(least, 0) <= 0.05 < pairs * exact_sign(least - 1, 0)
        assert inputs_for_proportions(1, 0, pairs=pairs) == least
    assert inputs_for_proportions(0.3, 0.1, pairs=66) > inputs_for_proportions(0.3, 0.1, pairs=3) > 84


def test_the_inputs_that_mcnemars_test_needs_are_a_few_more_than_by_connors_formula():
    by_connor = ((1.959964 * math.sqrt(0.4) + 0.841621 * math.sqrt(0.4 - 0.04)) / 0.2) ** 2

    assert math.ceil(by_connor) == 77
    assert inputs_for_proportions(0.3, 0.1) == inputs_for_proportions(0.1, 0.3) == 84


def test_no_difference_needs_no_number_and_a_huge_one_needs_six():
    assert inputs_for_means(0, 1) is inputs_for_means(1e-300, 1) is inputs_for_proportions(0.2, 0.2) is None
    assert inputs_for_means(1e300, 1e-3) == inputs_for_proportions(1, 0) == 6


def test_repeats_are_averaged_before_inputs_and_settings_before_them():
    values = {"one": {"cold": [0.0, 1.0], "hot": [4.0]}, "two": {"cold": [3.0]}}

    found = stats.estimate(values)

    assert found.points == (2.25, 3.0)
    assert found.mean == 2.625
    assert found.within_sd == pytest.approx(sd([0.0, 1.0]))
    assert found.between_sd == pytest.approx(sd([2.25, 3.0]))


def test_repeats_of_equal_inputs_say_nothing_of_between_and_everything_of_within():
    found = stats.estimate(cells([1.0, 3.0], [3.0, 1.0], [2.0, 2.0]))

    assert found.between_sd == 0
    assert found.within_sd == pytest.approx(math.sqrt((2 + 2 + 0) / 3))


def test_yes_and_no_of_inputs_have_wilsons_interval_and_shares_that_of_t_within_0_and_1():
    decided = stats.estimate(cells(*[[1.0, 1.0]] * 7, *[[0.0, 0.0]] * 3), yes_no=True, bounds=(0, 1))
    mixed = stats.estimate(cells(*[[1.0, 1.0]] * 9, [0.0, 1.0]), yes_no=True, bounds=(0, 1))

    assert decided.interval == proportion_interval(7, 10)
    assert mixed.interval.low == mean_interval([1.0] * 9 + [0.5]).low
    assert mixed.interval.high == 1


def test_so_many_repeats_of_yes_come_to_yes():
    for repeats in range(1, 120):
        found = stats.estimate(cells(*[[1.0] * repeats] * 8), yes_no=True)
        assert found.points == (1.0,) * 8


def test_like_is_compared_with_like_and_what_one_arm_lacks_is_left_out():
    first = {f"input {number}": {"cold": [1.0], "hot": [9.0]} for number in range(8)}
    second = {f"input {number}": {"cold": [0.5 + number / 100]} for number in range(1, 9)}

    found = stats.pair("a", "b", "score", (first, second))

    assert found.left_out == 2
    assert found.difference.inputs == 7
    assert found.difference.difference == pytest.approx(1 - 0.5 - 0.04)


def test_arms_that_share_no_setting_share_no_input():
    first = {f"input {number}": {"cold": [1.0]} for number in range(8)}
    second = {f"input {number}": {"hot": [1.0]} for number in range(8)}

    found = stats.pair("a", "b", "score", (first, second))

    assert (found.left_out, found.difference) == (8, stats.Difference(inputs=0))


@pytest.mark.parametrize("inputs", range(6))
def test_below_six_inputs_there_is_no_p_and_no_interval(inputs):
    found = stats.compare([1.0] * inputs, [0.0] * inputs, yes_no=True)

    assert (found.inputs, found.p, found.interval, found.needed_inputs) == (inputs, None, None, None)
    assert found.difference == (1.0 if inputs else None)


def test_yes_and_no_are_compared_by_mcnemar_and_newcombe_and_shares_by_t():
    first, second = [1.0] * 9 + [0.0] * 3, [0.0] * 8 + [1.0] * 2 + [0.0] * 2

    decided = stats.compare(first, second, yes_no=True)
    mixed = stats.compare([*first[:-1], 0.5], second, yes_no=True)
    plain = stats.compare(first, second)

    assert decided.p == exact_sign(8, 1)
    assert decided.interval == paired_proportions_interval(1, 8, 1, 2)
    assert "McNemar" in decided.method
    assert mixed.method == plain.method == "paired t"
    assert plain.p == pytest.approx(theirs.ttest_rel(first, second).pvalue)


def test_equal_differences_are_tested_by_their_signs_and_have_no_interval():
    shifted = stats.compare([1.5, 2.5, 3.5, 4.5, 5.5, 6.5], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    same = stats.compare([1.5] * 9, [1.5] * 9)

    assert (shifted.difference, shifted.interval, shifted.p) == (0.5, None, 2 / 2**6)
    assert (same.difference, same.interval, same.p, same.needed_inputs) == (0, None, 1, None)


def test_what_only_rounding_tells_apart_is_equal():
    found = stats.compare([(0.1 + 0.2) * number for number in range(1, 9)], [0.3 * number for number in range(1, 9)])

    assert (found.difference, found.p) == (0, 1)


@given(st.lists(st.tuples(numbers, numbers), max_size=30), st.booleans())
def test_whatever_the_numbers_are_no_warning_no_nan_and_no_p_of_0_comes_of_them(pairs, yes_no):
    first, second = (
        [float(value > 0) if yes_no else value for value in arm]
        for arm in ([a for a, _ in pairs], [b for _, b in pairs])
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stats.compare(first, second, yes_no=yes_no)
        one = stats.estimate(cells(*([value] for value in first)), yes_no=yes_no)

    assert found.p is None or 0 < sys.float_info.min <= found.p <= 1
    assert found.needed_inputs is None or found.needed_inputs >= 6
    told = [found.difference, one.mean, one.between_sd]
    told += [end for interval in (found.interval, one.interval) if interval for end in (interval.low, interval.high)]
    assert all(number is None or math.isfinite(number) for number in told)


def test_only_pairs_with_a_p_count_for_the_correction():
    def pair(p):
        return stats.Pair(
            first="a", second="b", measure="score", left_out=0, difference=stats.Difference(inputs=9, p=p)
        )

    found = stats.corrected([pair(0.02), pair(None), pair(0.04)])

    assert [one.p_holm for one in found] == [0.04, None, 0.04]
