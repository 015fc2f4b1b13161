"""The magics in a plain IPython shell; `tests/kernel` runs cells in a real kernel."""

import json
import os
import subprocess
import sys

import pytest

from xz_magics.magics.pages import help_page
from xz_magics.specs import parse

SHELL = """
import json, time
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config({config}))
shell.run_line_magic("load_ext", "xz_magics")

from xz_magics.session import session

def config(line):
    shell.run_line_magic("config", f"SubagentMagics.{{line}}")

def quota(line):
    return shell.run_line_magic("subagents", f"quota {{line}}")

def subagents(line):
    return shell.run_line_magic("subagents", line)

def cell(text):
    return shell.run_cell("%%subagents " + text)

def in_background(body):
    handle = cell("--model scripted:slow --max-tokens 5 --background --out handle\\n" + body).result
    while "running" not in subagents("status")["states"].iloc[-1]:
        assert not handle.done, handle
        time.sleep(0.01)
    return handle

def failed(ran):
    error = ran.error_in_exec
    return [type(error).__name__, *str(error).splitlines()]

def tell(*values):
    print(json.dumps(values))
"""


@pytest.fixture
def told(tmp_path):
    """Runs code in a fresh shell whose configuration sets a limit; what `tell` told, and what went wrong."""
    (tmp_path / "config.yaml").write_text(
        "agent: {subagent: {max_total_tokens: 1000, retries: 1}}\nscripts:\n"
        "  hi: {steps: [{answer: hi, latency_s: 0.01}]}\n  slow: {steps: [{answer: hi, latency_s: 60}]}"
    )

    def run(code, config="{}"):
        environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}  # IPython remarks on it
        environ |= {"XZ_MAGICS_CONFIG": str(tmp_path / "config.yaml"), "XZ_MAGICS_RETRIES": "2"}
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
    assert lines == [[5, 4, 5]]


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

    assert lines == [[2], [3, 7, 10000], ["session", "run", "day", "week"], [9, 10000]]


def test_to_be_set_to_nothing_is_a_change_too(told):
    lines, _ = told("""
config("max_total_tokens = None")
tell(session.quota.quota.max_total_tokens)
""")

    assert lines == [[None]]


def test_config_shows_each_setting_with_its_meaning_and_the_value_that_holds(told):
    _, errors = told("""
import contextlib, io, sys
with contextlib.redirect_stdout(io.StringIO()) as shown:
    shell.run_line_magic("config", "SubagentMagics")
print(shown.getvalue(), file=sys.stderr)
""")

    assert "SubagentMagics.max_total_tokens=<Int>\n    limit of the session: tokens\n    Current: 1000\n" in errors
    assert "Current: 2\n" in errors


def test_each_setting_is_told_with_where_it_comes_from(told, tmp_path):
    lines, _ = told("""
config("max_concurrent = 3")
quota("--max-executions 9 --preset cost-optimized")
frame = subagents("config").set_index("setting")
names = ["retries", "stream", "max_concurrent", "max_executions", "max_total_tokens", "scripts", "tools.allow"]
tell(*(frame.loc[name, "origin"] for name in names))
tell(frame.loc["max_concurrent", "value"], frame.loc["scripts", "value"])
""")

    quota, file = "%subagents quota", str(tmp_path / "config.yaml")
    assert lines == [
        ["XZ_MAGICS_RETRIES", "default", "%config SubagentMagics", quota, quota, file, "default"],
        ["3", "hi, slow"],
    ]


def test_a_setting_that_the_file_gives_is_told_with_the_file(told, tmp_path):
    lines, _ = told("""
frame = subagents("config").set_index("setting")
tell(*frame.loc["max_total_tokens"])
""")

    assert lines == [["1000", str(tmp_path / "config.yaml")]]


@pytest.mark.parametrize("autoawait", [True, False])
@pytest.mark.parametrize("body", ["", "\n", "\n  \n"])
def test_a_cell_without_tasks_shows_a_template_that_parses(told, autoawait, body):
    lines, _ = told(f"""
import contextlib, io
from xz_magics.specs import parse
shell.autoawait = {autoawait}
with contextlib.redirect_stdout(io.StringIO()) as shown:
    ran = shell.run_cell("%%subagents" + {body!r})
first, second = shown.getvalue().split("%%subagents --model ")[1:]
tell(ran.success, *(len(parse(text.partition("\\n")[2]).specs) for text in (first, second)))
""")

    assert lines == [[True, 2, 2]]


def test_one_page_of_help_is_shown_wherever_it_is_asked_for(told):
    lines, _ = told("""
import contextlib, io
def shown(code):
    with contextlib.redirect_stdout(io.StringIO()) as page:
        shell.run_cell(code)
    return page.getvalue()
from xz_magics.magics.pages import help_page
asked = ["%%subagents --help\\na: b", "%%subagents -h", "%subagents --help", "%subagents", "%subagents help"]
tell(*(shown(code).strip() == help_page().strip() for code in asked))
inspected = [shell.object_inspect_mime(name)["text/plain"] for name in ("%%subagents", "%subagents", "subagents")]
tell(*("--max-total-tokens" in page and "{{results.facts}}" in page and "doctor" in page for page in inspected))
""")

    assert lines == [[True] * 5, [True] * 3]


def test_every_example_of_the_help_can_be_read():
    indented = [line[4:] for line in help_page().splitlines() if line.startswith("    ") or not line]
    cells = [text for text in "\n".join(indented).split("%%subagents")[1:] if "..." not in text]

    bodies = [text.partition("\n")[2].partition("handle.done")[0] for text in cells]

    assert [len(parse(body.rstrip()).specs) for body in bodies] == [2, 2, 3, 1]
    assert "quota" in parse(bodies[2].rstrip()).head


@pytest.mark.parametrize(
    ("line", "told_is"),
    [
        ("--modle x --out answers\na: b", ["SpecError", "%%subagents: unrecognized arguments: --modle x", "did you"]),
        ("--out answers --max-tokens many\na: b", ["SpecError", "%%subagents: argument --max-tokens:", "see %%sub"]),
        ("--out answers\na: {promt: b}", ["SpecError", "line 1, column 5: unknown field `promt`", "    a: {p"]),
        ("--out answers --model nothing:x\na: b", ["ModelError", "no provider is called 'nothing'", "write PROV"]),
        (
            "--out answers --background\na: {promt: b}",
            ["SpecError", "line 1, column 5: unknown field `promt`", "    a"],
        ),
        ("--out answers --background --check\na: b", ["SpecError", "--check and --background do not go", "leave"]),
        ("--out answers", None),
    ],
)
def test_a_mistake_is_a_short_error_and_the_old_table_is_gone(told, line, told_is):
    lines, errors = told(f"""
for autoawait in (True, False):
    shell.autoawait = autoawait
    shell.user_ns["answers"] = "old"
    ran = cell({line!r})
    tell("answers" in shell.user_ns, None if ran.success else failed(ran))
""")

    for bound, failure in lines:
        assert not bound
        assert (failure is None) == (told_is is None)
        for part, whole in zip(told_is or (), failure or (), strict=False):
            assert whole.startswith(part)
        assert len(failure or ()) <= 5
    assert "Traceback" not in errors


def test_a_cell_in_the_background_returns_a_handle_and_later_ones_tell_of_it(told):
    lines, _ = told("""
handle = in_background("a: x\\n'b c': y")
tell(handle is shell.user_ns["handle"], handle.done)
status = subagents("status").to_dict("records")
tell([(row["run"] == handle.run_id, row["state"], row["tasks"]) for row in status])
tell(*subagents("cancel 'b c'").to_dict("records")[0].values())
tell(*subagents(f"cancel --run {handle.run_id[:6]} a").to_dict("records")[0].values())
results = handle.wait(20)
tell([outcome.status for outcome in results], handle.run_id)
tell(subagents("status")["states"].tolist(), len(subagents("cancel")))
tell(subagents("show") is results, subagents("last") is results, subagents(f"show {handle.run_id[:5]}") is results)
tell(subagents("show 'b c'").set_index("field").loc[["label", "status"], "value"].tolist())
""")

    run = lines[4][1]
    assert lines == [
        [True, False],
        [[[True, "running", 2]]],
        [run, "b c", "stopping"],
        [run, "a", "stopping"],
        [["cancelled", "cancelled"], run],
        [["2 cancelled"], 0],
        [True, True, True],
        [["b c", "cancelled"]],
    ]


def test_a_dry_run_shows_what_a_cell_would_send_and_sends_nothing(told):
    lines, errors = told("""
ran = cell("--model scripted:hi --out looked --dry-run\\nfirst: Say hi.\\nsecond: Say ho.")
tell(type(ran.result).__name__, shell.user_ns["looked"] is ran.result, list(ran.result.df["prompt"]))
tell(list(session.quota.usage[:2]), session.last is None)
""")

    assert lines == [["DryRun", True, ["Say hi.", "Say ho."]], [[0, 0], True]]
    assert not errors


@pytest.mark.parametrize("options", ["", "--background "])
def test_many_tasks_and_high_costs_start_only_with_yes(told, options):
    lines, _ = told(f"""
config("confirm_tasks = 1")
shell.user_ns["answers"] = "old"
body = "--model scripted:hi --max-total-tokens 900 --max-tokens 5 --out answers {options}\\na: x\\nb: y"
tell(*failed(cell(body)))
tell("answers" in shell.user_ns, list(session.quota.usage[:2]), len(session.runs.all()))
tell(cell("--yes " + body).success)
config("confirm_tasks = 2")
tell(cell(body).success)
config("confirm_cost = 0.0")
tell(cell(body).success)
""")

    assert lines[0] == [
        "ConfirmationNeeded",
        "2 tasks would start, and confirm_tasks is 1",
        lines[0][2],
        "add --yes to start them, or --dry-run to look first",
    ]
    assert lines[0][2].endswith(" tokens, free")
    assert lines[1:] == [[False, [0, 0], 0], [True], [True], [True]]


def test_the_user_of_the_settings_is_a_tag_of_every_task_and_costs_are_told_by_it(told):
    lines, _ = told("""
config("user = 'ada'")
cell("--model scripted:hi --max-tokens 5\\na: x\\nb: y")
from xz_magics.magics import verbs
costs = verbs.costs("tag")
tell(list(costs["tag"]), list(costs["tasks"].astype(int)))
by_model = verbs.costs()
tell(list(by_model["model"]), int(by_model["turns"][0]))
""")

    assert lines == [[["user:ada"], [2]], [["scripted:hi"], 2]]


def test_cancel_without_a_label_ends_all_runs(told):
    lines, _ = told("""
handles = [in_background("a: x") for _ in range(2)]
tell(subagents("cancel")["run"].tolist() == [handle.run_id for handle in handles])
tell([handle.wait(20)["a"].status for handle in handles])
""")

    assert lines == [[True], [["cancelled", "cancelled"]]]


def test_what_a_verb_does_not_find_is_told_with_what_there_is(told):
    lines, _ = told("""
from xz_magics import XzMagicsError
def wrong(line):
    try:
        subagents(line)
    except XzMagicsError as error:
        tell(error.message, error.hint)
wrong("last")
wrong("show draft")
handles = [in_background("draft: x\\nother: y") for _ in range(2)]
wrong("cancel drafft")
wrong("cancel draft")
wrong("show drafft")
subagents("cancel")
ids = [handle.wait(20).run_id for handle in handles]
wrong(f"cancel --run {ids[0]}")
wrong("cancel draft")
wrong("cancel --run zz")
tell(*ids)
""")

    first, second = lines[-1]
    assert lines[:-1] == [
        ["there are no results yet", "run a cell that begins with %%subagents"],
        ["neither a run nor a task of this kernel is called 'draft'", "there are: none"],
        ["no task of a run that goes on is called 'drafft'", "did you mean draft?"],
        ["2 runs that go on have a task 'draft'", f"say which of them: --run {first} or --run {second}"],
        ["neither a run nor a task of this kernel is called 'drafft'", "did you mean draft?"],
        [f"the run {first} has ended", f"what it brought: %subagents show {first}"],
        ["no task of a run that goes on is called 'draft'", "there are: none"],
        ["no run of this kernel is 'zz'", f"there are: {first}, {second}"],
    ]


def test_models_and_tools_are_told_with_what_they_need_and_no_key(told):
    lines, _ = told("""
import os
os.environ["OPENAI_API_KEY"] = "sk-verysecret1234567890"
os.environ["OPENAI_BASE_URL"] = "https://me:password@a.org/v1"
os.environ.pop("ANTHROPIC_API_KEY", None)
cell("--model scripted:hi\\na: x")
config("model = 'openai:gpt-4o-mini'")
frame = subagents("models")
models = frame.set_index("model")
tell(models.loc["openai:MODEL", ["ready", "key", "about"]].tolist(), models.loc["anthropic:MODEL", "ready"])
tell(models.loc["openai:gpt-4o-mini", "price"], models.loc["scripted:hi", "ready"], "local" in models.index)
tell("verysecret" in frame.to_string() or "password" in frame.to_string())
tools = subagents("tools").set_index("tool")
tell(tools.loc["grep", "granted_as"], tools.loc["http_get", "granted_as"][:11], sorted(tools.index)[:2])
""")

    assert lines == [
        [["yes", "OPENAI_API_KEY: yes", "https://a.org"], "no"],
        ["known", "yes", True],
        [False],
        ["grep", "http_get(…)", ["find_files", "grep"]],
    ]


def test_what_stands_in_quotes_in_the_line_unbinds_nothing(told):
    lines, _ = told("""
shell.user_ns.update(answers="old", data="mine")
cell("--model scripted:hi --system '--out data' --out answers\\na: x")
cell("--help --out answers\\na: x")
tell(shell.user_ns["data"], len(shell.user_ns["answers"]))
""")

    assert lines == [["mine", 1]]


@pytest.mark.parametrize("mode", ["Plain", "Context"])
def test_a_fault_of_ours_has_a_traceback_that_quotes_the_cell_as_it_was_written(told, mode):
    lines, _ = told(f"""
import xz_magics.api.launching
def broken(*_, **__):
    raise ZeroDivisionError("a fault")
xz_magics.api.launching._put_together = broken
shell.run_line_magic("colors", "nocolor")
shell.run_line_magic("xmode", "{mode}")
quoted = []
shell._showtraceback = lambda kind, error, traceback: quoted.extend(traceback)
cell("--max-tokens 5\\na: it's long")
text = "\\n".join(quoted)
tell("ZeroDivisionError" in text, "launching.py" in text, "%%subagents --max-tokens 5" in text)
tell("magics_manager" in text)
""")

    assert lines == [[True, True, True], [False]]
