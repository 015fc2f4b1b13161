"""What a person gets of a run: rows, tables, JSON, errors on demand, and a way to cancel."""

import asyncio
import itertools
import json
from dataclasses import replace

import pytest
from strategies import Ran, answering, task

from xz_magics.errors import SpecError, TasksFailed
from xz_magics.events import RunEnded, RunStarted, Stamped, TaskEnded, TaskPlanned, TurnEnded
from xz_magics.metrics import Metrics
from xz_magics.outcomes import Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.quotas import Tracker
from xz_magics.records import Message, Quota, ToolCall, Turn
from xz_magics.results import Results


def results_of(ran, *, warnings=(), stop=None, cancel=None):
    return Results(
        ran.outcomes,
        run_id="r1",
        tracker=ran.tracker,
        metrics=Metrics(),
        stop=stop or ran.engine.stop,
        cancel=cancel or ran.engine.cancel,
        warnings=warnings,
    )


async def results_with(*steps, count=2, **quota):
    tasks = [task(f"t{index}", index=index, model="m") for index in range(count)]
    ran = Ran(tasks, {"m": answering(*steps)}, quota=Quota(**quota), max_concurrent=1, retries=0)
    await ran.to_the_end()
    return results_of(ran, warnings=("a warning",))


async def test_rows_can_be_had_by_label_by_place_and_in_order():
    results = await results_with("one", "two", "three", count=3)

    assert results["t1"] is results[1] is results.outcomes[1]
    assert results[-1].output == "three"
    assert [outcome.label for outcome in results] == ["t0", "t1", "t2"]
    assert len(results) == 3


async def test_a_label_that_is_none_names_those_that_are():
    results = await results_with("one")

    with pytest.raises(KeyError, match="no task is called 'zero'\nthere are: t0, t1"):
        results["zero"]
    with pytest.raises(KeyError, match=r"no task is called 't00'\ndid you mean t0\?"):
        results["t00"]
    with pytest.raises(IndexError):
        results[2]


async def test_tables_have_a_row_per_task_and_per_call():
    results = await results_with(Step(answer="a b c", input_tokens=10), Step(status=400), max_total_tokens=1000)

    assert list(results.df["label"]) == ["t0", "t1"]
    assert list(results.df["status"]) == ["done", "failed"]
    assert list(results.df["total_tokens"]) == [13, 0]
    assert list(results.turns_df["error_type"].isna()) == [True, False]
    assert (results.summary["done"], results.summary["failed"], results.summary["total_tokens"]) == (1, 1, 13)
    assert results.summary["duration_s"] == results.duration_s > 0
    limits = results.quota.set_index("name")
    assert (limits.loc["max_total_tokens", "limit"], limits.loc["max_total_tokens", "used"]) == (1000, 13)
    assert list(limits["level"].unique()) == ["run"]


async def test_histograms_count_every_task_whatever_became_of_it():
    results = await results_with("yes", Step(status=400), "yes", count=4, max_executions=3)

    for histogram in (results.duration_histogram(), results.token_histogram()):
        assert histogram["total"].sum() == len(results) == 4


async def test_pictures_tell_statuses_or_models_apart_and_who_ran_when():
    results = await results_with(Step(answer="yes", latency_s=0.02), Step(status=400))

    for drawn, named in ((results.plot(), {"done", "failed"}), (results.plot(by="model"), {"m"})):
        (legend,) = drawn.legends
        assert {text.get_text() for text in legend.get_texts()} == named
    assert results.timeline().axes
    with pytest.raises(SpecError, match="cannot be told apart by 'colour'"):
        results.plot(by="colour")


async def test_the_page_tells_of_the_pauses_that_rate_limits_made():
    steps = [Step(status=429, retry_after_s=0.05), "yes"]
    ran = Ran([task(model="m")], {"m": answering(*steps)}, max_concurrent=1)
    await ran.to_the_end()

    assert "Rate limits paused the account once." in results_of(ran)._repr_html_()


async def test_json_counts_whatever_is_not_done_as_failed():
    results = await results_with("ja", Step(answer="half", finish="length"), Step(status=400), count=3)

    document = json.loads(results.to_json(indent=1))

    assert (document["successful"], document["failed"]) == (1, 2)
    assert document["total_duration_ms"] >= 0
    done, incomplete, failed = document["results"]
    assert done | {"duration_ms": 0} == {
        "label": "t0",
        "success": True,
        "status": "done",
        "output": "ja",
        "duration_ms": 0,
        "error": None,
        "error_type": None,
        "model": "m",
        "turns": 1,
        "input_tokens": 2,
        "output_tokens": 1,
        "total_tokens": 3,
        "estimated": False,
        "cost_usd": 0.0,
        "tree_tokens": 3,
        "tree_cost_usd": 0.0,
    }
    assert (incomplete["success"], incomplete["output"], incomplete["error_type"]) == (False, "half", "length")
    assert failed["output"] is None


async def test_json_can_be_written_to_a_file_whatever_a_model_sends(tmp_path):
    results = await results_with("half a character: \ud83d, and ü", count=1)

    (tmp_path / "results.json").write_text(results.to_json(), encoding="utf-8")

    assert (
        json.loads((tmp_path / "results.json").read_text())["results"][0]["output"] == "half a character: \ufffd, and ü"
    )


async def test_failures_are_raised_on_demand_with_their_types_and_the_way_to_look():
    results = await results_with(Step(status=400), count=7)

    with pytest.raises(TasksFailed) as caught:
        results.raise_for_failures()

    assert caught.value.message == (
        "7 of 7 tasks are not done: t0 (bad_request), t1 (bad_request), t2 (bad_request), t3 (bad_request), "
        "t4 (bad_request) and 2 more"
    )
    assert "xz_magics.last" in caught.value.hint


async def test_without_failures_the_results_themselves_come_back():
    results = await results_with("yes")

    assert results.raise_for_failures() is results


async def test_while_a_run_goes_on_only_what_has_ended_is_there_and_nothing_counts_as_done():
    ran = Ran([task("a"), task("b")], {"scripted:": answering("yes", Step(answer="x", latency_s=30))}, max_concurrent=1)
    results = results_of(ran.start())
    while not len(results) or results["b"].status == "waiting":
        await asyncio.sleep(0.01)

    assert [outcome.label for outcome in results] == ["a"]
    assert (results["b"].status, results["b"].success, results["b"].output) == ("running", False, None)
    assert results.duration_s is None
    assert results.to_dict()["total_duration_ms"] is None
    assert "1 task" in repr(results)
    with pytest.raises(TasksFailed, match=r"1 of 2 tasks are not done: b \(running\)"):
        results.raise_for_failures()

    results.cancel("b")
    await ran.ended()

    assert results["b"].status == "cancelled"
    assert not ran.engine.stopped


async def test_the_text_of_a_running_task_can_be_read_while_it_grows():
    step = Step(answer=" ".join(map(str, range(300))), chunks=300, latency_s=1)
    ran = Ran([task("a")], {"scripted:": answering(step)})
    results = results_of(ran.start())
    seen = []
    while not ran.job.done():
        await asyncio.sleep(0.02)
        seen += [results["a"].output] if ran.outcomes.rows else []
    await ran.ended()

    texts = [text for text in seen if text is not None]
    assert len(set(texts)) > 2
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert results["a"].output == step.answer


def nested_results():
    """A task that called a tool and two subagents, one of which failed; and a task that did nothing of the kind."""
    turn = Turn(number=1, attempts=1, max_tokens=9, started_at=1.0, duration_s=1.0, input_tokens=100, cost_usd=0.25)
    call = ToolCall(id="c1", name="read_file", arguments='{"path": "a.txt"}')
    messages = (
        Message(role="user", content="Look."),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="no such file", tool_call_id="c1", tool="read_file", error=True),
    )
    outcomes = Outcomes()
    for number, event in enumerate(
        [
            RunStarted(tasks=2, max_concurrent=2, quota=Quota()),
            TaskPlanned(task=task("a")),
            TaskPlanned(task=task("b", index=1)),
            TaskPlanned(task=task("a/1"), parent="a", depth=1),
            TaskPlanned(task=task("a/2"), parent="a", depth=1),
            TurnEnded(label="a/1", turn=turn),
            TaskEnded(label="a/1", status="done", output="one"),
            TaskEnded(label="a/2", status="failed", error_type="network"),
            *(TurnEnded(label="a", turn=replace(turn, number=number, tool_calls=3 - number)) for number in (1, 2, 3)),
            TaskEnded(label="a", status="done", output="both", messages=messages),
            TaskEnded(label="b", status="skipped", error_type="quota_exceeded"),
            RunEnded(duration_s=3.0),
        ]
    ):
        outcomes(Stamped(run="r", number=number, at=100.0 + number, event=event))
    nobody = {"tracker": Tracker(), "metrics": Metrics(), "stop": print, "cancel": print}
    return Results(outcomes, run_id="r", **nobody)


def test_nested_subagents_are_in_all_df_and_in_the_sums_and_nowhere_among_the_tasks():
    results = nested_results()

    assert [outcome.label for outcome in results] == list(results.df["label"]) == ["a", "b"]
    assert [one["label"] for one in results.to_dict()["results"]] == ["a", "b"]
    assert results.token_histogram()["total"].sum() == 2
    assert list(results.all_df["label"]) == ["a", "a/1", "a/2", "b"]
    assert list(results.all_df["depth"]) == [0, 1, 1, 0]
    assert results["a/1"].parent == "a"
    assert list(results.df) == list(results.all_df)
    assert list(results.df["tree_tokens"].fillna(-1)) == [400, -1]
    assert list(results.df["total_tokens"].fillna(-1)) == [300, -1]
    assert results.to_dict()["results"][0]["tree_cost_usd"] == 1.0
    assert list(results.turns_df["label"]) == ["a", "a", "a", "a/1"]
    assert list(results.messages_df["role"]) == ["user", "assistant", "assistant", "tool"]
    summary = results.summary
    assert (summary["tasks"], summary["nested"], summary["done"], summary["failed"]) == (2, 2, 2, 1)
    assert (summary["total_tokens"], summary["cost_usd"]) == (400, 1.0)


def test_the_page_counts_nested_subagents_and_shows_the_tasks_alone():
    bundle = nested_results().bundle()

    for form in ("text/plain", "text/html"):
        assert "and 2 nested subagents (1 done, 1 failed): see .all_df" in bundle[form]
        assert "2 tasks" in bundle[form]
        assert "400 tokens" in bundle[form]
        assert "a/1" not in bundle[form]


async def test_cancel_without_a_label_ends_the_whole_run():
    ran = Ran([task("a"), task("b")], {"scripted:": answering(Step(answer="x", latency_s=30))}, max_concurrent=1)
    results = results_of(ran.start())

    results.cancel()
    await ran.ended()

    assert ran.engine.stopped
    assert {outcome.error_type for outcome in results} == {"cancelled"}


async def test_the_page_shows_rows_warnings_and_limits_as_text_and_as_html():
    results = await results_with("<b>bold</b>", Step(status=400), max_executions=9)

    bundle = results.bundle()

    for form in ("text/plain", "text/html"):
        for shown in ("t0", "t1", "a warning", "executions"):
            assert shown in bundle[form]
    assert "<b>bold</b>" in bundle["text/plain"]
    assert "<b>bold</b>" not in bundle["text/html"]


async def test_metrics_are_those_of_the_run():
    ran = Ran([task()])
    await ran.to_the_end()
    results = results_of(ran)
    results._metrics.started(0)

    assert list(results.metrics["name"]) == ["subagent_executions_total", "subagent_active_count"]


@pytest.mark.parametrize("shown_in_cell", [None, 3])
async def test_outside_a_notebook_nothing_has_been_shown_yet(shown_in_cell):
    results = await results_with("yes")
    results.shown_in_cell = shown_in_cell

    with pytest.raises(NotImplementedError):
        results._ipython_display_()
    assert results.shown_in_cell is None


async def test_cancelling_a_task_that_is_none_names_those_that_are():
    results = await results_with("one")

    with pytest.raises(KeyError, match="no task is called 'typo'\nthere are: t0, t1"):
        results.cancel("typo")


async def test_results_of_a_run_that_goes_on_say_how_many_tasks_have_ended():
    ran = Ran(
        [task("a"), task("b", model="slow")], {"scripted:": answering("hi"), "slow": answering(Step(latency_s=5))}
    )
    ran.start()
    await asyncio.sleep(0.1)
    results = results_of(ran)

    assert "this run goes on: 1 of 2 tasks have ended" in repr(results)
    assert "this run goes on: 1 of 2 tasks have ended" in results._repr_html_()

    ran.engine.stop()
    await ran.ended()
    assert "goes on" not in repr(results)
