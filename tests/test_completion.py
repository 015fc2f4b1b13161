"""What completes in `%%subagents` cells: told by the text around the cursor, and shown by a real shell."""

import logging

import pytest
from hypothesis import given, strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from pandas import DataFrame

from xz_magics.magics import completion
from xz_magics.magics.bodies import labels_in
from xz_magics.magics.suggestions import suggest


class Names:
    def models(self):
        return ["local", "scripted:hi", "groq:", "scripted:hi"]

    def tools(self):
        return ["grep", "http_get", "read_file"]

    def variables(self):
        return ["city", "cities", "größe"]

    def tables(self):
        return ["cities", "reviews"]

    def schemas(self):
        return ["Review"]

    def functions(self):
        return ["exactness"]

    def labels(self, *, running):
        return ["goes on"] if running else ["goes on", "ended"]

    def runs(self):
        return ["ab12", "cd34"]


def suggested(text):
    """What the place marked | may become, and what gives way to it."""
    before, _, after = text.partition("|")
    found = suggest(before + after, before.count("\n"), len(before.rpartition("\n")[2]), Names())
    return None if found is None else (found.fragment, list(found.texts))


@pytest.mark.parametrize(
    ("text", "fragment", "texts"),
    [
        ("%%subagents --mo|", "--mo", ["--model"]),
        ("%%subagents --max-c|\na: b", "--max-c", ["--max-concurrent"]),
        ("%%subagents --model |", "", ["local", "scripted:hi", "groq:"]),
        ("%%subagents --model scr|", "scr", ["scripted:hi"]),
        ("%%subagents --model=lo|", "lo", ["local"]),
        ("%%subagents --model 'lo|", "lo", ["local"]),
        ("%%subagents --allowed-tools gr|", "gr", ["grep"]),
        ("%%subagents --allowed-tools grep,re|", "re", ["read_file"]),
        ("%%subagents --allowed-tools http_get(a.org,b.org),gr|", "gr", ["grep"]),
        ("%%subagents --model local,scr|", "scr", ["scripted:hi"]),
        ("%%subagents --foreach |", "", ["cities", "reviews"]),
        ("%%subagents --schema Re|", "Re", ["Review"]),
        ("%%subagents --score equals,ex|", "ex", ["exactness"]),
        ("%%subagents --score=e|", "e", ["equals", "exactness"]),
        ("%%subagents --format |", "", ["yaml", "json", "text"]),
        ("%%time\n\n%%subagents --rp|", "--rp", ["--rpm"]),
        ("%subagents sta|", "sta", ["status"]),
        ("runs = %subagents sta|", "sta", ["status"]),
        ("  %subagents quota --pre|", "--pre", ["--preset"]),
        ("%subagents quota --preset b|", "b", ["balanced"]),
        ("%subagents cancel |", "", ["'goes on'", "--run"]),
        ("%subagents cancel --run a|", "a", ["ab12"]),
        ("%subagents show e|", "e", ["ended"]),
        ("%subagents show 'go|", "go", ["'goes on'"]),
        ("%subagents show c|", "c", ["cd34"]),
    ],
)
def test_in_a_line_options_and_what_they_take(text, fragment, texts):
    assert suggested(text) == (fragment, texts)


@pytest.mark.parametrize(
    ("text", "fragment", "some"),
    [
        ("%%subagents\nmo|", "mo", "model: "),
        ("%%subagents\nta|", "ta", "tasks: "),
        ("%%subagents\nquota: {max_e|", "max_e", "max_executions: "),
        ("%%subagents\nquota:\n  max_e|", "max_e", "max_executions: "),
        ("%%subagents\n- pro|", "pro", "prompt: "),
        ("%%subagents\ntasks:\n  - pro|", "pro", "prompt: "),
        ("%%subagents\ntasks:\n  - {pro|", "pro", "prompt: "),
        ("%%subagents\ntasks:\n  - prompt: x\n    af|", "af", "after: "),
        ("%%subagents\na: {prompt: x, af|}", "af", "after: "),
        ("%%subagents\né: {prompt: 'é, l', lab|}", "lab", "label: "),
        ("%%subagents\na:\n  prompt: x\n  sys|", "sys", "system: "),
        ('%%subagents\n{"tas|', "tas", 'tasks": '),
        ('%%subagents\n{"tasks": [{"prompt": "x", "mod|', "mod", 'model": '),
        ('%%subagents\n{\n  "max_conc|', "max_conc", 'max_concurrent": '),
        ("%%subagents\nmat|", "mat", "matrix: "),
        ("%%subagents\nmatrix: {temp|", "temp", "temperature: "),
        ("%%subagents\nmatrix:\n  temp|", "temp", "temperature: "),
        ("%%subagents\nmatrix: {model: [local, scr|", "scr", "scripted:hi"),
        ("%%subagents\nmatrix:\n  model:\n  - scr|", "scr", "scripted:hi"),
        ("%%subagents\nexclude:\n  - mod|", "mod", "model: "),
        ("%%subagents\nexclude: [{model: a, temp|", "temp", "temperature: "),
        ("%%subagents\nforeach: re|", "re", "reviews"),
        ("%%subagents\na: {prompt: x, schema: R|", "R", "Review"),
        ("%%subagents\nscore: eq|", "eq", "equals"),
        ("%%subagents\nscore: [equals, exa|", "exa", "exactness"),
        ("%%subagents\nscore:\n  - exa|", "exa", "exactness"),
        ("%%subagents\nscore:\n  - {jud|", "jud", "judge: "),
        ("%%subagents\nexclude:\n  - {wording: x, mod|", "mod", "model: "),
        ("%%subagents\nscore: {jud|", "jud", "judge: "),
        ("%%subagents\nscore: {judge: {rub|", "rub", "rubric: "),
        ("%%subagents\nscore:\n  judge:\n    rub|", "rub", "rubric: "),
        ("%%subagents\ncombine: su|", "su", "summarise"),
        ("%%subagents\nmodel: sc|", "sc", "scripted:hi"),
        ("%%subagents\na: {prompt: x, model: lo|", "lo", "local"),
        ('%%subagents\n[{"prompt": "x", "model":"lo|', "lo", "local"),
        ("%%subagents\nallowed_tools: [grep, re|", "re", "read_file"),
        ("%%subagents\nallowed_tools:\n- gr|", "gr", "grep"),
        ("%%subagents\n- prompt: x\n  allowed_tools:\n    - grep\n    - ht|", "ht", "http_get"),
        ("%%subagents\na: x\nb: {prompt: y, after: |", "", "a"),
        ("%%subagents\nday one: x\nb: {prompt: y, depends_on: [b, d|", "d", "day one"),
        ("%%subagents\nfail_fast: t|", "t", "true"),
        ("%%subagents\na: In {{ci|", "ci", "cities"),
        ("%%subagents\na: In {{ gr|}} today", "gr", "größe"),
        ("%%subagents\na: In {{re|", "re", "results"),
        ("%%subagents\nä: x\nb: From {{results.|", "", "ä"),
        ("%%subagents\n--- day one\nx\n--- two\nFrom {{results.d|", "d", "day one"),
    ],
)
def test_in_a_body_fields_values_names_and_labels(text, fragment, some):
    found = suggested(text)

    assert found is not None
    assert (found[0], some in found[1]) == (fragment, True)


@pytest.mark.parametrize(
    "text",
    [
        "mod|",
        "x = 5 % subag|",
        "%%subag|",
        "%%subagents|",
        "%%subagents --out |",
        "%%subagents --system mod|",
        "%%subagents words|",
        "%subagents status |",
        "%subagents nothing --r|",
        "%%subagents\nWrite about mod|",
        "%%subagents\na: Write about mod|",
        "%%subagents\na: Write\n  mod|",
        "%%subagents\na: >\n  mod|",
        "%%subagents\na: {prompt: 'x, mod|",
        '%%subagents\n{"tasks": [{"prompt": "x, mod|',
        "%%subagents\n--- a\nmod|",
        "%%subagents\ntasks:\n  mod|",
        "%%subagents\nparams:\n  mod|",
        "%%subagents\nschema: {mod|",
        "%%subagents\nschema:\n  mod|",
        "%%subagents\nforeach:\n  - mod|",
        "%%subagents\na: In {{city}} mod|",
        "%%subagents\n# mod|",
        "print()\n%%subagents\nmod|",
    ],
)
def test_where_nothing_of_ours_fits_nothing_is_suggested(text):
    assert suggested(text) is None


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        ("a: x\nb c: y\n'd': z", ["a", "b c", "d"]),
        ("model: m\na: x", ["a"]),
        ("model: m\ntasks:\n  a: x\n  b: {prompt: y}", ["a", "b"]),
        ("tasks:\n- {label: a, prompt: x}\n- label: 'b c'\n  prompt: y", ["a", "b c"]),
        ("a:\n  prompt: x\n  system: y", ["a"]),
        ('{"tasks": [{"label": "a b", "prompt": "x"}]}', ["a b"]),
        ("--- a\nx: y\n---\n--- b c \nz", ["a", "x", "b c"]),
        ("- x\n- y", []),
    ],
)
def test_the_labels_of_a_body_are_found_in_every_form(body, labels):
    assert labels_in(body.split("\n")) == labels


CELLS = st.text(st.sampled_from("ab:,-{}[]()\"'#|> \nmodel{results.tasks%é😀"), max_size=80)


@given(head=st.sampled_from(["%%subagents\n", "%%subagents ", "%subagents ", "%%time\n%%subagents "]), text=CELLS)
def test_whatever_is_written_the_fragment_is_what_stands_before_the_cursor(head, text):
    cell = head + text

    found = suggest(cell, cell.count("\n"), len(cell.rpartition("\n")[2]), Names())

    if found is not None:
        assert cell.endswith(found.fragment)
        assert found.texts


@pytest.fixture
def shell():
    """A shell of the test's own, with the magics loaded."""
    shell = InteractiveShell()
    shell.Completer.use_jedi = False
    completion.register(shell)
    yield shell
    completion.unregister(shell)


def completed(shell, text):
    """The texts of a place marked |, each with what it replaces."""
    at = text.index("|")
    with provisionalcompleter():
        found = list(shell.Completer.completions(text.replace("|", "", 1), at))
    return [(text[one.start : one.end], one.text) for one in found]


def test_the_shell_shows_ours_alone_where_it_has_any_with_right_offsets(shell):
    shell.user_ns["größe"] = 3

    assert completed(shell, "%%subagents --mo|\na: b") == [("--mo", "--model")]
    assert completed(shell, "%%subagents\n😀: In {{grö|}} and\n") == [("grö", "größe")]
    assert completed(shell, "%%subagents\nå: 'é'\nmodel: lo|") == [("lo", "local")]


def test_variables_are_those_that_a_prompt_can_hold(shell):
    shell.user_ns.update({"aa_text": "x", "aa_list": [1], "aa_function": print, "_aa": 1, "aa_module": logging})

    assert [text for _, text in completed(shell, "%%subagents\na: {{aa|")] == ["aa_text", "aa_list"]


class Answer:
    """As a class of pydantic looks."""

    @classmethod
    def model_json_schema(cls):
        raise NotImplementedError


def test_tables_schemas_and_functions_are_those_that_the_notebook_holds(shell):
    options = "--foreach", "--schema", "--score"
    shell.user_ns.update(aa_list=[1], aa_table=DataFrame({"x": [1]}), aa_dict={}, aa_class=Answer, aa_plain=int)
    shell.user_ns.update(aa_series=DataFrame({"x": [1]})["x"], aa_function=lambda outcome: 1, aa_text="x")

    found = {option: [text for _, text in completed(shell, f"%%subagents {option} aa|")] for option in options}

    assert found == {
        "--foreach": ["aa_list", "aa_table"],
        "--schema": ["aa_dict", "aa_class"],
        "--score": ["aa_function"],
    }


def test_elsewhere_the_shell_completes_as_ever(shell):
    shell.user_ns["quite_long_name"] = 1

    assert ("quite_lo", "quite_long_name") in completed(shell, "quite_lo|")
    assert ("quite_lo", "quite_long_name") in completed(shell, "'%subagents' + quite_lo|")


def test_what_goes_wrong_is_logged_and_never_raised(shell, monkeypatch, caplog, capfd):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(completion, "suggest", broken)
    caplog.set_level(logging.DEBUG, "xz_magics")

    completed(shell, "%%subagents --mo|")

    assert [record.message for record in caplog.records] == ["no completion"]
    assert "ZeroDivisionError" in caplog.text
    assert capfd.readouterr().err == ""


def test_unregistered_it_is_gone_and_others_stay(shell):
    others = [lambda _: []]
    shell.Completer.custom_matchers.extend(others)

    completion.unregister(shell)

    assert shell.Completer.custom_matchers == others
