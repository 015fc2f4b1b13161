"""When two tasks ask the same, and which answer serves which of them."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st
from strategies import task

from xz_magics.observers.journal.keys import AnswerRef, matched, task_key
from xz_magics.providers import ProviderIdentity
from xz_magics.records import AnswerSchema, ToolSpec

HERE = ProviderIdentity("openai", "http://127.0.0.1/v1", "m")
TOOL = ToolSpec(name="grep", description="finds", parameters={"type": "object"})
BASE = task(system="Be brief.", temperature=0, params={"b": 1, "a": 2})


def answer(**fields):
    return AnswerRef(**({"key": "k", "run": "r", "label": "a", "number": 0, "ended_at": 0.0} | fields))


KEYS = st.sampled_from("abc")
LABELS = st.sampled_from([f"t{n}" for n in range(8)])


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, prompt="Say ho."),
        replace(BASE, system=None),
        replace(BASE, summary_prompt="In short."),
        replace(BASE, temperature=0.5),
        replace(BASE, top_p=0.5),
        replace(BASE, seed=1),
        replace(BASE, stop=("x",)),
        replace(BASE, params={"a": 1}),
        replace(BASE, max_tokens=7),
        replace(BASE, max_turns=3),
        replace(BASE, schema=AnswerSchema(name="x", json={"type": "object"})),
    ],
)
def test_what_shapes_a_request_is_a_part_of_the_key(other):
    assert task_key(other, HERE) != task_key(BASE, HERE)


def test_the_provider_and_the_tools_are_a_part_of_the_key():
    keys = {task_key(BASE, HERE._replace(**{name: "other"})) for name in HERE._fields}
    keys |= {task_key(BASE, HERE), task_key(BASE, HERE, [TOOL]), task_key(BASE, HERE, [replace(TOOL, description="x")])}

    assert len(keys) == 6


def test_the_folder_that_tools_work_in_is_a_part_of_the_key_where_there_are_tools(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"

    assert task_key(BASE, HERE, [TOOL], one) != task_key(BASE, HERE, [TOOL], two)
    assert task_key(BASE, HERE, [TOOL], two / ".." / "one") == task_key(BASE, HERE, [TOOL], one)
    assert task_key(BASE, HERE, [], one) == task_key(BASE, HERE, [], two)


def test_labels_places_and_the_way_of_writing_are_no_part_of_the_key():
    same = replace(
        BASE, label="other", index=7, temperature=0.0, params={"a": 2, "b": 1}, timeout=3.0, tags=("x",), after=("y",)
    )
    other = replace(TOOL, name="fetch")

    assert task_key(same, HERE, [TOOL, other]) == task_key(BASE, HERE, [other, TOOL])


def test_half_a_surrogate_pair_has_a_key():
    assert task_key(replace(BASE, prompt="\ud800"), HERE) != task_key(BASE, HERE)


@given(st.dictionaries(LABELS, KEYS), st.lists(st.tuples(KEYS, LABELS), max_size=10, unique_by=lambda one: one[1]))
def test_each_answer_serves_once_those_of_its_key_and_its_own_label_first(tasks, journalled):
    wanted = [(key, label) for label, key in tasks.items()]
    answers = [answer(key=key, label=label, number=n) for n, (key, label) in enumerate(journalled)]

    served = matched(wanted, answers)

    assert len({ref.number for ref in served.values()}) == len(served)
    assert all(ref.key == tasks[label] for label, ref in served.items())
    asked, there = Counter(tasks.values()), Counter(one.key for one in answers)
    assert Counter(ref.key for ref in served.values()) == asked & there
    for key, label in wanted:
        if (key, label) in journalled:
            assert served[label].label == label


def test_what_comes_first_is_taken_and_one_origin_serves_once():
    copy = answer(run="later", label="b", number=7, origin_run="r", origin_label="a")
    answers = [copy, answer(label="a"), answer(label="c", number=3)]

    served = matched([("k", "x"), ("k", "y"), ("k", "z")], answers)

    assert {label: ref.origin for label, ref in served.items()} == {"x": ("r", "a"), "y": ("r", "c")}
