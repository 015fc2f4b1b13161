"""A fan-out from what is written to the tables that come of it, on scripted models."""

import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.api import run, run_sync
from xz_magics.api.preparing import prepare
from xz_magics.errors import ModelError, SpecError
from xz_magics.records import Task
from xz_magics.session import Session

SCRIPTS = """
scripts:
  ten: {steps: [{answer: ten tokens, input_tokens: 6, output_tokens: 4}]}
  asking: {steps: [{when: it rains, answer: Wet.}, {tool_calls: [{name: weather, arguments: {}}], when: rain}]}
"""
REVIEWS = pd.DataFrame(
    {
        "text": ["fine", "bad"],
        "expect": ["positive", "negative"],
        "kind": pd.Categorical(["x", "y"]),
        "when": pd.to_datetime(["2024-01-01", "2024-07-01"]).tz_localize("Europe/Berlin"),
        "stars": pd.array([5, None], dtype="Int64"),
        "seen": [True, False],
    },
    index=["p", "q"],
)


@pytest.fixture(autouse=True, scope="module")
def session(tmp_path_factory):
    """A session of this file's own, with its own configuration."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(SCRIPTS)
    fresh = Session()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XZ_MAGICS_CONFIG", str(path))
        for part in ("session", "api", "api.launching", "api.preparing", "api.granting"):
            patched.setattr(f"xz_magics.{part}.session", fresh)
        yield fresh


def test_a_dataframe_with_arms_and_repeats_is_run_and_comes_back_typed():
    results = run_sync(
        {"review": "{{wording}} {{text}}"},
        model="scripted:",
        foreach=REVIEWS,
        matrix={"wording": {"plain": "Rate", "strict": "Rate strictly:"}, "temperature": [0, 1]},
        repeat=2,
        tags=["try"],
    )

    frame = results.df
    assert len(results) == len(frame) == 16
    assert frame["label"][0] == "review[p] plain temperature=0 #1"
    assert set(frame["tags"]) == {"try"}
    assert frame["output"][15] == "(no real model) You wrote: Rate strictly: bad"
    back = frame[list(REVIEWS)].iloc[[0, 8]].set_axis(["p", "q"])
    pd.testing.assert_frame_equal(back, REVIEWS)
    assert frame.groupby(["input", "wording", "temperature"]).size().tolist() == [2] * 8
    assert frame["row"].tolist() == ["p"] * 8 + ["q"] * 8
    assert {outcome.tags for outcome in results} == {("try",)}
    assert [outcome.expect for outcome in results][::8] == ["positive", "negative"]
    assert len(pd.read_csv(io.StringIO(results.to_csv()))) == 16


async def test_several_models_are_asked_each():
    results = await run(["hi"], model=["scripted:", "scripted:ten"])

    assert [outcome.model for outcome in results] == ["scripted:", "scripted:ten"]
    assert list(results.df["model"]) == ["scripted:", "scripted:ten"]
    assert "arm.model" not in results.df


def test_the_output_that_a_task_inserts_is_its_siblings():
    results = run_sync({"a": "say {{item}}", "b": "{{results.a}}!"}, model="scripted:", foreach=["x", "y"], repeat=2)

    said = {outcome.label: outcome.output for outcome in results}
    assert said["b[1] #2"] == "(no real model) You wrote: (no real model) You wrote: say y!"
    assert said["b[0] #1"].endswith("say x!")


def test_what_tools_there_are_may_be_what_is_varied():
    def weather() -> str:
        """What the weather is like."""
        return "it rains"

    options = {"model": "scripted:asking", "tools": [weather], "matrix": {"allowed_tools": [["weather"], []]}}

    with_tool, without = run_sync(["Will it rain?"], **options)

    assert (with_tool.output, with_tool.success) == ("Wet.", True)
    assert without.output != "Wet."


def test_a_task_of_a_fan_out_can_be_run_again_alone_with_what_scores_it():
    plan = prepare(
        {"r": "{{text}}"}, model="scripted:", foreach=REVIEWS, repeat=2, score=["equals", len], tags=["try"]
    ).plan

    again = prepare([plan.tasks[3]]).plan.tasks[0]

    kept = {"label", "prompt", "expect", "tags", "scores"}
    assert {name: getattr(again, name) for name in kept} == {name: getattr(plan.tasks[3], name) for name in kept}
    assert again.scores[1].function is len
    assert again.trial is None


def test_the_model_of_a_judge_is_opened_and_priced_before_the_run():
    judge = {"judge": {"model": "openai:no-such-model", "rubric": "Is it kind?", "scale": ["no", "yes"]}}

    with pytest.raises(ModelError, match="openai: needs a key"):
        run_sync(["hi"], model="scripted:", score=judge)

    opened = prepare(["hi"], model="scripted:", score={"judge": judge["judge"] | {"model": "scripted:ten"}})
    assert set(opened.providers) == {"scripted:", "scripted:ten"}


def test_a_mistake_in_a_design_is_one_error_and_nothing_is_sent(session):
    before = session.quota.usage

    with pytest.raises(SpecError, match="200 rows x 3 models x 20 repeats = 12,000 tasks"):
        run_sync(["{{item}}"], model=["scripted:", "scripted:ten", "scripted:x"], foreach=[1] * 200, repeat=20)

    assert session.quota.usage == before


designs = st.fixed_dictionaries(
    {},
    optional={
        "foreach": st.lists(st.none() | st.integers() | st.text(max_size=4), min_size=1, max_size=3),
        "matrix": st.just({"temperature": [0, 1], "seed": [1]}) | st.just({"x": {"a": 1, "b": [2]}}),
        "repeat": st.integers(1, 3),
    },
)


@settings(max_examples=15, deadline=None)
@given(design=designs, tasks=st.integers(1, 2))
def test_every_planned_task_has_one_row(design, tasks):
    work = ["hi"] * tasks

    planned: tuple[Task, ...] = prepare(work, model="scripted:", **design).plan.tasks
    results = run_sync(work, model="scripted:", **design)

    assert results.df["label"].tolist() == [task.label for task in planned]
    assert [outcome.trial for outcome in results] == [task.trial for task in planned]


def test_json_tells_of_each_task_where_it_stands_and_what_it_scored():
    results = run_sync({"review": "{{text}}"}, model="scripted:", foreach=REVIEWS, score="contains", tags=["try"])

    (first, _) = json.loads(results.to_json())["results"]

    assert first["trial"]["input"] == "review[p]"
    assert first["trial"]["columns"]["when"] == "2024-01-01T00:00:00+01:00"
    assert (first["scores"], first["tags"]) == ({"contains": False}, ["try"])
    assert "value" not in first
