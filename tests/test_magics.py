"""The magics' settings in a plain IPython shell; `tests/kernel` runs the cells themselves in a real kernel."""

import json
import os
import subprocess
import sys

import pytest

SHELL = """
import json
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config({config}))
shell.run_line_magic("load_ext", "xz_magics")

from xz_magics.session import session

def config(line):
    shell.run_line_magic("config", f"SubagentMagics.{{line}}")

def quota(line):
    return shell.run_line_magic("subagents", f"quota {{line}}")

def tell(*values):
    print(json.dumps(values))
"""


@pytest.fixture
def told(tmp_path):
    """Runs code in a fresh shell whose configuration sets a limit; what `tell` told, and what went wrong."""
    (tmp_path / "config.yaml").write_text(
        "agent: {subagent: {max_total_tokens: 1000, retries: 1}}\nscripts: {hi: {steps: [{answer: hi, latency_s: 0.01}]}}"
    )

    def run(code, config="{}"):
        environ = os.environ | {"XZ_MAGICS_CONFIG": str(tmp_path / "config.yaml"), "XZ_MAGICS_RETRIES": "2"}
        ran = subprocess.run(
            [sys.executable, "-c", SHELL.format(config=config) + code],
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")], ran.stderr

    return run


def test_config_wins_over_file_and_environment_and_reaches_the_sessions_limits(told):
    lines, _ = told("""
tell(session.settings.retries, session.quota.remaining_tokens)
config("retries = 3")
config("max_total_tokens = 10")
tell(session.settings.retries, session.quota.remaining_tokens)
""")

    assert lines == [[2, 1000], [3, 10]]


def test_what_stands_in_ipythons_own_configuration_holds_too(told):
    lines, errors = told(
        "tell(session.settings.model, session.settings.max_concurrent)",
        config="{'SubagentMagics': {'model': 'scripted:hi', 'max_concurrent': 2}}",
    )

    assert lines == [["scripted:hi", 2]]
    assert "not recognized" not in errors


def test_the_latest_word_wins_whoever_says_it(told):
    lines, _ = told("""
config("max_total_tokens = 10")
quota("--max-total-tokens 5000")
config("retries = 5")
tell(session.quota.quota.max_total_tokens)
config("max_total_tokens = 10")
tell(session.quota.quota.max_total_tokens)
quota("--max-total-tokens 0")
tell(session.quota.quota.max_total_tokens)
config("max_total_tokens = None")
tell(session.quota.quota.max_total_tokens)
""")

    assert lines == [[5000], [10], [0], [None]]


def test_a_value_that_is_wrong_is_told_and_leaves_everything_as_it_was(told):
    lines, errors = told("""
config("max_concurrent = 0")
config("retries = 4")
magics = shell.magics_manager.registry["SubagentMagics"]
tell(session.settings.max_concurrent, session.settings.retries, magics.max_concurrent)
""")

    assert "max_concurrent is 0\ngive a whole number from 1 up" in errors
    assert lines == [[5, 4, None]]


def test_quota_sets_limits_presets_and_forgets_what_was_used(told):
    lines, _ = told("""
shell.run_cell("%%subagents --model scripted:hi --max-tokens 10 --out r\\na: x\\nb: y")
tell(session.quota.usage.executions)
frame = quota("--preset cost-optimized --max-executions 9")
tell(session.settings.default_max_turns, session.quota.remaining_executions, session.quota.quota.max_total_tokens)
tell(*frame["level"].unique())
quota("--reset")
tell(session.quota.remaining_executions, session.quota.quota.max_total_tokens)
""")

    assert lines == [[2], [3, 7, 10000], ["session", "run"], [9, 10000]]


def test_an_empty_cell_shows_help_and_a_wrong_line_a_short_error(told):
    lines, errors = told("""
empty = shell.run_cell("%%subagents")
wrong = shell.run_cell("%%subagents --modle x\\na: b")
tell(empty.success, type(wrong.error_in_exec).__name__, wrong.error_in_exec.hint)
""")

    assert lines == [[True, "SpecError", "did you mean --model?"]]
    assert "Traceback" not in errors
