"""Where settings come from, which of them wins, and what is wrong with them."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st

from xz_magics.config import (
    KINDS,
    PRESETS,
    Settings,
    ToolPolicy,
    cache_dir,
    changed,
    config_path,
    load_settings,
    with_preset,
)
from xz_magics.errors import ConfigError
from xz_magics.records import Quota

YAML_CASES = Path(__file__).parents[2] / "shared/corpora/yaml-test-suite/cases.json"


@pytest.fixture
def written(tmp_path):
    """Writes a configuration and gives the environment that names it."""

    def write(text, **environ):
        (tmp_path / "config.yaml").write_text(text)
        return {"XZ_MAGICS_CONFIG": str(tmp_path / "config.yaml"), **environ}

    return write


def error_of(environ):
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    return caught.value


def settings_or_error(path, text):
    path.write_text(text)
    try:
        return load_settings({"XZ_MAGICS_CONFIG": str(path)})
    except ConfigError as error:
        return error


def test_without_a_file_the_defaults_hold(tmp_path):
    assert load_settings({"HOME": str(tmp_path), "XZ_MAGICS_CONFIG": ""}) == Settings()


def test_the_file_gives_every_setting_and_the_three_tables(written):
    environ = written("""
        agent:
          subagent:
            model: openai:m
            max_concurrent: 3
            max_tokens: 10
            default_max_turns: 4
            max_depth: 1
            retries: 0
            timeout: 9.5
            idle_timeout: 5
            output_max_size: 100
            fail_fast: true
            stream: false
            confirm_tasks: 50
            confirm_cost: 0.25
            user: ada
            alert_utilisation: 0.5
            alert_error_rate: 1
            alert_p95_duration: 30
            max_executions: 1
            max_total_tokens: 2
            max_total_time: 3
            max_total_cost: 0.5
            daily_max_executions: 5
            daily_max_tokens: 6
            daily_max_cost: 7
            weekly_max_executions: 8
            weekly_max_tokens: 9
            weekly_max_cost: 10
            budget_zone: Asia/Tokyo
        endpoints: {groq: {wire: openai, base_url: https://api.groq.com/openai/v1}}
        prices: {"groq:m": {input: 1, output: 2}}
        scripts: {lesson: {steps: []}}
        tools: {allow: [grep, http_get], deny: [python], workspace: ~/work, unsafe_local: true}
    """)

    settings = load_settings(environ)

    assert settings == Settings(
        model="openai:m",
        max_concurrent=3,
        max_tokens=10,
        default_max_turns=4,
        max_depth=1,
        retries=0,
        timeout=9.5,
        idle_timeout=5,
        output_max_size=100,
        fail_fast=True,
        stream=False,
        confirm_tasks=50,
        confirm_cost=0.25,
        user="ada",
        alert_utilisation=0.5,
        alert_error_rate=1,
        alert_p95_duration=30,
        daily_max_executions=5,
        daily_max_tokens=6,
        daily_max_cost=7,
        weekly_max_executions=8,
        weekly_max_tokens=9,
        weekly_max_cost=10,
        budget_zone="Asia/Tokyo",
        quota=Quota(max_executions=1, max_total_tokens=2, max_total_time=3, max_total_cost=0.5),
        endpoints={"groq": {"wire": "openai", "base_url": "https://api.groq.com/openai/v1"}},
        prices={"groq:m": {"input": 1, "output": 2}},
        scripts={"lesson": {"steps": []}},
        tools=ToolPolicy(
            allow=("grep", "http_get"), deny=("python",), workspace=Path.home() / "work", unsafe_local=True
        ),
    )
    assert set(KINDS) | {"quota", "endpoints", "prices", "scripts", "tools"} == (
        {field.name for field in fields(Settings)} | {field.name for field in fields(Quota)}
    )


def test_the_environment_wins_over_the_file_and_a_change_over_both(written):
    environ = written(
        "agent: {subagent: {model: 'openai:file', max_concurrent: 2, retries: 7, max_total_tokens: 1000}}",
        XZ_MAGICS_MODEL="openai:environment",
        XZ_MAGICS_MAX_CONCURRENT="3",
        XZ_MAGICS_MAX_TOTAL_COST="0.25",
        XZ_MAGICS_STREAM="FALSE",
        XZ_MAGICS_TIMEOUT="",
    )

    settings = changed(load_settings(environ), {"max_concurrent": 4}, "%config")

    assert (settings.model, settings.max_concurrent, settings.retries) == ("openai:environment", 4, 7)
    assert (settings.stream, settings.timeout) == (False, None)
    assert settings.quota == Quota(max_total_tokens=1000, max_total_cost=0.25)


@pytest.mark.parametrize(
    ("name", "default"), [("max_concurrent", 5), ("idle_timeout", 60.0), ("fail_fast", False), ("timeout", None)]
)
def test_nothing_stands_for_the_default(written, name, default):
    assert getattr(load_settings(written(f"agent: {{subagent: {{{name}: }}}}")), name) == default
    assert getattr(changed(Settings(), {name: None}, "here"), name) == default
    assert changed(Settings(quota=Quota(max_executions=1)), {"max_executions": None}, "here").quota == Quota()


@pytest.mark.parametrize(
    ("preset", "max_depth", "max_turns", "quota", "output_max_size"),
    [
        ("cost-optimized", 2, 3, Quota(max_executions=5, max_total_tokens=10_000), 2048),
        ("balanced", 3, 10, Quota(max_executions=20, max_total_tokens=100_000, max_total_time=600), None),
        ("performance-optimized", 4, 20, Quota(max_executions=50, max_total_tokens=500_000, max_total_time=3600), None),
    ],
)
def test_a_preset_sets_what_belongs_together(preset, max_depth, max_turns, quota, output_max_size):
    settings = with_preset(Settings(), preset, "here")

    assert settings == Settings(
        max_depth=max_depth, default_max_turns=max_turns, quota=quota, output_max_size=output_max_size
    )


def test_what_stands_beside_a_preset_wins_over_it(written):
    settings = load_settings(
        written("agent: {subagent: {max_total_tokens: 7, preset: balanced, max_total_time: null}}")
    )

    assert settings.quota == Quota(max_executions=20, max_total_tokens=7)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("agents: {}", "unknown key 'agents'", "did you mean 'agent'?"),
        ("agent: {subagnet: {}}", "agent: unknown key 'subagnet'", "did you mean 'subagent'?"),
        ("agent: {subagent: {modle: x}}", "unknown setting 'modle'", "did you mean 'model'?"),
        ("agent: {subagent: {zzz: x}}", "unknown setting 'zzz'", "known are alert_error_rate, "),
        ("agent: {subagent: {1: x}}", "unknown setting 1", "known are"),
        ("agent: {subagent: [model]}", "agent.subagent is no mapping", "`name: value`"),
        ("agent: {subagent: {preset: frugal}}", "no preset is called 'frugal'", "the presets are cost-optimized, b"),
        ("agent: {subagent: {preset: [frugal]}}", "no preset is called ['frugal']", "the presets are"),
        ("agent: {subagent: {model: 3}}", "model is 3", "give a text"),
        ("agent: {subagent: {max_concurrent: 0}}", "max_concurrent is 0", "give a whole number from 1 up"),
        ("agent: {subagent: {retries: -1}}", "retries is -1", "give a whole number from 0 up"),
        ("agent: {subagent: {retries: true}}", "retries is True", "give a whole number from 0 up"),
        ("agent: {subagent: {timeout: 0}}", "timeout is 0", "give a number above 0"),
        ("agent: {subagent: {idle_timeout: '9'}}", "idle_timeout is '9'", "give a number above 0"),
        ("agent: {subagent: {max_total_time: .nan}}", "max_total_time is nan", "give a number from 0 up"),
        ("agent: {subagent: {max_total_cost: .inf}}", "max_total_cost is inf", "give a number from 0 up"),
        ("agent: {subagent: {fail_fast: 1}}", "fail_fast is 1", "give true or false"),
        ("endpoints: {groq: sk-a-key}", "endpoints.groq is no mapping", "`name: value`"),
        ("prices: [1]", "prices is no mapping", "`name: value`"),
        ("tools: [grep]", "tools is no mapping", "`name: value`"),
        ("tools: {alow: [grep]}", "tools: unknown key 'alow'", "did you mean 'allow'?"),
        ("tools: {allow: grep}", "tools: allow is 'grep'", "give a list of names, such as allow: [grep"),
        ("tools: {deny: [1]}", "tools: deny is [1]", "give a list of names, such as deny: [grep"),
        ("tools: {allow: ['']}", "tools: allow is ['']", "give a list of names"),
        ("tools: {workspace: 3}", "tools: workspace is 3", "give the path of a folder"),
        ("tools: {workspace: ''}", "tools: workspace is ''", "give the path of a folder"),
        ("tools: {unsafe_local: 1}", "tools: unsafe_local is 1", "give true or false"),
        ("agent: {subagent: {alert_utilisation: 80}}", "alert_utilisation is 80", "give a number from 0 to 1"),
        ("agent: {subagent: {unsafe_local: true}}", "unknown setting 'unsafe_local'", "known are"),
        ("- a list", "the file is no mapping", "`name: value`"),
        ("agent: {subagent: {retries: 1, retries: 2}}", "is no YAML: found duplicate key", "mend the file, or"),
        (
            "agent:\n  - [",
            "is no YAML: expected the node content, but found '<stream end>', in line 2",
            "mend the file, or move it away",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_mend(written, text, message, hint):
    environ = written(text)

    error = error_of(environ)

    assert error.message.startswith(environ["XZ_MAGICS_CONFIG"])
    assert message in error.message
    assert error.hint.startswith(hint) or hint in error.hint
    assert "sk-a-key" not in str(error)


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("XZ_MAGICS_MAX_CONCURRENT", "many", "XZ_MAGICS_MAX_CONCURRENT is 'many'", "give a whole number"),
        (
            "XZ_MAGICS_MAX_CONCURRENT",
            "0",
            "XZ_MAGICS_MAX_CONCURRENT: max_concurrent is 0",
            "give a whole number from 1",
        ),
        ("XZ_MAGICS_TIMEOUT", "nan", "XZ_MAGICS_TIMEOUT: timeout is nan", "give a number above 0"),
        ("XZ_MAGICS_STREAM", "no", "XZ_MAGICS_STREAM is 'no'", "give true or false"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(written, name, value, message, hint):
    error = error_of(written("", **{name: value}))

    assert error.message == message
    assert error.hint.startswith(hint)


def test_a_file_that_is_named_must_be_there_and_readable(tmp_path):
    missing = error_of({"XZ_MAGICS_CONFIG": str(tmp_path / "missing.yaml")})
    folder = error_of({"XZ_MAGICS_CONFIG": str(tmp_path)})

    assert "No such file" in missing.message
    assert "Is a directory" in folder.message
    assert "XZ_MAGICS_CONFIG" in missing.hint


def test_a_file_that_is_no_text_or_no_page_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    no_text = error_of({"XZ_MAGICS_CONFIG": str(path)})
    path.write_bytes(b"#" * 1_000_001)
    too_large = error_of({"XZ_MAGICS_CONFIG": str(path)})

    assert "is no YAML" in no_text.message
    assert "larger than 1,000,000 bytes" in too_large.message


def test_folders_can_be_named_and_have_a_place_of_their_own():
    named = {"XZ_MAGICS_CONFIG": "~/mine.yaml", "XZ_MAGICS_CACHE": "~/cache"}

    assert config_path(named) == Path.home() / "mine.yaml"
    assert cache_dir(named) == Path.home() / "cache"
    assert config_path({}).parts[-2:] == ("xz_magics", "config.yaml")
    assert cache_dir({}).name == "xz_magics"


def test_each_preset_keeps_to_the_settings_that_there_are():
    known = {field.name for field in fields(Settings)}

    assert all(set(preset) <= known for preset in PRESETS.values())


@hypothesis(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("agent:subm{}[]&*!%#'\"\\\n -|>,0.1~"), max_size=30))
def test_whatever_a_file_holds_is_settings_or_a_clear_error(tmp_path, text):
    read = settings_or_error(tmp_path / "any.yaml", text)

    assert isinstance(read, Settings) or read.hint


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@pytest.mark.skipif(not YAML_CASES.exists(), reason="needs the yaml-test-suite of ../shared/corpora")
def test_no_yaml_that_others_wrote_is_more_than_a_clear_error(tmp_path):
    for case in json.loads(YAML_CASES.read_text()):
        read = settings_or_error(tmp_path / "any.yaml", case["yaml"])
        assert isinstance(read, Settings) or read.hint


def test_a_preset_leaves_the_limit_of_cost_alone():
    settings = changed(Settings(), {"max_total_cost": 0.5, "max_total_time": 9.0}, "here")

    quota = with_preset(settings, "cost-optimized", "here").quota

    assert (quota.max_total_cost, quota.max_total_time, quota.max_executions) == (0.5, None, 5)


def test_a_preset_undoes_the_clipping_of_the_one_before():
    clipped = with_preset(Settings(), "cost-optimized", "here")

    assert clipped.output_max_size == 2048
    assert with_preset(clipped, "balanced", "here").output_max_size is None


def test_an_empty_policy_of_tools_is_the_default(written):
    empty = "tools: {allow: null, deny: null, workspace: null, unsafe_local: null}"

    assert load_settings(written(empty)).tools == load_settings(written("tools:")).tools == ToolPolicy()
    assert load_settings(written("tools: {allow: []}")).tools.allow == ()


def test_unsafe_local_comes_from_the_file_alone(written):
    with pytest.raises(ConfigError, match="unknown setting 'unsafe_local'"):
        changed(Settings(), {"unsafe_local": True}, "%config")

    assert not load_settings(written("", XZ_MAGICS_UNSAFE_LOCAL="true")).tools.unsafe_local


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("endpoints: {mine: {wire: openai, base_url: 'http://127.0.0.1:1'}}", "endpoints"),
        ("tools: {unsafe_local: true}", "tools.unsafe_local"),
    ],
)
@pytest.mark.parametrize(
    "named", ["config.yaml", "./sub/config.yaml", "../config.yaml", "{here}/config.yaml", "{here}/sub/config.yaml"]
)
def test_a_file_in_the_working_directory_sets_neither_endpoints_nor_unsafe_local(
    tmp_path, monkeypatch, text, name, named
):
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    monkeypatch.chdir(here)
    path = Path(named.format(here=here))
    path.write_text(text)

    error = error_of({"XZ_MAGICS_CONFIG": str(path)})

    assert error.message == f"{path}: {name} may not be set by a file in the working directory"
    assert "give its whole path in XZ_MAGICS_CONFIG" in error.hint


def test_a_link_to_the_working_directory_hides_nothing(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "config.yaml").write_text("tools: {unsafe_local: true}")
    monkeypatch.chdir(tmp_path / "here")

    error = error_of({"XZ_MAGICS_CONFIG": str(tmp_path / "elsewhere" / "config.yaml")})

    assert "may not be set by a file in the working directory" in error.message


def test_a_file_in_the_working_directory_sets_all_the_rest(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(
        "agent: {subagent: {retries: 0}}\ntools: {deny: [python], unsafe_local: false}"
    )
    monkeypatch.chdir(tmp_path)

    settings = load_settings({"XZ_MAGICS_CONFIG": "config.yaml"})

    assert (settings.retries, settings.tools) == (0, ToolPolicy(deny=("python",)))


def test_below_a_working_directory_that_holds_the_home_directory_a_file_may_be_the_users_own(tmp_path, monkeypatch):
    own = tmp_path / "home" / "conf"
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("tools: {unsafe_local: true}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    for here in (tmp_path, tmp_path / "home"):
        monkeypatch.chdir(here)
        assert load_settings({"XZ_MAGICS_CONFIG": str(own / "config.yaml")}).tools.unsafe_local
        (here / "config.yaml").write_text("tools: {unsafe_local: true}")
        assert "in the working directory" in error_of({"XZ_MAGICS_CONFIG": str(here / "config.yaml")}).message


def test_the_users_own_file_may_set_all_wherever_one_works(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_config_path", lambda _: tmp_path)
    (tmp_path / "config.yaml").write_text("tools: {unsafe_local: true}")
    monkeypatch.chdir(tmp_path)

    assert load_settings({}).tools.unsafe_local


def test_a_variable_that_means_nothing_is_warned_of_with_a_suggestion(written, caplog):
    known = dict.fromkeys(("XZ_MAGICS_GGUF", "XZ_MAGICS_CACHE", "XZ_MAGICS_NOTHING_MAY_SKIP", "XZ_MAGICS_AIMOCK"), "x")

    load_settings(written("", XZ_MAGICS_MODLE="local", XZ_MAGICS_MODEL="local", OTHER="x", **known))

    (record,) = caplog.records
    assert record.name == "xz_magics"
    assert record.getMessage() == (
        "the environment variable XZ_MAGICS_MODLE has no effect: did you mean 'XZ_MAGICS_MODEL'?"
    )
