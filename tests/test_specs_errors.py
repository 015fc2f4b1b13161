"""What is wrong in a cell is told with its place, the line, a caret and the mend."""

import pickle
from fractions import Fraction

import pytest

from xz_magics.errors import SpecError
from xz_magics.specs import parse, read

QUOTE = "quote the text"
RANGE = "write a number in that range"
PLAIN = "no quotes, units, colons or underscores"
KEYS = "keys come from the environment"

WRONG = [
    # unknown, misplaced and later fields
    ("tasks:\n  - promt: x", 2, 5, "unknown field `promt`", "did you mean `prompt`?"),
    ("- joke: tell", 1, 3, "unknown field `joke`", 'a text that holds ": " needs quotes'),
    ("tasks: [a]\nprompt: x", 2, 1, "`prompt` may not stand beside `tasks:`", "write it in a task"),
    ("- {prompt: x, fail_fast: true}", 1, 15, "`fail_fast` may not stand in a task", "write it beside `tasks:`"),
    ("tasks: [a]\nmax_total_tokens: 5", 2, 1, "`max_total_tokens` may not stand", "in `quota:`"),
    ("model: x\nprompt: y", 1, 1, "`model` names a field", "tasks: [{prompt:"),
    ("model: local\njoke: Tell one", 1, 1, "`model` names a field", "give the label another name"),
    ("Prompt: x\nlanguage: French", 1, 1, "`Prompt` names a field", "tasks: [{prompt:"),
    # duplicates
    ("a: x\nb: y\na: z", 3, 1, "`a` is written twice, first on line 1", "a name of its own"),
    ('{"a": "x",\n "a": "y"}', 2, 2, "`a` is written twice, first on line 1", "a name of its own"),
    ("- prompt: x\n  task_prompt: y", 2, 3, "`prompt` is written twice, first on line 1", "take one out"),
    (
        "a: x\nb: y\nA: z",
        3,
        1,
        "two tasks are called 'A': the first on line 1, as 'a'",
        "case does not tell them apart",
    ),
    ("--- ﬁ\nx\n--- FI\ny", 3, 5, "two tasks are called 'FI': the first on line 1, as 'ﬁ'", "a label of its own"),
    ("- {prompt: x, label: e\u0301}\n- {prompt: y, label: É}", 2, 22, "two tasks are called", "a label of its own"),
    ("a: {prompt: x, label: b}", 1, 23, "this task is called 'a' already", "keep one"),
    # numbers and other types
    ("max_concurrent: 0\ntasks: [a]", 1, 17, "from 1 to 2**53, not 0", RANGE),
    ("max_concurrent: true\ntasks: [a]", 1, 17, "not true", RANGE),
    ("max_concurrent: 1.5\ntasks: [a]", 1, 17, "`max_concurrent` must be a whole number, not 1.5", "fraction"),
    ("max_concurrent: '10'\ntasks: [a]", 1, 17, "not '10'", PLAIN),
    ("max_concurrent: 1_000\ntasks: [a]", 1, 17, "not '1_000'", PLAIN),
    (f"max_concurrent: {'9' * 5000}\ntasks: [a]", 1, 17, "not inf", RANGE),
    ("quota: {max_total_tokens: -1}\ntasks: [a]", 1, 27, "from 0 to 2**53, not -1", RANGE),
    ("quota: {max_total_tokens: -0}\ntasks: [a]", 1, 27, "not -0.0", RANGE),
    ("quota: {max_total_tokens: 9007199254740993}\ntasks: [a]", 1, 27, "to 2**53, not 9007199254740993", RANGE),
    ("quota: {max_total_cost: .nan}\ntasks: [a]", 1, 25, "a number of dollars from 0 to 2**53, not nan", RANGE),
    ("quota: {max_total_time: .inf}\ntasks: [a]", 1, 25, "not inf", RANGE),
    ("quota: 5\ntasks: [a]", 1, 8, "`quota` must be a mapping, not 5", "quota: {max_total_tokens: 10000}"),
    ("quota: {max_tokens: 5}\ntasks: [a]", 1, 9, "`max_tokens` may not stand in `quota:`", "write it in a task"),
    ("- {prompt: x, timeout: 1:30}", 1, 24, "a number of seconds above 0, up to 2**53, not '1:30'", PLAIN),
    ("- {prompt: x, timeout: 0}", 1, 24, "not 0", RANGE),
    ("- {prompt: x, temperature: 2.1}", 1, 28, "`temperature` must be a number from 0 to 2, not 2.1", RANGE),
    ("- {prompt: x, top_p: [1]}", 1, 22, "`top_p` must be a number from 0 to 1, not a list", RANGE),
    ("fail_fast: yes\ntasks: [a]", 1, 12, "`fail_fast` must be true or false, not 'yes'", "write true or false"),
    ("- {prompt: x, allowed_tools: [a(b, c)]}", 1, 31, "'a(b' lacks a bracket", '["name(one, two)"]'),
    ("- {prompt: x, allowed_tools: [a, null]}", 1, 34, "a name in `allowed_tools` is empty", "take it out"),
    ("- {prompt: x, after: {a: b}}", 1, 22, "a label in `after` must be text, not a mapping", "quote it"),
    ("- {prompt: x, depends_on: [a, [b]]}", 1, 31, "a label in `depends_on` must be text, not a list", "quote it"),
    ('[{"prompt": "x", "after": [1]}]', 1, 28, "a label in `after` must be text, not 1", "put it in quotes"),
    ("- {prompt: x, after: }", 1, 15, "a label in `after` is empty", "take it out"),
    ("- {prompt: x, after: a, depends_on: b}", 1, 25, "`after` is written twice, first on line 1", "take one out"),
    ("after: a\ntasks: [a]", 1, 1, "`after` may not stand beside `tasks:`", "write it in a task"),
    ("- {prompt: x, after_any: 1}", 1, 26, "`after_any` must be true or false, not 1", "write true or false"),
    ("- {prompt: x, after_any: true, after_strict: true}", 1, 15, "`after_strict` and `after_any` cannot both", "out"),
    ("after_strict: true\nafter_any: true\ntasks: [a]", 2, 1, "`after_strict` and `after_any` cannot both", "out"),
    ("rpm: 0\ntasks: [a]", 1, 6, "`rpm` must be a number of requests a minute above 0", RANGE),
    ("tpm: 90k\ntasks: [a]", 1, 6, "`tpm` must be a number of tokens a minute above 0, up to 2**53, not '90k'", PLAIN),
    ("- {prompt: x, rpm: 9}", 1, 15, "`rpm` may not stand in a task", "write it beside `tasks:` or among the options"),
    ("max_depth: -1\ntasks: [a]", 1, 12, "`max_depth` must be a whole number from 0", RANGE),
    ('["x", 5]', 1, 7, "the prompt must be text, not 5", "put it in quotes"),
    ('{"a": ["x"]}', 1, 7, "the prompt must be text, not a list", "quote it"),
    ("- prompt: {a: b}", 1, 11, "`prompt` must be text, not a mapping", "quote it"),
    ("- {prompt: x, stop: ['']}", 1, 22, "`stop` is empty", "take it out"),
    # designs
    ("foreach: rows\nreview: x", 1, 1, "`foreach` names a field, so no label here may be called so", "write tasks: ["),
    ("prompt: x\nforeach: df.head()", 2, 10, "`foreach` must be a table's name in the notebook", "foreach: rows"),
    ("prompt: x\nforeach: 5", 2, 10, "`foreach` must be a table's name in the notebook, or a list", "foreach: rows"),
    ("prompt: x\nforeach: []", 2, 10, "this table has no rows", "give at least one"),
    (
        "prompt: x\nforeach:\n- {a: 1}\n- b",
        4,
        3,
        "this row is a value of type str, and the first is a mapping",
        "or none",
    ),
    ("prompt: x\nforeach:\n- a: use #this", 3, 10, "so a value in `foreach` would lose", "quote the whole text"),
    ("prompt: x\nforeach: [.inf]", 2, 11, "a value in `foreach` must be finite, not inf", "that JSON can hold"),
    ("prompt: x\nrepeat: 0", 2, 9, "`repeat` must be a whole number from 1", RANGE),
    ("prompt: x\nrepeat: 2\nfor_each: [3]", 3, 1, "unknown field `for_each`", "did you mean `foreach`?"),
    ("prompt: x\nmatrix: 5", 2, 9, "`matrix` must be a mapping, not 5", "{model: [one, two]}"),
    ("prompt: x\nmatrix: {a: 1}", 2, 13, "`a` must have a list of values, or a mapping that names each", "[one, two]"),
    ("prompt: x\nmatrix: {a: [1, 1]}", 2, 17, "`a` has two values that are equal: 1 and 1", "take one of them out"),
    ("prompt: x\nmatrix: {a: [use #1\n]}", 2, 18, "so a value of `a` would lose", "quote the whole text"),
    ("prompt: x\nmatrix:\n  top_p: [0.5,\n    7]", 4, 5, "`top_p` must be a number from 0 to 1, not 7", RANGE),
    ("prompt: x\nmatrix: {a b: [1]}", 2, 10, "`a b` is neither a task's field nor a name", "letters, digits"),
    ("prompt: x\nmatrix: {after: [a]}", 2, 10, "`after` cannot vary within a run", "fields that can"),
    ("- {prompt: x, matrix: {a: [1]}}", 1, 15, "`matrix` may not stand in a task", "write it beside `tasks:`"),
    ("prompt: x\nrepeat: 2\ntask_prompt: y", 3, 1, "`prompt` is written twice, first on line 1", "take one out"),
    ("matrix: {prompt: [x], task_prompt: [y]}", 1, 23, "`prompt` is written twice, first on line 1", "take one out"),
    ("matrix: {prompt: [x, '']}", 1, 22, "`prompt` is empty", "write its text"),
    ("prompt: x\nrepeat: 2\nexclude: {a: 1}", 3, 10, "`exclude` must be a list of mappings", "write [{model:"),
    (
        "prompt: x\nrepeat: 2\ninclude: [a]",
        3,
        11,
        "a combination in `include` must be a mapping, not 'a'",
        "a value each",
    ),
    ("prompt: x\nrepeat: 2\nexclude: [{a: .nan}]", 3, 15, "`a` must be finite", "that JSON can hold"),
    # shapes
    ("", 1, 1, "the cell is empty", "write a prompt"),
    ("# nothing", 1, 1, "there are no tasks", "write a prompt"),
    ("tasks: []", 1, 8, "there are no tasks", "write a prompt"),
    ("{}", 1, 1, "there are no tasks", "write a prompt"),
    ("tasks: x", 1, 8, "`tasks` must be a list or a mapping, not 'x'", "write tasks: ["),
    ("a:\nb: x", 1, 1, "the prompt is empty", "write its text"),
    ("a: null", 1, 4, "the prompt is empty", "needs quotes"),
    ("a: ' '", 1, 4, "the prompt is empty", "write its text"),
    ("- model: x", 1, 3, "this task has no prompt", "add `prompt:"),
    ("- {prompt: x, system: }", 1, 15, "`system` is empty", "take it out"),
    ("--- a\n--- b\nx", 2, 1, "`prompt` is empty", "write its text"),
    ("x\n---\n", 3, 1, "`prompt` is empty", "write its text"),
    ('{"name": "ls", "arguments": {}}', 1, 10, "a call of 'ls' cannot be run", "parallel_subagent"),
    ('{"name": "parallel_subagent", "arguments": "{]"}', 1, 44, "should stand here, at character 2", "mend the text"),
    ('{"name": "parallel_subagent", "arguments": {"q": "x"}}', 1, 45, "unknown field `q`", "known are: model"),
    ('{"name": "parallel_subagent", "arguments": {}}', 1, 1, "there are no tasks", "write a prompt"),
    ('{"name": "parallel_subagent", "arguments": [1]}', 1, 44, "must be a mapping, not a list", "tasks: ["),
    # YAML
    ("a:\tx\n\tb: y", 1, 3, "this is no YAML", "use spaces here, not a tab"),
    ("a: Say: hi", 1, 7, "this is no YAML: mapping values are not allowed here", QUOTE),
    (
        "model: scripted:\ntasks: [a]",
        1,
        16,
        "this is no YAML",
        'quote a text that ends in a colon, such as "scripted:"',
    ),
    ("- prompt: x\n  model: scripted: # echo\n", 2, 18, "this is no YAML", "quote a text that ends in a colon"),
    ("a: @x", 1, 4, "this is no YAML", QUOTE),
    ("Please do: this: now", 1, 16, "this is no YAML", "plain prompts stand below lines such as `--- label`"),
    ("[INST] x", 1, 8, "this is no YAML", "plain prompts stand below lines such as `--- label`"),
    ("- [{{ x }}]", 1, 5, "a key must be text", QUOTE),
    ("a: use #tag", 1, 8, "this `#` begins a comment, so the prompt would lose what follows", "quote the whole text"),
    ("- {prompt: x, system: be\t#1\n}", 1, 26, "so `system` would lose", "quote the whole text"),
    ("- prompt: x\n  model: y # cheap", 2, 12, "so `model` would lose", "take the comment out"),
    ("Explain bug #3", 1, 13, "so the prompt would lose", "quote the whole text"),
    ("# Title\nExplain", 1, 1, "so the prompt would lose", "quote the whole text"),
    ("Explain\n# Title", 2, 1, "so the prompt would lose", "quote the whole text"),
    ("a: &x y", 1, 4, "anchors (`&name`) are not allowed", "quote a text that begins so"),
    ("a: *bold* text", 1, 4, "aliases (`*name`) are not allowed", "quote a text that begins so"),
    ("a: !!python/object:os.system x", 1, 4, "tags (`!name`) are not allowed", "quote a text that begins so"),
    ("&a b: c", 1, 1, "anchors (`&name`) are not allowed", "quote a text that begins so"),
    ("<<: {a: x}", 1, 1, "merge keys (`<<`) are not allowed", "write the fields out"),
    ("a: x\x07", 1, 5, "YAML may not hold the character U+0007", "as an escape in double quotes"),
    # JSON
    ('{"a": NaN}', 1, 7, "JSON has no NaN", "write a finite number"),
    ('["x",\n -Infinity]', 2, 2, "JSON has no -Infinity", "write a finite number"),
    ('{"tasks": ["x"], "max_concurrent": 1e999}', 1, 36, "this number is too large", "that a computer can hold"),
    (
        f'{{"tasks": ["x"], "max_concurrent": {"9" * 5000}}}',
        1,
        36,
        "this number is too large",
        "that a computer can hold",
    ),
    (f'["x", {"9" * 350}]', 1, 7, "this number is too large", "that a computer can hold"),
    ('{"a": "b"\n "c": "d"}', 2, 2, "this is no JSON: a `,` should stand here", "mend it here"),
    # characters
    ("a\u202eb: x", 1, 1, "the label holds U+202E, which is no visible character", "take it out"),
    ("- {label: a\u200bb, prompt: x}", 1, 11, "`label` holds U+200B", "take it out"),
    ('- {label: "a\\0b", prompt: x}', 1, 11, "`label` holds U+0000", "take it out"),
    ("a\U000e0041: x", 1, 1, "the label holds U+E0041", "take it out"),
    ("\u00a0\u00a0b: x", 1, 1, "the label holds U+00A0", "use ordinary spaces, for indenting too"),
    ("- prompt: x\n  \u00a0model: y", 2, 3, "unknown field", "use ordinary spaces, for indenting too"),
    (f"{'a' * 81}: x", 1, 1, "the label is 81 characters long", "at most 80"),
    ("a: \ud800", 1, 4, "U+D800 is half a character", "write the whole character"),
    ('{"a": "\\ud800"}', 1, 7, "U+D800 is half a character", "write the whole character"),
    ('a: "\\ud800"', 1, 4, "U+D800 is half a character", "write the whole character"),
    # params and keys
    ("- {prompt: x, params: {n: 3}}", 1, 24, "`n` may not stand in `params`", "fields of the task"),
    ("- {prompt: x, params: {max_tokens: 3}}", 1, 24, "`max_tokens` may not stand in `params`", "fields of the task"),
    ("- {prompt: x, params: {a: [.inf]}}", 1, 28, "`a` must be finite, not inf", "that JSON can hold"),
    ("- {prompt: x, params: [1]}", 1, 23, "`params` must be a mapping, not a list", "params: {top_k: 40}"),
    ("tasks: [a]\napi_key: hush", 2, 1, "`api_key` looks like a field for a key", KEYS),
    ("Authorization: Bearer hush", 1, 1, "`Authorization` looks like a field for a key", KEYS),
    ("- {prompt: x, params: {a: {x-api-key: hush}}}", 1, 28, "`x-api-key` looks like a field for a key", KEYS),
    ("- {prompt: x, model: sk-hush0123456789abcdef}", 1, 22, "`model` holds what looks like a key", KEYS),
    ("- {prompt: x, params: {a: sk-hush0123456789abcdef}}", 1, 27, "`a` holds what looks like a key", KEYS),
    # size
    ("[" * 50_000, 1, 33, "nested deeper than 32 levels", "take the rest apart"),
    ("- " * 50_000, 1, 65, "nested deeper than 32 levels", "take the rest apart"),
    ('{"a":' * 50_000, 1, 161, "nested deeper than 32 levels", "take the rest apart"),
    ("a: " + "x" * 1_000_000, 1, 1, "this text has 1,000,003 bytes", "at most 1,000,000"),
    ("- x\n" * 10_001, 1, 1, "10,001 tasks are too many", "at most 10,000"),
    ("- x\n" * 60_000, 50_000, 3, "more than 50,000 values", "xz_magics.run"),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), WRONG)
def test_what_is_wrong_is_told_with_its_place_and_mend(text, line, column, message, hint):
    with pytest.raises(SpecError) as caught:
        parse(text)
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert (error.line, error.column) == (line, column)
    rendered = str(error).split("\n")
    assert len(rendered) <= 4
    assert all(part.isprintable() and len(part) < 300 for part in rendered)
    assert "hush" not in str(error)
    if error.source:
        shown, caret = rendered[1:3]
        assert caret.index("^") == len(caret) - 1 <= len(shown)


def test_the_line_of_an_error_is_shown_with_a_caret():
    with pytest.raises(SpecError) as caught:
        parse("tasks:\n  - promt: x")
    assert str(caught.value).split("\n") == [
        "line 2, column 5: unknown field `promt`",
        "      - promt: x",
        "        ^",
        "did you mean `prompt`?",
    ]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_error_that_knows_only_its_line_says_only_that():
    assert str(SpecError("wrong", "mend", line=3)) == "line 3: wrong\nmend"
    assert str(SpecError("wrong", "mend")) == "wrong\nmend"


def test_a_form_that_is_asked_for_is_held_to():
    for text, form, message in [
        ("a: x", "json", "this is no JSON: a value should stand here"),
        ('{"a": "x"} y', "json", "this is no JSON: the text should end here"),
        ("a: x\n---\nb: y", "yaml", "a second document begins here"),
        ("x", "toml", "no form is called 'toml'"),
    ]:
        with pytest.raises(SpecError, match=message) as caught:
            parse(text, form=form)
        assert caught.value.hint
    with pytest.raises(SpecError, match="form 'json' is for texts, not for list"):
        read(["x"], form="json")


@pytest.mark.parametrize(
    ("work", "message", "hint"),
    [
        ([{"prompt": "x", "promt": "y"}], "work[0]['promt']: unknown field `promt`", "did you mean `prompt`?"),
        (
            {"tasks": ["x", {"prompt": 5}]},
            "work['tasks'][1]['prompt']: `prompt` must be text, not 5",
            "put it in quotes",
        ),
        (["x", b"y"], "work[1]: must be text, a number, true or false, a list or a mapping, not bytes", "make a str"),
        (5, "work: the prompt must be text, not 5", "put it in quotes"),
        (object(), "work: must be text", "make a str"),
        ({1: "x"}, "work: a key must be text, not int", "make a str"),
        ([], "work: there are no tasks", "write a prompt"),
        ([Fraction(1, 2)], "work[0]: must be text, a number", "make a str"),
        ([{"prompt": "x", "seed": 10**400}], "work[0]['seed']: `seed` must be a whole number from", RANGE),
        (["x\ud800"], "work[0]: U+D800 is half a character", "write the whole character"),
        (["x" * 1_000_001], "work[0]: this text has 1,000,001 bytes", "at most 1,000,000"),
        (["x"] * 10_001, "work: 10,001 tasks are too many", "at most 10,000"),
        ({"a": "x", "A": "y"}, "work['A']: two tasks are called 'A': the first, as 'a'", "a label of its own"),
    ],
)
def test_what_is_wrong_in_a_python_value_is_told_with_the_expression_that_leads_there(work, message, hint):
    with pytest.raises(SpecError) as caught:
        read(work)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_values_that_hold_themselves_or_each_other_many_times_end():
    ring = []
    ring.append(ring)
    with pytest.raises(SpecError, match="nested deeper than 32 levels"):
        read(ring)
    bomb = ["x"] * 10
    for _ in range(20):
        bomb = [bomb] * 10
    with pytest.raises(SpecError, match="more than 250,000 values"):
        read(bomb)


def test_a_line_that_holds_a_key_is_shown_without_it():
    with pytest.raises(SpecError) as caught:
        parse('{"tasks": [{"prompt": "x", "promt": 1, "token": "hush hush"}]}')
    assert "promt" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_foreign_error_of_the_yaml_library_becomes_ours():
    for text in ("? - a\n  - b\n: [", "%YAML 9.9\n---\na: x", "a: |99\n x", "--- !<tag:x\n", 'a: "\\U99999999"'):
        with pytest.raises(SpecError) as caught:
            parse(text, form="yaml")
        assert caught.value.line is not None
