"""The lines of `%%subagents` and `%subagents`, and the pages of help that show them."""

import pytest

from xz_magics.errors import SpecError
from xz_magics.options import CellOptions, cell_help, line_help, parse_cell_line, parse_line


def test_an_empty_line_gives_nothing():
    assert parse_cell_line("") == CellOptions(arguments={})


def test_every_option_becomes_the_argument_of_its_name():
    line = """--model openai:m --system "be brief" --summary-prompt 'sum up' --temperature 0 --top-p 0.5 --seed -3
        --stop END --stop "\n\n" --max-tokens 10 --max-turns 2 --timeout 1.5 --idle-timeout 2 --max-concurrent 3
        --fail-fast --max-executions 0 --max-total-tokens 5 --max-total-time 6 --max-total-cost 0.1 --retries 0
        --rpm 60 --tpm 1e5 --max-depth 0 --allowed-tools grep --allowed-tools "http_get(a.org, b.org),read_file"
        --no-stream --base-url http://127.0.0.1:1/v1 --format json --out answers --check"""

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


@pytest.mark.parametrize("line", ["-h", "--help", "--help --model x"])
def test_help_can_be_asked_for(line):
    assert parse_cell_line(line).help
    assert parse_line(line.replace("--model x", "")) == ("help", {})


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("--modle x", "unrecognized arguments: --modle x", "did you mean --model?"),
        ("gpt --max-token=3", "unrecognized arguments: gpt --max-token=3", "did you mean --max-tokens?"),
        ("--zzzzz", "unrecognized arguments: --zzzzz", "see %%subagents --help"),
        ("--max-tokens many", "invalid int value: 'many'", "see %%subagents --help"),
        ("--model", "expected one argument", "see %%subagents --help"),
        ("--format xml", "invalid choice: 'xml'", "see %%subagents --help"),
        ("--system 'be brief", "No closing quotation in: --system 'be brief", "close the quotation mark"),
        ("--out my-answers", "--out my-answers: this is no name for a variable", "give a Python name"),
        ("--out class", "--out class: this is no name for a variable", "give a Python name"),
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
        ("metrics", ("metrics", {})),
        ("last", ("last", {})),
    ],
)
def test_the_line_magic_takes_a_verb_and_limits(line, parsed):
    assert parse_line(line) == parsed


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("quotas", "invalid choice: 'quotas'", "see %subagents --help"),
        ("quota --max-tokens 3", "unrecognized arguments: --max-tokens 3", "did you mean --max-total-tokens?"),
        ("metrics --reset", "%subagents metrics takes no options", "see %subagents --help"),
    ],
)
def test_a_mistake_in_the_line_magic_is_told_with_its_mend(line, message, hint):
    with pytest.raises(SpecError) as caught:
        parse_line(line)

    assert message in caught.value.message
    assert caught.value.hint == hint


def test_help_shows_every_option_and_how_a_cell_begins():
    page = cell_help()

    assert page.startswith("%%subagents [options]\n")
    assert "%%subagents --model local" in page
    assert "xz_magics.run_sync(work, ...)" in page
    for option in (
        "--model NAME",
        "--no-stream",
        "--max-total-cost USD",
        "--check",
        "-h, --help",
        "--allowed-tools NAMES",
        "--rpm N",
    ):
        assert option in page
    assert line_help().startswith("%subagents VERB [options]\n")
    assert "--preset NAME" in line_help()
