"""`{{name}}` puts plain values into a text, and nothing else happens."""

import json
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from xz_magics.errors import SpecError
from xz_magics.templates import fill, fill_around, fill_value, names_in

SSTI = Path(__file__).parents[2] / "shared" / "corpora" / "ssti" / "ssti-payloads.txt"
SECRET = "sk-hush-0123456789"


class Row(NamedTuple):
    title: str
    year: int


FRAME = pd.DataFrame({"title": ["Dune", "Emma"], "year": [1965, 1815], "score": [4.5, None]})
NAMES = {
    "name": "Ada",
    "whole": 5,
    "part": 0.5,
    "yes": True,
    "items": ["a", {"b": [1, None, False]}],
    "d": {"k": "v", "two words": 2, "Ключ": "да", "in": {"er": [7]}, 3: "three"},
    "row": Row("Dune", 1965),
    "series": FRAME.iloc[0],
    "nothing": None,
    "frame": FRAME,
    "function": fill,
    "module": np,
    "array": np.arange(3),
    "thing": SimpleNamespace(title="Dune"),
    "data": b"x",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hi {{name}}, {{ name }}!", "Hi Ada, Ada!"),
        ("{{whole}} {{part}} {{yes}}", "5 0.5 True"),
        ("{{items}}", '["a", {"b": [1, null, false]}]'),
        ("{{items[0]}} {{items[-1]}} {{ items[1].b[0] }}", 'a {"b": [1, null, false]} 1'),
        ("""{{d.k}} {{d["k"]}} {{d['two words']}} {{d.Ключ}} {{d.in.er[0]}} {{d[3]}}""", "v v 2 да 7 three"),
        ("{{row}} {{row.title}}", '{"title": "Dune", "year": 1965} Dune'),
        ("{{series.title}} {{series.year}} {{series}}", 'Dune 1965 {"title": "Dune", "year": 1965, "score": 4.5}'),
        ('{"a": {{{whole}}}}', '{"a": {5}}'),
    ],
)
def test_values_and_their_parts_are_put_in(text, filled):
    assert fill(text, NAMES) == filled


@pytest.mark.parametrize(
    "text",
    [
        'Return {"a": {"b": 1}} or {"a":{"b":{}}}',
        "{x} {name} ${name} $5 %s {0} {name!r}",
        "{{}} {{ }} {{ 7*7 }} {{ 'literal' }} {{ name | upper }} {{ name() }} {{name}",
        "{{ name\n}} {{1}} {{a.b.}} {{a[b]}} {{a['b\"]}} {% for x in y %}",
    ],
)
def test_all_else_in_braces_stays(text):
    assert fill(text, NAMES) == text
    assert names_in(text) == ()


def test_what_was_put_in_is_never_looked_at_again():
    names = {"a": "{{b}} {{a}}", "b": "no", "c": ["{{b}}"]}
    assert fill("{{a}}{{c}}", names) == '{{b}} {{a}}["{{b}}"]'
    assert fill("{{open}}{{b}}}}", {"open": "{{", "b": "b"}) == "{{b}}"


def test_the_names_of_a_text_are_its_roots():
    assert names_in("{{b.x}} {{ a }} {{b['y']}} {c} {{ 1 }}") == ("b", "a")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{nam}}", "{{nam}}: nothing is called 'nam'", "did you mean name?"),
        ("{{zzz}}", "nothing is called 'zzz'", "give it a value"),
        ("{{row.titel}}", "{{row.titel}}: nothing is called 'titel'", "did you mean title?"),
        ("{{d[9]}}", "nothing is called 9", "which parts"),
        ("{{items[2]}}", "there is no item 2 of 2", "count from 0"),
        ("{{items.count}}", "has no part .count", "only lists, dicts and rows"),
        ("{{name[0]}}", "a value of type str has no part [0]", "only lists, dicts and rows"),
        ("{{thing.title}}", "SimpleNamespace has no part .title", "only lists, dicts and rows"),
        ("{{row.__class__}}", "__class__ is a private name", "only public names"),
        ("{{_}}", "_ is a private name", "only public names"),
        ("{{nothing}}", "None cannot go into a prompt", "insert text"),
        ("{{frame}}", "a value of type DataFrame cannot go into a prompt", "insert text"),
        ("{{array}}", "a value of type ndarray cannot", "insert text"),
        ("{{function}}", "a value of type function cannot", "insert text"),
        ("{{module}}", "a value of type module cannot", "insert text"),
        ("{{data}}", "a value of type bytes cannot", "insert text"),
    ],
)
def test_what_cannot_go_into_a_prompt_is_refused(text, message, hint):
    with pytest.raises(SpecError) as caught:
        fill(text, NAMES)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, np.float64("nan"), pd.NA, pd.Timestamp("2026-01-01")]
)
def test_missing_and_endless_numbers_are_refused_alone_and_within_lists(value):
    for names in ({"x": value}, {"x": [value]}, {"x": {"y": value}}):
        with pytest.raises(SpecError, match="cannot go into a prompt"):
            fill("{{x}}", names)


def test_numbers_of_numpy_and_enums_are_written_plainly():
    class Level(IntEnum):
        HIGH = 3

    names = {"i": np.int64(5), "f": np.float64(0.5), "b": np.bool_(True), "e": Level.HIGH, "s": np.str_("x")}
    assert fill("{{i}} {{f}} {{b}} {{e}} {{s}}", names) == "5 0.5 True 3 x"
    assert fill("{{x}}", {"x": list(names.values())}) == '[5, 0.5, true, 3, "x"]'


@pytest.mark.parametrize(
    "value", [SECRET, f"key: {SECRET}!", [1, {"a": SECRET}], {SECRET: 1}, Row(SECRET, 1), pd.Series({"a": SECRET})]
)
def test_a_value_that_is_or_holds_a_secret_is_refused_without_showing_it(value):
    with pytest.raises(SpecError, match="holds a key") as caught:
        fill("{{x}}", {"x": value}, secrets=[SECRET])
    assert SECRET not in str(caught.value)
    assert "keys never go" in caught.value.hint


def test_a_secret_is_found_where_json_would_escape_it_and_where_two_values_make_it():
    with pytest.raises(SpecError, match="holds a key"):
        fill("{{x}}", {"x": ['quo"ted\\key']}, secrets=['quo"ted\\key'])
    with pytest.raises(SpecError, match="holds a key"):
        fill("{{a}}{{b}}", {"a": SECRET[:9], "b": SECRET[9:]}, secrets=[SECRET])


def test_a_short_stand_in_for_a_key_does_not_forbid_a_word():
    assert fill("{{x}}", {"x": "none of them"}, secrets=["none", ""]) == "none of them"
    with pytest.raises(SpecError, match="holds a key"):
        fill("{{x}}", {"x": "none"}, secrets=["none"])


def test_size_depth_and_characters_are_bounded():
    bomb = "x"
    for _ in range(30):
        bomb = [bomb] * 10
    ring = []
    ring.append(ring)
    for text, value, message in [
        ("{{x}}" * 11, "y" * 100_000, "more than 1,000,000 bytes"),
        ("{{x}}", bomb, "more than 1,000,000 bytes"),
        ("{{x}}", ring, "nested deeper than 32 levels"),
        ("{{x}}", "\u20ac" * 400_000, "more than 1,000,000 bytes"),
        ("{{x}}", "\ud800", "half a character"),
    ]:
        with pytest.raises(SpecError, match=message) as caught:
            fill(text, {"x": value})
        assert caught.value.hint


def test_no_published_injection_runs_or_reaches_an_attribute():
    if not SSTI.exists():
        pytest.skip(f"{SSTI} is not there: the public corpora stand beside the checkout")
    payloads = SSTI.read_text("utf-8").splitlines()
    refused = 0
    for payload in payloads:
        try:
            assert fill(payload, {"x": 1}) == payload
        except SpecError:
            refused += 1
        for root in names_in(payload):
            with pytest.raises(SpecError, match=r"private name|has no part|cannot go into a prompt"):
                fill(payload, {root: SimpleNamespace()})
    assert len(payloads) == 51
    assert 0 < refused < 20


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text("{}[]. \"'a_0\\\n|"), value=json_values)
def test_any_text_is_filled_or_refused(text, value):
    try:
        filled = fill(text, {"a": value, "b": 1})
    except SpecError:
        assert names_in(text)
        return
    assert filled == text or names_in(text)


@given(pieces=st.lists(texts, min_size=1, max_size=4), value=texts)
def test_a_gap_is_left_where_an_output_will_stand_and_counts_in_characters(pieces, value):
    text = "{{results.a}}".join(f"{{{{x}}}}{{{{p[{at}]}}}}" for at in range(len(pieces)))

    filled, gaps = fill_around(text, {"x": value, "p": pieces}, labels={"a"})

    assert filled == "".join(value + piece for piece in pieces)
    ends = [0, *(at for at, _ in gaps), len(filled)]
    assert [filled[start:end] for start, end in pairwise(ends)] == [value + p for p in pieces]
    assert {label for _, label in gaps} <= {"a"}


def test_only_a_known_label_alone_leaves_a_gap():
    names = {"results": {"b": "B", "a": {"x": "X"}}, "other": {"a": "O"}}

    filled, gaps = fill_around("{{results.b}}{{results.a.x}}{{other.a}}{{ results['a'] }}", names, labels={"a"})

    assert (filled, gaps) == ("BXO", ((3, "a"),))
    assert fill("{{results.b}}", names) == "B"


def test_a_label_may_bear_any_name():
    labels = {"_x", "a b", 'say "hi"', "0"}

    _, gaps = fill_around(
        """{{results._x}}{{results["a b"]}}{{results['say "hi"']}}{{results["0"]}}""", {}, labels=labels
    )

    assert [label for _, label in gaps] == ["_x", "a b", 'say "hi"', "0"]


@given(value=st.lists(json_values, max_size=3) | st.dictionaries(texts, json_values, max_size=3))
def test_a_container_goes_in_as_json(value):
    assert json.loads(fill("{{x}}", {"x": value})) == value


@pytest.mark.parametrize("label", ["task-1", "my draft", "Überschrift 2", "1st"])
def test_a_label_that_is_no_name_needs_no_quotes(label):
    assert fill_around(f"See {{{{results.{label}}}}}!", {}, labels=[label]) == ("See !", ((4, label),))
    assert fill_around(f"See {{{{ results.{label} }}}}!", {}, labels=[label]) == ("See !", ((4, label),))
    assert fill_around(f"See {{{{results.{label} it}}}}!", {}, labels=[label])[1] == ()


def test_names_of_a_texts_own_win_over_the_notebooks():
    filled, _ = fill_around("{{a}} {{b}} {{results.c}}", {"a": 1, "b": 2}, own={"a": 3, "results": {"c": 4}})

    assert filled == "3 2 4"
    with pytest.raises(SpecError) as caught:
        fill_around("{{zzz}}", {"y": 1}, own={f"name_{n}": n for n in range(13)})
    assert caught.value.hint.startswith("there are 'name_0', 'name_1', ")
    assert caught.value.hint.endswith("'name_11', …; or give it a value before this runs")


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ n }}", 5),
        ("{{none}}", None),
        ("{{row.title}}", "Dune"),
        ("{{row}}", {"title": "Dune", "year": 1965}),
        ("{{n}}!", "5!"),
        ({"a": ["{{n}}", 6, None, True], "{{n}}": "x"}, {"a": [5, 6, None, True], "{{n}}": "x"}),
        ("plain", "plain"),
    ],
)
def test_a_text_that_is_one_template_becomes_its_value(value, filled):
    assert fill_value(value, {"n": np.int64(5), "none": None}, own={"row": Row("Dune", 1965)}) == filled


@pytest.mark.parametrize("value", [object(), {"a": object()}, SECRET, [SECRET], float("nan"), {1: "x"}.keys()])
def test_a_value_that_may_go_into_no_prompt_is_none_to_fill_in_either(value):
    with pytest.raises(SpecError) as caught:
        fill_value(["{{x}}"], {"x": value}, own={}, secrets=[SECRET])

    assert caught.value.hint
    assert "hush" not in str(caught.value)
