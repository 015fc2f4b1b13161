"""Runs that are over: opened with all that they were, listed, handed to somebody, and deleted."""

import json
import sqlite3
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pandas import DataFrame, to_datetime
from pandas.testing import assert_frame_equal, assert_series_equal

from xz_magics.api import run_sync
from xz_magics.api.history import export_run, history, import_run, open_run
from xz_magics.background import start
from xz_magics.errors import ConfirmationNeeded, JournalError, RunInterrupted, SpecError, XzMagicsError
from xz_magics.events import (
    CallIntended,
    RequestSent,
    RunStarted,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    ToolCalled,
    TurnEnded,
)
from xz_magics.magics import verbs
from xz_magics.observers.journal import About
from xz_magics.observers.journal.owners import this_owner
from xz_magics.records import Quota, Task, ToolCall, Turn

SCRIPTS = """
scripts:
  good: {price: {input: 1, output: 2}, steps: [{answer: one two}, {answer: three}]}
  flaky: {steps: [{status: 503, retry_after_s: 0.01}, {answer: late}, {status: 429, retry_after_s: 0.02}]}
  bad: {steps: [{status: 400}]}
  cut: {steps: [{answer: in part, finish: length}]}
  leads:
    steps:
    - {answer: counted, when: Count}
    - {answer: all done, when: counted}
    - tool_calls: [{name: parallel_subagent, arguments: {tasks: [{task_prompt: Count.}, {task_prompt: Count.}]}}]
  judge: {steps: [{answer: '{"reason": "it is right", "verdict": 5}'}]}
  slow: {steps: [{answer: w w w w w w w w w w, chunks: 10, latency_s: 60}]}
"""
JUDGE = {"judge": {"rubric": "Is it right?", "model": "scripted:judge"}}
KEPT = {"filter": "score >= 0.5"}
FRAMES = ("df", "all_df", "turns_df", "messages_df", "fields_df", "metrics", "spawn_metrics")
DIED = "dead00000001"
AN_HOUR_AGO = time.time() // 1 - 3600
KEY = "sk-proj-0123456789abcdefghij"


@pytest.fixture
def session(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)
    return session


@pytest.fixture
def died(session):
    """A run whose process died: one task is done, one is under way, one calls a tool, and one has not begun."""
    turn = Turn(number=1, attempts=1, max_tokens=9, started_at=1.0, duration_s=1.0, input_tokens=3, output_tokens=4)
    write(
        session,
        RunStarted(tasks=4, max_concurrent=5, quota=Quota(max_total_tokens=1000)),
        *(
            TaskPlanned(task=Task(index=n, label=f"t{n}", prompt="Is it?", model="m", max_tokens=9), depth=0)
            for n in range(4)
        ),
        *(event for n in range(3) for event in sent(f"t{n}")),
        TurnEnded(label="t0", turn=turn, text="yes"),
        TaskEnded(label="t0", status="done", output="yes", duration_s=1.0, queued_s=0.1),
        TurnEnded(label="t2", turn=turn, text="let me look"),
        ToolCalled(label="t2", turn=1, call=ToolCall(id="c", name="grep", arguments="{}")),
    )
    owned_by(session, "")


def sent(label):
    yield TaskStarted(label=label, queued_s=0.1)
    yield CallIntended(label=label, turn=1, attempt=1, bound_tokens=100, worst_cost_usd=0.25)
    yield RequestSent(label=label, turn=1, attempt=1, spawn_s=0.01)


def write(session, *events, run=DIED, about=None):
    record = session.journal.observer(run, about or About(tasks=4, label="t0 and 3 more"))
    for number, event in enumerate(events):
        record(Stamped(run=run, number=number, at=AN_HOUR_AGO + number, event=event))
    session.close()


def owned_by(session, owner):
    execute(session, "UPDATE runs SET owner = ?", owner)


def execute(session, statement, *values):
    session.close()
    with sqlite3.connect(session.journal.file) as connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


def assert_alike(opened, live):
    """All that can be read of the two is the same, but what time the run's own clock has counted."""
    for name in FRAMES:
        assert_frame_equal(getattr(opened, name), getattr(live, name), obj=name)
    assert_series_equal(opened.summary, live.summary)
    by_name = (results.quota.set_index("name").drop("max_total_time") for results in (opened, live))
    assert_frame_equal(*by_name)
    for name in ("run_id", "scores", "combined", "warnings", "duration_s", "outcomes", "running"):
        assert getattr(opened, name) == getattr(live, name), name
    assert opened.to_json() == live.to_json()
    assert opened.fold.pauses == live.fold.pauses
    assert opened.fold.stop_reason == live.fold.stop_reason
    assert without_time(repr(opened)) == without_time(repr(live))


def without_time(text):
    return [line for line in text.splitlines() if not line.startswith("run time")]


SHAPES = st.fixed_dictionaries(
    {
        "models": st.lists(st.sampled_from(["good", "flaky", "bad", "cut", "leads"]), min_size=1, max_size=4),
        "repeat": st.none() | st.just(2),
        "matrix": st.none() | st.just({"tone": ["dry", "kind"]}),
        "after": st.sampled_from(
            [{}, {"score": "equals"}, {"score": JUDGE, "combine": "merge"}, {"score": "equals", "combine": KEPT}]
        ),
        "fail_fast": st.none() | st.booleans(),
        "max_executions": st.none() | st.integers(0, 5),
    }
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(shape=SHAPES)
def test_a_run_of_any_shape_is_the_same_when_it_is_opened_again(session, shape):
    tasks = [
        {"label": f"t{n}", "prompt": "Say three.", "model": f"scripted:{model}", "expect": "three"}
        | ({"allowed_tools": ["parallel_subagent"]} if model == "leads" else {})
        for n, model in enumerate(shape["models"])
    ]
    options = {name: value for name, value in shape.items() if name not in {"models", "after"}}

    live = run_sync(tasks, retries=1, **options, **shape["after"])
    opened = open_run(live.run_id)

    assert opened is not live
    assert_alike(opened, live)


def test_rows_of_a_table_keep_their_dtypes_and_comparisons_their_verdict(session):
    rows = DataFrame({"day": to_datetime(["2026-01-02", "2026-01-03"]), "size": [1, 2]})
    options = {"foreach": rows, "matrix": {"model": ["scripted:good", "scripted:cut"]}, "repeat": 2}

    live = run_sync({"a": {"prompt": "On {{day}}: {{size}}", "expect": "three"}}, score="equals", **options)
    opened = open_run(live.run_id)

    assert_alike(opened, live)
    assert repr(opened.compare_by("model")) == repr(live.compare_by("model"))
    by_input = [results.pivot("model") for results in (opened, live)]  # noqa: PD010 - it is not pandas'
    assert_frame_equal(*by_input)
    assert_frame_equal(opened.costs_by("model"), live.costs_by("model"))


def test_a_run_that_was_stopped_is_opened_as_it_was_left(session):
    def stop(outcome):
        session.runs.current().cancel()

    with pytest.raises(RunInterrupted):
        run_sync([{"prompt": "a", "model": "scripted:good"}, {"prompt": "b", "model": "scripted:slow"}], on_result=stop)
    live = session.last
    opened = open_run(live.run_id)

    assert_alike(opened, live)
    assert opened.interrupted
    assert list(history().runs["state"]) == ["stopped"]


def test_scores_of_later_are_there_when_it_is_opened_again(session):
    live = run_sync({"a": {"prompt": "x", "expect": "one two"}}, model="scripted:good")

    live.score("equals")
    session.close()

    assert open_run(live.run_id).scores == live.scores == {"a": {"equals": True}}


def test_nothing_goes_on_in_an_opened_run(session):
    run_id = run_sync({"a": "x"}, model="scripted:good").run_id

    opened = open_run(run_id[:6])

    assert not opened.running
    with pytest.raises(SpecError, match=f"run {run_id} has ended"):
        opened.cancel()
    with pytest.raises(SpecError, match=f"run {run_id} has ended"):
        opened.cancel("a")
    with pytest.raises(KeyError, match="no task is called 'b'"):
        opened.cancel("b")


def test_a_run_that_goes_on_here_is_the_live_one(session):
    handle = start({"a": "x"}, model="scripted:slow")
    while not handle.results.fold.requests:
        time.sleep(0.01)

    opened = open_run(handle.run_id)
    state = history().runs["state"][0]
    handle.cancel()
    handle.wait(20)

    assert opened is handle.results
    assert state == "running"


def test_what_had_no_end_when_the_kernel_died_is_told_as_what_it_is(died):
    opened = open_run(DIED)

    assert [(o.label, o.status, o.output, o.error_type) for o in opened] == [
        ("t0", "done", "yes", None),
        ("t1", "unknown", None, None),
        ("t2", "cancelled", "let me look", "cancelled"),
        ("t3", "skipped", None, "cancelled"),
    ]
    assert opened["t1"].error.splitlines() == [
        "it was sent, and the kernel ended first: it may have used up to 100 tokens and $0.2500",
        f"%%subagents --resume {DIED} --resend-unknown sends it again",
    ]
    assert (opened["t2"].total_tokens, opened["t2"].duration_s, opened["t2"].queued_s) == (7, 4.0, 0.1)
    assert opened.duration_s == 17.0
    assert opened.warnings == (
        f"1 of 4 tasks have ended: the kernel ended first; %%subagents --resume {DIED} goes on from here",
    )
    used = opened.quota.set_index("name")
    assert tuple(used.loc["max_total_tokens", ["limit", "used"]]) == (1000, 14)
    assert used.loc["max_executions", "used"] == 3
    assert "unknown" in repr(opened)
    assert "unknown" in opened._repr_html_()
    opened.plot()
    opened.timeline()


def test_a_run_of_another_kernel_that_goes_on_stands_as_it_was_when_it_was_read(died, session):
    owned_by(session, this_owner())

    opened = open_run(DIED)

    assert [outcome.label for outcome in opened] == ["t0"]
    assert opened["t1"].status == "running"
    stood_at = datetime.fromtimestamp(AN_HOUR_AGO + 17, UTC)
    assert opened.warnings == (f"this run goes on: so it stood at {stood_at:%H:%M:%S} UTC",)
    with pytest.raises(SpecError, match="goes on in another kernel"):
        opened.cancel()


def test_the_runs_of_all_kernels_are_listed_the_latest_first(died, session):
    later = run_sync({"a": "x", "b": {"prompt": "y", "model": "scripted:bad"}}, model="scripted:good")

    runs = verbs.runs()

    assert list(runs["run"]) == [later.run_id, DIED]
    assert list(runs["state"]) == ["ended", "died"]
    assert list(runs["states"]) == ["1 done, 1 failed", "1 done, 1 cancelled, 1 skipped, 1 unknown"]
    assert list(runs["tokens"]) == [later.fold.tokens, 14]
    assert runs["cost_usd"][0] == later.fold.cost_usd > 0
    assert list(runs["duration_s"]) == [later.duration_s, 17.0]
    assert list(runs["label"]) == ["a and 1 more", "t0 and 3 more"]
    assert list(history(days=0.01).runs["run"]) == [later.run_id]


def test_tasks_and_turns_of_all_runs_stand_in_one_table(session):
    first = run_sync({"a": {"prompt": "x", "expect": "three"}}, model="scripted:good", score="equals")
    second = run_sync({"a": "x"}, model="scripted:flaky")

    past = history()

    assert list(zip(past.tasks["run"], past.tasks["label"], strict=True)) == [(second.run_id, "a"), (first.run_id, "a")]
    assert past.tasks["score"].tolist()[1] is not None
    assert list(past.turns["run"]) == [second.run_id, first.run_id]
    assert list(past.turns["attempts"]) == [2, 1]
    assert repr(past) == repr(past.runs)


def test_rows_of_another_program_break_nothing(died, session):
    foreign = "INSERT INTO events VALUES (?, ?, 0, ?, NULL, ?, NULL, NULL)"
    numbers = count(100)
    for body in ("{", "[]", '"x"', "{}", '{"@": "Outlandish"}', '{"@": "TurnEnded", "turn": 3}'):
        for kind in ("TurnEnded", "TaskEnded", "RunEnded"):
            for run in (DIED, "nobody"):
                execute(session, foreign, run, next(numbers), kind, body)
    execute(session, foreign, DIED, 90, "TaskEnded", '{"@": "TaskEnded", "label": "of nobody", "status": "done"}')
    execute(session, foreign, DIED, 91, "TaskEnded", '{"@": "TaskEnded", "label": "t1", "status": "outlandish"}')

    runs = history().runs

    assert list(runs["run"]) == [DIED]
    assert runs["tokens"][0] == 14
    opened = open_run(DIED)
    assert opened["t0"].output == "yes"
    assert any("of its events cannot be read" in warning for warning in opened.warnings)


def test_a_journal_without_texts_shows_all_but_them(session, monkeypatch):
    monkeypatch.setenv("XZ_MAGICS_JOURNAL", "hashes")
    live = run_sync({"a": {"prompt": "x", "expect": "one two"}}, model="scripted:good", score="equals")

    opened = open_run(live.run_id)

    assert opened["a"].output.startswith("sha256:")
    assert opened.warnings == ()
    assert (opened.scores, opened["a"].total_tokens) == (live.scores, live["a"].total_tokens)


def test_an_exported_run_holds_no_key_and_no_path_and_is_the_same_elsewhere(session, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann lee")
    monkeypatch.setenv("JPY_SESSION_NAME", "/srv/secret project/rain.ipynb")
    prompt = (
        f"Read /home/ann lee/a.txt, {Path.cwd()}/b, /srv/secret project/c, /home/bob.b/d. and {KEY}; not /homely/e."
    )
    live = run_sync({"a": {"prompt": prompt, "expect": "one two"}}, model="scripted:good", score="equals")

    verbs.export(live.run_id, str(tmp_path / "run.jsonl"))
    text = (tmp_path / "run.jsonl").read_text()
    monkeypatch.setenv("XZ_MAGICS_STATE", str(tmp_path / "elsewhere"))
    session.close()
    opened = verbs.import_(str(tmp_path / "run.jsonl"))

    assert not [word for word in ("ann lee", "bob", "secret project", KEY, str(Path.cwd())) if word in text]
    stars = "*" * len(KEY)
    assert opened.fold.rows["a"].task.prompt == f"Read ~/a.txt, ~/b, ~/c, ~/d. and {stars}; not /homely/e."
    assert_frame_equal(opened.df, live.df)
    assert opened.scores == live.scores
    assert list(history().runs["notebook"]) == ["rain.ipynb"]
    with pytest.raises(JournalError, match="is in the journal already"):
        import_run(tmp_path / "run.jsonl")


def test_a_file_that_is_no_run_is_refused_and_leaves_nothing(session, tmp_path):
    run_id = run_sync({"a": "x"}, model="scripted:good").run_id
    export_run(run_id, tmp_path / "run.jsonl")
    head, *events, end = (tmp_path / "run.jsonl").read_text().splitlines()
    about = json.loads(head)
    session.journal.delete([run_id])
    wrong = {
        "empty": [],
        "other": ["{}", "{}"],
        "cut": [head, *events],
        "foreign": [head, events[0].replace(run_id, "another"), end],
        "twice": [head, *events, events[0], end],
        "no time": [json.dumps(about | {"about": about["about"] | {"started_at": "today"}}), *events, end],
        "newer": [json.dumps(about | {"xz_magics_run": 2}), end],
    }

    for name, lines in wrong.items():
        (tmp_path / name).write_text("\n".join(lines))
        with pytest.raises(JournalError, match=name):
            import_run(tmp_path / name)

    with pytest.raises(JournalError, match="cannot be read"):
        import_run(tmp_path / "missing")
    assert history().runs.empty


def test_one_run_that_cannot_be_shown_hides_no_other(died, session, caplog):
    live = run_sync({"a": "x"}, model="scripted:good")
    many = json.dumps({"input_tokens": 10**30, "number": 1, "attempts": 1, "max_tokens": 1, "@": "Turn"})
    body = f'{{"@": "TurnEnded", "label": "t0", "turn": {many[:-1]}, "started_at": 1.0, "duration_s": 1.0}}}}'
    execute(session, "UPDATE events SET body = ? WHERE run = ? AND kind = 'TurnEnded'", body, DIED)

    past = history()

    for table in (past.runs, past.tasks, past.turns):
        assert set(table["run"]) == {live.run_id}
    assert "some runs cannot be shown, and are left out" in caplog.text


def test_the_last_run_is_found_as_one_that_is_resumed(died, session, tmp_path):
    owned_by(session, "a process that died")
    assert open_run("last").run_id == DIED
    latest = run_sync({"a": "x"}, model="scripted:good")

    export_run("last", tmp_path / "x")
    exported = verbs.export("last", str(tmp_path / "x"))

    assert open_run("last").run_id == latest.run_id
    assert verbs.show("last") is latest
    assert exported["run"][0] == latest.run_id


def test_where_there_is_no_run_there_is_no_last_one(session):
    with pytest.raises(SpecError, match="there is no run in the journal yet"):
        open_run("last")


def test_a_run_whose_answers_are_all_reused_used_nothing(session):
    run_sync({"a": "x"}, model="scripted:good")

    again = run_sync({"a": "x"}, model="scripted:good", resume=True)

    runs = history().runs
    assert (runs["run"][0], runs["tokens"][0], runs["cost_usd"][0]) == (again.run_id, 0, 0.0)


def test_a_label_or_a_tag_that_holds_a_key_is_refused_before_anything_is_sent(session, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key := "plainkeywithoutform99")

    for name in ({"label": f"my {key}"}, {"tags": ["fine", key]}):
        with pytest.raises(SpecError, match=r"task 2: (its label|a tag of it) holds a key") as caught:
            run_sync(["x", {"prompt": "y"} | name], model="scripted:good")
        assert key not in str(caught.value)

    assert history().runs.empty


def test_an_imported_run_never_counts_as_one_that_goes_on(died, session, tmp_path):
    export_run(DIED, tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text().replace('"owner": ""', f'"owner": "{this_owner()}"')
    (tmp_path / "run.jsonl").write_text(lines)
    session.journal.delete([DIED])

    import_run(tmp_path / "run.jsonl")

    assert list(history().runs["state"]) == ["died"]


def test_runs_are_deleted_by_name_by_age_or_all_and_their_texts_are_gone(died, session):
    for answer in ("good", "cut", "flaky"):
        latest = run_sync({"a": "Say unforgettable."}, model=f"scripted:{answer}")

    with pytest.raises(ConfirmationNeeded, match="this deletes 4 runs: all that the journal has"):
        verbs.purge(older_than=0.0)
    by_age = verbs.purge(older_than=0.01)
    by_name = verbs.purge(latest.run_id[:8])
    with pytest.raises(ConfirmationNeeded, match="this deletes 2 runs: all that the journal has"):
        verbs.purge(all=True)
    rest = verbs.purge(all=True, yes=True)

    assert [int(one["runs"][0]) for one in (by_age, by_name, rest)] == [1, 1, 2]
    assert history().runs.empty
    session.close()
    assert b"unforgettable" not in session.journal.file.read_bytes()


def test_a_run_that_goes_on_is_not_deleted(died, session):
    owned_by(session, this_owner())

    everything = verbs.purge(all=True, yes=True)

    assert everything["runs"][0] == 0
    with pytest.raises(SpecError, match="goes on"):
        verbs.purge(DIED)
    assert list(history().runs["run"]) == [DIED]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (verbs.purge, "purge takes one of RUN, --older-than DAYS and --all"),
        (verbs.export, "export takes a run and a file"),
        (verbs.import_, "import takes a file"),
        (lambda: open_run("zz"), "no run of the journal is 'zz'"),
        (lambda: open_run(""), "no run of the journal is ''"),
        (lambda: verbs.export("dead", "/nowhere/run.jsonl"), "/nowhere/run.jsonl cannot be written"),
        (lambda: open_run(3), "the run is 3"),
        (lambda: open_run(None), "the run is None"),
        (lambda: export_run(b"dead", "x"), "the run is b'dead'"),
        (lambda: export_run("dead", 5), "the file is 5"),
        (lambda: import_run(5), "the file is 5"),
        (lambda: history(days="x"), "'x' is no number of days"),
        (lambda: history(days=-1), "-1 is no number of days"),
        (lambda: verbs.purge(older_than=-1.0), "-1.0 is no number of days"),
        (lambda: verbs.purge(older_than=float("nan"), yes=True), "nan is no number of days"),
        (lambda: verbs.purge(older_than=float("inf"), yes=True), "inf is no number of days"),
    ],
)
def test_what_is_asked_for_wrongly_is_told_with_its_mend(died, asked, told):
    with pytest.raises(XzMagicsError) as error:
        asked()

    assert error.value.message.startswith(told)
    assert error.value.hint
    assert not history().runs.empty


def test_show_finds_runs_of_earlier_kernels(died, session):
    assert verbs.show(DIED[:5]).run_id == DIED
    with pytest.raises(SpecError, match="neither a run nor a task of this kernel is called 'nobody'"):
        verbs.show("nobody")
