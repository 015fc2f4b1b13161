"""Every form in which tasks may be written gives the same specs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xz_magics.errors import SpecError
from xz_magics.records import AnswerSchema, Insert, Quota, Scorer, Task, Trial
from xz_magics.specs import Spec, check_options, parse, read

CALL = {
    "tasks": [
        {"label": "a", "task_prompt": "Say hi", "summary_prompt": "Sum up", "allowed_tools": [], "max_turns": 3},
        {"label": "b", "task_prompt": "Say ho"},
    ],
    "max_concurrent": 2,
    "fail_fast": True,
}


def told(document):
    return [(spec.label, spec.prompt) for spec in document.specs]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("Say hi", "yaml", [(None, "Say hi")]),
        ("Tell me:\n\n  a joke".replace(":", ","), "yaml", [(None, "Tell me,\n\n  a joke")]),
        ("a: Say hi\nb: Say ho", "yaml", [("a", "Say hi"), ("b", "Say ho")]),
        ("a: |\n  Say\n  hi # there\n", "yaml", [("a", "Say\nhi # there\n")]),
        ("- Say hi\n- prompt: Say ho\n  label: b", "yaml", [(None, "Say hi"), ("b", "Say ho")]),
        ("a: {prompt: Say hi}", "yaml", [("a", "Say hi")]),
        ("tasks:\n  a: Say hi", "yaml", [("a", "Say hi")]),
        ("tasks:\n- Say hi", "yaml", [(None, "Say hi")]),
        ("prompt: Say hi", "yaml", [("prompt", "Say hi")]),
        ("--- a\nSay: hi: you\n--- b\n{x}\n", "text", [("a", "Say: hi: you"), ("b", "{x}")]),
        ("one\n---\ntwo # too", "text", [(None, "one"), (None, "two # too")]),
        ("---\na: b\n---\r\nc: d", "text", [(None, "a: b"), (None, "c: d")]),
        ("---\na: b\n", "yaml", [("a", "b")]),
        ("  --- indented\n", "yaml", [(None, "--- indented")]),
        ('{"a": "Say hi"}', "json", [("a", "Say hi")]),
        ('\n ["Say hi", {"prompt": "Say ho", "label": "b"}]\n', "json", [(None, "Say hi"), ("b", "Say ho")]),
        ("{a: Say hi, b: Say ho}", "yaml", [("a", "Say hi"), ("b", "Say ho")]),
        ('{"a": "Say hi",}', "yaml", [("a", "Say hi")]),
        ("{{ topic }} in one line", "yaml", [(None, "{{ topic }} in one line")]),
        ("a: {{ x }} and {{ y }}\nb: {{x}}", "yaml", [("a", "{{ x }} and {{ y }}"), ("b", "{{x}}")]),
    ],
)
def test_a_cell_is_read_by_the_rule_that_its_text_fits(text, form, expected):
    document = parse(text)
    assert (document.form, told(document)) == (form, expected)


def test_the_json_document_and_its_tool_calls_are_one_thing():
    bare = parse(json.dumps(CALL))
    wrapped = parse(json.dumps({"name": "parallel_subagent", "arguments": CALL}))
    twice = parse(json.dumps({"name": "parallel_subagent", "arguments": json.dumps(CALL)}))
    assert bare.form == "json"
    assert wrapped.form == twice.form == "tool call"
    assert bare.head == wrapped.head == twice.head == {"max_concurrent": 2, "fail_fast": True}
    assert bare.specs == wrapped.specs == twice.specs
    assert bare.specs == (
        Spec(
            label="a",
            prompt="Say hi",
            fields={"summary_prompt": "Sum up", "allowed_tools": (), "max_turns": 3},
            line=1,
        ),
        Spec(label="b", prompt="Say ho", line=1),
    )


def test_a_head_and_tasks_bear_all_supported_fields():
    document = parse("""\
model: openai:gpt-4o-mini
system: Be brief.
temperature: 0
max_concurrent: 1e1
fail_fast: false
max_depth: 0
rpm: 1.5
tpm: 6e4
after_any: true
quota: {max_executions: 0, max_total_tokens: 9007199254740992, max_total_time: 1.5, max_total_cost: 2}
tasks:
  - prompt: Say hi
    label: 42
    model: 1.10
    summary_prompt: Sum up
    max_turns: 1
    temperature: 2
    top_p: 0.5
    seed: -7
    stop: ["\\n", END]
    max_tokens: 0x10
    timeout: 90
    idle_timeout: .5
    params: {top_k: 40, nested: {list: [1, 2.5, true, null, "x"]}}
    allowed_tools: [grep, "http_get(a.org, b.org)"]
    after: [1.10, other, 1.10]
    after_strict: true
""")
    assert document.head == {
        "model": "openai:gpt-4o-mini",
        "system": "Be brief.",
        "temperature": 0.0,
        "max_concurrent": 10,
        "fail_fast": False,
        "max_depth": 0,
        "rpm": 1.5,
        "tpm": 60_000.0,
        "after_any": True,
        "quota": Quota(max_executions=0, max_total_tokens=2**53, max_total_time=1.5, max_total_cost=2.0),
    }
    assert document.specs == (
        Spec(
            prompt="Say hi",
            label="42",
            line=12,
            fields={
                "model": "1.10",
                "summary_prompt": "Sum up",
                "max_turns": 1,
                "temperature": 2.0,
                "top_p": 0.5,
                "seed": -7,
                "stop": ("\n", "END"),
                "max_tokens": 16,
                "timeout": 90.0,
                "idle_timeout": 0.5,
                "params": {"top_k": 40, "nested": {"list": [1, 2.5, True, None, "x"]}},
                "allowed_tools": ("grep", "http_get(a.org, b.org)"),
                "after": ("1.10", "other"),
                "after_strict": True,
            },
        ),
    )
    assert type(document.head["max_concurrent"]) is int


@pytest.mark.parametrize(
    "written", ["42", "no", "off", "1:30", "010", "1_000", "1e3", "2026-01-01", "1.10", "true", ".inf"]
)
def test_an_unquoted_text_stays_as_it_was_written(written):
    assert told(parse(f"{written}: {written}")) == [(written, written)]


def test_specs_know_the_line_where_they_were_written():
    assert [spec.line for spec in parse("# two\na: x\n\nb:\n  prompt: y").specs] == [2, 4]
    assert [spec.line for spec in parse("one\n---\ntwo\n--- x\nthree").specs] == [1, 2, 4]
    assert [spec.line for spec in parse('[\n"x",\n\n{"prompt": "y"}]').specs] == [2, 4]
    assert [spec.line for spec in read(["x"]).specs] == [None]


def test_a_form_that_is_asked_for_is_taken():
    text = '{"a": "b"}'
    assert parse(text, form="json").form == "json"
    assert parse(text, form="yaml").form == "yaml"
    assert told(parse(text, form="text")) == [(None, text)]
    assert told(parse("--- a\n- x", form="text")) == [("a", "- x")]


def test_after_takes_one_label_or_several_and_has_a_second_name():
    document = parse(
        "a: x\nb c: {prompt: y, after: a}\nd: {prompt: z, depends_on: [b c, a]}\ne: {prompt: z, after: []}"
    )

    assert [spec.fields.get("after") for spec in document.specs] == [None, ("a",), ("b c", "a"), ()]


def test_null_leaves_a_field_out():
    assert parse('{"tasks": [{"prompt": "x", "model": null}], "fail_fast": null}').specs[0].fields == {}
    assert parse("tasks: [{prompt: x, model: null, timeout: ~}]").specs[0].fields == {}
    assert read([{"prompt": "x", "system": None}]).specs[0].fields == {}


def test_python_values_are_read_by_the_same_rules():
    as_text, as_values = parse(json.dumps(CALL)), read(CALL)
    assert (as_values.form, as_values.head) == ("values", as_text.head)
    assert told(as_values) == told(as_text)
    assert told(read({"a": "x", "b": {"prompt": "y"}})) == [("a", "x"), ("b", "y")]
    assert told(read(("x # y", "{{z}}"))) == [(None, "x # y"), (None, "{{z}}")]
    assert told(read("a: x")) == [("a", "x")]
    assert read([{"prompt": "x", "max_tokens": np.int64(5), "top_p": np.float64(0.5)}]).specs[0].fields == {
        "max_tokens": 5,
        "top_p": 0.5,
    }


def test_a_complete_task_is_a_spec_too():
    task = Task(index=3, label="a", prompt="x", model="local", max_tokens=5, stop=("END",), seed=1)
    spec = read([task]).specs[0]
    assert (spec.label, spec.prompt) == ("a", "x")
    assert Task(index=3, label="a", prompt="x", **spec.fields) == task


def test_a_complete_task_keeps_what_scores_it_and_what_it_should_answer():
    task = Task(
        index=0,
        label="a",
        prompt="x",
        model="local",
        max_tokens=5,
        trial=Trial(input="a", repeat=2),
        tags=("one", "two"),
        schema=AnswerSchema(name="A", json={"type": "object"}),
        scores=(Scorer(name="equals", kind="equals"), Scorer(name="f", kind="function", function=len)),
        expect={"a": [1]},
    )

    fields = read([task]).specs[0].fields

    assert fields["schema"] is task.schema
    assert fields["score"] == task.scores
    assert fields["score"][1].function is len
    assert (fields["tags"], fields["expect"]) == (task.tags, task.expect)
    assert not {"trial", "purpose", "of", "scores"} & fields.keys()


def test_a_complete_task_bears_its_dependencies_as_they_would_be_written():
    inserts = [("prompt", 0, "a"), ("prompt", 3, 'say "hi"'), ("prompt", 3, "a"), ("system", 0, "a")]
    task = Task(
        index=0,
        label="b",
        prompt="1 2",
        system="",
        model="local",
        max_tokens=5,
        after=("a", 'say "hi"'),
        after_when="ended",
        inserts=tuple(Insert(field=field, at=at, label=label) for field, at, label in inserts),
    )

    spec = read([task]).specs[0]

    assert spec.prompt == """{{results["a"]}}1 2{{results['say "hi"']}}{{results["a"]}}"""
    assert spec.fields["system"] == '{{results["a"]}}'
    assert (spec.fields["after"], spec.fields["after_any"]) == (task.after, True)
    assert read([replace(task, after_when="done")]).specs[0].fields["after_strict"]


def test_options_are_checked_by_the_same_table_and_limits_become_a_quota():
    assert check_options({}) == {}
    assert check_options({"model": "local", "temperature": 1, "stop": "END", "seed": None}) == {
        "model": "local",
        "temperature": 1.0,
        "stop": ("END",),
    }
    assert check_options({"max_total_tokens": 10, "quota": Quota(max_executions=1)}) == {
        "quota": Quota(max_total_tokens=10, max_executions=1)
    }
    with pytest.raises(SpecError, match="`temperature` must be a number from 0 to 2, not 3"):
        check_options({"temperature": 3})
    with pytest.raises(SpecError, match="did you mean `max_tokens`"):
        check_options({"max_token": 3})
    with pytest.raises(SpecError, match="`prompt` may not stand among the options"):
        check_options({"prompt": "x"})
    with pytest.raises(SpecError, match="`after` may not stand among the options"):
        check_options({"after": ["a"]})
    with pytest.raises(SpecError, match="`max_executions` is written twice"):
        check_options({"max_executions": 2, "quota": {"max_executions": 1}})


def test_several_models_among_the_options_are_a_variable_of_the_matrix():
    options = check_options({"model": ["openai:a", "local"], "matrix": {"top_p": [0.5]}})

    assert list(options) == ["matrix"]
    assert [(name, [arm.set_to for arm in arms]) for name, arms in options["matrix"].items()] == [
        ("top_p", [0.5]),
        ("model", ["openai:a", "local"]),
    ]
    with pytest.raises(SpecError, match=r"matrix\['model'\]\[1\]: `model` must be text"):
        check_options({"model": ["a", 5]})


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("prompt: x\nrepeat: 2", [(None, "x")]),
        ("prompt: x\nlabel: a\nmodel: m\nforeach: rows", [("a", "x")]),
        ("foreach: [1]\nmatrix: {prompt: [x, y]}", [(None, "")]),
        ("foreach: [1]\nmatrix: {task_prompt: [x, y]}", [(None, "")]),
        ("repeat: 2\ntasks: {a: x}", [("a", "x")]),
        ("matrix: {prompt: [x]}\ntasks: [{label: a}, {label: b}]", [("a", ""), ("b", "")]),
    ],
)
def test_a_design_makes_a_document_with_a_head(text, specs):
    document = parse(text)

    assert told(document) == specs
    assert document.head.keys() & {"matrix", "foreach", "repeat"}
    assert document.specs[0].fields == {}


def test_unseen_characters_among_the_values_of_the_matrix_are_warned_of():
    assert parse("prompt: x\nmatrix: {w: [a\u202eb, 1]}").warnings == (
        "the matrix: `w` holds U+202E, which nobody sees; it is sent as it stands",
    )


def test_tools_and_rates_may_stand_among_the_options():
    assert check_options({"allowed_tools": ["http_get(a.org, b.org)"], "rpm": 1, "tpm": 2.5, "max_depth": 0}) == {
        "allowed_tools": ("http_get(a.org, b.org)",),
        "rpm": 1.0,
        "tpm": 2.5,
        "max_depth": 0,
    }


@pytest.mark.parametrize("char", ["\u202e", "\u200b", "\ufeff", "\U000e0041", "\u2066"])
def test_unseen_characters_of_a_prompt_are_kept_and_warned_of(char):
    document = parse(f"a: say{char} hi")
    assert document.specs[0].prompt == f"say{char} hi"
    assert document.warnings == (
        f"task 'a': `prompt` holds U+{ord(char):04X}, which nobody sees; it is sent as it stands",
    )


def test_joined_emoji_and_joined_scripts_are_no_reason_to_warn():
    assert parse("a: 👩‍💻 می‌خواهم\n").warnings == ()


def test_a_key_in_a_prompt_is_warned_of_and_many_warnings_are_cut():
    assert parse("a: is sk-proj-0123456789abcdef a key?").warnings == (
        "task 'a': `prompt` holds what looks like a key; it is sent, and stays in the notebook",
    )
    many = read(["a\u202eb"] * 9).warnings
    assert len(many) == 6
    assert many[0].startswith("task 1: ")
    assert many[-1] == "and 4 more texts that hold invisible characters or keys"


def test_ten_thousand_tasks_are_read():
    assert len(parse(json.dumps(["x"] * 10_000)).specs) == 10_000
    assert len(parse("- x\n" * 10_000).specs) == 10_000


def test_one_line_of_prose_with_a_colon_is_remarked_on_since_its_beginning_became_the_label():
    prose, labels = parse("Translate to French: hello world"), parse("to French: hello\nto Dutch: hello")

    assert (prose.specs[0].label, prose.specs[0].prompt) == ("Translate to French", "hello world")
    assert "if it belongs to the prompt, quote the whole line" in prose.warnings[0]
    assert labels.warnings == ()


def test_a_misspelt_field_is_told_of_one_that_may_stand_there():
    with pytest.raises(SpecError, match="did you mean `max_total_tokens`"):
        parse("quota: {max_tokns: 1}\ntasks: [hi]")
