"""`run` and `run_sync` outside a notebook, on scripted models, and what the package shows to the world."""

import asyncio
import dataclasses
import inspect
import os
import pickle
import signal
import subprocess
import sys

import pytest
from strategies import task

import xz_magics
from xz_magics import api, errors, records, specs
from xz_magics.api import launching, preparing, run, run_arguments, run_sync
from xz_magics.api.granting import Granting
from xz_magics.config import Settings, changed
from xz_magics.errors import ConfigError, ModelError, NestingError, RunInterrupted, RunStopped, SpecError, XzMagicsError
from xz_magics.events import RequestSent, RunEnded, RunStarted, TaskEnded, TextReceived
from xz_magics.options import cell_parser
from xz_magics.providers.local import installed
from xz_magics.records import Outcome, Quota, Usage
from xz_magics.tools.function import tool_of
from xz_magics.tools.rights import Rights

SCRIPTS = """
scripts:
  ten: {steps: [{answer: ten tokens, input_tokens: 6, output_tokens: 4}]}
  slow: {steps: [{answer: a slow answer, chunks: 100, latency_s: 30}]}
  quick_then_slow: {steps: [{answer: quick}, {answer: a slow answer, chunks: 100, latency_s: 30}]}
  priced: {steps: [{answer: dear}], price: {input: 1000000, output: 1000000}}
  shaky: {steps: [{status: 503, retry_after_s: 0.001}]}
"""


@pytest.fixture(autouse=True)
def scripts(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)


def configure(tmp_path, **subagent):
    (tmp_path / "config.yaml").write_text(f"{SCRIPTS}\nagent: {{subagent: {subagent}}}")


# One engine, two ways


def test_run_sync_runs_in_a_plain_script_and_is_the_last_then(session):
    results = run_sync({"a": "Say hi.", "b": "Say bye."}, model="scripted:ten")

    assert [(outcome.label, outcome.status, outcome.output) for outcome in results] == [
        ("a", "done", "ten tokens"),
        ("b", "done", "ten tokens"),
    ]
    assert xz_magics.last is results
    assert xz_magics.quota is session.quota
    assert (session.quota.usage.executions, session.quota.usage.tokens) == (2, 20)
    assert session.quota.reserved == (0, 0, 0)
    assert not results.interrupted


async def test_run_can_be_awaited_and_leaves_nothing_in_the_loop():
    before = asyncio.all_tasks()

    results = await run("Say hi.", model="scripted:ten")

    assert results["task-1"].success
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    "work",
    [
        "one: Say hi.",
        "- {label: one, prompt: Say hi.}",
        '{"tasks": [{"label": "one", "task_prompt": "Say hi."}], "max_concurrent": 3, "fail_fast": true}',
        {"one": "Say hi."},
        {"tasks": [{"label": "one", "prompt": "Say hi."}], "fail_fast": True},
        {"name": "parallel_subagent", "arguments": {"tasks": [{"label": "one", "task_prompt": "Say hi."}]}},
        [{"label": "one", "prompt": "Say hi."}],
        [task("one", "scripted:ten")],
    ],
)
def test_work_may_be_a_text_a_dict_or_a_list(work):
    (outcome,) = run_sync(work, model="scripted:ten")

    assert (outcome.label, outcome.status, outcome.messages[0].content) == ("one", "done", "Say hi.")


def test_runs_side_by_side_share_the_session():
    async def both():
        return await asyncio.gather(run(["a"], model="scripted:ten"), run(["a", "b"], model="scripted:ten"))

    first, second = asyncio.run(both())

    assert (len(first), len(second)) == (1, 2)
    assert xz_magics.quota.usage.executions == 3


# What is wrong is told before anything is sent


@pytest.mark.parametrize(
    ("work", "options", "error", "message", "hint"),
    [
        (["a"], {"max_token": 3}, TypeError, "max_token", None),
        (["a"], {"max_tokens": 0}, SpecError, "max_tokens", "number in that range"),
        (["a"], {"max_concurrent": 0}, SpecError, "max_concurrent", "number in that range"),
        (["a"], {"max_total_tokens": -1}, SpecError, "max_total_tokens", "number in that range"),
        (["a"], {"quota": Quota(max_total_cost=float("nan"))}, SpecError, "max_total_cost", "number in that range"),
        (["a"], {"quota": 5000}, SpecError, "quota", "quota: {max_total_tokens"),
        (["a"], {"retries": -1}, ConfigError, "retries is -1", "give a whole number from 0 up"),
        (["a"], {"retries": "2"}, ConfigError, "retries is '2'", "give a whole number from 0 up"),
        (["a"], {"stream": "no"}, ConfigError, "stream is 'no'", "give true or false"),
        (["a"], {"format": "json"}, SpecError, "is for texts", "leave it out"),
        ("a: {promt: x}", {}, SpecError, "unknown field `promt`", "did you mean `prompt`?"),
        ([], {}, SpecError, "there are no tasks", "write a prompt"),
        (["{{nowhere}}"], {}, SpecError, "nothing is called 'nowhere'", "give it a value"),
        (["a"], {"model": "nobody:m"}, ModelError, "no provider is called 'nobody'", "write PROVIDER:m"),
        (["a"], {"model": "openai:m"}, ModelError, "OPENAI_API_KEY is not set", "set OPENAI_API_KEY before"),
        (["a"], {"model": "scripted:nothing"}, ModelError, "no script is called 'nothing'", "known are ten, slow"),
        (["a"], {"base_url": "http://127.0.0.1:9"}, ModelError, "a base URL is given", "leave it out"),
    ],
)
def test_a_mistake_is_one_error_and_nothing_is_sent(work, options, error, message, hint, session):
    events = []

    with pytest.raises(error) as caught:
        run_sync(work, **({"model": "scripted:ten", "observers": [events.append]} | options))

    assert message in str(caught.value)
    assert hint is None or hint in caught.value.hint
    assert (events, session.last, session.quota.usage.executions) == ([], None, 0)


def test_a_configuration_that_is_wrong_is_told_at_the_first_run(tmp_path):
    (tmp_path / "config.yaml").write_text("agents: {}")

    with pytest.raises(ConfigError, match="unknown key 'agents'"):
        run_sync(["a"])


def test_asyncio_that_nest_asyncio_has_broken_is_refused(monkeypatch):
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    monkeypatch.delattr(asyncio, "_nest_asyncio2", raising=False)

    with pytest.raises(NestingError, match=r"nest_asyncio\.apply") as caught:
        preparing.check_asyncio((3, 14))

    assert "nest_asyncio2.apply()" in caught.value.hint
    preparing.check_asyncio((3, 13))
    monkeypatch.setattr(asyncio, "_nest_asyncio2", True, raising=False)
    preparing.check_asyncio((3, 14))


@pytest.mark.parametrize("where", ["run", "session"])
def test_an_unpriced_model_under_a_limit_of_cost_is_refused_wherever_the_limit_stands(where, session, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-something")
    if where == "session":
        session.quota.quota = Quota(max_total_cost=1.0)

    with pytest.raises(ModelError) as caught:
        run_sync(["a"], model="openai:unheard-of", max_total_cost=1.0 if where == "run" else None)

    assert caught.value.message == "openai:unheard-of has no known price, and max_total_cost is set"


def test_without_a_model_it_is_the_embedded_one_where_that_is_installed():
    assert preparing._settled(Settings(), retries=None, stream=None).model == ("local" if installed() else None)
    assert preparing._settled(Settings(model="openai:m"), retries=None, stream=None).model == "openai:m"


# Settings, options and limits


def test_the_configuration_holds_unless_an_option_says_otherwise(tmp_path):
    configure(tmp_path, model="scripted:shaky", retries=0, max_tokens=7, output_max_size=9)

    configured = run_sync(["a"])
    chosen = run_sync(["a"], retries=2)
    clipped = run_sync(["a"], model="scripted:ten")

    assert (configured[0].attempts, configured[0].max_tokens) == (1, 7)
    assert chosen[0].attempts == 3
    assert clipped[0].output == " …[cut]"


@pytest.mark.parametrize(
    ("configured", "option", "pieces"), [(True, None, 4), (False, None, 1), (False, True, 4), (True, False, 1)]
)
def test_streaming_is_configured_and_chosen(tmp_path, configured, option, pieces):
    configure(tmp_path, stream=configured)
    events = []

    run_sync(["a"], model="scripted:", stream=option, observers=[events.append])

    assert sum(isinstance(stamped.event, TextReceived) for stamped in events) == pieces


def test_a_setting_that_is_false_does_not_win_over_an_option_and_the_reverse(tmp_path):
    configure(tmp_path, fail_fast=True, max_concurrent=1)
    work = {"a": {"prompt": "x", "model": "scripted:shaky"}, "b": {"prompt": "x", "model": "scripted:ten"}}

    stopped = run_sync(work, retries=0)
    went_on = run_sync(work, retries=0, fail_fast=False)

    assert [outcome.status for outcome in stopped] == ["failed", "skipped"]
    assert [outcome.status for outcome in went_on] == ["failed", "done"]


@pytest.mark.parametrize(
    ("head", "options", "expected"),
    [
        ("", {}, Quota()),
        ("quota: {max_executions: 3, max_total_tokens: 900}\n", {}, Quota(max_executions=3, max_total_tokens=900)),
        (
            "quota: {max_executions: 3, max_total_tokens: 900}\n",
            {"max_executions": 9, "max_total_tokens": 500, "quota": Quota(max_total_tokens=700, max_total_time=60)},
            Quota(max_executions=3, max_total_tokens=500, max_total_time=60),
        ),
        ("", {"max_executions": 0, "quota": Quota(max_executions=5)}, Quota(max_executions=0)),
        ("", {"quota": {"max_total_cost": 0.5}}, Quota(max_total_cost=0.5)),
    ],
)
def test_of_each_limit_the_tightest_holds(head, options, expected):
    started = []

    run_sync(f"{head}tasks: [a]", model="scripted:ten", observers=[started.append], **options)

    assert next(stamped.event.quota for stamped in started if isinstance(stamped.event, RunStarted)) == expected


def test_the_sessions_limits_hold_over_all_runs(session):
    session.quota.quota = Quota(max_executions=3)

    first = run_sync(["a", "b"], model="scripted:ten")
    second = run_sync(["a", "b"], model="scripted:ten", max_executions=9)

    assert [outcome.status for outcome in (*first, *second)] == ["done", "done", "done", "skipped"]
    assert "max_executions of the session is 3" in second[1].error
    session.quota.reset()
    assert session.quota.remaining_executions == 3


def test_settings_that_change_the_limits_reach_the_tracker_and_keep_what_is_used(session):
    run_sync(["a"], model="scripted:ten")

    session.settings = dataclasses.replace(session.settings, quota=Quota(max_total_tokens=100))

    assert session.quota.remaining_tokens == 90


def test_limits_that_were_set_at_the_tracker_are_not_lost_to_other_settings(session):
    session.quota.quota = Quota(max_executions=3)

    session.settings = changed(session.settings, {"max_total_tokens": 100, "retries": 0}, "here")

    assert session.quota.quota == session.settings.quota == Quota(max_executions=3, max_total_tokens=100)
    assert session.settings.retries == 0


def test_a_cost_is_counted_and_limited():
    results = run_sync(["a", "b"], model="scripted:priced", max_total_cost=1200, max_concurrent=1, max_tokens=1100)

    assert [outcome.status for outcome in results] == ["done", "done"]
    assert results[0].cost_usd == 2.0
    assert run_sync(["a"], model="scripted:priced", max_total_cost=1000)[0].error_type == "quota_exceeded"


def test_names_are_what_templates_may_use_and_keys_are_not(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")

    results = run_sync(["About {{city}}"], model="scripted:ten", names={"city": "Lima"})

    assert results[0].messages[0].content == "About Lima"
    with pytest.raises(SpecError, match="the value holds a key"):
        run_sync(["{{key}}"], model="scripted:ten", names={"key": "sk-0123456789"})


# What is told


def test_observers_hear_every_event_in_order_and_on_result_each_outcome_as_it_ends():
    events, outcomes = [], []

    results = run_sync(["a", "b"], model="scripted:ten", observers=[events.append], on_result=outcomes.append)

    assert [stamped.number for stamped in events] == list(range(len(events)))
    assert {stamped.run for stamped in events} == {results.run_id}
    assert isinstance(events[0].event, RunStarted)
    assert isinstance(events[-1].event, RunEnded)
    assert outcomes == [results[stamped.event.label] for stamped in events if isinstance(stamped.event, TaskEnded)]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)


def test_whoever_listens_and_fails_does_not_end_the_run(caplog):
    def broken(_):
        raise ZeroDivisionError

    results = run_sync(["a", "b"], model="scripted:ten", observers=[broken], on_result=broken)

    assert [outcome.success for outcome in results] == [True, True]
    assert caplog.text.count("failed and hears no more") == 2


@pytest.mark.parametrize(("tasks", "told"), [(64, True), (65, False)])
def test_above_64_tasks_only_the_events_of_text_are_left_out(tasks, told):
    events = []

    run_sync(["a"] * tasks, model="scripted:ten", observers=[events.append], max_concurrent=100)

    kinds = {type(stamped.event) for stamped in events}
    assert (TextReceived in kinds, RequestSent in kinds) == (told, True)


def test_warnings_tell_what_a_person_should_know_each_once():
    results = run_sync([{"prompt": "a", "allowed_tools": ["grep"], "max_turns": 1}, "b"], model="scripted:ten")

    assert [warning.partition(",")[0] for warning in results.warnings] == [
        "max_turns is 1",
        "scripted: is no real model: its answers come from a script",
    ]
    assert all(warning in repr(results) for warning in results.warnings)


def test_metrics_are_kept_for_the_run_and_for_the_session(session):
    for _ in range(2):
        results = run_sync(["a", "b"], model="scripted:ten", max_executions=1)

    def executions(metrics):
        return {sample.name: sample.value for sample in metrics.rows() if sample.status is None}

    assert executions(results._metrics) == {"subagent_executions_total": 1, "subagent_active_count": 0}
    assert executions(session.metrics) == {"subagent_executions_total": 2, "subagent_active_count": 0}
    assert session.metrics.spawns().spawns == 2


def test_shown_in_a_script_it_writes_plain_lines_where_there_is_no_terminal(capsys):
    run_sync(["a"], model="scripted:ten", show=True)

    written, told = capsys.readouterr()
    assert written == ""
    assert told.splitlines()[-1].startswith("1 of 1 · 10 tokens")
    assert "\r" not in told


class Watching:
    """A view that does at its end what it is told to."""

    def __init__(self, at_end=lambda: None):
        self._at_end = at_end

    def attach(self, watched):
        self.watched = watched

    def draw(self):
        pass

    def end(self, finished):
        self._at_end()

    def fail(self, error):
        raise RuntimeError("the page is gone")


def test_a_view_that_cannot_tell_of_an_error_does_not_hide_it(monkeypatch, caplog):
    monkeypatch.setattr(launching, "view_here", Watching)

    async def fail(_provider, _tell):
        raise ModelError("no such model", "take another")

    monkeypatch.setattr("xz_magics.providers.scripted.ScriptedProvider.open", fail)

    with pytest.raises(ModelError, match="no such model"):
        run_sync(["a"], model="scripted:ten", show=True)
    assert "the page is gone" in caplog.text


# Stop


def test_stop_while_the_end_is_drawn_is_heard(monkeypatch):
    monkeypatch.setattr(launching, "view_here", lambda: Watching(lambda: signal.raise_signal(signal.SIGINT)))

    with pytest.raises(RunInterrupted, match="Stopped: 1 of 1 task is done"):
        run_sync(["a"], model="scripted:ten", show=True)


async def test_stop_ends_an_awaited_run_with_what_came_kept(session):
    with pytest.raises(RunStopped) as caught:
        await run(
            ["a", "b", "c"],
            model="scripted:quick_then_slow",
            max_concurrent=1,
            on_result=lambda _: session.last.cancel(),
        )

    assert "Stopped: 1 of 3 tasks are done" in str(caught.value)
    assert "xz_magics.last" in str(caught.value)
    assert session.last.interrupted
    assert [outcome.status for outcome in session.last] in (
        ["done", "cancelled", "skipped"],
        ["done", "skipped", "skipped"],
    )


def test_a_signal_ends_a_run_in_a_script_and_the_handler_is_as_before(session):
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(RunInterrupted) as caught:
        run_sync(["a", "b"], model="scripted:slow", max_concurrent=1, observers=[interrupt_at(RequestSent)])

    assert "Stopped: 0 of 2 tasks are done" in str(caught.value)
    assert [outcome.status for outcome in session.last] == ["cancelled", "skipped"]
    assert session.quota.reserved == (0, 0, 0)
    assert signal.getsignal(signal.SIGINT) is before


def interrupt_at(kind):
    def observe(stamped):
        if isinstance(stamped.event, kind):
            signal.raise_signal(signal.SIGINT)

    return observe


async def test_cancelling_the_coroutine_itself_ends_every_task_too(session):
    running = asyncio.ensure_future(run(["a", "b"], model="scripted:slow", max_concurrent=1))
    while session.last is None or not session.last.fold.requests:
        await asyncio.sleep(0.01)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert [outcome.status for outcome in session.last] == ["cancelled", "skipped"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_results_that_came_before_are_not_lost_to_a_model_that_cannot_be_opened(tmp_path):
    pytest.importorskip("xllamacpp", reason='needs the embedded engine: pip install "xz-magics[local]"')
    (tmp_path / "no.gguf").write_text("no model")
    before = run_sync(["a"], model="scripted:ten")

    with pytest.raises(ModelError, match="is no GGUF file"):
        run_sync(["a"], model=f"local:{tmp_path / 'no.gguf'}")

    assert xz_magics.last is before


def test_a_loop_that_cannot_be_entered_twice_is_told_before_it_is_patched():
    class Loop(asyncio.AbstractEventLoop):
        pass

    with pytest.raises(NestingError) as caught:
        api._allow_nesting(Loop())

    assert caught.value.hint == "await xz_magics.run(...)"


# What the package shows


ONLY_CELL = {"out", "check", "background", "help", "yes", "dry_run"}
ONLY_RUN = {
    *("work", "names", "observers", "on_result", "on_alert", "show", "quota", "params", "tools"),
    *("matrix", "exclude", "include", "expect", "combine"),
}


def test_each_option_of_a_cell_is_an_argument_of_run_and_the_reverse():
    options = {action.dest for action in cell_parser()._actions}
    arguments = set(run_arguments.parameters)

    assert options - arguments == ONLY_CELL
    assert arguments - options == ONLY_RUN
    assert inspect.signature(run_sync) == run_arguments


def test_every_option_of_a_cell_has_a_word_of_help():
    assert all(action.help for action in cell_parser()._actions)


def test_every_public_name_is_there_and_known_to_completion():
    assert sorted(xz_magics.__all__) == xz_magics.__all__
    for name in xz_magics.__all__:
        getattr(xz_magics, name)
        assert name in dir(xz_magics)
    public_errors = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert public_errors <= set(xz_magics.__all__)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'xz_magics' has no attribute 'runn'"):
        getattr(xz_magics, "runn")  # noqa: B009 - that is the question


ERRORS = [
    XzMagicsError("what", "mend"),
    SpecError("what", "mend", 3, 4, "the line"),
    SpecError("what"),
    ConfigError("what", "mend"),
    ModelError("what", "mend"),
    errors.QuotaExceeded("what", "mend", "max_executions"),
    errors.ProviderError("what", "mend", "rate_limited", "all", 429, 1.5, True),
    errors.JournalError("what", "mend"),
    errors.TasksFailed("what", "mend"),
    errors.UnknownLabel("what", "mend"),
    NestingError("what", "mend"),
    errors.ConfirmationNeeded("what", "mend"),
    RunInterrupted("stopped"),
    RunStopped("stopped"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_whole(error):
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), again.args, vars(again), str(again)) == (type(error), error.args, vars(error), str(error))


def test_no_error_is_left_out_of_the_pickling():
    assert {type(error) for error in ERRORS} >= {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    }


RECORDS = [
    Quota(max_executions=1),
    records.Message(role="user", content="Hi"),
    records.ToolCall(id="1", name="grep", arguments="{}"),
    records.ToolSpec(name="grep", description="Finds.", parameters={"type": "object"}),
    records.Insert(field="prompt", at=0, label="a"),
    Usage(input_tokens=1, output_tokens=2),
    records.Request(messages=(), max_tokens=1, params={"a": [1]}),
    records.Reply(text="x", finish="stop", finish_reason=None, usage=None),
    task("a", params={"a": 1}),
    records.Turn(number=1, attempts=1, max_tokens=1, started_at=None, duration_s=None),
    Outcome(index=0, label="a", status="done", model="m", max_tokens=1),
    records.Reused(run="r", label="a", ended_at=1.0),
    records.Span(kind="call", started_at=1.0, ended_at=2.0),
    records.LimitUse(level="run", name="max_executions", limit=1, used=0, reserved=0),
    records.Trial(input="a[0]", arms={"x": 1}, row=0, columns={"a": [1]}, repeat=2),
    records.AnswerSchema(name="A", json={"type": "object"}),
    records.Judge(model="local", rubric="Is it kind?", scale={"no": 0.0, "yes": 1.0}, max_tokens=9),
    records.Scorer(name="equals", kind="equals", given="Paris"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_frozen_and_survives_pickling(record):
    assert pickle.loads(pickle.dumps(record)) == record
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, None)


def test_no_record_is_left_out_of_the_pickling():
    assert {type(record) for record in RECORDS} == {
        value for value in vars(records).values() if dataclasses.is_dataclass(value)
    }


async def test_metrics_of_a_run_and_of_its_spawns_are_tables():
    few, many = await xz_magics.run(["x"] * 3, model="scripted:"), await xz_magics.run(["x"] * 25, model="scripted:")

    done = many.metrics[many.metrics["name"] == "subagent_completions_total"]
    assert list(done["value"]) == [25]
    assert list(few.spawn_metrics["spawns"]) == [3]
    assert few.spawn_metrics["p95_s"].isna().all(), "a percentile needs 20 samples"
    assert many.spawn_metrics["p95_s"].notna().all()


# Tools, dependencies and pacing


@pytest.fixture
def weather(session):
    @session.tool
    def weather(city: str) -> str:
        """What the weather is like.

        city: a town
        """
        return f"In {city} it rains."

    return weather


ASKING = """
scripts:
  asking:
    steps:
      - {when: it rains, answer: Take an umbrella.}
      - {when: weather, tool_calls: [{name: weather, arguments: {city: Lima}}]}
      - {answer: I do not know.}
  echo: {}
"""


def test_a_function_of_the_notebook_is_a_tool_for_those_tasks_that_are_granted_it(tmp_path, weather):
    (tmp_path / "config.yaml").write_text(ASKING)

    results = run_sync(
        {"tasks": [{"prompt": "How is the weather?", "allowed_tools": ["weather"]}, "How is the sea?"]},
        model="scripted:asking",
    )

    first, second = results
    assert (first.output, second.output) == ("Take an umbrella.", "I do not know.")
    assert [m.content for m in first.messages if m.role == "tool"] == ["In Lima it rains."]
    assert weather("Oslo") == "In Oslo it rains."


def test_the_functions_given_to_a_call_are_all_that_there_is_in_it(tmp_path, weather):
    def other(text: str) -> str:
        """Another one."""
        return text

    with pytest.raises(SpecError) as caught:
        run_sync(["a"], model="scripted:ten", allowed_tools=["weather"], tools=[other])

    assert "no tool is called 'weather'" in str(caught.value)
    assert "there are: other" in str(caught.value)


def test_an_unknown_tool_is_an_error_with_a_suggestion_before_anything_is_sent(session):
    with pytest.raises(SpecError) as caught:
        run_sync(["a"], model="scripted:ten", allowed_tools=["read_fil"])

    assert "did you mean read_file?" in str(caught.value)
    assert session.quota.usage.executions == 0


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        ("write_file(overwrit)", "overwrit is no word of it"),
        ("http_get", "it names no host"),
        ("http_get(https://docs.python.org/3/)", "is no host"),
        ("grep(x)", "grep takes no words"),
    ],
)
def test_a_grant_that_could_never_work_is_refused(grant, told):
    with pytest.raises(SpecError) as caught:
        run_sync(["a"], model="scripted:ten", allowed_tools=grant)

    assert told in caught.value.message


def test_a_placeholder_for_a_key_is_not_taken_out_of_what_tools_give(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    (tmp_path / "config.yaml").write_text(ASKING)

    def weather(city: str) -> str:
        """The weather."""
        return f"it rains in {city}, says the latest test of the detested"

    (outcome,) = run_sync(["weather"], model="scripted:asking", tools=[weather], allowed_tools="weather")

    assert outcome.messages[2].content == "it rains in Lima, says the latest test of the detested"


def test_a_key_that_a_tool_gives_away_is_taken_out(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    (tmp_path / "config.yaml").write_text(ASKING)

    def weather(city: str) -> str:
        """The weather."""
        return f"it rains, and the key is {os.environ['OPENAI_API_KEY']}"

    (outcome,) = run_sync(["weather"], model="scripted:asking", tools=[weather], allowed_tools=["weather"])

    assert "sk-0123456789abcdef" not in repr(outcome.messages)
    assert "it rains" in outcome.messages[2].content


def test_a_tool_that_goes_wrong_is_remarked_on(tmp_path):
    (tmp_path / "config.yaml").write_text(ASKING)

    def weather(city: str) -> str:
        """The weather."""
        raise ZeroDivisionError(city)

    results = run_sync(["weather"], model="scripted:asking", tools=[weather], allowed_tools=["weather"])

    assert "weather went wrong in 1 of its calls: see messages_df" in results.warnings
    assert "weather went wrong" in repr(results)


def test_what_is_no_list_of_tools_is_refused():
    with pytest.raises(SpecError, match="tools is no list"):
        run_sync(["a"], model="scripted:ten", tools=len, allowed_tools=["len"])


def test_the_policy_of_the_configuration_bounds_what_any_task_may_be_granted(tmp_path, session):
    (tmp_path / "config.yaml").write_text(f"{SCRIPTS}\ntools: {{allow: [grep, 'http_get(a.example)'], deny: [grep]}}")

    for name in ("read_file", "grep"):
        with pytest.raises(SpecError, match=f"no tool is called '{name}'"):
            run_sync(["a"], model="scripted:ten", allowed_tools=[name])
    granting = Granting(specs.read(["a"]), {"allowed_tools": ()}, session.settings, tools=None, workspace=None)
    granted = granting.grant([])(Rights.of(["http_get(a.example, b.example)", "read_file"]))
    assert [spec.name for spec in granted.specs] == ["http_get"]
    assert granted._tools["http_get"][1].params == {"a.example"}


def test_a_tool_that_needs_a_sandbox_is_refused_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SpecError) as caught:
        run_sync(["a"], model="scripted:ten", allowed_tools=["python"], workspace=tmp_path)

    assert "task 'task-1' may use 'python', but there is no sandbox" in caught.value.message
    assert "apt-get install bubblewrap" in caught.value.hint


def test_without_tools_nothing_of_them_is_loaded(tmp_path, session):
    run_sync(["a"], model="scripted:ten")

    assert "toolbox" not in vars(session)


def test_the_built_in_tools_work_in_the_workspace(tmp_path):
    (tmp_path / "notes.txt").write_text("The answer is 42.")
    (tmp_path / "config.yaml").write_text("""
scripts:
  reading:
    steps:
      - {when: The answer is, answer: I have read it.}
      - {tool_calls: [{name: read_file, arguments: {path: notes.txt}}]}
""")

    (outcome,) = run_sync(["Read."], model="scripted:reading", allowed_tools=["read_file"], workspace=tmp_path)

    assert outcome.output == "I have read it."


def test_a_workspace_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(SpecError, match="no folder"):
        run_sync(["a"], model="scripted:ten", allowed_tools=["grep"], workspace=tmp_path / "nowhere")


def test_a_later_task_is_given_the_output_of_an_earlier_one(tmp_path):
    (tmp_path / "config.yaml").write_text("scripts: {echo: {}, fixed: {steps: [{answer: a draft}]}}")

    results = run_sync(
        "tasks:\n"
        "  better: {prompt: 'Improve: {{results.draft}}', model: 'scripted:echo'}\n"
        "  draft: {prompt: Write., model: 'scripted:fixed'}\n"
    )

    assert results["better"].output == "(no real model) You wrote: Improve: a draft"
    assert [outcome.label for outcome in results] == ["better", "draft"]


def test_requests_a_minute_are_bound_by_rpm():
    results = run_sync(["a"] * 3, model="scripted:ten", rpm=1, max_total_time=0.4)

    assert [outcome.status for outcome in results] == ["done", "skipped", "skipped"]
    assert results.outcomes[1].error_type == "quota_exceeded"


# Runs within runs


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_run_that_a_tool_begins_ends_with_the_run_around_it(tmp_path, session, kind):
    (tmp_path / "config.yaml").write_text(
        f"{ASKING}  slow: {{steps: [{{answer: slow, latency_s: 30, chunks: 100}}]}}\n"
    )
    inner = []

    def weather_sync(city: str) -> str:
        """The weather."""
        return str(run_sync(["x"] * 3, model="scripted:slow", observers=[inner.append]))

    async def weather_async(city: str) -> str:
        """The weather."""
        return str(await run(["x"] * 3, model="scripted:slow", observers=[inner.append]))

    tool = tool_of(weather_sync if kind == "sync" else weather_async, name="weather")
    running = asyncio.ensure_future(run(["weather"], model="scripted:asking", tools=[tool], allowed_tools=["weather"]))
    while not any(isinstance(stamped.event, RequestSent) for stamped in inner):
        await asyncio.sleep(0.01)

    session.last.cancel()
    with pytest.raises(RunStopped):
        await running
    for _ in range(200):
        if any(isinstance(stamped.event, RunEnded) for stamped in inner):
            break
        await asyncio.sleep(0.01)

    assert isinstance(inner[-1].event, RunEnded)
    assert {stamped.event.status for stamped in inner if isinstance(stamped.event, TaskEnded)} == {"cancelled"}
    assert [outcome.label for outcome in session.last] == ["task-1"]
    assert session.quota.reserved == (0, 0, 0)


NESTING = """
import asyncio, xz_magics
async def ticks():
    while True:
        await asyncio.sleep(0.01)
async def main():
    ticking = [asyncio.create_task(ticks()) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert xz_magics.run_sync(["hi"], model="scripted:")[0].success
    await asyncio.sleep(0.1)
    print("the loop lives")
asyncio.run(main())
"""


def test_the_first_run_inside_a_busy_loop_leaves_the_loop_alive():
    ran = subprocess.run([sys.executable, "-c", NESTING], capture_output=True, text=True, timeout=60, check=False)

    assert ran.stdout == "the loop lives\n", ran.stderr
