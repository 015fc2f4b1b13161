"""How specs become complete tasks: what wins over what, templates, labels and defaults."""

import pytest

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.plan import make_plan
from xz_magics.records import Quota, Task
from xz_magics.specs import parse, read


def plan_of(work, *, names=(), secrets=(), options=(), **settings):
    document = parse(work) if isinstance(work, str) else read(work)
    return make_plan(
        document,
        settings=Settings(**({"model": "scripted:"} | settings)),
        options=dict(options),
        names=dict(names),
        secrets=secrets,
    )


def test_a_bare_prompt_is_a_complete_task_by_the_defaults():
    plan = plan_of("Say hi.")

    assert plan.tasks == (
        Task(index=0, label="task-1", prompt="Say hi.", model="scripted:", max_tokens=1024, idle_timeout=60.0),
    )
    assert (plan.max_concurrent, plan.fail_fast, plan.quota, plan.warnings) == (5, False, Quota(), ())


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
    assert "no tools exist yet" in plan.warnings[0]


def test_every_setting_of_a_task_and_a_run_reaches_the_plan():
    plan = plan_of(
        ["p"],
        max_tokens=1,
        default_max_turns=2,
        timeout=3.0,
        idle_timeout=4.0,
        max_concurrent=6,
        fail_fast=True,
        quota=Quota(max_executions=1),
    )

    (task,) = plan.tasks
    assert (task.max_tokens, task.max_turns, task.timeout, task.idle_timeout) == (1, 2, 3.0, 4.0)
    assert (plan.max_concurrent, plan.fail_fast) == (6, True)
    assert plan.quota == Quota(), "the configured limits are the session's: a level of their own"


@pytest.mark.parametrize(
    ("model", "max_tokens"),
    [("local", 512), ("local:/a.gguf", 512), ("openai:local", 1024), ("scripted:", 1024)],
)
def test_the_default_of_max_tokens_is_the_models(model, max_tokens):
    (task,) = plan_of(["p"], model=model).tasks

    assert task.max_tokens == max_tokens


def test_what_concerns_the_run_comes_from_the_head_or_from_options():
    text = "max_concurrent: 2\nfail_fast: false\nquota: {max_executions: 3}\ntasks: [a]"

    written = plan_of(text, fail_fast=True)
    given = plan_of(text, options={"max_concurrent": 9, "fail_fast": True, "quota": Quota(max_total_tokens=1)})

    assert (written.max_concurrent, written.fail_fast, written.quota) == (2, False, Quota(max_executions=3))
    assert (given.max_concurrent, given.fail_fast, given.quota) == (9, True, Quota(max_total_tokens=1))


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


def test_without_any_model_the_error_lists_the_choices():
    with pytest.raises(SpecError) as caught:
        plan_of("one: hi", model=None)

    assert caught.value.message == "task 'one' has no model, and none is configured"
    assert "--model local" in caught.value.hint
    assert "--model openai:" in caught.value.hint
    assert "scripted" not in caught.value.hint
