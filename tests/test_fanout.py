"""How tasks as written become trials: the product, its order, labels, and what templates may use."""

import json
import unicodedata
from itertools import product

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.plan import make_plan
from xz_magics.records import Trial
from xz_magics.specs import check_options, parse, read
from xz_magics.tools import Tool
from xz_magics.tools.registry import Registry

GREP = Registry([Tool(name="grep", description="", parameters={}, check=dict, run=lambda *_: None)])
ROWS = [{"text": "fine", "stars": 5}, {"text": "bad", "stars": 1}]


def plan_of(work, *, names=(), secrets=(), user=None, **options):
    return make_plan(
        parse(work) if isinstance(work, str) else read(work),
        settings=Settings(model="scripted:", user=user),
        options=check_options(options),
        names=dict(names),
        tools=GREP,
        secrets=secrets,
    )


def labels_of(work, **options):
    return [task.label for task in plan_of(work, **options).tasks]


def prompts_of(work, **options):
    return [task.prompt for task in plan_of(work, **options).tasks]


def refusal_of(work, **options):
    with pytest.raises(SpecError) as caught:
        plan_of(work, **options)
    assert str(caught.value).count("\n") <= 3
    return caught.value


def test_rows_come_first_then_the_tasks_as_written_then_arms_then_repeats():
    plan = plan_of({"a": "{{text}}", "b": "{{text}}!"}, foreach=ROWS, matrix={"temperature": [0, 1]}, repeat=2)

    places = [(task.trial.row, task.trial.input, task.trial.arms, task.trial.repeat) for task in plan.tasks]
    assert places == [
        (row, f"{label}[{row}]", {"temperature": temperature}, repeat)
        for row, label, temperature, repeat in product([0, 1], "ab", [0, 1], [1, 2])
    ]
    assert [task.index for task in plan.tasks] == list(range(16))
    assert plan.tasks[0].label == "a[0] temperature=0 #1"
    assert (plan.tasks[-1].label, plan.tasks[-1].prompt) == ("b[1] temperature=1 #2", "bad!")


def test_a_task_without_any_design_is_no_trial():
    (task,) = plan_of("Say hi.").tasks

    assert (task.label, task.trial) == ("task-1", None)


@pytest.mark.parametrize(
    ("design", "label", "trial"),
    [
        ({"repeat": 1}, "task-1", Trial(input="task-1", repeat=1, unit="task-1")),
        ({"matrix": {"top_p": [0.5]}}, "task-1", Trial(input="task-1", arms={"top_p": 0.5}, unit="task-1")),
        ({"foreach": ["x"]}, "task-1[0]", Trial(input="task-1[0]", row=0, columns={"item": "x"}, unit="0")),
    ],
)
def test_any_design_makes_trials_and_only_what_differs_goes_into_the_label(design, label, trial):
    (task,) = plan_of(["hi"], **design).tasks

    assert (task.label, task.trial) == (label, trial)


def units_of(work, **options):
    return {(task.trial.input, task.trial.unit) for task in plan_of(work, **options).tasks}


def test_tasks_that_build_on_one_another_are_one_observation_and_so_are_all_on_one_row():
    work = {
        "end": {"prompt": "{{results.draft}}"},
        "alone": "x",
        "draft": "y",
        "other": {"prompt": "z", "after": "draft"},
    }

    assert units_of(work, repeat=2) == {("end", "end"), ("draft", "end"), ("other", "end"), ("alone", "alone")}
    assert units_of({"a": "x", "b": "y"}, foreach=[1, 2]) == {
        ("a[0]", "0"),
        ("b[0]", "0"),
        ("a[1]", "1"),
        ("b[1]", "1"),
    }


texts = st.text(max_size=30) | st.text(st.characters(exclude_categories=["Cs"]), min_size=60, max_size=200)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
arms = st.lists(
    texts.filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)) | scalars,
    min_size=1,
    max_size=4,
    unique=True,
)
designs = st.fixed_dictionaries(
    {},
    optional={
        "foreach": st.lists(scalars | st.text(max_size=5), min_size=1, max_size=4),
        "matrix": st.dictionaries(st.sampled_from(["x", "y", "wording"]), arms, min_size=1, max_size=3),
        "repeat": st.integers(1, 4),
    },
)
written = st.lists(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=80),
    min_size=1,
    max_size=3,
    unique_by=lambda text: unicodedata.normalize("NFKC", text).casefold(),
)


@settings(max_examples=300, deadline=None)
@given(labels=written, design=designs)
def test_the_product_is_complete_and_unique_and_so_are_its_labels(labels, design):
    work = {"tasks": [{"prompt": "hi", "label": label} for label in labels]}
    rows = list(range(len(design["foreach"]))) if "foreach" in design else [None]
    variables = design.get("matrix", {})
    repeats = list(range(1, design["repeat"] + 1)) if "repeat" in design else [None]

    plan = plan_of(work, **design)

    wanted = list(product(rows, labels, product(*variables.values()), repeats))
    assert len(plan.tasks) == len(wanted)
    if design:
        trials = [(t.trial.row, tuple(t.trial.arms.values()), t.trial.repeat) for t in plan.tasks]
        assert trials == [(row, values, repeat) for row, _, values, repeat in wanted]
        inputs = [task.trial.input for task in plan.tasks]
        assert inputs[:: len(wanted) // (len(rows) * len(labels))] == list(dict.fromkeys(inputs))
    assert len({unicodedata.normalize("NFKC", task.label).casefold() for task in plan.tasks}) == len(wanted)
    assert all(0 < len(task.label) <= 80 and task.label.isprintable() for task in plan.tasks)
    assert plan == plan_of(work, **design)


def test_labels_are_made_of_what_tells_trials_apart():
    assert labels_of({"r": "{{w}}"}, matrix={"w": ["plain", "strict"], "top_p": [0.5, 1], "seed": [3]}) == [
        "r plain top_p=0.5",
        "r plain top_p=1",
        "r strict top_p=0.5",
        "r strict top_p=1",
    ]
    assert labels_of({"r": "{{w}}"}, matrix={"w": ["a " * 99 + "1", "a " * 99 + "2"]}) == ["r w-1", "r w-2"]
    assert labels_of({"r": "{{w}}"}, matrix={"w": ["One of the two\nis longer than a label may be", "x"]}) == [
        "r One of the two is longer than a label…",
        "r x",
    ]
    assert labels_of({"r": "x{{w}}"}, matrix={"w": ["", "x"], "temperature": [None, 1]}) == [
        "r w-1 temperature=null",
        "r w-1 temperature=1",
        "r w-2 temperature=null",
        "r w-2 temperature=1",
    ]
    many = {f"variable_{name}": [10**9, 10**9 + 1] for name in "abcdefgh"}
    assert labels_of({"r": "".join(f"{{{{{name}}}}}" for name in many)}, matrix=many)[:2] == ["r arm-1", "r arm-2"]


def test_numbers_and_short_words_stay_whole_in_labels():
    both = {"w": ["plain", "strict"], "max_tokens": [5, 10], "temperature": [0, 0.7]}
    long = {"model": ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5-20251001"], **both}

    assert labels_of({"r": "{{w}}"}, matrix=both)[1] == "r plain max_tokens=5 temperature=0.7"
    assert labels_of({"r": "{{w}}"}, matrix=long)[-1] == "r anthropic:claude-haiku-4… strict 10 0.7"
    assert labels_of({"r": "{{w}}"}, matrix={"w": ["a " * 99, "b"], "seed": [1, 22]})[1] == (
        "r a a a a a a a a a a a a a a a… seed=22"
    )


def test_a_label_that_would_be_too_long_is_cut_before_what_tells_it_apart_and_stays_unique():
    work = {"a" * 80: "x", "a" * 79: "y", "b[1] #2": "z", "b": "w"}

    labels = labels_of(work, foreach=[1, 2], repeat=2)

    assert labels[::2][:4] == [f"{'a' * 73}…[0] #1", f"{'a' * 71}…~2[0] #1", "b[1] #2[0] #1", "b[0] #1"]
    assert len(set(labels)) == 16


def test_rows_are_called_by_their_own_index_where_it_tells_them_apart():
    def told(index):
        return [task.trial.row for task in plan_of(["x"], foreach=pd.DataFrame({"a": [1, 2]}, index=index)).tasks]

    assert told(["p", "q"]) == ["p", "q"]
    assert told([7, -1]) == [7, -1]
    assert told(["p", "p"]) == [0, 1]
    assert told([0.5, 1.5]) == [0, 1]
    assert told(pd.to_datetime(["2024-01-01", "2024-01-02"])) == [0, 1]
    assert told(pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])) == [0, 1]
    assert labels_of(["x"], foreach=pd.DataFrame({"a": [1, 2]}, index=["p", "q" * 21])) == ["task-1[0]", "task-1[1]"]


def test_a_variable_that_is_called_like_a_field_sets_that_field():
    plan = plan_of(
        {"tasks": [{"prompt": "hi", "label": "t"}]},
        matrix={
            "model": ["openai:a", "openai:b"],
            "system": {"none": None, "brief": "Be brief."},
            "allowed_tools": [["grep"]],
            "params": [{"top_k": 3}],
            "max_tokens": [7],
            "stop": ["END"],
        },
    )

    assert [(task.model, task.system) for task in plan.tasks] == [
        ("openai:a", None),
        ("openai:a", "Be brief."),
        ("openai:b", None),
        ("openai:b", "Be brief."),
    ]
    last = plan.tasks[-1]
    assert (last.allowed_tools, last.params, last.max_tokens, last.stop) == (("grep",), {"top_k": 3}, 7, ("END",))
    assert last.trial.arms == {
        "model": "openai:b",
        "system": "brief",
        "allowed_tools": '["grep"]',
        "params": '{"top_k": 3}',
        "max_tokens": 7,
        "stop": "END",
    }
    assert last.label == "t openai:b brief"


def test_a_matrix_over_prompts_needs_no_other_prompt():
    text = "matrix:\n  prompt: {short: 'Rate {{item}}.', long: 'Please rate {{item}}.'}\nforeach: [1, 2]"

    assert prompts_of(text) == ["Rate 1.", "Please rate 1.", "Rate 2.", "Please rate 2."]
    assert prompts_of({"tasks": [{"label": "a"}], "matrix": {"prompt": ["x", "y"]}}) == ["x", "y"]
    assert labels_of(text)[:2] == ["task-1[0] short", "task-1[0] long"]


def test_one_prompt_may_stand_beside_its_design():
    text = "task_prompt: Rate {{item}}\nlabel: a\nmodel: openai:x\nforeach: [1]\nmatrix: {top_p: [0.5]}\nrepeat: 1"
    value = {"prompt": "Rate {{item}}", "label": "a", "model": "openai:x"}
    value |= {"foreach": [1], "matrix": {"top_p": [0.5]}, "repeat": 1}

    for work in (text, value, json.dumps(value)):
        (task,) = plan_of(work).tasks

        assert (task.label, task.prompt, task.model, task.top_p) == ("a[0]", "Rate 1", "openai:x", 0.5)
        assert task.trial == Trial(input="a[0]", arms={"top_p": 0.5}, row=0, columns={"item": 1}, repeat=1, unit="0")


def test_templates_use_columns_variables_the_whole_row_and_the_notebook():
    prompts = prompts_of(
        ["{{text}} {{stars}} {{row.text}} {{row}} {{top_p}} {{x}} {{here}}"],
        foreach=ROWS[:1],
        matrix={"top_p": [0.5], "x": {"named": [1, {"y": 2}]}},
        names={"here": "notebook", "text": "not this", "x": "nor this"},
    )

    assert prompts == ['fine 5 fine {"text": "fine", "stars": 5} 0.5 [1, {"y": 2}] notebook']


def test_texts_among_the_values_of_a_variable_are_filled_in_first_and_only_once():
    assert prompts_of(
        ["{{wording}} End."],
        foreach=[{"text": "{{stars}}"}],
        matrix={"wording": {"plain": "Rate {{text}}, {{who}}.", "raw": "{{row.text}}"}},
        names={"who": "please"},
    ) == ["Rate {{stars}}, please. End.", "{{stars}} End."]


def test_what_a_later_task_inserts_is_the_output_of_its_sibling():
    plan = plan_of(
        {"a": "{{item}}", "b": "{{results.a}} {{item}}", "c": {"prompt": "x", "after": ["b", "a"]}},
        foreach=["p", "q"],
        matrix={"temperature": [0, 1]},
        repeat=2,
    )

    for task in plan.tasks[4:12]:
        befores = [plan.tasks[task.index - 4].label, plan.tasks[task.index - 8].label]
        assert list(task.after) == (befores[:1] if task.index < 8 else befores)
    second = plan.tasks[5]
    assert (second.label, second.after) == ("b[0] temperature=0 #2", ("a[0] temperature=0 #2",))
    assert second.inserts[0].label == "a[0] temperature=0 #2"


def test_a_seed_is_another_one_in_each_repeat():
    seeds = [task.seed for task in plan_of(["x"], seed=5, repeat=3).tasks]

    assert seeds == [5, 6, 7]
    assert [task.seed for task in plan_of(["x"], repeat=2).tasks] == [None, None]


def test_combinations_are_left_out_and_added():
    matrix = {"x": ["a", "b"], "temperature": {"cold": 0, "hot": 1}}

    def left(**changes):
        plan = plan_of(["{{x}}"], matrix=matrix, **changes)
        return [(*task.trial.arms.values(), task.temperature) for task in plan.tasks]

    assert left(exclude=[{"x": "a", "temperature": "hot"}]) == [("a", "cold", 0), ("b", "cold", 0), ("b", "hot", 1)]
    assert left(exclude=[{"temperature": 0}]) == [("a", "hot", 1), ("b", "hot", 1)]
    assert left(
        exclude=[{"x": "a"}], include=[{"x": "new", "temperature": "hot"}, {"temperature": "hot", "x": "b"}]
    ) == [
        ("b", "cold", 0),
        ("b", "hot", 1),
        ("new", "hot", 1),
    ]
    lists = {"matrix": {"stop": [["a"], ["b"]]}, "exclude": [{"stop": ["a"]}]}
    assert [task.stop for task in plan_of(["x"], **lists).tasks] == [("b",)]
    assert labels_of("prompt: x\nmatrix: {model: [1.10, 2]}\nexclude: [{model: 1.10}]") == ["task-1"]


def test_only_the_combinations_that_are_left_count():
    matrix = {"x": list(range(100)), "y": list(range(100))}
    excluded = [{"x": value} for value in range(1, 100)]

    assert len(plan_of(["{{x}} {{y}}"], matrix=matrix, exclude=excluded, repeat=100).tasks) == 10_000
    assert "100 combinations x 101 repeats = 10,100 tasks" in (
        refusal_of(["{{x}} {{y}}"], matrix=matrix, exclude=excluded, repeat=101).message
    )


def test_options_win_over_the_head_and_add_to_its_matrix():
    text = "prompt: '{{x}}'\nmatrix: {x: [1, 2]}\nrepeat: 3\nforeach: [1]"

    assert [(t.prompt, t.model) for t in plan_of(text, model="openai:c", repeat=1).tasks] == [
        ("1", "openai:c"),
        ("2", "openai:c"),
    ]
    assert [(t.prompt, t.model) for t in plan_of(text, model=["openai:c", "openai:d"], repeat=1).tasks] == [
        ("1", "openai:c"),
        ("1", "openai:d"),
        ("2", "openai:c"),
        ("2", "openai:d"),
    ]
    assert {t.trial.columns["item"] for t in plan_of(text, foreach=["z"]).tasks} == {"z"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "`temperature` is given one value, and varied by the matrix"),
        ({"model": "local"}, "`model` is given one value, and varied by the matrix"),
        ({"model": ["local", "openai:c"]}, "`model` is varied by the matrix, and given several values among the"),
    ],
)
def test_an_option_takes_no_variable_out_of_the_matrix(options, message):
    text = "prompt: hi\nmatrix: {temperature: [0, 1], model: ['openai:a', 'openai:b']}"

    refusal = refusal_of(text, **options)

    assert message in refusal.message
    assert refusal.hint == "take one of the two out"


def test_a_table_may_be_named_and_is_looked_up_in_the_notebook():
    frame = pd.DataFrame({"text": ["a", "b"], "at": pd.to_datetime(["2024-01-01", "2024-01-02"])})

    plan = plan_of("prompt: '{{text}} {{at}}'\nforeach: reviews", names={"reviews": frame})

    assert [task.prompt for task in plan.tasks] == ["a 2024-01-01T00:00:00", "b 2024-01-02T00:00:00"]
    assert plan.dtypes == {"text": "str", "at": "datetime64[us]"}


def test_what_is_expected_is_a_tasks_own_word_or_its_rows():
    rows = [{"answer": [1, 2], "expect": "{{as it is}}"}]

    def expected(value):
        return plan_of([{"prompt": "x", "expect": value}], foreach=rows, names={"n": 3}).tasks[0].expect

    assert expected(None) == "{{as it is}}"
    assert expected("{{answer}}") == [1, 2]
    assert expected("{{n}} of {{answer}}") == "3 of [1, 2]"
    assert expected({"a": ["{{n}}", 4]}) == {"a": [3, 4]}
    assert expected(False) is False


def test_tags_are_a_tasks_own_and_the_users():
    plan = plan_of([{"prompt": "x", "tags": ["a", "b"]}, "y"], tags="c", user="ann")

    assert [task.tags for task in plan.tasks] == [("a", "b", "user:ann"), ("c", "user:ann")]


def test_a_variable_that_changes_nothing_is_remarked_on():
    warnings = plan_of(["x {{y}}"], matrix={"temprature": [0, 1], "y": [1, 2], "top_p": [0.5, 1]}).warnings

    assert warnings == (
        "`temprature` of the matrix is in no template, so that its arms all ask the same; did you mean `temperature`?",
    )


def test_what_looks_like_a_template_and_is_none_is_remarked_on():
    rows = [{"odd name!": 1, "q": 2}]
    (warning,) = plan_of(["{{odd name!}} {{q|upper}} {{ }} {{q-1}} {{len(q)}} {{odd name!}}"], foreach=rows).warnings

    assert warning.startswith(
        "sent as it stands, for it is no template: '{{odd name!}}', '{{q|upper}}', '{{ }}', '{{q-1}}', '{{len(q)}}'; "
    )
    assert warning.endswith('{{row["odd name!"]}}')
    assert len(plan_of(["{{w}}"], matrix={"w": ["{{x y}}"]}).warnings) == 1
    fine = {"task-1": "x", "b": """{{"a": 1}} {{a: 1}} {{'a': 1}} {{results.task-1}} {{q\n}} {{{q}}} {{row["q"]}}"""}
    assert plan_of(fine, foreach=rows).warnings == ()


@pytest.mark.parametrize(("slip", "meant"), [("forech: people", "foreach"), ("matrx: {top_p: [1]}", "matrix")])
def test_a_slip_in_what_stands_beside_a_prompt_is_told_with_its_mend(slip, meant):
    for text in (f"prompt: hi\n{slip}", f"{slip}\ntask_prompt: hi\nmodel: local"):
        refusal = refusal_of(text)

        assert refusal.message == f"unknown field `{slip.split(':')[0]}`"
        assert refusal.hint == f"did you mean `{meant}`?"


NAMES = {"reviews": ROWS, "number": 5, "index": pd.Index([1, 2])}
TEXT = [{"prompt": "Rate {{text}}.", "label": "r"}]


@pytest.mark.parametrize(
    ("work", "options", "message", "hint"),
    [
        # the table
        (TEXT, {"foreach": "review"}, "foreach: nothing in the notebook is called 'review'", "did you mean reviews?"),
        (TEXT, {"foreach": "zzz"}, "nothing in the notebook is called 'zzz'", "tables here are: reviews"),
        (
            TEXT,
            {"foreach": "zzz", "names": {}},
            "nothing in the notebook is called 'zzz'",
            "run the cell that makes it",
        ),
        (TEXT, {"foreach": "number"}, "number: a table was expected, not a value of type int", "give a DataFrame"),
        (TEXT, {"foreach": "index"}, "index: a table was expected, not a value of type Index", "give a DataFrame"),
        (TEXT, {"foreach": "df.head()"}, "must be a table's name in the notebook", "rows = …; then foreach: rows"),
        (TEXT, {"foreach": []}, "foreach: this table has no rows", "give at least one"),
        (TEXT, {"foreach": [{}]}, "foreach: this table has no columns", "give a DataFrame"),
        (TEXT, {"foreach": [{"a": 1}, 2]}, "foreach[1]: this row is a value of type int", "make all rows mappings"),
        (TEXT, {"foreach": [{"a": 1}, {2: 1}]}, "foreach: a column is called 2, of type int", "must be text"),
        (
            TEXT,
            {"foreach": [{"a": float("inf")}]},
            "foreach[0]['a']: inf cannot go into a prompt",
            "leave the column out",
        ),
        (
            TEXT,
            {"foreach": [{"a": 1}, {"a": object}]},
            "foreach[1]['a']: a value of type type cannot",
            "leave the column",
        ),
        (TEXT, {"foreach": [{"a": {1: 2}}]}, "foreach[0]['a']: a key must be text, not int", "make a str of it"),
        (
            TEXT,
            {"foreach": pd.DataFrame([[1, 2]], columns=["a", "a"])},
            "two columns are called 'a'",
            "a name of its own",
        ),
        (TEXT, {"foreach": pd.DataFrame([[1, 2]])}, "foreach: a column is called 0, of type int", "must be text"),
        (TEXT, {"foreach": pd.DataFrame({"a": []})}, "foreach: this table has no rows", "give at least one"),
        (TEXT, {"foreach": [1] * 10_001}, "foreach: 10,001 rows are too many", "one run has 10,000"),
        # what goes into a prompt
        (
            TEXT,
            {"foreach": [{"text": "a"}, {"text": None}]},
            "task 'r[1]': row 1 has nothing in the column 'text'",
            "dropna",
        ),
        (
            TEXT,
            {"foreach": [{"text": "a"}, {"txt": "b"}]},
            "task 'r[1]': row 1 has nothing in the column 'text'",
            "dropna",
        ),
        (
            TEXT,
            {"foreach": pd.DataFrame({"text": ["a", float("nan")]}, index=["p", "q"])},
            "task 'r[q]': row 'q' has nothing in the column 'text'",
            "df.dropna(subset=['text'])",
        ),
        (TEXT, {"foreach": [{"txt": "b"}]}, "task 'r[0]': {{text}}: nothing is called 'text'", "did you mean txt?"),
        (
            TEXT,
            {"foreach": [1], "matrix": {"y": [1]}},
            "nothing is called 'text'",
            "there are 'item', 'row'; or give it",
        ),
        (["{{w}}"], {"matrix": {"w": ["{{zzz}}"]}}, "task 'task-1': `w`: {{zzz}}: nothing is called 'zzz'", "give it"),
        (
            {"a": "x", "b": "{{w}}"},
            {"matrix": {"w": ["{{results.a}}"]}},
            "task 'b': `w`: {{results.a}}: nothing is called 'results'",
            "an output goes into the prompt itself",
        ),
        (["{{w}}"], {"matrix": {"w": ["", "x"]}}, "task 'task-1 w-1': the prompt is empty once", "give a value"),
        (["{{w}}"], {"matrix": {"w": ["hush-hush"]}, "secrets": ["hush-hush"]}, "the value holds a key", "never go"),
        # names
        (
            TEXT,
            {"foreach": ROWS, "matrix": {"text": [1]}},
            "matrix['text'][0]: a column of the table and",
            "another name",
        ),
        (TEXT, {"foreach": ROWS, "matrix": {"row": [1]}}, "matrix['row'][0]: `row` is the whole row", "another name"),
        (
            ["x"],
            {"matrix": {"_x": [1]}},
            "matrix['_x']: `_x` is neither a task's field nor a name",
            "begins with a letter",
        ),
        (["x"], {"matrix": {"a b": [1]}}, "matrix['a b']: `a b` is neither", "letters, digits and underscores"),
        (
            ["x"],
            {"matrix": {"label": [1]}},
            "matrix['label']: `label` cannot vary within a run",
            "fields that can: prompt",
        ),
        (["x"], {"matrix": {"rpm": [1]}}, "matrix['rpm']: `rpm` cannot vary within a run", "fields that can: prompt"),
        # values
        (["x"], {"matrix": {}}, "`matrix` is empty", "write variables with their values"),
        (["x"], {"matrix": [1]}, "`matrix` must be a mapping, not a list", "write variables with their values"),
        (["x"], {"matrix": {"x": 5}}, "matrix['x']: `x` must have a list of values", "write x: [one, two]"),
        (["x"], {"matrix": {"x": []}}, "matrix['x']: `x` has no values", "give it at least one"),
        (
            ["x"],
            {"matrix": {"x": [1, 2, 1.0]}},
            "matrix['x'][2]: `x` has two values that are equal: 1 and 1.0",
            "one of",
        ),
        (
            ["x"],
            {"matrix": {"x": [len]}},
            "matrix['x'][0]: a value of `x` must be text or a number",
            "make a str of it",
        ),
        (
            ["x"],
            {"matrix": {"x": [float("nan")]}},
            "matrix['x'][0]: a value of `x` must be finite, not nan",
            "JSON can hold",
        ),
        (
            ["x"],
            {"matrix": {"temperature": [0, 1, 3]}},
            "matrix['temperature'][2]: `temperature` must be a number from 0",
            "in that range",
        ),
        (["x"], {"matrix": {"prompt": [1, "y"]}}, "matrix['prompt'][0]: `prompt` must be text, not 1", "in quotes"),
        (
            ["x"],
            {"matrix": {"prompt": ["y"]}},
            "task 'task-1' has a `prompt` of its own, and the matrix varies it",
            "one of the two",
        ),
        (
            [{"prompt": "x", "seed": 1}],
            {"matrix": {"seed": [1]}},
            "task 'task-1' has a `seed` of its own",
            "one of the two",
        ),
        ({"tasks": [{"label": "a"}], "matrix": {"prompt": ["y", None]}}, {}, "task 'a' has no prompt", "no null there"),
        (
            ["x"],
            {"matrix": {"seed": [1]}, "seed": 2},
            "matrix['seed'][0]: `seed` is given one value, and varied",
            "one of the two",
        ),
        (["x"], {"matrix": {"model": ["a"]}, "model": ["b"]}, "`model` is written twice", "take one out"),
        # combinations
        (["{{x}}"], {"matrix": {"x": [1]}, "exclude": {"x": 1}}, "`exclude` must be a list of mappings", "write [{"),
        (
            ["{{x}}"],
            {"matrix": {"x": [1]}, "exclude": [{}]},
            "exclude[0]: a combination in `exclude` is empty",
            "a value each",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": [1]}, "exclude": [{"y": 1}]},
            "exclude[0]['y']: `y` is no variable",
            "the matrix has: x",
        ),
        (
            ["{{xs}}"],
            {"matrix": {"xs": [1]}, "include": [{"x": 1}]},
            "include[0]['x']: `x` is no variable",
            "mean `xs`?",
        ),
        (["x"], {"exclude": [{"y": 1}]}, "`y` is no variable of the matrix", "there is no matrix"),
        (
            ["{{x}}"],
            {"matrix": {"x": ["plain"]}, "exclude": [{"x": "plian"}]},
            "`x` has no value 'plian'",
            "mean 'plain'?",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": [1, 2]}, "exclude": [{"x": 5}]},
            "exclude[0]['x']: `x` has no value 5",
            "it has: '1', '2'",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": [1]}, "exclude": [{"x": 1}]},
            "every combination is excluded",
            "one of the exclusions",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": [1], "seed": [1]}, "include": [{"x": 2}]},
            "include[0]['x']: this combination gives `seed` no value",
            "each variable",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": [1], "seed": [1]}, "include": [{"x": 2, "seed": 0.5}]},
            "include[0]['seed']: `seed` must be a whole number",
            "fraction",
        ),
        (
            ["{{x}}"],
            {"matrix": {"x": {"a": 1}}, "include": [{"x": 5}]},
            "include[0]['x']: `x` has no value 5",
            "it has: 'a'",
        ),
        # how many
        (
            TEXT,
            {"foreach": ROWS * 100, "matrix": {"model": ["a", "b", "c"]}, "repeat": 20},
            "200 rows x 3 models x 20 repeats = 12,000 tasks, which are too many",
            "at most 10,000 in one run",
        ),
        (
            ["x"],
            {"matrix": {f"v{n}": list(range(50)) for n in range(9)}},
            "50 v0s x 50 v1s x 50 v2s",
            "at most 10,000 in one run",
        ),
        (["x"], {"repeat": 10_001}, "10,001 repeats = 10,001 tasks, which are too many", "at most 10,000"),
        (["x"], {"repeat": 0}, "`repeat` must be a whole number from 1", "in that range"),
    ],
)
def test_a_design_that_cannot_be_is_one_error_with_its_place_and_mend(work, options, message, hint):
    error = refusal_of(work, **({"names": NAMES} | options))

    assert message in error.message
    assert hint in error.hint
    assert "hush" not in str(error)


def test_ten_thousand_tasks_are_planned():
    rows = [{"text": f"text {n}"} for n in range(100)]

    plan = plan_of(TEXT, foreach=rows, matrix={"temperature": [0, 0.25, 0.5, 0.75, 1]}, repeat=20)

    assert len({task.label for task in plan.tasks}) == 10_000
    assert plan.tasks[-1].label == "r[99] temperature=1 #20"


def test_a_path_into_an_answer_begins_with_a_field_of_its_schema():
    work = {"prompt": "x", "expect": "good", "schema": {"sentiment": ["good", "bad"], "stars": "integer"}}

    for path in ("sentimnt", "$.sentimnt.x", "sentimnt[0]"):
        refusal = refusal_of([{**work, "score": {"json_path": path}}])
        assert "score json_path looks for 'sentimnt', which no answer by its schema has" in refusal.message
        assert refusal.hint == "did you mean sentiment?"
    assert "it has: 'sentiment', 'stars'" in refusal_of([{**work, "score": {"json_path": "zzz"}}]).hint
    for path in ("sentiment", "$..zzz", "$.*", "$['sentiment']"):
        assert plan_of([{**work, "score": {"json_path": path}}]).tasks
