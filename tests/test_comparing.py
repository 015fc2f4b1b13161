"""Arms compared by inputs, and answers side by side: which outcomes count where, and what is said in words."""

import itertools
import random
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from strategies import task

from xz_magics.errors import SpecError
from xz_magics.events import RunEnded, Stamped, TaskEnded, TaskPlanned, TurnEnded
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.quotas import Tracker
from xz_magics.records import Trial, Turn
from xz_magics.results import Results


@dataclass
class Ended:
    """A task of a made-up run; `score` is missing where it is None."""

    input: int
    arms: dict[str, Any]
    score: Any = None
    repeat: int | None = None
    status: str = "done"
    output: str | None = "yes"
    cost_usd: float | None = 0.001
    tokens: int = 10
    duration_s: float = 1.0
    ended: bool = True
    written: str = "review"
    unit: str = ""
    row: bool = True
    scored: bool = True
    error: str = "network"


def results_of(rows, names=("accuracy",), going=False):
    outcomes, number, scores = Outcomes(), itertools.count(), {}

    def emit(event):
        outcomes(Stamped(run="r", number=next(number), at=100.0, event=event))

    for index, row in enumerate(rows):
        trial = Trial(
            input=f"{row.written}[{row.input}]",
            arms=row.arms,
            row=row.input if row.row else None,
            columns={"kind": "short <i>"} if row.row else {},
            repeat=row.repeat,
            unit=row.unit,
        )
        emit(TaskPlanned(task=task(f"t{index}", index=index, trial=trial)))
        if not row.ended:
            continue
        turn = Turn(
            number=1,
            attempts=1,
            max_tokens=100,
            started_at=100.0,
            duration_s=row.duration_s,
            input_tokens=row.tokens,
            output_tokens=0,
            cost_usd=row.cost_usd,
        )
        emit(TurnEnded(label=f"t{index}", turn=turn))
        error = None if row.status == "done" else row.error
        output = row.output if row.status in {"done", "incomplete"} else None
        ended = TaskEnded(
            label=f"t{index}",
            status=row.status,
            output=output,
            error=error,
            error_type=error,
            duration_s=row.duration_s,
        )
        emit(ended)
        if row.scored:
            scores[f"t{index}"] = dict.fromkeys(names, row.score if row.status == "done" else None)
    if not going:
        emit(RunEnded(duration_s=1.0))
    results = Results(outcomes, run_id="r", tracker=Tracker(), metrics=Metrics(), stop=print, cancel=print)
    results.scores = scores if names else {}
    return results


def two_arms(inputs=12, repeats=2, better=2.0, **fields):
    generator = random.Random(7)
    return [
        Ended(input=number, arms={"wording": arm}, repeat=repeat + 1, score=ease + generator.gauss(more, 0.5), **fields)
        for number, ease in enumerate(generator.gauss(0, 1) for _ in range(inputs))
        for arm, more in (("plain", 0.0), ("strict", better))
        for repeat in range(repeats)
    ]


def side_by_side(rows, variable="model", **value):
    return results_of(rows).pivot(variable, **value)  # noqa: PD010 - this is no DataFrame


def test_each_arm_has_a_row_and_each_pair_of_arms():
    comparison = results_of(two_arms()).compare_by("wording")

    arms, pairs = comparison.arms.set_index("arm"), comparison.pairs
    assert list(arms.index) == ["plain", "strict"]
    assert list(arms["inputs"]) == [12, 12]
    assert list(arms["answers"]) == [24, 24]
    assert list(arms["failed"]) == list(arms["missing_scores"]) == [0, 0]
    assert list(arms["tokens"]) == [10, 10]
    assert list(arms["cost_usd"]) == [0.001, 0.001]
    assert arms.loc["strict", "score_low"] < arms.loc["strict", "score"] < arms.loc["strict", "score_high"]
    assert 0.3 < arms.loc["plain", "within_sd"] < arms.loc["plain", "between_sd"] < 1.5
    (pair,) = pairs.to_dict("records")
    assert (pair["arm_a"], pair["arm_b"], pair["inputs"], pair["left_out"]) == ("plain", "strict", 12, 0)
    assert pair["difference"] == pytest.approx(arms.loc["plain", "score"] - arms.loc["strict", "score"])
    assert pair["low"] < pair["difference"] < pair["high"] < 0
    assert pair["p"] == pair["p_holm"] < 0.001
    assert (pair["method"], pair["verdict"]) == ("paired t", "strict scores higher than plain")


def test_the_verdict_says_which_arm_is_better_and_how_sure_that_is():
    verdict = results_of(two_arms()).compare_by("wording").verdict

    assert verdict.startswith("strict scores higher than plain: difference ")
    assert "95 % interval" in verdict
    assert "p < 0.001, 12 inputs." in verdict


def test_where_no_difference_is_found_the_verdict_says_so_and_how_many_inputs_would_find_one():
    comparison = results_of(two_arms(better=0.1)).compare_by("wording")

    assert comparison.verdict.startswith("No significant difference between plain and strict: ")
    needed = comparison.pairs.loc[0, "needed_inputs"]
    assert f"takes about {needed:,} inputs." in comparison.verdict
    assert needed > 12


def test_below_six_inputs_it_is_too_few_whatever_the_number_of_repeats():
    comparison = results_of(two_arms(inputs=5, repeats=40)).compare_by("wording")

    assert comparison.verdict.startswith("Too few to compare: 5 inputs, at least 6 are needed")
    pair = comparison.pairs.loc[0]
    assert pair["verdict"] == "too few to compare"
    assert pair[["p", "p_holm", "low", "high", "needed_inputs"]].isna().all()


def test_true_and_false_count_as_1_and_0_and_have_wilsons_interval():
    rows = [
        Ended(input=number, arms={"model": model}, score=number < right)
        for number in range(20)
        for model, right in (("a", 18), ("b", 9))
    ]

    comparison = results_of(rows).compare_by("model")

    arms = comparison.arms.set_index("arm")
    assert arms.loc["a", ["score", "score_low", "score_high"]].astype(float).round(3).tolist() == [0.9, 0.699, 0.972]
    assert comparison.pairs.loc[0, "method"] == "exact McNemar test, Newcombe interval"
    assert comparison.pairs.loc[0, "p"] == pytest.approx(2 / 2**9)


def test_of_three_arms_all_pairs_are_corrected_together():
    rows = [
        Ended(
            input=number,
            arms={"model": model},
            score=float(number * (model == "c") + (number * 7 % 5) / 5 * len(model)),
        )
        for number in range(10)
        for model in ("a", "bb", "c")
    ]

    comparison = results_of(rows).compare_by("model")

    pairs = comparison.pairs
    assert list(zip(pairs["arm_a"], pairs["arm_b"], strict=True)) == [("a", "bb"), ("a", "c"), ("bb", "c")]
    assert (pairs["p_holm"] >= pairs["p"]).all()
    assert (pairs["p_holm"] > pairs["p"]).any()
    assert comparison.verdict.startswith("c has the highest score")
    assert "significantly above a and bb" in comparison.verdict
    assert any("Holm" in warning for warning in comparison.warnings)


def test_other_variables_are_averaged_within_an_input_and_compared_only_where_both_arms_have_them():
    rows = [
        Ended(
            input=number,
            arms={"model": model, "heat": heat},
            score=number + 10 * heat + (model == "b") * (1 + number / 10),
        )
        for number in range(8)
        for model, heat in (("a", 0), ("a", 1), ("b", 0))
    ]

    comparison = results_of(rows).compare_by("model")

    arms = comparison.arms.set_index("arm")
    assert arms.loc["a", "score"] == pytest.approx(3.5 + 5)
    assert comparison.pairs.loc[0, "difference"] == pytest.approx(-1.35)
    assert any("then over heat" in warning or "mean over heat" in warning for warning in comparison.warnings)


def chained(*scored, rows=4, row=True):
    """Three tasks for each row or, without rows, for each chain; only those whose names are given have a score."""
    generator = random.Random(3)
    return [
        Ended(
            input=number,
            written=written,
            unit=f"row {number}" if row else f"draft {number}",
            row=row,
            arms={"wording": arm},
            score=more + generator.gauss(0, 0.1),
            scored=written in scored,
        )
        for number in range(rows)
        for written in ("draft", "critique", "final")
        for arm, more in (("plain", 0.0), ("strict", 2.0))
    ]


def test_the_tasks_of_a_chain_are_one_observation():
    comparison = results_of(chained("draft", "critique", "final")).compare_by("wording")

    assert comparison.verdict.startswith("Too few to compare: 4 inputs")
    assert list(comparison.arms["inputs"]) == [4, 4]
    assert list(comparison.arms["answers"]) == [12, 12]
    assert comparison.arms["within_sd"].isna().all()


def test_of_a_chain_only_tasks_that_both_arms_have_are_compared():
    rows = chained("draft", "critique", "final", rows=8)
    for row in rows:
        row.score += 100 * (row.written == "final")
    rows = [row for row in rows if (row.written, row.arms["wording"]) != ("final", "plain")]

    pairs = results_of(rows).compare_by("wording").pairs

    assert pairs.loc[0, "difference"] == pytest.approx(-2, abs=0.2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (True, "the unit is the foreach row; its value in an arm is the mean over its tasks"),
        (False, "the unit is the task with those that it builds on; its value in an arm is the mean over its tasks"),
    ],
)
def test_what_the_unit_is_is_told(row, words):
    comparison = results_of(chained("draft", "final", rows=8, row=row)).compare_by("wording")

    assert words in comparison.warnings


def test_a_task_without_a_scorer_misses_no_score():
    comparison = results_of(chained("final", rows=8)).compare_by("wording")

    assert list(comparison.arms["missing_scores"]) == [0, 0]
    assert "without" not in comparison.verdict
    assert any("32 answers are of tasks without this score" in warning for warning in comparison.warnings)


def test_of_many_arms_needed_inputs_are_those_after_correction_and_the_words_say_so():
    rows = [
        Ended(input=number, arms={"model": f"m{arm:02}"}, score=arm == 0) for number in range(8) for arm in range(12)
    ]

    comparison = results_of(rows).compare_by("model")

    pair = comparison.pairs.loc[0]
    assert pair["verdict"] == "not significant after correction for 66 pairs (p = 0.008 before)"
    assert pair["needed_inputs"] == 12
    assert "not significant after correction for 66 pairs (p = 0.008 before) above m01, m02" in comparison.verdict
    assert "With 8 inputs no difference can be significant among 66 pairs: it takes at least 12." in comparison.verdict
    assert any("needed inputs are reckoned at 0.05 / 66 pairs" in warning for warning in comparison.warnings)


def test_failed_tasks_are_counted_and_left_out_and_a_difference_in_them_is_told():
    rows = two_arms()
    rows[0].status = rows[1].status = rows[4].status = "failed"
    rows[8].status = "skipped"

    comparison = results_of(rows).compare_by("wording")

    arms = comparison.arms.set_index("arm")
    assert list(arms["failed"]) == [4, 0]
    assert list(arms["answers"]) == [20, 24]
    assert list(arms["inputs"]) == [11, 12]
    assert comparison.pairs.loc[0, ["inputs", "left_out"]].tolist() == [11, 1]
    assert (
        "Beware, arms differ in tasks without an answer (plain 4 of 24: 3 failed: network, 1 skipped: network)"
        in comparison.verdict
    )


def test_of_several_pairs_that_the_correction_takes_away_all_p_are_told():
    agreed = {"m00": 0, "m01": 8, "m02": 7} | {f"m{arm:02}": 1 for arm in range(3, 9)}
    rows = [
        Ended(input=number, arms={"model": model}, score=model == "m00" or number < yes)
        for number in range(14)
        for model, yes in agreed.items()
    ]

    verdict = results_of(rows).compare_by("model").verdict

    assert "not significant after correction for 36 pairs (p = 0.016 to p = 0.031 before) above m01 and m02" in verdict
    assert "no difference can be significant" not in verdict


def test_what_was_skipped_or_cancelled_is_not_said_to_have_failed():
    rows = two_arms(repeats=1)
    for row in rows[:12:2]:
        row.status, row.error = "skipped", "quota_exceeded"
    rows[13].status, rows[13].error = "cancelled", "cancelled"

    comparison = results_of(rows).compare_by("wording")

    assert "(plain 6 of 12: 6 skipped: quota exceeded; strict 1 of 12: 1 cancelled)" in comparison.verdict
    assert "without an answer" in repr(comparison)
    assert "failed" not in repr(comparison)


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), 1e200])
def test_a_score_that_is_no_number_is_missing_and_counted(score):
    rows = two_arms()
    rows[0].score = rows[1].score = score

    comparison = results_of(rows).compare_by("wording")

    arms = comparison.arms.set_index("arm")

    assert list(arms["missing_scores"]) == [2, 0]
    assert list(arms["inputs"]) == [11, 12]
    assert "arms differ in tasks without a score (plain 2 of 24)" in comparison.verdict
    assert "11 inputs, 1 left out" in comparison.verdict


def test_where_every_score_is_missing_nothing_is_compared_and_nothing_breaks():
    rows = two_arms()
    for row in rows:
        row.score = None

    comparison = results_of(rows).compare_by("wording")

    assert comparison.verdict.startswith("Too few to compare: 0 inputs")
    assert list(comparison.arms["missing_scores"]) == [24, 24]
    assert comparison.arms["score"].isna().all()


def test_without_a_score_tokens_cost_and_duration_are_compared():
    rows = two_arms()
    for number, row in enumerate(rows):
        row.tokens += 5 * (row.arms["wording"] == "strict") + number % 2

    comparison = results_of(rows, names=()).compare_by("wording")

    assert list(comparison.pairs["measure"]) == ["tokens", "cost_usd", "duration_s"]
    assert "strict takes more tokens than plain" in comparison.verdict
    assert "No significant difference in cost" in comparison.verdict
    assert any("there is no score" in warning for warning in comparison.warnings)
    assert list(comparison.arms["inputs"]) == [12, 12]


def test_a_cost_that_is_unknown_is_no_free_one():
    rows = two_arms(cost_usd=None)

    comparison = results_of(rows).compare_by("wording")

    assert comparison.arms["cost_usd"].isna().all()
    assert any("the cost of 48 answers is unknown" in warning for warning in comparison.warnings)


def test_while_the_run_goes_on_what_has_ended_is_compared_and_that_is_told():
    rows = two_arms()
    for row in rows[30:]:
        row.ended = False

    comparison = results_of(rows, going=True).compare_by("wording")

    assert any("this compares the 30 of 48 tasks that have ended" in warning for warning in comparison.warnings)
    assert comparison.pairs.loc[0, "inputs"] == 7


def test_several_scores_are_known_by_their_names_and_columns():
    results = results_of(two_arms(), names=("accuracy", "length"))

    assert "score accuracy" in repr(results.compare_by("wording"))
    assert "score length" in repr(results.compare_by("wording", score="length"))
    assert "score length" in repr(results.compare_by("wording", score="score.length"))
    with pytest.raises(SpecError, match=r"there is no score 'lenght'\ndid you mean length\?"):
        results.compare_by("wording", score="lenght")
    with pytest.raises(SpecError, match="give `score:` in the cell"):
        results_of(two_arms(), names=()).compare_by("wording", score="accuracy")


def test_a_variable_that_is_none_is_an_error_that_names_those_that_are():
    results = results_of(two_arms())

    with pytest.raises(SpecError, match=r"'wordign' is no variable of the matrix\ndid you mean wording\?"):
        results.compare_by("wordign")
    with pytest.raises(SpecError, match="'kind' is a column of the foreach table"):
        results.compare_by("kind")
    with pytest.raises(SpecError, match="no task that has ended has a variable of a matrix"):
        results_of([Ended(input=0, arms={})]).compare_by("model")
    with pytest.raises(SpecError, match=r"did you mean output\?"):
        side_by_side(two_arms(), "wording", value="outptu")


def test_what_is_no_text_is_no_name():
    results = results_of(two_arms())

    with pytest.raises(SpecError, match=r"the variable must be one name, given as text, not a list"):
        results.compare_by(["wording"])
    with pytest.raises(SpecError, match=r"the score must be one name, given as text, not a list"):
        results.compare_by("wording", score=["accuracy"])
    with pytest.raises(SpecError, match=r"the variable must be one name, given as text, not a dict"):
        side_by_side(two_arms(), {})
    with pytest.raises(SpecError, match=r"the value must be one name, given as text, not a list"):
        side_by_side(two_arms(), "wording", value=["output"])


def test_values_that_look_alike_are_arms_of_their_own():
    values = [1, "1", True, None, 0.5, [1, 2], {"a": 1}]
    rows = [Ended(input=number, arms={"value": value}, score=number) for number in range(6) for value in values]

    arms = results_of(rows).compare_by("value").arms

    assert list(arms["arm"]) == ["1", '"1"', "true", "null", "0.5", "[1, 2]", '{"a": 1}']


def test_one_arm_alone_is_described_and_compared_with_nothing():
    rows = [row for row in two_arms() if row.arms["wording"] == "plain"]

    comparison = results_of(rows).compare_by("wording")

    assert comparison.verdict == "There is one arm alone, plain: nothing to compare it with."
    assert comparison.pairs.empty
    assert list(comparison.arms["inputs"]) == [12]
    assert comparison._repr_html_()


def test_tables_have_the_same_dtypes_whatever_they_hold():
    full, empty = (results_of(two_arms(inputs=inputs)).compare_by("wording") for inputs in (9, 1))

    assert (full.arms.dtypes == empty.arms.dtypes).all()
    assert (full.pairs.dtypes == empty.pairs.dtypes).all()


def test_answers_stand_side_by_side_a_row_per_input_and_repeat():
    rows = [
        Ended(input=number, arms={"model": model}, repeat=repeat, output=f"{model}{number}{repeat}")
        for number in range(2)
        for repeat in (1, 2)
        for model in ("a", "b")
    ]
    rows.pop()

    table = side_by_side(rows)

    assert table.index.names == ["input", "repeat"]
    assert list(table.columns) == ["a", "b"]
    assert table.columns.name == "model"
    assert table.loc[("review[0]", 2), "b"] == "b02"
    assert pd.isna(table.loc[("review[1]", 2), "b"])
    assert (table.dtypes == "string").all()


def test_a_pivot_keeps_other_variables_as_rows_and_the_dtype_of_its_values():
    rows = [
        Ended(input=0, arms={"model": model, "heat": heat}, tokens=heat if heat != [4] else 4)
        for model in ("a", "b")
        for heat in (3, [4], 5)
    ]

    table = side_by_side(rows, value="total_tokens")

    assert table.index.names == ["input", "heat"]
    assert list(table.index.get_level_values("heat")) == [3, "[4]", 5]
    assert (table.dtypes == "Int64").all()
    assert table["b"].tolist() == [3, 4, 5]


def test_a_pivot_shows_what_stands_in_the_row():
    rows = [Ended(input=number, arms={"model": model}) for number in range(2) for model in ("a", "b")]

    table = side_by_side(rows)

    assert list(table.index) == ["review[0]", "review[1]"]
    assert table._repr_html_().count("kind: short &lt;i&gt;") == 2


def test_a_pivot_is_shown_with_scores_and_slices_of_it_as_tables():
    rows = [
        Ended(input=number, arms={"model": model}, score=True, output="<b>&")
        for number in range(3)
        for model in ("a", "b")
    ]
    rows[1].status = "failed"

    table = side_by_side(rows)

    page = table._repr_html_()
    assert page.count("accuracy yes") == 5
    assert "✗ failed: network" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert "accuracy" not in table.head(2)._repr_html_()
