"""The lines of `%%subagents` and `%subagents`."""

import pytest

from xz_magics.errors import SpecError
from xz_magics.options import (
    TAKES,
    VERBS,
    CellOptions,
    cell_parser,
    line_parser,
    named_out,
    options_of,
    parse_cell_line,
    parse_line,
)


def test_an_empty_line_gives_nothing():
    assert parse_cell_line("") == CellOptions(arguments={})


def test_every_option_becomes_the_argument_of_its_name():
    line = """--model openai:m --system "be brief" --summary-prompt 'sum up' --temperature 0 --top-p 0.5 --seed -3
        --stop END --stop "\n\n" --max-tokens 10 --max-turns 2 --timeout 1.5 --idle-timeout 2 --max-concurrent 3
        --fail-fast --max-executions 0 --max-total-tokens 5 --max-total-time 6 --max-total-cost 0.1 --retries 0
        --rpm 60 --tpm 1e5 --max-depth 0 --allowed-tools grep --allowed-tools "http_get(a.org, b.org),read_file"
        --foreach reviews --repeat 5 --schema Answer --score equals,close --score "regex, f" --tags a,b
        --workspace /tmp --no-stream --base-url http://127.0.0.1:1/v1 --format json --out answers --check"""

    options = parse_cell_line(line)

    assert options.arguments == {
        "model": "openai:m",
        "system": "be brief",
        "summary_prompt": "sum up",
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": -3,
        "stop": ["END", "\n\n"],
        "max_tokens": 10,
        "max_turns": 2,
        "timeout": 1.5,
        "idle_timeout": 2.0,
        "max_concurrent": 3,
        "fail_fast": True,
        "max_executions": 0,
        "max_total_tokens": 5,
        "max_total_time": 6.0,
        "max_total_cost": 0.1,
        "retries": 0,
        "rpm": 60.0,
        "tpm": 100_000.0,
        "max_depth": 0,
        "allowed_tools": ["grep", "http_get(a.org, b.org)", "read_file"],
        "foreach": "reviews",
        "repeat": 5,
        "schema": "Answer",
        "score": ["equals", "close", "regex", "f"],
        "tags": ["a", "b"],
        "workspace": "/tmp",
        "stream": False,
        "base_url": "http://127.0.0.1:1/v1",
        "format": "json",
    }
    assert (options.out, options.check, options.help) == ("answers", True, False)


@pytest.mark.parametrize(
    ("written", "grants"),
    [
        ("grep", ["grep"]),
        ("grep, read_file,", ["grep", "read_file"]),
        ("http_get(a.org,b.org),grep,http_get()", ["http_get(a.org,b.org)", "grep", "http_get()"]),
        ("http_get (a.org), x", ["http_get (a.org)", "x"]),
        ("http_get(a.org,b.org", ["http_get(a.org,b.org"]),
        ("a)b,c", ["a)b", "c"]),
        ("", []),
    ],
)
def test_commas_separate_tools_but_not_the_words_of_one(written, grants):
    assert parse_cell_line(f"--allowed-tools '{written}'").arguments == {"allowed_tools": grants}


@pytest.mark.parametrize(
    ("written", "model"),
    [("local", "local"), ("local,", "local,"), ("openai:a, local", ["openai:a", "local"]), ("", "")],
)
def test_commas_separate_models(written, model):
    assert parse_cell_line(f"--model '{written}'").arguments == {"model": model}


def test_what_run_takes_and_what_is_the_cells_own_are_told_apart():
    options = parse_cell_line("--background --out handle")

    assert (options.background, options.out, options.arguments) == (True, "handle", {})
    assert not parse_cell_line("").background
    assert parse_cell_line("--yes --dry-run") == CellOptions(arguments={}, yes=True, dry_run=True)


@pytest.mark.parametrize("line", ["-h", "--help", "--help --model x"])
def test_help_can_be_asked_for(line):
    assert parse_cell_line(line).help
    assert parse_line(line.replace("--model x", "")) == ("help", {})


def test_help_can_be_asked_for_with_any_verb():
    assert parse_line("cancel draft --help") == ("help", {})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("--out a --modle x", "a"),
        ("--modle x --out=b2", "b2"),
        ("--out 'c", "'c"),
        ("--out d --system 'not closed", "d"),
        ("--outer x --out", ""),
        ("--system '--out e' --out f", "f"),
        ("", ""),
    ],
)
def test_the_name_to_unbind_is_found_in_a_line_that_is_wrong(line, name):
    assert named_out(line) == name


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("--modle x", "unrecognized arguments: --modle x", "did you mean --model?"),
        ("--temp 1", "unrecognized arguments: --temp 1", "did you mean --temperature?"),
        ("gpt --max-token=3", "unrecognized arguments: gpt --max-token=3", "did you mean --max-tokens?"),
        ("--zzzzz", "unrecognized arguments: --zzzzz", "see %%subagents --help"),
        ("--max-tokens many", "invalid int value: 'many'", "see %%subagents --help"),
        ("--model", "expected one argument", "see %%subagents --help"),
        ("--format xml", "invalid choice: 'xml'", "see %%subagents --help"),
        ("--system 'be brief", "No closing quotation in: --system 'be brief", "close the quotation mark"),
        ("--out my-answers", "--out my-answers: this is no name for a variable", "give a Python name"),
        ("--out class", "--out class: this is no name for a variable", "give a Python name"),
        ("--background --check", "--check and --background do not go together", "leave --check out"),
    ],
)
def test_a_mistake_in_the_cells_line_is_told_with_its_mend(line, message, hint):
    with pytest.raises(SpecError) as caught:
        parse_cell_line(line)

    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("", ("help", {})),
        ("quota", ("quota", {})),
        ("quota --reset", ("quota", {"reset": True})),
        ("quota --preset balanced", ("quota", {"preset": "balanced"})),
        ("quota --max-total-tokens 0", ("quota", {"max_total_tokens": 0})),
        ("quota --max-total-cost 0", ("quota", {"max_total_cost": 0.0})),
        ("quota --max-executions 3 --max-total-time 4", ("quota", {"max_executions": 3, "max_total_time": 4.0})),
        *((verb, (verb, {})) for verb in VERBS),
        ("cancel draft", ("cancel", {"name": "draft"})),
        ("cancel --run ab 'my label'", ("cancel", {"name": "my label", "run": "ab"})),
        ("cancel 'my label' --run ab", ("cancel", {"name": "my label", "run": "ab"})),
        ("show ab", ("show", {"name": "ab"})),
        ("metrics --serve 9464", ("metrics", {"serve": 9464})),
        ("metrics --serve 0", ("metrics", {"serve": 0})),
        ("metrics --serve 127.0.0.1:9464", ("metrics", {"serve": 9464})),
    ],
)
def test_the_line_magic_takes_a_verb_and_what_belongs_to_it(line, parsed):
    assert parse_line(line) == parsed


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("quotas", "%subagents knows no 'quotas'", "did you mean quota?"),
        ("zzzz", "%subagents knows no 'zzzz'", f"there are: {', '.join(VERBS)}"),
        ("quota --max-tokens 3", "unrecognized arguments: --max-tokens 3", "did you mean --max-total-tokens?"),
        ("metrics --reset", "%subagents metrics takes no --reset", "see %subagents --help"),
        ("metrics --serve 0.0.0.0:9464", "metrics are served at 127.0.0.1 alone", "give a port, such as --serve 9464"),
        ("metrics --serve :9464", "metrics are served at 127.0.0.1 alone", "give a port, such as --serve 9464"),
        ("metrics --serve [::]:9464", "metrics are served at 127.0.0.1 alone", "give a port, such as --serve 9464"),
        ("metrics --serve 65536", "--serve 65536: this is no port", "give a number from 1024 to 65535"),
        ("metrics --serve 1023", "--serve 1023: this is no port", "give a number from 1024 to 65535"),
        ("metrics --serve all", "--serve all: this is no port", "give a number from 1024 to 65535"),
        ("quota draft", "%subagents quota takes no name, so not 'draft'", "see %subagents --help"),
        ("show a --run b", "%subagents show takes no --run", "see %subagents --help"),
        (
            "show a b",
            "unrecognized arguments: b",
            "a value with a space in it needs quotes; names of tools stand without",
        ),
    ],
)
def test_a_mistake_in_the_line_magic_is_told_with_its_mend(line, message, hint):
    with pytest.raises(SpecError) as caught:
        parse_line(line)

    assert message in caught.value.message
    assert caught.value.hint.startswith(hint)


def test_each_option_of_the_line_magic_belongs_to_a_verb():
    dests = {action.dest for action in line_parser().options.values()} - {"help"}

    assert dests | {"name", "file"} == set().union(*TAKES.values())
    assert set(TAKES) < set(VERBS)


def test_the_options_are_shown_in_groups_each_with_what_it_means():
    page = options_of(cell_parser())

    assert page.startswith("the models:\n  --model NAME ")
    assert [line for line in page.splitlines() if line.endswith(":")] == [
        "the models:",
        "turns and tools:",
        "experiments:",
        "limits, pace and time:",
        "the cell:",
    ]
    assert not [name for name in cell_parser().options if name not in page]
    assert "--preset NAME" in options_of(line_parser())
