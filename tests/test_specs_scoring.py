"""Scores, expectations and combinations as written: each form, and each mistake with its place and mend."""

import pytest

from xz_magics import specs
from xz_magics.errors import SpecError
from xz_magics.records import Judge, Scorer
from xz_magics.specs.scoring import Filter, Merge, Summarise


def scores(text):
    return specs.parse(f"tasks: [hi]\nscore: {text}").head["score"]


def combined(text):
    return specs.parse(f"tasks: [hi]\ncombine: {text}").head["combine"]


@pytest.mark.parametrize(
    ("written", "scorer"),
    [
        ("equals", Scorer(name="equals", kind="equals")),
        ("contains", Scorer(name="contains", kind="contains")),
        ("regex", Scorer(name="regex", kind="regex")),
        ("is_short", Scorer(name="is_short", kind="function")),
        ("{equals: 5}", Scorer(name="equals", kind="equals", given=5)),
        ("{equals: {a: [1, true]}}", Scorer(name="equals", kind="equals", given={"a": [1, True]})),
        ("{contains: Paris}", Scorer(name="contains", kind="contains", given=("Paris",))),
        ("{contains: [Paris, 1.10]}", Scorer(name="contains", kind="contains", given=("Paris", "1.10"))),
        ('{regex: "^a+$", name: letters}', Scorer(name="letters", kind="regex", given="^a+$")),
        ("{contains: x, ignore_case: true}", Scorer(name="contains", kind="contains", given=("x",), ignore_case=True)),
        ("{json_path: $.a}", Scorer(name="json_path", kind="json_path", path="$.a")),
        ("{json_path: a, equals: x}", Scorer(name="json_path", kind="json_path", path="a", given="x")),
    ],
)
def test_each_form_of_a_score_is_read(written, scorer):
    assert scores(written) == (scorer,)


def test_a_judge_has_a_scale_from_one_to_five_and_the_tasks_model_where_it_says_nothing_else():
    (scorer,) = scores("{judge: {rubric: Is it polite?}}")

    scale = {"1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0, "5": 5.0}
    assert scorer.judge == Judge(model="", rubric="Is it polite?", scale=scale, max_tokens=300)


@pytest.mark.parametrize(
    ("scale", "numbers"),
    [
        ("[bad, fair, good]", {"bad": 0.0, "fair": 0.5, "good": 1.0}),
        ("{wrong: 0, right: 1}", {"wrong": 0.0, "right": 1.0}),
        ("[0, 0.5, 10]", {"0": 0.0, "0.5": 0.5, "10": 10.0}),
    ],
)
def test_a_scale_is_words_or_numbers_or_words_with_numbers(scale, numbers):
    (scorer,) = scores(f"{{judge: {{rubric: r, scale: {scale}, model: local, max_tokens: 9}}}}")

    assert scorer.judge == Judge(model="local", rubric="r", scale=numbers, max_tokens=9)


def test_several_scores_have_names_of_their_own():
    found = scores("[{contains: a}, {contains: b}, equals, {judge: {rubric: r}, name: polite}]")

    assert [scorer.name for scorer in found] == ["contains", "contains_2", "equals", "polite"]


def test_functions_of_python_are_scores_and_filters():
    def is_short(outcome):
        return len(outcome.output) < 9

    options = specs.check_options({"score": [is_short, lambda _: 1], "combine": {"filter": is_short}})

    assert [(scorer.name, scorer.kind) for scorer in options["score"]] == [
        ("is_short", "function"),
        ("function", "function"),
    ]
    assert options["score"][0].function is is_short
    assert options["combine"][0].function is is_short


@pytest.mark.parametrize(
    ("written", "column", "message", "mend"),
    [
        ("12", 8, "`score` cannot be 12", "write equals, contains, regex, the name of a function, or a mapping"),
        ("[]", 8, "`score` is empty", "write equals"),
        ("json_path", 8, "`json_path` alone says too little", "write {json_path: $.field}"),
        ("judge", 8, "`judge` alone says too little", "write {judge: {rubric: Is it right?}}"),
        ("{equal: 5}", 9, "`score` has no field `equal`", "did you mean `equals`?"),
        ("{name: x}", 8, "this says not how to score", "write equals"),
        ("{equals: 1, regex: a}", 8, "`equals` and `regex` cannot stand in one mapping", "a list of scores"),
        ("{regex: (a}", 16, "`regex` is no regular expression: missing ), unterminated subpattern", "escape it"),
        ("{contains: []}", 19, "`contains` is empty", "write a text"),
        ("[equals, equals]", 17, "two scores are called 'equals'", "a name of its own"),
        ("[equals, {regex: a, name: equals}]", 17, "two scores are called 'equals'", "a name of its own"),
        ("{equals: 1, name: a.b}", 26, "`name` holds a dot", "take it out"),
        ("{judge: {scale: [1, 2]}}", 16, "`judge` has no rubric", "for example {judge: {rubric:"),
        ("{judge: {rubric: r, scale: [a]}}", 35, "`scale` needs 2 to 20 words", "for example [1, 2, 3, 4, 5]"),
        ("{judge: {rubric: r, scale: [a, a]}}", 35, "`scale` needs 2 to 20 words", "for example"),
        ("{judge: {rubric: r}, ignore_case: true}", 8, "`ignore_case` does not go with `judge`", "take it out"),
        ("{judge: good?}", 16, "`judge` must be a mapping, not 'good?'", "for example {judge:"),
    ],
)
def test_a_mistake_in_a_score_is_told_with_its_place_and_mend(written, column, message, mend):
    with pytest.raises(SpecError) as raised:
        scores(written)

    assert message in raised.value.message
    assert mend in raised.value.hint
    assert (raised.value.line, raised.value.column) == (2, column)


def test_what_is_expected_is_any_plain_value():
    document = specs.parse("tasks: [{prompt: a, expect: {x: [1, yes, null]}}, {prompt: b, expect: 1.5}]")

    assert [spec.fields["expect"] for spec in document.specs] == [{"x": [1, "yes", None]}, 1.5]
    with pytest.raises(SpecError, match="`expect` must be finite"):
        specs.read([{"prompt": "a", "expect": float("nan")}])
    with pytest.raises(SpecError, match="`expect` cannot hold a value of type function"):
        specs.read([{"prompt": "a", "expect": lambda: 1}])
    with pytest.raises(SpecError, match="this `#` begins a comment"):
        specs.parse("tasks:\n  - prompt: a\n    expect: five #5")


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ("merge", (Merge(),)),
        ("{merge: }", (Merge(),)),
        ('{merge: {between: "\\n"}}', (Merge(between="\n"),)),
        ("summarise", (Summarise(),)),
        ("{summarise: {prompt: p, model: m, max_tokens: 9}}", (Summarise(prompt="p", model="m", max_tokens=9),)),
        ("{filter: is_short}", (Filter(name="is_short"),)),
        ("{filter: score >= 0.5}", (Filter(name="score", sign=">=", bound=0.5),)),
        ("{filter: score.polite<-2}", (Filter(name="score.polite", sign="<", bound=-2.0),)),
        ("[{filter: score > 3}, merge]", (Filter(name="score", sign=">", bound=3.0), Merge())),
    ],
)
def test_each_form_of_a_combination_is_read(written, steps):
    assert combined(written) == steps


@pytest.mark.parametrize(
    ("written", "message", "mend"),
    [
        ("join", "`combine` cannot be 'join'", "write merge, summarise"),
        ("summarize", "`combine` cannot be 'summarize'", "did you mean `summarise`?"),
        ("{summarize: }", "`combine` has no step `summarize`", "did you mean `summarise`?"),
        ("{filtr: score > 1}", "`combine` has no step `filtr`", "did you mean `filter`?"),
        ("{join: x}", "`combine` has no step `join`", "write merge, summarise"),
        ("filter", "`combine` cannot be 'filter'", "{filter: score >= 0.5}"),
        ("[]", "`combine` is empty", "write merge"),
        ("{filter: score about 3}", "`filter` cannot be 'score about 3'", "the name of a function, or a bound"),
        ("{merge: {with: x}}", "`merge` has no field `with`", "known are: between"),
        ("{merge: x}", "`merge` must be a mapping", "write merge"),
        ("{merge: {between: [x]}}", "`between` must be text", "for example"),
        ("[merge, {filter: f}]", "`filter` finds one text only", "write it first"),
    ],
)
def test_a_mistake_in_a_combination_is_told_with_its_mend(written, message, mend):
    with pytest.raises(SpecError) as raised:
        combined(written)

    assert message in raised.value.message
    assert mend in raised.value.hint
    assert raised.value.line == 2
