"""Scores by rules and functions: what each compares, what is missing and told, and that nothing is too odd."""

import math
import re
from asyncio import CancelledError
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from strategies import task

from xz_magics.errors import SpecError
from xz_magics.records import STATUSES, AnswerSchema, Outcome, Scorer
from xz_magics.records.scores import score_columns
from xz_magics.scores import check, models, resolved
from xz_magics.scores.combining import Combine
from xz_magics.scores.functions import Faults
from xz_magics.scores.patterns import Search, found
from xz_magics.scores.rules import compiled_path, rule_scores
from xz_magics.specs import check_options
from xz_magics.specs.scoring import Merge, Summarise


def outcome(output="Paris", label="a", status="done", **fields):
    return Outcome(index=0, label=label, status=status, model="m", max_tokens=9, output=output, **fields)


def scorers(*written):
    return resolved(check_options({"score": list(written)})["score"], {}, model="m")


def scored(one, *written):
    """The scores of one outcome, and what is told."""
    faults = Faults()
    scores = rule_scores([(one, scorers(*written))], faults)
    return scores[one.label], [line for _, line in faults.told()]


def score_of(output, written, **fields):
    (score,) = scored(outcome(output, **fields), written)[0].values()
    return score


@pytest.mark.parametrize(
    ("output", "expect", "holds"),
    [
        (" Paris\n", "Paris", True),
        ("paris", "Paris", False),
        ("Paris.", "Paris", False),
        ("42", 42, True),
        ("42.0", 42, True),
        ("forty-two", 42, False),
        ("True", True, True),
        ("1", True, False),
        ("[1, 2]", [1, 2], True),
        ("[1, 2, 3]", [1, 2], False),
        ('Here it is:\n```json\n{"a": 1, "b": 2}\n```', {"a": 1}, True),
        ('{"a": 1}', {"a": 1, "b": None}, False),
        ("", "Paris", False),
    ],
)
def test_equals_compares_a_text_with_what_is_expected(output, expect, holds):
    assert score_of(output, "equals", expect=expect) is holds
    assert score_of(output, {"equals": expect}) is holds


@pytest.mark.parametrize(
    ("value", "expect", "holds"),
    [
        ({"sentiment": "positive", "sure": 0.1 + 0.2}, {"sentiment": " positive ", "sure": 0.3}, True),
        ({"sentiment": "positive"}, {"sentiment": "negative"}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": 10**400}, {"n": 1.5}, False),
        ({"a": {"b": [1, "x"], "c": 3}}, {"a": {"b": [1.0, "x"]}}, True),
    ],
)
def test_equals_compares_the_named_fields_of_a_typed_answer(value, expect, holds):
    assert score_of("whatever", "equals", value=value, expect=expect) is holds


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        ({"contains": "par"}, False),
        ({"contains": "par", "ignore_case": True}, True),
        ({"contains": ["Par", "is"]}, True),
        ({"contains": ["Par", "Lyon"]}, False),
        ({"regex": "^P.*s$"}, True),
        ({"regex": "^p"}, False),
        ({"regex": "^p", "ignore_case": True}, True),
        ({"equals": "PARIS", "ignore_case": True}, True),
    ],
)
def test_contains_and_regex_look_into_the_text(written, holds):
    assert score_of("Paris", written) is holds


@pytest.mark.parametrize(
    ("path", "expect", "holds"),
    [
        ("$.sentiment", "good", True),
        ("sentiment", "good", True),
        ("$.items[*].n", [1, 2], True),
        ("$.items[0].n", 1, True),
        ("$.items[?@.n == 2].n", 2, True),
        ("$.nothing", "good", False),
    ],
)
def test_a_json_path_leads_to_the_part_that_is_compared(path, expect, holds):
    value = {"sentiment": "good", "items": [{"n": 1}, {"n": 2}]}

    assert score_of("x", {"json_path": path, "equals": expect}, value=value) is holds
    assert score_of("x", {"json_path": path}, value=value, expect=expect) is holds


def test_a_json_path_finds_nothing_in_an_answer_that_is_no_json():
    assert score_of("no JSON {", {"json_path": "$.a", "equals": 1}) is False
    assert score_of('{"a": 1}', {"json_path": "$.a", "equals": 1}) is True


@pytest.mark.parametrize(
    ("outputs", "lines"),
    [
        (['{"a": 1}', "none"], ["json_path `$.x` found nothing in any of 2 answers"]),
        (['{"a": 1}'], ["json_path `$.x` found nothing in the only answer"]),
        (['{"a": 1}', '{"x": null}'], []),
    ],
)
def test_a_path_that_leads_nowhere_in_all_answers_is_told(outputs, lines):
    faults = Faults()
    rules = scorers({"json_path": "$.x", "equals": 1})

    rule_scores([(outcome(output, label=str(at)), rules) for at, output in enumerate(outputs)], faults)

    assert [line for _, line in faults.told()] == lines


@pytest.mark.parametrize("path", ["$[", "$.a[?match(@.b, '(a+)+$')]", "$.a[?search(@.b, 'x')]", "$.a[?@.b =~ /x/]"])
def test_a_path_that_is_none_or_searches_by_patterns_is_refused(path):
    with pytest.raises(SpecError, match="is no JSON path"):
        scorers({"json_path": path})


def test_a_pattern_that_takes_for_ever_is_missing_and_told_and_the_others_are_scored():
    faults = Faults()
    pairs = [
        (outcome("a" * 40 + "b", "slow"), scorers({"regex": "^(a+)+$"})),
        (outcome("aaa", "quick"), scorers({"regex": "^(a+)+$"})),
    ]

    scores = rule_scores(pairs, faults)

    assert scores == {"slow": {"regex": None}, "quick": {"regex": True}}
    (told,) = [line for _, line in faults.told()]
    assert told.startswith("score regex is missing for the answer of slow: the pattern takes too long here: avoid")


def test_a_pattern_that_takes_for_ever_is_given_up_after_five_texts_and_takes_no_other_with_it():
    slow = Search("^(a+)+$", ignore_case=False, text="a" * 40 + "b")

    assert found([slow] * 20 + [Search("a", ignore_case=False, text="a")]) == [None] * 20 + [True]


def test_only_what_is_done_has_scores_and_all_else_is_missing():
    for status in STATUSES:
        given = scored(outcome("Paris", status=status), {"contains": "Paris"}, lambda _: 1)[0]

        expected = (True, 1.0) if status == "done" else (None, None)
        assert tuple(given.values()) == expected


@pytest.mark.parametrize(
    ("given", "score"),
    [
        (True, True),
        (3, 3.0),
        (0.25, 0.25),
        (None, None),
        (math.nan, None),
        (np.float64("nan"), None),
        (np.bool_(False), False),
        (np.int64(7), 7.0),
        (pd.NA, None),
        (Decimal("0.5"), 0.5),
    ],
)
def test_a_function_gives_a_number_yes_or_no_or_nothing(given, score):
    scores, told = scored(outcome(), lambda _: given)

    assert scores == {"function": score}
    assert type(scores["function"]) is type(score)
    assert told == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("good", "it gave 'good', and no number, true or false"),
        ([1], "it gave a value of type list"),
        (math.inf, "it gave inf, and a score is finite"),
        (10**400, "OverflowError"),
        (np.array([1, 2]), "it gave a value of type ndarray|TypeError"),
    ],
)
def test_what_is_no_score_is_missing_and_told(given, why):
    scores, told = scored(outcome(), lambda _: given)

    assert scores == {"function": None}
    assert len(told) == 1
    assert any(part in told[0] for part in why.split("|"))


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("odd"), RecursionError("odd"), CancelledError("odd")])
def test_a_function_that_fails_is_told_once_with_its_first_answer(error):
    def broken(one):
        if one.label != "b":
            raise error
        return 1

    faults = Faults()
    pairs = [(outcome(label=label), scorers(broken)) for label in "abc"]

    scores = rule_scores(pairs, faults)

    assert scores == {"a": {"broken": None}, "b": {"broken": 1.0}, "c": {"broken": None}}
    assert [line for _, line in faults.told()] == [
        f"score broken is missing for 2 answers, first in that of a: {type(error).__name__}: odd"
    ]


def test_a_function_that_gives_a_dict_has_a_column_per_key_and_failed_tasks_lack_each():
    def sizes(one):
        return {"letters": len(one.output), "short": len(one.output) < 6}

    pairs = [(outcome(), scorers(sizes)), (outcome(None, "b", "failed"), scorers(sizes))]

    scores = rule_scores(pairs, Faults())

    assert scores == {
        "a": {"sizes.letters": 5.0, "sizes.short": True},
        "b": {"sizes.letters": None, "sizes.short": None},
    }
    assert score_columns(scores) == {"sizes.letters": "score.letters", "sizes.short": "score.short"}


def test_a_column_bears_the_scorers_name_only_where_there_are_several():
    assert score_columns({"a": {"equals": 1}}) == {"equals": "score"}
    assert score_columns({"a": {"f.x": 1}, "b": {"judge": None}}) == {"f.x": "score.f.x", "judge": "score.judge"}
    assert score_columns({}) == {}


def test_a_task_without_anything_to_compare_with_is_missing_and_told():
    scores, told = scored(outcome(), "equals")

    assert scores == {"equals": None}
    assert told == [
        "score equals is missing for the answer of a: it has nothing to compare with: give the task `expect`"
    ]


def test_a_function_is_found_by_its_name_in_the_notebook():
    def shortness(_):
        return 1

    async def later(_):
        return 1

    names = {"shortness": shortness, "number": 5, "later": later}

    assert resolved([Scorer(name="shortness", kind="function")], names, model="m")[0].function is shortness
    for name, message, hint in [
        ("shortnes", "no function of this notebook is called 'shortnes'", "did you mean shortness?"),
        ("equal", "no function of this notebook is called 'equal'", "did you mean equals?"),
        ("zzz", "no function of this notebook is called 'zzz'", "run the cell that defines it"),
        ("number", "'number' is no function, but int", "write it with `def`"),
        ("later", "later is an async function", "write it with `def`"),
    ]:
        with pytest.raises(SpecError) as raised:
            resolved([Scorer(name=name, kind="function")], names, model="m")
        assert message in raised.value.message
        assert hint in raised.value.hint


def test_a_score_that_can_never_come_to_anything_is_refused_before_anything_is_sent():
    equals, regex = scorers("equals", "regex")
    typed = AnswerSchema(name="x", json={"type": "object"})
    right = [task("a", scores=(equals,), expect="x"), task("b", scores=(equals,))]

    check(right)  # a task alone may lack what is expected
    for tasks, message in [
        ([task("a", scores=(equals,))], "score equals compares with `expect`, and no task has one"),
        ([task("a", scores=(regex,), expect="(")], r"'\(' is no regular expression"),
        ([task("a", scores=(regex,), expect=5)], "'5' is no regular expression"),
        ([task("a", scores=(equals,), expect="x", schema=typed)], "its answer has fields"),
    ]:
        with pytest.raises(SpecError, match=message):
            check(tasks)


def test_the_models_of_judges_and_summaries_are_named_once():
    own, other = scorers({"judge": {"rubric": "r"}}, {"judge": {"rubric": "r", "model": "other"}, "name": "second"})
    combine = Combine(steps=(Merge(), Summarise(model="third"), Summarise(model="other")))

    assert models([task("a", scores=(own, other)), task("b", scores=(own,))], combine) == ("m", "other", "third")
    assert models([task("a")], None) == ()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OUTCOMES = st.builds(
    outcome,
    output=st.none() | st.text() | PLAIN.map(str) | st.sampled_from(["{" * 5000, "[" * 99999, "9" * 5000, "\ud800"]),
    label=st.just("a"),
    status=st.sampled_from(STATUSES),
    value=st.none() | st.dictionaries(st.text(max_size=3), PLAIN, max_size=3),
    expect=PLAIN,
)
RULES = st.sampled_from(["equals", "contains", {"json_path": "$..a"}, {"json_path": "a.b", "equals": 1}]) | st.builds(
    lambda value: {"equals": value, "ignore_case": True}, PLAIN.filter(lambda value: value is not None)
)
GIVEN = PLAIN | st.floats() | st.sampled_from([pd.NA, np.array([1]), np.nan, object, 1j, Decimal("sNaN")])


@given(OUTCOMES, RULES, GIVEN)
@settings(deadline=None)
def test_a_score_of_whatever_answer_is_yes_no_a_finite_number_or_missing(one, rule, given):
    scores = [*scored(one, rule)[0].values(), *scored(one, lambda _: given)[0].values()]

    for score in scores:
        assert score is None or isinstance(score, bool) or (isinstance(score, float) and math.isfinite(score))
    assert one.status == "done" or set(scores) == {None}


@given(st.lists(st.text(max_size=50), min_size=1, max_size=4), st.sampled_from(["a", "^$", "[^a]+", r"\s"]))
@settings(deadline=None, max_examples=5)
def test_the_child_program_finds_what_pythons_own_search_finds(texts, pattern):
    answers = found([Search(pattern, ignore_case=False, text=text) for text in texts])

    assert answers == [re.search(pattern, text) is not None for text in texts]


def test_many_long_texts_are_searched_in_batches(monkeypatch):
    monkeypatch.setattr("xz_magics.scores.patterns.BATCH_CHARACTERS", 25)
    searches = [Search("a", ignore_case=False, text=text * 10) for text in "abaab"]

    assert found(searches) == [True, False, True, True, False]


def test_paths_are_compiled_once():
    assert compiled_path("$.a") is compiled_path("$.a")
