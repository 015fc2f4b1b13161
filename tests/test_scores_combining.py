"""Putting outputs together: what a filter keeps, how texts are chunked, and that nothing gets lost on the way."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from strategies import task

from xz_magics.errors import SpecError
from xz_magics.records import STATUSES, Outcome, Scorer
from xz_magics.scores import combining
from xz_magics.scores.combining import chunks, kept, merged, resolved, shortened, summaries, whole_ones
from xz_magics.scores.fencing import FENCE_BYTES, LOCAL_ROOM_BYTES
from xz_magics.scores.functions import Faults
from xz_magics.specs.scoring import Filter, Merge, Summarise


def outcome(label, output="x"):
    return Outcome(index=0, label=label, status="done", model="m", max_tokens=9, output=output)


OUTCOMES = [outcome("a", "one"), outcome("b", "three"), outcome("c", "")]
SCORES = {"a": {"judge": 4.0, "equals": True}, "b": {"judge": 2.0, "equals": False}, "c": {"judge": None}}


@pytest.mark.parametrize(
    ("name", "sign", "bound", "labels"),
    [
        ("judge", ">=", 4.0, ["a"]),
        ("score.judge", "<", 4.0, ["b"]),
        ("judge", "!=", 3.0, ["a", "b"]),
        ("equals", "==", 1.0, ["a"]),
        ("judge", "<=", 4.0, ["a", "b"]),
        ("judge", ">", 4.0, []),
    ],
)
def test_a_bound_keeps_whose_score_is_within_it(name, sign, bound, labels):
    step = Filter(name=name, sign=sign, bound=bound)

    assert [one.label for one in kept(step, OUTCOMES, SCORES, Faults())] == labels


def test_what_has_no_score_is_left_out_and_that_is_told():
    faults = Faults("filter {name} leaves out")

    kept(Filter(name="judge", sign=">=", bound=0), OUTCOMES, SCORES, faults)

    assert [line for _, line in faults.told()] == ["filter judge leaves out the answer of c: its score is missing"]
    with pytest.raises(SpecError, match="no score is called 'score'") as raised:
        kept(Filter(name="score", sign=">=", bound=0), OUTCOMES, SCORES, faults)
    assert raised.value.hint == "there are: score.judge, score.equals"


def test_a_function_that_fails_keeps_nothing_and_is_told():
    faults = Faults("filter {name} leaves out")
    step = Filter(name="long", function=lambda one: 1 / len(one.output) < 0.3)

    assert [one.label for one in kept(step, OUTCOMES, {}, faults)] == ["b"]
    assert [line for _, line in faults.told()] == [
        "filter long leaves out the answer of c: ZeroDivisionError: division by zero"
    ]


def test_a_combination_gets_its_functions_and_its_model():
    def good(_):
        return True

    combine = resolved([Filter(name="good"), Summarise(), Summarise(model="own")], {"good": good}, model="m")

    assert combine.steps[0].function is good
    assert [step.model for step in combine.steps[1:]] == ["m", "own"]
    assert resolved([Merge()], {}, model="m").steps == (Merge(),)
    with pytest.raises(SpecError, match="no function of this notebook is called 'good'"):
        resolved([Filter(name="good")], {}, model="m")


EQUALS, RATED = Scorer(name="equals", kind="equals"), Scorer(name="rated", kind="function")


@pytest.mark.parametrize(
    ("scorers", "name"),
    [
        ([EQUALS], "score"),
        ([EQUALS], "equals"),
        ([EQUALS], "score.equals"),
        ([EQUALS, RATED], "score.equals"),
        ([EQUALS, RATED], "score.rated.any"),
        ([EQUALS, RATED], "rated.any"),
        ([RATED], "score.any"),
    ],
)
def test_a_filter_may_name_any_score_that_the_tasks_can_come_to(scorers, name):
    tasks = [task("a", scores=tuple(scorers)), task("b")]

    assert resolved([Filter(name=name, sign=">", bound=1.0)], {}, model="m", tasks=tasks).steps[0].name == name


@pytest.mark.parametrize(
    ("scorers", "name", "mend"),
    [
        ([], "score", "there are: none: give the tasks `score`"),
        ([EQUALS], "score.manners", "there are: score"),
        ([EQUALS, RATED], "score", "there are: score.equals, score.rated"),
        ([EQUALS, RATED], "score.equal", "there are: score.equals, score.rated"),
        ([EQUALS, RATED], "score.equals.any", "score.equals"),
    ],
)
def test_a_filter_by_a_score_that_there_cannot_be_is_refused_before_anything_is_sent(scorers, name, mend):
    with pytest.raises(SpecError, match="no score is called") as raised:
        resolved([Filter(name=name, sign=">", bound=1.0)], {}, model="m", tasks=[task("a", scores=tuple(scorers))])

    assert mend in raised.value.hint


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.text()), max_size=20), st.text())
def test_a_merged_text_is_every_answer_that_is_done_in_order(answers, between):
    outcomes = [replace(outcome("a", output), status=status) for status, output in answers]

    text = merged(Merge(between=between), [one.output for one in whole_ones(outcomes)])

    assert text == between.join(output for status, output in answers if status == "done" and output)


@given(st.lists(st.text(max_size=300), max_size=20), st.integers(FENCE_BYTES + 4, 400))
def test_chunks_put_together_again_are_all_texts_in_order(texts, most_bytes):
    found = chunks(texts, most_bytes)

    assert "".join(part for chunk in found for part in chunk) == "".join(texts)
    assert all(chunk for chunk in found)
    for chunk in found:
        assert sum(len(part.encode()) + FENCE_BYTES for part in chunk) <= most_bytes


@given(st.lists(st.text(min_size=1, max_size=3_000), min_size=2, max_size=30))
def test_each_level_has_fewer_texts_until_there_is_one(texts):
    step = Summarise(model="local")
    asked = summaries(step, texts, level=1)

    while len(asked) > 1:
        answers = [shortened("é" * 9_000, step) for _ in asked]
        assert len(summaries(step, answers, level=2)) < len(asked)
        asked = summaries(step, answers, level=2)

    assert asked[0].label == "summary"


def test_a_summary_is_asked_for_over_fenced_texts_within_what_a_model_can_read():
    step = Summarise(model="local", prompt="What do they say?", max_tokens=50)

    tasks = summaries(step, ["a" * 3_000, "b" * 3_000, "c"], level=1)

    assert [one.label for one in tasks] == ["summary 1.1", "summary 1.2"]
    assert {(one.purpose, one.of, one.model, one.max_tokens) for one in tasks} == {("combine", None, "local", 50)}
    assert "What do they say?" in tasks[0].prompt
    assert all(len(one.prompt.encode()) < LOCAL_ROOM_BYTES + 500 for one in tasks)


def test_a_long_text_is_cut_in_parts_that_put_together_are_it():
    text = "ä€𝄞x" * 200_000

    assert "".join(combining._parts(text, 1_000)) == text
