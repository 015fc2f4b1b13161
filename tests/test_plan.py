"""How specs become complete tasks: what wins over what, templates, labels and defaults."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.plan import MOST_OUTPUT_BYTES, make_plan, with_results
from xz_magics.records import Insert, Outcome, Quota, Task
from xz_magics.specs import parse, read
from xz_magics.tools import Tool
from xz_magics.tools.registry import Registry


def tool(name, **fields):
    return Tool(name=name, description="", parameters={}, check=dict, run=lambda *_: None, **fields)


TOOLS = Registry([tool("grep"), tool("http_get", params="hosts")])


def plan_of(work, *, names=(), secrets=(), options=(), **settings):
    document = parse(work) if isinstance(work, str) else read(work)
    return make_plan(
        document,
        settings=Settings(**({"model": "scripted:"} | settings)),
        options=dict(options),
        names=dict(names),
        tools=TOOLS,
        secrets=secrets,
    )


def refusal_of(work, **given):
    with pytest.raises(SpecError) as caught:
        plan_of(work, **given)
    return caught.value


def outcome(label="a", output="text", **fields):
    return Outcome(index=0, label=label, model="m", max_tokens=9, output=output, **({"status": "done"} | fields))


def test_a_bare_prompt_is_a_complete_task_by_the_defaults():
    plan = plan_of("Say hi.")

    assert plan.tasks == (
        Task(index=0, label="task-1", prompt="Say hi.", model="scripted:", max_tokens=1024, idle_timeout=60.0),
    )
    assert (plan.max_concurrent, plan.max_depth, plan.fail_fast, plan.quota) == (5, 3, False, Quota())
    assert (plan.rpm, plan.tpm, plan.warnings) == (None, None, ())


HEAD = "temperature: 0.3\nmodel: openai:head\n"
TASKS = "tasks:\n- prompt: a\n- {prompt: b, temperature: 0.1, model: openai:task}\n"


@pytest.mark.parametrize(
    ("head", "options", "expected"),
    [
        ("", {}, [("openai:settings", None), ("openai:task", 0.1)]),
        (HEAD, {}, [("openai:head", 0.3), ("openai:task", 0.1)]),
        (HEAD, {"model": "openai:option"}, [("openai:option", 0.3), ("openai:task", 0.1)]),
        (HEAD, {"temperature": 0.0}, [("openai:head", 0.0), ("openai:task", 0.1)]),
        (HEAD, {"temperature": None}, [("openai:head", 0.3), ("openai:task", 0.1)]),
    ],
)
def test_settings_give_way_to_the_head_that_to_options_and_those_to_a_tasks_own_fields(head, options, expected):
    plan = plan_of(head + TASKS, options=options, model="openai:settings")

    assert [(task.model, task.temperature) for task in plan.tasks] == expected


def test_every_field_reaches_the_task():
    fields = {
        "system": "be brief",
        "summary_prompt": "sum up",
        "allowed_tools": ["grep"],
        "max_turns": 2,
        "temperature": 0.5,
        "top_p": 0.6,
        "seed": 7,
        "stop": ["a", "b"],
        "max_tokens": 8,
        "timeout": 9.0,
        "idle_timeout": 10.0,
        "params": {"top_k": 40},
    }

    plan = plan_of([{"prompt": "p", "label": "l", "model": "openai:m", **fields}])

    tuples = {"allowed_tools": ("grep",), "stop": ("a", "b")}
    assert plan.tasks == (Task(index=0, label="l", prompt="p", model="openai:m", **(fields | tuples)),)
    assert plan.warnings == ()


def test_every_setting_of_a_task_and_a_run_reaches_the_plan():
    plan = plan_of(
        ["p"],
        max_tokens=1,
        default_max_turns=2,
        timeout=3.0,
        idle_timeout=4.0,
        max_concurrent=6,
        max_depth=7,
        fail_fast=True,
        quota=Quota(max_executions=1),
    )

    (task,) = plan.tasks
    assert (task.max_tokens, task.max_turns, task.timeout, task.idle_timeout) == (1, 2, 3.0, 4.0)
    assert (plan.max_concurrent, plan.max_depth, plan.fail_fast) == (6, 7, True)
    assert plan.quota == Quota(), "the configured limits are the session's: a level of their own"


@pytest.mark.parametrize(
    ("model", "max_tokens"),
    [("local", 512), ("local:/a.gguf", 512), ("openai:local", 1024), ("scripted:", 1024)],
)
def test_the_default_of_max_tokens_is_the_models(model, max_tokens):
    (task,) = plan_of(["p"], model=model).tasks

    assert task.max_tokens == max_tokens


def test_what_concerns_the_run_comes_from_the_head_or_from_options():
    text = (
        "max_concurrent: 2\nmax_depth: 0\nfail_fast: false\nquota: {max_executions: 3}\nrpm: 60\ntpm: 0.5\ntasks: [a]"
    )
    options = {"max_concurrent": 9, "max_depth": 1, "fail_fast": True, "quota": Quota(), "rpm": 30.0, "tpm": 7.0}

    written = plan_of(text, fail_fast=True)
    chosen = plan_of(text, options=options)

    assert (written.max_concurrent, written.max_depth, written.fail_fast) == (2, 0, False)
    assert (written.quota, written.rpm, written.tpm) == (Quota(max_executions=3), 60, 0.5)
    assert {name: getattr(chosen, name) for name in options} == options


def test_default_labels_count_all_tasks_and_pass_those_that_are_taken():
    plan = plan_of(["a", {"prompt": "b", "label": "own"}, "c", {"prompt": "d", "label": "task-3"}])

    assert [task.label for task in plan.tasks] == ["task-1", "own", "task-3'", "task-3"]
    assert [task.index for task in plan.tasks] == [0, 1, 2, 3]


def test_templates_are_filled_in_prompt_system_and_summary_prompt():
    text = "one:\n  prompt: About {{city}}\n  system: In {{language}}\n  summary_prompt: 'In {{n}} words {json}'"

    (task,) = plan_of(text, names={"city": "Lima", "language": "Quechua", "n": 3}).tasks

    assert (task.prompt, task.system, task.summary_prompt) == ("About Lima", "In Quechua", "In 3 words {json}")


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("{{citty}}", "task 'one': {{citty}}: nothing is called 'citty'", "did you mean city?"),
        ("{{secret}}", "task 'one': {{secret}}: the value holds a key", "keys never go into a prompt"),
        ("'{{blank}}'", "task 'one': the prompt is empty once its templates are filled in", "give a value to what"),
    ],
)
def test_a_template_that_cannot_be_filled_is_an_error_that_names_task_and_line(template, message, hint):
    names = {"city": "Lima", "secret": "sk-0123456789", "blank": " "}

    with pytest.raises(SpecError) as caught:
        plan_of(f"zero: fine\none: {template}", names=names, secrets={"sk-0123456789"})

    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)
    assert caught.value.line == 2


def test_an_output_in_another_text_does_not_make_up_for_an_empty_prompt():
    error = refusal_of("a: x\nb: {prompt: '{{blank}}', system: '{{results.a}}'}", names={"blank": " "})

    assert error.message == "task 'b': the prompt is empty once its templates are filled in"


def test_without_any_model_the_error_lists_the_choices():
    with pytest.raises(SpecError) as caught:
        plan_of("one: hi", model=None)

    assert caught.value.message == "task 'one' has no model, and none is configured"
    assert "--model local" in caught.value.hint
    assert "--model openai:" in caught.value.hint
    assert "scripted" not in caught.value.hint


# What tasks may use


def test_allowed_tools_are_the_heads_the_options_or_a_tasks_own():
    text = "allowed_tools: [grep]\ntasks:\n- a\n- {prompt: b, allowed_tools: []}"

    written = plan_of(text)
    chosen = plan_of(text, options={"allowed_tools": ("http_get(a.org, b.org)",)})

    assert [task.allowed_tools for task in written.tasks] == [("grep",), ()]
    assert [task.allowed_tools for task in chosen.tasks] == [("http_get(a.org, b.org)",), ()]


@pytest.mark.parametrize(
    ("grant", "message", "hint"),
    [
        ("grepp", "task 'two': no tool is called 'grepp'", "did you mean grep?"),
        ("grep(a)", "task 'two': 'grep(a)': grep takes no words", "write grep alone"),
        ("grep it", "task 'two': 'grep it' grants no tool", "write a tool's name"),
    ],
)
def test_a_grant_of_no_tool_is_an_error_that_names_task_and_line(grant, message, hint):
    error = refusal_of(f"one: x\ntwo: {{prompt: y, allowed_tools: [{grant}]}}")

    assert error.message == message
    assert error.hint.startswith(hint)
    assert error.line == 2


def test_tools_that_cannot_be_used_for_want_of_turns_are_warned_of():
    plan = plan_of([{"prompt": "x", "allowed_tools": ["grep"]}] * 20, options={"max_turns": 1})
    fine = plan_of([{"prompt": "x", "allowed_tools": ["grep"], "max_turns": 2}, {"prompt": "x", "max_turns": 1}])

    (warning,) = plan.warnings
    assert "no tool can be used: task-1, task-2, task-3, task-4, … (12 more), task-17" in warning
    assert fine.warnings == ()


# What comes after what


def test_a_task_comes_after_those_it_names_and_those_whose_output_it_inserts_and_keeps_its_place():
    tasks = plan_of("""\
last: {prompt: "{{results.b}}", depends_on: first one, summary_prompt: "{{results['first one']}}"}
first one: x
b: {prompt: x, after: [first one, first one]}
""").tasks

    assert [(task.label, task.after) for task in tasks] == [
        ("last", ("first one", "b")),
        ("first one", ()),
        ("b", ("first one",)),
    ]


def test_default_labels_can_be_come_after():
    assert plan_of(["a", {"prompt": "{{results['task-1']}}", "after": "task-1"}]).tasks[1].after == ("task-1",)


@pytest.mark.parametrize(
    ("head", "own", "when"),
    [
        ("", "", "text"),
        ("", "after_strict: true", "done"),
        ("", "after_any: true", "ended"),
        ("after_strict: true", "", "done"),
        ("after_any: true", "", "ended"),
        ("after_any: true", "after_any: false", "text"),
        ("after_any: true", "after_strict: true", "done"),
        ("after_strict: true", "after_any: true", "ended"),
        ("after_strict: true", "after_strict: false", "text"),
        ("after_any: false", "after_strict: false", "text"),
    ],
)
def test_what_a_task_asks_of_those_before_it_is_its_own_word_or_the_heads(head, own, when):
    plan = plan_of(f"{head}\ntasks:\n- prompt: x\n  {own}")

    assert plan.tasks[0].after_when == when


@pytest.mark.parametrize(
    ("after", "hint"),
    [
        ("frist", "did you mean 'first'?"),
        ("SECOND", "did you mean 'second'?"),
        ("'first, second'", "write several labels in brackets: [one, two]"),
        ("one", "the tasks are called first, second"),
    ],
)
def test_to_come_after_a_task_that_there_is_not_is_an_error_with_a_suggestion(after, hint):
    error = refusal_of(f"first: x\nsecond: {{prompt: y, after: {after}}}")

    name = after.strip("'")
    assert error.message == f"task 'second' comes after {name!r}, and no task is called so"
    assert error.hint == hint
    assert error.line == 2


@pytest.mark.parametrize(
    ("text", "circle", "line"),
    [
        ("a: {prompt: x, after: a}", "a -> a", 1),
        ("a: 'on {{results.a}}'", "a -> a", 1),
        ("z: x\na: {prompt: x, after: b}\nb: {prompt: x, after: [z, a]}", "a -> b -> a", 2),
        ("a: '{{results.c}}'\nb: {prompt: x, after: a}\nc: {prompt: x, after: b}", "a -> c -> b -> a", 1),
    ],
)
def test_a_circle_is_an_error_that_shows_it(text, circle, line):
    error = refusal_of(text)

    assert error.message == f"a task would come after itself: {circle}"
    assert error.hint.startswith("each comes after the next one here: take one of them out")
    assert error.line == line


def test_a_long_circle_is_shown_in_part():
    error = refusal_of([{"prompt": "x", "after": f"task-{(at + 1) % 5000 + 1}"} for at in range(5000)])

    assert error.message.endswith(
        ": task-1 -> task-2 -> task-3 -> task-4 -> … (4,993 more) -> task-4998 -> task-4999 -> task-5000 -> task-1"
    )


@st.composite
def graphs(draw):
    """For each label those it comes after; about half of them run in a circle."""
    labels = [f"t{at}" for at in range(draw(st.integers(1, 7)))]
    return {label: draw(st.lists(st.sampled_from(labels), max_size=2)) for label in labels}


@given(graph=graphs(), inserted=st.booleans())
def test_any_order_is_kept_as_written_without_a_circle_or_refused_with_a_true_one(graph, inserted):
    def spec(others):
        return (
            {"prompt": "x" + "".join(f"{{{{results.{other}}}}}" for other in others)}
            if inserted
            else {"prompt": "x", "after": others}
        )

    try:
        plan = plan_of({label: spec(others) for label, others in graph.items()})
    except SpecError as error:
        circle = error.message.partition(": ")[2].split(" -> ")
        assert circle[0] == circle[-1]
        assert len(circle) == len(set(circle)) + 1
        assert all(after in graph[label] for label, after in pairwise(circle))
        return
    assert {task.label: set(task.after) for task in plan.tasks} == {k: set(others) for k, others in graph.items()}
    assert [task.label for task in plan.tasks] == list(graph)
    ended = set()
    while ready := {task.label for task in plan.tasks if set(task.after) <= ended} - ended:
        ended |= ready
    assert ended == set(graph)


# Outputs of earlier tasks


def test_the_outputs_of_tasks_go_into_every_text_where_their_templates_stood():
    *_, task = plan_of(
        """\
a: x
two words: y
c:
  prompt: |-
    {{n}}: {{results.a}}{{ results["two words"] }}!
  system: {{results.a}}
  summary_prompt: About {{results['two words']}}
""",
        names={"n": "ö"},
    ).tasks

    complete = with_results(task, {"a": outcome(output="A"), "two words": outcome(output="B")})

    assert (task.prompt, task.inserts[:2]) == (
        "ö: !",
        (Insert(field="prompt", at=3, label="a"), Insert(field="prompt", at=3, label="two words")),
    )
    assert (complete.prompt, complete.system, complete.summary_prompt) == ("ö: AB!", "A", "About B")
    assert complete.inserts == ()
    assert with_results(complete, {}) == complete


def test_results_of_no_task_here_are_looked_up_in_the_notebook():
    results = {"a": "notebook's a", "old": {"x": 1}, "b": {"x": 2}}

    plan = plan_of(
        "a: x\nb: '{{results.a}} {{results.old.x}} {{results.b.x}} {{results[\"old\"]}}'", names={"results": results}
    )

    assert plan.tasks[1].prompt == ' 1 2 {"x": 1}'
    assert plan.tasks[1].inserts == (Insert(field="prompt", at=0, label="a"),)


@pytest.mark.parametrize("names", [{}, {"results": object()}])
@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        ("results.frist", "nothing is called 'frist'", "did you mean first?"),
        ("results.zzz", "nothing is called 'zzz'", "give the label of a task of this cell"),
        ("results.first.output", "an output is one text and has no parts", "take .output out"),
    ],
)
def test_a_slip_in_the_label_of_a_result_is_told_with_its_mend(names, template, message, hint):
    error = refusal_of(f"first: x\nsecond: '{{{{{template}}}}}'", names=names)

    assert error.message == f"task 'second': {{{{{template}}}}}: {message}"
    assert (error.hint, error.line) == (hint, 2)


@pytest.mark.parametrize(
    ("fields", "inserted"),
    [
        ({}, "text"),
        ({"status": "incomplete", "error_type": "length"}, "text\n[incomplete: length]"),
        ({"status": "timed_out", "error_type": "timeout"}, "text\n[timed_out: timeout]"),
        ({"output": None, "status": "failed", "error_type": "network"}, "[no text: failed]"),
        ({"output": "", "status": "skipped"}, "[no text: skipped]"),
        ({"output": "half \ud83d\ude00 and \ud800."}, "half 😀 and \ufffd."),
        ({"output": "x" * MOST_OUTPUT_BYTES}, "x" * MOST_OUTPUT_BYTES),
        ({"output": "x" * MOST_OUTPUT_BYTES + "yz"}, "x" * MOST_OUTPUT_BYTES + "\n[cut: 2 more bytes]"),
        (
            {"output": "x" + "ö" * MOST_OUTPUT_BYTES, "status": "incomplete", "error_type": "cut"},
            "x"
            + "ö" * (MOST_OUTPUT_BYTES // 2 - 1)
            + f"\n[cut: {MOST_OUTPUT_BYTES + 2:,} more bytes]\n[incomplete: cut]",
        ),
    ],
)
def test_an_output_that_is_not_whole_says_so(fields, inserted):
    task = plan_of("a: x\nb: '<{{results.a}}>'").tasks[1]

    assert with_results(task, {"a": outcome(**fields)}).prompt == f"<{inserted}>"


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["{{x}}", "{{results.a}}", '{{results["b"]}}', "{{", "}}", "\ufeff", "\r\n"]
)


@given(
    outputs=st.lists(any_text.filter(bool), min_size=2, max_size=2), texts=st.lists(any_text, min_size=3, max_size=3)
)
def test_whatever_text_goes_in_stays_as_it_is(outputs, texts):
    names = {f"v{at}": text for at, text in enumerate(texts)}
    prompt = "{{v0}}{{results.a}}{{v1}}{{results.b}}{{v2}}"

    task = plan_of({"a": "x", "b": "y", "c": prompt}, names=names).tasks[2]
    complete = with_results(task, {"a": outcome(output=outputs[0]), "b": outcome(output=outputs[1])})

    assert complete.prompt == texts[0] + outputs[0] + texts[1] + outputs[1] + texts[2]
    assert task.after == ("a", "b")


def test_a_task_of_a_plan_can_be_run_again_with_its_templates():
    text = """\
a: x
it's "b": y
c d: {prompt: "1 {{results.a}}{{results['a']}} 2", system: "{{results['c\\"d']}}", after_any: true}
'c"d': {prompt: z, after_strict: true, after: a}
"""
    tasks = plan_of(text).tasks

    assert plan_of(list(tasks)).tasks == tasks
