"""What a run does after its tasks: scores, judges and combinations, whole runs of scripted models."""

import asyncio
import threading
import time

import pytest

import xz_magics
from xz_magics import session as session_module
from xz_magics.api import run, run_sync
from xz_magics.api.launching import see_through
from xz_magics.api.preparing import prepare
from xz_magics.errors import RunStopped, SpecError
from xz_magics.events import TaskEnded
from xz_magics.session import Session
from xz_magics.views.dashboard import Dashboard
from xz_magics.views.live import NoView

SCRIPTS = """
scripts:
  city: {steps: [{when: France, answer: Paris}, {when: Spain, answer: Lyon}, {when: fails, status: 400}]}
  judge:
    steps:
    - {when: Paris, answer: '{"reason": "it is right", "verdict": 5}'}
    - {when: Lyon, answer: '{"reason": "it is wrong", "verdict": 1}'}
  vague: {steps: [{answer: I would rather not say.}]}
  slow: {steps: [{when: Paris, answer: '{"reason": "r", "verdict": 5}'}, {answer: a slow answer, chunks: 100, latency_s: 30}]}
  later: {steps: [{answer: '{"reason": "r", "verdict": 5}', latency_s: 0.5}]}
  long: {steps: [{answer: xxxxxxxxxx}]}
  summary: {steps: [{answer: In short.}]}
  cut: {steps: [{answer: In sh, finish: length}]}
"""
CITIES = """
model: "scripted:city"
tasks:
  france: {prompt: What is the capital of France?, expect: Paris}
  spain: {prompt: What is the capital of Spain?, expect: Madrid}
  broken: {prompt: This fails., expect: x}
"""
JUDGE = {"judge": {"rubric": "Is it right?", "model": "scripted:judge"}}


@pytest.fixture(autouse=True)
def session(monkeypatch, tmp_path):
    """A session of the test's own, with its own configuration."""
    monkeypatch.delenv("XZ_MAGICS_MODEL", raising=False)
    monkeypatch.setenv("XZ_MAGICS_CONFIG", str(tmp_path / "config.yaml"))
    (tmp_path / "config.yaml").write_text(SCRIPTS)
    fresh = Session()
    monkeypatch.setattr("xz_magics.session.session", fresh)
    for part in ("api", "api.launching", "api.preparing", "api.granting"):
        monkeypatch.setattr(f"xz_magics.{part}.session", fresh)
    return fresh


class Drawing(NoView):
    """A view that keeps what a page would be told."""

    def attach(self, watched):
        self.dashboard, self.messages = Dashboard(watched), []

    def draw(self):
        self.messages += self.dashboard.flush()


def length(outcome):
    return len(outcome.output)


def sizes(outcome):
    return {"long": len(outcome.output) > 4, "letters": len(outcome.output)}


def saying(results, *parts):
    """The warnings that hold one of these."""
    return [line for line in results.warnings if any(part in line for part in parts)]


def test_a_run_is_scored_by_rules_functions_and_judges_in_the_order_written():
    results = run_sync(CITIES, score=[JUDGE, "equals", length])

    assert results.scores == {
        "france": {"judge": 5.0, "equals": True, "length": 5.0},
        "spain": {"judge": 1.0, "equals": False, "length": 4.0},
        "broken": {"judge": None, "equals": None, "length": None},
    }
    assert list(results.df.filter(like="score.")) == ["score.judge", "score.equals", "score.length"]
    assert results.df["score.equals"].dtype == "boolean"
    assert results.df["score.judge"].dtype == "Float64"
    assert results.df["score.judge"].isna().tolist() == [False, False, True]
    assert not saying(results, "score"), "a task that failed is counted as missing beside the mean"


def test_judges_are_subagents_of_the_same_run_under_the_same_quota(session):
    results = run_sync(CITIES, score=JUDGE, max_executions=4)

    judges = [outcome for outcome in results.fold.all() if outcome.purpose == "judge"]
    assert [(one.label, one.parent, one.depth, one.status) for one in judges] == [
        ("france/judge", "france", 1, "done"),
        ("spain/judge", "spain", 1, "skipped"),
    ]
    assert results.summary["tasks"] == 3
    assert session.quota.usage.executions == 4
    assert results.scores["france"] == {"judge": 5.0}
    assert results.scores["spain"] == {"judge": None}
    assert saying(results, "judge") == ["score judge is missing for 1 (1 skipped: quota_exceeded): see all_df"]
    assert results["france"].tree_tokens == results["france"].total_tokens


@pytest.mark.parametrize("model", ["scripted:vague", "scripted:cut"])
def test_a_judge_that_gives_no_verdict_is_a_missing_score_that_is_said(model):
    results = run_sync(CITIES, score={"judge": {"rubric": "r", "model": model}})

    assert {one["judge"] for one in results.scores.values()} == {None}
    (line,) = saying(results, "judge")
    assert line.startswith("score judge is missing for 2 (2 ")
    assert results["france"].output == "Paris"


def test_verdicts_that_are_cut_at_max_tokens_are_said_to_be(session):
    results = run_sync(CITIES, score={"judge": {"rubric": "r", "model": "scripted:cut"}})

    assert saying(results, "judge") == ["score judge is missing for 2 (2 cut at max_tokens): see all_df"]
    assert "score: 3 missing (verdicts: 2 cut at max_tokens)\n" in repr(results)
    assert "score: 3 missing (verdicts: 2 cut at max_tokens)<" in results._repr_html_()


def test_a_function_that_fails_is_one_line_and_loses_nothing():
    def broken(outcome):
        raise ValueError(f"odd: {outcome.output}")

    results = run_sync(CITIES, score=[broken, "equals"], names={})

    assert results.scores["france"] == {"broken": None, "equals": True}
    assert saying(results, "broken") == [
        "score broken is missing for 2 answers, first in that of france: ValueError: odd: Paris"
    ]


def test_scores_can_be_made_anew_without_any_model_and_paid_ones_stay(session):
    results = run_sync(CITIES, score=JUDGE)
    spent = session.quota.usage

    again = results.score(sizes, {"contains": "a"})

    assert session.quota.usage == spent
    assert list(again) == ["label", "status", "score.sizes.long", "score.sizes.letters", "score.contains"]
    assert results.scores["france"] == {
        "judge": 5.0,
        "sizes.long": True,
        "sizes.letters": 5.0,
        "contains": True,
    }
    assert results.scores["broken"] == {"judge": None, "sizes.long": None, "sizes.letters": None, "contains": None}


def test_a_scorer_of_the_same_name_takes_the_place_of_what_it_said_and_of_its_complaint():
    def rated(_):
        raise ValueError("odd")

    results = run_sync(CITIES)
    results.score(rated)
    assert saying(results, "rated")

    def rated(outcome):
        return {"a": 1, "b": len(outcome.output)}

    results.score(rated)

    assert results.scores["spain"] == {"rated.a": 1.0, "rated.b": 4.0}
    assert not saying(results, "rated")
    assert results.score(rated).shape == (3, 4)


def test_lambdas_have_names_of_their_own_and_the_same_one_keeps_its_name():
    def letters(outcome):
        return len(outcome.output)

    short = lambda outcome: len(outcome.output) < 5  # noqa: E731 - as a notebook has it
    results = run_sync(CITIES, score=lambda outcome: "P" in outcome.output)

    results.score(short)
    results.score(lambda _: 7, letters, lambda _: 8)
    results.score(short, letters)

    assert results.scores["spain"] == {
        "function": False,
        "function_2": True,
        "function_3": 7.0,
        "letters": 4.0,
        "function_4": 8.0,
    }


def test_the_tasks_own_rules_can_be_applied_anew_and_their_judges_stay():
    results = run_sync(CITIES, score=[JUDGE, "equals"])
    before = results.scores

    results.score()

    assert results.scores == before


@pytest.mark.parametrize(
    ("scorers", "message"),
    [
        ((JUDGE,), "a judge is a model, and none is called here"),
        (("zzz",), "no function of this notebook is called 'zzz'"),
        (({"regex": "("},), "is no regular expression"),
        ((), "these tasks have no score of their own"),
    ],
)
def test_what_cannot_score_is_an_error_with_a_mend(scorers, message):
    results = run_sync(CITIES)

    with pytest.raises(SpecError, match=message) as raised:
        results.score(*scorers)

    assert raised.value.hint
    assert results.scores == {}


def test_a_score_without_anything_to_compare_with_is_refused_before_anything_is_sent(session):
    with pytest.raises(SpecError, match="compares with `expect`, and no task has one"):
        run_sync("Say hi.", model="scripted:city", score="equals")

    assert session.quota.usage.executions == 0


def test_a_defect_in_scoring_is_one_line_and_loses_nothing_and_its_traceback_is_logged(monkeypatch, caplog):
    def broken(*_):
        raise ValueError("odd")

    monkeypatch.setattr("xz_magics.scores.rules.rule_scores", broken)

    results = run_sync(CITIES, score="equals", combine="merge")

    assert saying(results, "score failed") == ["score failed: ValueError: odd; the answers are all there"]
    assert [type(record.exc_info[1]) for record in caplog.records] == [ValueError]
    assert results.combined == "Paris\n\nLyon"


def test_a_run_without_scores_shows_none():
    results = run_sync(CITIES)

    assert results.scores == {}
    assert results.combined is None
    assert "score" not in repr(results)
    assert not list(results.df.filter(like="score"))


async def test_a_live_view_shows_judges_below_their_tasks_while_they_work():
    drawing = Drawing()
    prepared = prepare(CITIES, score={"judge": {"rubric": "r", "model": "scripted:later"}})

    with session_module.session.guards.guard() as guard:
        await see_through(prepared, guard, drawing)

    rows = {}
    for message in drawing.messages:
        for told in message["rows"]:
            rows.setdefault(told["n"], []).append(told)
    judges = [told[0] for told in rows.values() if told[0]["label"].endswith("/judge")]
    assert [(one["label"], one["depth"]) for one in judges] == [("france/judge", 1), ("spain/judge", 1)]
    assert [rows[one["under"]][0]["label"] for one in judges] == ["france", "spain"]
    assert any(message["head"]["counts"].get("done") == 2 and message["head"]["nested"] for message in drawing.messages)


# Combinations


def test_outputs_are_merged_in_the_order_written_and_what_is_not_done_is_said():
    results = run_sync(CITIES, combine={"merge": {"between": " | "}})

    assert results.combined == "Paris | Lyon"
    assert saying(results, "combine") == ["combine takes what is done alone: 2 of 3 tasks"]


def test_a_filter_keeps_outcomes_and_narrows_what_the_next_step_takes():
    kept = run_sync(CITIES, score="equals", combine={"filter": "score == 1"})
    merged = run_sync(CITIES, score="equals", combine=[{"filter": "score == 1"}, "merge"])
    by_function = run_sync(CITIES, combine=[{"filter": lambda outcome: "y" in outcome.output}, "merge"])

    assert [outcome.label for outcome in kept.combined] == ["france"]
    assert merged.combined == "Paris"
    assert by_function.combined == "Lyon"
    assert "Combined: 1 of 3 kept: france" in repr(kept)
    assert saying(merged, "filters keep") == ["combine puts together what its filters keep: 1 of 3 kept: france"]


def test_a_filter_that_keeps_nothing_says_so_whatever_would_come_after_it(caplog):
    alone = run_sync(CITIES, combine={"filter": lambda _: False})
    merged = run_sync(CITIES, combine=[{"filter": lambda _: False}, "merge"])

    assert alone.combined == []
    assert "Combined: 0 of 3 kept" in repr(alone)
    assert merged.combined is None
    assert saying(merged, "combine failed: nothing is left to put together: 0 of 3 kept")
    assert not caplog.records


def test_a_summary_is_one_more_task_under_the_quota(session):
    results = run_sync(CITIES, combine={"summarise": {"model": "scripted:summary", "prompt": "What do they say?"}})

    assert results.combined == "In short."
    summary = results["summary"]
    assert (summary.purpose, summary.parent, summary.depth) == ("combine", None, 0)
    assert "Paris" in summary.messages[-2].content
    assert "What do they say?" in summary.messages[-2].content
    assert [outcome.label for outcome in results] == ["france", "spain", "broken"]
    assert session.quota.usage.executions == 4


def test_what_is_too_long_for_one_summary_is_summarised_in_levels(monkeypatch):
    monkeypatch.setattr("xz_magics.scores.fencing.ROOM_BYTES", 300)

    results = run_sync(
        [f"Task {number}" for number in range(12)],
        model="scripted:long",
        combine={"summarise": {"model": "scripted:summary"}},
    )

    labels = [outcome.label for outcome in results.fold.all() if outcome.purpose == "combine"]
    assert labels == ["summary 1.1", "summary 1.2", "summary 1.3", "summary"]
    assert results.combined == "In short."


def test_a_summary_that_is_cut_says_so():
    results = run_sync(CITIES, combine={"summarise": {"model": "scripted:cut"}})

    assert results.combined == "In sh\n[incomplete: length]"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"score": sizes, "combine": {"filter": "score.x > 3"}}, "combine failed: no score is called 'score.x'"),
        ({"combine": "summarise", "max_executions": 3}, "missing are 1 (1 skipped: quota_exceeded)"),
    ],
)
def test_a_combination_that_fails_loses_nothing_and_is_one_line(options, why, caplog):
    results = run_sync(CITIES, **options)

    assert results.combined is None
    assert [outcome.output for outcome in results] == ["Paris", "Lyon", None]
    (line,) = saying(results, "combine failed")
    assert why in line
    assert not caplog.records


def test_where_nothing_is_done_nothing_is_combined():
    results = run_sync({"broken": "This fails."}, model="scripted:city", combine="merge")

    assert results.combined is None
    assert saying(results, "combine failed: no task is done")


# Stop


async def test_stop_while_judges_work_keeps_the_answers_and_the_verdicts_that_came():
    judge = {"judge": {"rubric": "r", "model": "scripted:slow"}}

    def stop_at_verdict(stamped):
        if isinstance(stamped.event, TaskEnded) and stamped.event.label == "france/judge":
            asyncio.get_running_loop().call_later(0.1, lambda: xz_magics.current().cancel())

    with pytest.raises(RunStopped):
        await run(CITIES, score=[judge, "equals"], combine="merge", observers=[stop_at_verdict])

    results = xz_magics.last
    assert results.interrupted
    assert [outcome.status for outcome in results] == ["done", "done", "failed"]
    assert results.scores["france"] == {"judge": 5.0, "equals": True}
    assert results.scores["spain"] == {"judge": None, "equals": False}
    assert results.fold.rows["spain/judge"].state == "cancelled"
    assert results.combined is None
    assert saying(results, "judge") == ["score judge is missing for 1 (1 cancelled: cancelled): see all_df"]


async def test_after_a_stop_of_the_tasks_what_is_done_is_scored_without_any_model(session):
    quick_and_slow = {
        "quick": {"prompt": "France", "model": "scripted:city"},
        "slow": {"prompt": "Say it.", "model": "scripted:slow"},
    }

    def stop_at_answer(stamped):
        if isinstance(stamped.event, TaskEnded):
            xz_magics.current().cancel()

    with pytest.raises(RunStopped):
        await run(
            quick_and_slow,
            score=[length, JUDGE, {"contains": "Paris"}, {"regex": "^P"}],
            combine="merge",
            observers=[stop_at_answer],
        )

    results = xz_magics.last
    assert results.scores == {
        "quick": {"length": 5.0, "judge": None, "contains": True, "regex": True},
        "slow": {"length": None, "judge": None, "contains": None, "regex": None},
    }
    assert list(results.scores["quick"]) == ["length", "judge", "contains", "regex"]
    assert results.df["score.contains"].tolist()[0] is True
    assert session.quota.usage.executions == 2
    assert results.combined is None
    assert not saying(results, "Stop", "score")


@pytest.mark.parametrize("limit", [{"max_total_time": 1}, {"max_executions": 1}])
def test_after_a_limit_of_the_run_what_is_done_is_scored(limit):
    quick_and_slow = {
        "quick": {"prompt": "France", "model": "scripted:city"},
        "slow": {"prompt": "Say it.", "model": "scripted:slow"},
    }

    results = run_sync(quick_and_slow, score=[length, {"contains": "Paris"}], max_concurrent=1, **limit)

    assert results.scores == {
        "quick": {"length": 5.0, "contains": True},
        "slow": {"length": None, "contains": None},
    }


async def test_a_function_that_hangs_does_not_hold_up_the_end_after_a_stop():
    over, calls = threading.Event(), []
    quick_and_slow = {
        "quick": {"prompt": "France", "model": "scripted:city"},
        "slow": {"prompt": "Say it.", "model": "scripted:slow"},
    }

    def hanging(_):
        calls.append(1)
        over.wait(30)
        return 1

    def stop_at_answer(stamped):
        if isinstance(stamped.event, TaskEnded):
            xz_magics.current().cancel()

    began = time.monotonic()
    try:
        with pytest.raises(RunStopped):
            await run(quick_and_slow, score=[hanging, {"contains": "Paris"}], observers=[stop_at_answer])
        assert time.monotonic() - began < 20
    finally:
        over.set()

    results = xz_magics.last
    assert results.scores["quick"] == {"hanging": None, "contains": True}
    assert len(calls) == 1
    assert len(saying(results, "Stop left no time for all scores: results.score() scores")) == 1

    results.score()

    assert results.scores["quick"] == {"hanging": 1.0, "contains": True}
    assert not saying(results, "Stop left no time")


async def test_after_a_stop_a_function_is_not_called_for_the_other_answers():
    calls = []

    def dear(_):
        calls.append(1)
        if len(calls) == 3:
            xz_magics.current().cancel()
        time.sleep(0.3)
        return 1

    many = {f"t{number}": {"prompt": "France", "model": "scripted:city"} for number in range(40)}
    with pytest.raises(RunStopped):
        await run(many, score=dear)
    called = len(calls)
    await asyncio.sleep(1)

    assert len(calls) <= called + 1 < 40


async def test_stop_does_not_wait_for_a_function_that_hangs():
    hangs, over, calls = threading.Event(), threading.Event(), []

    def hanging(_):
        calls.append(1)
        hangs.set()
        over.wait(30)

    async def stop_once_it_hangs():
        while not hangs.is_set():
            await asyncio.sleep(0.01)
        xz_magics.current().cancel()

    stopping = asyncio.create_task(stop_once_it_hangs())
    began = time.monotonic()
    try:
        with pytest.raises(RunStopped):
            await run(CITIES, score=[hanging, "equals"])
        assert time.monotonic() - began < 20
    finally:
        over.set()
        await stopping

    results = xz_magics.last
    assert [outcome.status for outcome in results] == ["done", "done", "failed"]
    assert results.scores["france"] == {"hanging": None, "equals": True}
    assert len(calls) == 1
    assert saying(results, "Stop left no time for all scores")
