"""What the methods promise, seen in simulated experiments: coverage, false alarms, power, and why inputs are the unit."""

from itertools import combinations

import numpy as np
import pytest

from xz_magics import stats
from xz_magics.stats.power import inputs_for_means, inputs_for_proportions
from xz_magics.stats.tests import exact_sign, holm

pytestmark = pytest.mark.slow

DRAWS, MANY_DRAWS = 2_000, 10_000
REPEATS = 5
ERROR = 3 * (0.05 * 0.95 / MANY_DRAWS) ** 0.5
"""Three standard errors of a share of 5 % in so many draws: with a fixed seed no luck decides, and none is hidden."""

every_size = pytest.mark.parametrize("inputs", [10, 24, 100])


def random(*seed):
    return np.random.default_rng([2026, *seed])


def numbers(generator, inputs, difference=0.0, arms=2):
    """Scores by arm, input and repeat: inputs differ (sd 1), take to each arm in their own way and vary (sd 0.5)."""
    inputs_own = generator.normal(0, 1, (inputs, 1))
    arms_own = np.linspace(0, difference, arms)[:, None, None] + generator.normal(0, 0.35, (arms, inputs, 1))
    return inputs_own + arms_own + generator.normal(0, 0.5, (arms, inputs, REPEATS))


def yes_no(generator, inputs, repeats, shift=0.0):
    """Answers by arm, input and repeat that are right (1) or wrong: an input that is hard is so in both arms."""
    ease = generator.normal(0.8, 1.2, (inputs, 1)) + generator.normal(0, 0.6, (2, inputs, 1))
    share = 1 / (1 + np.exp(-(ease + np.array([0, shift])[:, None, None])))
    return (generator.random((2, inputs, repeats)) < share).astype(float)


def true_shares(shift):
    generator = random(0)
    ease = generator.normal(0.8, np.hypot(1.2, 0.6), 2_000_000)
    return [(1 / (1 + np.exp(-(ease + own)))).mean() for own in (0, shift)]


def estimated(answers, **kind):
    """Of one arm: repeats are averaged first."""
    return stats.estimate(
        {str(row): {"": [value]} for row, value in enumerate(answers.mean(axis=1).tolist())}, **kind
    ).interval


def compared(answers, **kind):
    return stats.compare(*answers.mean(axis=2).tolist(), **kind)


def share_that_holds(truth, intervals):
    return np.mean([interval is not None and interval.low <= truth <= interval.high for interval in intervals])


@every_size
def test_the_intervals_of_means_and_of_their_difference_hold_the_truth(inputs):
    generator = random(1, inputs)
    drawn = [numbers(generator, inputs, difference=0.4) for _ in range(DRAWS)]

    means = [estimated(answers[0]) for answers in drawn]
    differences = [compared(answers).interval for answers in drawn]

    assert share_that_holds(0.0, means) >= 0.93
    assert share_that_holds(-0.4, differences) >= 0.93


@every_size
@pytest.mark.parametrize("repeats", [1, REPEATS])
def test_the_intervals_of_shares_and_of_their_difference_hold_the_truth(inputs, repeats):
    generator = random(2, inputs, repeats)
    drawn = [yes_no(generator, inputs, repeats, shift=0.7) for _ in range(DRAWS)]
    first_true, second_true = true_shares(0.7)

    shares = [estimated(answers[0], yes_no=True, bounds=(0, 1)) for answers in drawn]
    differences = [compared(answers, yes_no=True).interval for answers in drawn]

    assert share_that_holds(first_true, shares) >= 0.93
    assert share_that_holds(first_true - second_true, differences) >= 0.93


def alarms(drawn, **kind):
    """The share of p-values that call a difference real."""
    return np.mean([compared(answers, **kind).p <= 0.05 for answers in drawn])


@every_size
def test_false_alarms_are_at_most_one_in_twenty(inputs):
    generator = random(3, inputs)

    assert alarms(numbers(generator, inputs) for _ in range(MANY_DRAWS)) <= 0.05 + ERROR
    assert alarms((yes_no(generator, inputs, 1) for _ in range(MANY_DRAWS)), yes_no=True) <= 0.05
    assert alarms((yes_no(generator, inputs, REPEATS) for _ in range(MANY_DRAWS)), yes_no=True) <= 0.05 + ERROR


def test_four_arms_together_raise_a_false_alarm_in_at_most_one_of_twenty_experiments():
    generator = random(4)

    def has_alarm():
        pairs = combinations(numbers(generator, 24, arms=4), 2)
        return min(holm([compared(np.array(pair)).p for pair in pairs])) <= 0.05

    assert np.mean([has_alarm() for _ in range(DRAWS)]) <= 0.05 + 3 * (0.05 * 0.95 / DRAWS) ** 0.5


@every_size
def test_repeats_taken_for_inputs_would_raise_false_alarms_in_more_than_one_of_ten(inputs):
    generator = random(5, inputs)
    drawn = [numbers(generator, inputs) for _ in range(DRAWS)]

    one_by_one = alarms(answers.reshape(2, -1, 1) for answers in drawn)

    assert one_by_one > 0.1
    assert alarms(drawn) < one_by_one / 2


@pytest.mark.parametrize("effect", [0.3, 0.6, 1.0])
def test_so_many_inputs_as_a_difference_of_numbers_needs_find_it_in_four_of_five_cases(effect):
    generator = random(6, int(10 * effect))
    needed = inputs_for_means(effect, 1.0)

    found = [stats.compare(generator.normal(effect, 1, needed).tolist(), [0.0] * needed).p for _ in range(MANY_DRAWS)]

    assert 0.785 <= np.mean([p <= 0.05 for p in found]) <= 0.86


@pytest.mark.parametrize(("effect", "pairs"), [(2.5, 66), (1.3, 990)])
def test_so_many_inputs_as_a_difference_among_many_pairs_needs_find_it_in_four_of_five_cases(effect, pairs):
    generator = random(8, pairs)
    needed = inputs_for_means(effect, 1.0, pairs=pairs)

    found = [stats.compare(generator.normal(effect, 1, needed).tolist(), [0.0] * needed).p for _ in range(MANY_DRAWS)]

    assert 0.785 <= np.mean([p <= 0.05 / pairs for p in found]) <= 0.86


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.1), (0.15, 0.05), (0.25, 0.0)])
def test_so_many_inputs_as_a_difference_of_shares_needs_find_it_in_four_of_five_cases(first, second):
    generator = random(7, int(100 * first))
    needed = inputs_for_proportions(first, second)

    counts = generator.multinomial(needed, [first, second, 1 - first - second], MANY_DRAWS)

    exact = np.mean([exact_sign(only_first, only_second) <= 0.05 for only_first, only_second, _ in counts])
    assert 0.785 <= exact <= 0.86
