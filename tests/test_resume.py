"""Runs that go on from earlier ones: what is taken from the journal, what is asked anew, and what only a person decides."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest
from counting_server import CountingServer
from hypothesis import HealthCheck, given, settings, strategies as st
from IPython.core.interactiveshell import InteractiveShell
from pydantic import BaseModel, field_validator

import xz_magics
from xz_magics.api import run, run_sync
from xz_magics.api.dry_run import confirm, dry_run
from xz_magics.api.preparing import prepare
from xz_magics.api.recollecting import recollect
from xz_magics.background import start
from xz_magics.config import changed
from xz_magics.errors import ConfigError, ConfirmationNeeded, JournalError, RunInterrupted, SpecError
from xz_magics.events import RequestSent, RunStarted, TaskEnded
from xz_magics.observers.journal.tables import MIGRATIONS
from xz_magics.options import parse_cell_line
from xz_magics.records import Task
from xz_magics.views.progress import time_left_s
from xz_magics.views.projection import Projection

SCRIPTS = """
scripts:
  count: {steps: [{when: bad, status: 400}, {answer: one}, {answer: two}]}
  judge: {steps: [{answer: '{"reason": "mostly", "verdict": 4}'}]}
  other: {steps: [{answer: other}]}
  priced: {steps: [{answer: dear, input_tokens: 1000, output_tokens: 1000}], price: {input: 100, output: 100}}
  slow: {steps: [{answer: a slow answer, chunks: 100, latency_s: 30}]}
  quick_then_slow: {steps: [{answer: quick}, {answer: a slow answer, chunks: 100, latency_s: 30}]}
  echo: {}
  long: {steps: [{answer: "a long answer, of many words"}]}
  lead:
    steps:
      - {when: Lead 1, tool_calls: [{name: subagent, arguments: {task_prompt: "Look it up."}}]}
      - {when: Lead 2, tool_calls: [{name: subagent, arguments: {task_prompt: "Look it up."}}]}
      - {when: Look, answer: found}
      - {when: Wait, latency_s: 30, answer: late}
      - {answer: led}
"""
DIES = """
import os, signal, sys
from xz_magics.api import run_sync
from xz_magics.events import CallIntended, RequestSent

work, model, where, options = eval(sys.argv[1])

def die(stamped):
    if isinstance(stamped.event, RequestSent) and stamped.event.label == where:
        os.kill(os.getpid(), signal.SIGKILL)

run_sync(work, model=model, max_concurrent=1, observers=[die], **options)
"""


@pytest.fixture(autouse=True)
def scripts(session, tmp_path):
    configure(tmp_path)


def configure(tmp_path, **subagent):
    (tmp_path / "config.yaml").write_text(f"{SCRIPTS}\nagent: {{subagent: {json.dumps(subagent)}}}")


class Sent(list):
    """The labels of the tasks that were sent, each time."""

    def __call__(self, stamped):
        if isinstance(stamped.event, RequestSent):
            self.append(stamped.event.label)


def ran(work, model="scripted:count", **options):
    """The results of a run to its end, and the labels of what it sent."""
    sent = Sent()
    return run_sync(work, model=model, observers=[sent], **options), sent


def killed(tmp_path, work, where, model="scripted:count", **options):
    """A process of its own begins a run, and is killed when it has sent that task."""
    told = subprocess.run(
        [sys.executable, "-c", DIES, repr((work, model, where, options))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=dict(os.environ),
    )
    assert told.returncode == -signal.SIGKILL, told.stderr


def reused(results):
    return {outcome.label: outcome.reused.label for outcome in results if outcome.reused}


def statuses(results):
    return {outcome.label: outcome.status for outcome in results}


def latest(session):
    return session.journal.runs()[0]


# What is taken, and what is sent


def test_what_is_done_is_taken_from_the_resumed_run_and_the_rest_is_sent(session):
    first, _ = ran(["a", "b", "c"], max_executions=2)
    again, sent = ran(["a", "b", "c"], resume=True)

    assert statuses(first) == {"task-1": "done", "task-2": "done", "task-3": "skipped"}
    assert sent == ["task-3"]
    assert statuses(again) == dict.fromkeys(["task-1", "task-2", "task-3"], "done")
    assert [again[label].output for label in ("task-1", "task-2")] == [first[n].output for n in range(2)]
    assert (again["task-1"].reused.run, again["task-1"].reused.tokens) == (first.run_id, first[0].total_tokens)
    assert latest(session).resumes == first.run_id


def test_what_is_reused_costs_nothing_and_is_marked_everywhere(session):
    first, _ = ran(["a", "b"], "scripted:priced")
    used = session.quota.usage

    again, sent = ran(["a", "b", "c"], "scripted:priced", resume=True)

    assert sent == ["task-3"]
    assert [(again[n].total_tokens, again[n].cost_usd, again[n].turns) for n in range(2)] == [(0, 0.0, ())] * 2
    assert session.quota.usage.executions == used.executions + 1
    assert again.df["reused"].tolist()[:2] == [first.run_id] * 2
    assert again.df["reused"].isna().tolist() == [False, False, True]
    told = f"2 of 3 answers are reused from run {first.run_id}: used nothing here, 4,000 tokens ($0.4000) there"
    assert told in again.warnings
    assert f"done: reused, 0 s old, run {first.run_id[:6]}" in repr(again)
    assert f"done: reused, 0 s old, run {first.run_id[:6]}" in again._repr_html_()
    samples = again.metrics.set_index("name")["value"]
    assert samples["subagent_executions_total"] == samples["subagent_completions_total"] == 1


def test_edited_and_added_tasks_are_sent(session):
    ran({"a": "one", "b": "two"})

    again, sent = ran({"a": "one", "b": "two, edited", "c": "three"}, resume="last")

    assert (reused(again), sorted(sent)) == ({"a": "a"}, ["b", "c"])


def test_repeats_stay_independent_samples(session):
    first, _ = ran(["a"], repeat=3)

    fewer, sent_by_fewer = ran(["a"], repeat=2, resume=first.run_id)
    more, sent_by_more = ran(["a"], repeat=5, resume=fewer.run_id)

    assert (len(reused(fewer)), len(sent_by_fewer)) == (2, 0)
    assert (len(set(reused(more).values())), len(sent_by_more)) == (3, 2)


def test_the_label_breaks_ties(session):
    ran({"a": "same", "b": "same", "c": "same"})

    again, _ = ran({"c": "same", "a": "same"}, resume=True)

    assert reused(again) == {"a": "a", "c": "c"}


PROMPTS = st.sampled_from(["one", "two", "three", "bad one", "bad two"])
WORKS = st.lists(PROMPTS, min_size=1, max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chain=st.lists(WORKS, min_size=2, max_size=4), repeat=st.integers(1, 2))
def test_over_a_chain_of_runs_each_answer_serves_as_often_as_it_was_given(session, chain, repeat):
    """Of a prompt there are as many answers as the runs of the chain have sent; a run takes each of them once."""
    answers: Counter[str] = Counter()
    run_id = None
    for work in chain:
        results, sent = ran(work, repeat=repeat, resume=run_id)

        asked = Counter(prompt for prompt in work for _ in range(repeat))
        done = Counter({prompt: count for prompt, count in asked.items() if "bad" not in prompt})
        prompt_of = {row.task.label: row.task.prompt for row in results.fold.written}
        taken = Counter(prompt_of[o.label] for o in results if o.reused)
        origins = [(o.reused.run, o.reused.label) for o in results if o.reused]
        assert taken == (done & answers if run_id else Counter())
        assert len(set(origins)) == len(origins)
        assert Counter(prompt_of[label] for label in sent) == asked - taken
        assert [o.success for o in results] == ["bad" not in prompt_of[o.label] for o in results]
        answers += done - taken
        run_id = results.run_id


# When two tasks ask the same


@pytest.mark.parametrize(
    "other",
    [
        {"model": "scripted:other"},
        {"system": "Be brief."},
        {"max_tokens": 7},
        {"summary_prompt": "In short."},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"seed": 7},
        {"stop": "END"},
        {"params": {"x": 1}},
        {"max_turns": 3},
        {"schema": {"answer": "integer"}},
        {"allowed_tools": ["read_file"]},
    ],
)
def test_whatever_shapes_the_request_makes_it_another_task(session, other):
    options = {"model": "scripted:count", "max_turns": 2}
    foreseen = foreseen_of(["a"], options)

    same, different = foreseen(options), foreseen(options | other)

    assert (len(same.reused), len(different.reused)) == (1, 0)


def foreseen_of(work, options):
    run_sync(work, **options)
    return lambda options: recollect(prepare(work, resume=True, **options)).recollection.foreseen


def test_tools_that_are_changed_make_it_another_task(session):
    def look(place: str) -> str:
        """Looks there."""
        return place

    def look_closer(place: str) -> str:
        """Looks there, and closer."""
        return place

    look_closer.__name__ = "look"
    options = {"model": "scripted:count", "allowed_tools": ["look"]}
    foreseen = foreseen_of(["a"], options | {"tools": [look]})

    same, different = foreseen(options | {"tools": [look]}), foreseen(options | {"tools": [look_closer]})

    assert (len(same.reused), len(different.reused)) == (1, 0)


def test_the_host_that_answers_is_a_part_of_what_is_asked(session):
    server = CountingServer()
    try:
        options = {"model": "openai:m", "base_url": f"{server.url}/v1"}
        elsewhere = options | {"base_url": f"{server.url.replace('127.0.0.1', 'localhost')}/v1"}
        first, again, other = (
            ran(["a"], **o)[0] for o in (options, options | {"resume": True}, elsewhere | {"resume": True})
        )
    finally:
        server.close()

    assert [len(reused(results)) for results in (first, again, other)] == [0, 1, 0]
    assert again[0].output == first[0].output


def test_names_pace_and_limits_do_not_make_it_another_task(session):
    ran({"a": "one", "b": "two"})

    again, sent = ran(
        {"y": "two", "x": "one"}, resume=True, timeout=9, tags=["t"], max_concurrent=1, rpm=600, retries=0, stream=False
    )

    assert (reused(again), sent) == ({"x": "a", "y": "b"}, [])


def test_an_output_that_was_cut_is_cut_to_what_is_its_most_now(session, tmp_path):
    def limited(size):
        session.settings = changed(session.settings, {"output_max_size": size}, "here")

    limited(16)
    first, _ = ran(["a"], "scripted:long")
    limited(20)
    longer, _ = ran(["a"], "scripted:long", resume=True)
    limited(None)
    whole, sent = ran(["a"], "scripted:long", resume=True)

    assert [len(results[0].output.encode()) for results in (first, longer)] == [16, 20]
    assert (whole[0].output, whole[0].work, sent) == ("a long answer, of many words", None, [])
    assert longer[0].work == whole[0].output


# Tasks that come after others


def test_what_comes_after_others_is_reused_where_these_answer_the_same(session):
    work = {"a": "one", "b": "two", "c": "Put together: {{results.a}}", "d": "More on {{results.c}}"}
    first, _ = ran(work)

    again, sent = ran(work, resume=True)

    assert reused(again) == {label: label for label in work}
    assert sent == []
    assert [o.output for o in again] == [o.output for o in first]


def test_what_comes_after_others_is_sent_where_these_answer_differently(session):
    work = {"a": "one", "b": "Put together: {{results.a}}", "c": "And: {{results.b}}", "d": "apart"}
    ran(work, "scripted:echo")

    again, sent = ran(work | {"a": "one, edited"}, "scripted:echo", resume=True)

    assert (reused(again), sent) == ({"d": "d"}, ["a", "b", "c"])


def test_what_comes_after_an_edited_task_that_answers_the_same_is_reused(session):
    work = {"a": "one", "b": "Put together: {{results.a}}"}
    ran(work, "scripted:other")

    again, sent = ran(work | {"a": "one, edited"}, "scripted:other", resume=True)

    assert (reused(again), sent) == ({"b": "b"}, ["a"])


def test_tasks_that_become_complete_late_share_what_is_left(session):
    work = {"a": "one", "b": "x{{results.a}}", "c": "x{{results.a}}"}
    ran(work, "scripted:other")

    again, sent = ran(work | {"d": "x{{results.a}}"}, "scripted:other", resume=True)

    assert (reused(again), sent) == ({"a": "a", "b": "b", "c": "c"}, ["d"])


JUDGE = {"judge": {"model": "scripted:judge", "rubric": "Is it right?"}}


def test_judges_and_summaries_are_reused_with_what_they_speak_of(session):
    options = {"score": JUDGE, "combine": {"summarise": {"prompt": "Sum up."}}}
    first, sent_first = ran(["a", "b"], "scripted:other", **options)

    again, sent = ran(["a", "b"], "scripted:other", resume=True, **options)

    assert len(sent_first) == 5
    assert sent == []
    assert again.scores == first.scores
    assert again.combined == first.combined
    assert again.all_df["reused"].notna().all()


# Which run


def test_a_run_is_named_by_the_beginning_of_its_id(session):
    first, _ = ran(["a"])
    ran(["a"])

    again, _ = ran(["a"], resume=first.run_id[:7])

    assert again[0].reused.run == first.run_id


def test_a_wrong_run_is_refused_before_anything_is_sent(session):
    first, _ = ran(["a"])
    close = first.run_id[:-1] + ("0" if first.run_id[-1] != "0" else "1")

    for word, why, hint in [
        (close, f"no run of the journal is '{close}'", f"did you mean {first.run_id}?"),
        ("zz", "no run of the journal is 'zz'", f"the latest are: {first.run_id}"),
        ("", "resume is ''", "give the id of a run"),
        (7, "resume is 7", "give the id of a run"),
    ]:
        with pytest.raises(SpecError) as caught:
            ran(["a"], resume=word)
        assert caught.value.message == why
        assert caught.value.hint.startswith(hint)
    assert len(session.journal.runs()) == 1


def test_the_beginning_of_two_runs_is_none(session):
    ids = [ran(["a"])[0].run_id for _ in range(17)]
    shared = next(first for first, count in Counter(run_id[0] for run_id in ids).items() if count > 1)

    with pytest.raises(SpecError, match=f"'{shared}' is the beginning of") as caught:
        ran(["a"], resume=shared)

    assert caught.value.hint.startswith("give more of it: ")


def test_where_there_is_no_earlier_run_all_is_sent_and_one_line_says_so(session):
    first, sent = ran(["a"], resume=True)

    assert (statuses(first), sent) == ({"task-1": "done"}, ["task-1"])
    assert "there is no earlier run in the journal to resume: all tasks are sent" in first.warnings
    assert latest(session).resumes is None


def test_the_run_of_the_same_work_is_waited_for_and_not_passed_over(session):
    ran(["a"])
    handle = start(["a"], model="scripted:slow")
    try:
        while latest(session).id != handle.run_id:
            time.sleep(0.01)
        with pytest.raises(SpecError, match=f"run {handle.run_id} still runs") as caught:
            ran(["a"], resume=True)
    finally:
        handle.cancel()
        handle.wait()

    assert caught.value.hint == "wait for its end, or cancel it"


def test_what_is_sent_again_belongs_to_a_run(session):
    with pytest.raises(SpecError, match="resend_unknown is given without resume"):
        ran(["a"], resend_unknown=True)


def test_a_run_that_goes_on_is_not_resumed(session):
    first, _ = ran(["a"])
    handle = start(["a", "b"], model="scripted:slow")
    try:
        again, _ = ran(["a"], resume=True)
        with pytest.raises(SpecError, match=f"run {handle.run_id} still runs"):
            ran(["a"], resume=handle.run_id)
    finally:
        handle.cancel()
        handle.wait()

    assert again[0].reused.run == first.run_id


def test_the_last_run_of_the_same_work_comes_before_later_ones_of_other_work(session):
    first, _ = ran(["a"])
    ran(["something else"])

    again, _ = ran(["a"], resume=True)
    other, _ = ran(["a", "new"], resume=True)

    assert latest(session).resumes == again.run_id
    assert again[0].reused.run == first.run_id
    assert reused(other) == {"task-1": "task-1"}


def test_an_imported_run_is_shown_and_not_resumed(session, tmp_path):
    first, _ = ran(["a"])
    session.journal.export(first.run_id, tmp_path / "run")
    session.journal.purge(older_than_s=-1)
    session.journal.import_(tmp_path / "run")

    with pytest.raises(SpecError, match="was imported: it is shown, not reused"):
        ran(["a"], resume=first.run_id)
    again, sent = ran(["a"], resume=True)

    assert (reused(again), sent) == ({}, ["task-1"])


# Answers that serve nobody


def test_an_answer_whose_summary_failed_serves_nobody(session, tmp_path):
    steps = "[{answer: work}, {status: 400}]"
    (tmp_path / "config.yaml").write_text(f"scripts: {{flaky: {{steps: {steps}}}}}")
    first, _ = ran(["a"], "scripted:flaky", summary_prompt="Sum it up.")

    again, sent = ran(["a"], "scripted:flaky", summary_prompt="Sum it up.", resume=True)

    assert (first[0].status, first[0].output) == ("done", "work")
    assert (again[0].reused, sent) == (None, ["task-1", "task-1"])


def number(*, even):
    """Two classes of one name and one schema; one of them looks at more."""

    class Answer(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def looked_at(cls, n):
            if even and n % 2:
                raise ValueError("it must be even")
            return n

    return Answer


@pytest.mark.parametrize("work", [{"a": "one"}, {"z": "first", "a": "More on {{results.z}}"}], ids=["at once", "late"])
def test_an_answer_that_its_class_refuses_by_now_serves_nobody(session, tmp_path, work):
    (tmp_path / "config.yaml").write_text("""scripts: {numbers: {steps: [{answer: '{"n": 5}'}]}}""")
    typed = {label: {"prompt": prompt} for label, prompt in work.items()}
    typed["a"]["schema"] = "Answer"
    ran(typed, "scripted:numbers", names={"Answer": number(even=False)})

    same, _ = ran(typed, "scripted:numbers", names={"Answer": number(even=False)}, resume=True)
    looked = dry_run(typed, model="scripted:numbers", names={"Answer": number(even=True)}, resume=True)
    again, sent = ran(typed, "scripted:numbers", names={"Answer": number(even=True)}, resume=True)

    assert same["a"].reused
    assert looked.df["starts"].tolist() == ["reused"] * (len(work) - 1) + ["sure"]
    assert (again["a"].reused, set(sent)) == (None, {"a"})


def test_what_tools_found_in_another_folder_serves_nobody(session, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "one")
    options = {"model": "scripted:count", "allowed_tools": ["read_file"], "max_turns": 2}
    foreseen = foreseen_of(["a"], options | {"workspace": tmp_path / "one"})

    same, other = (foreseen(options | {"workspace": tmp_path / folder}) for folder in ("link", "two"))

    assert (len(same.reused), len(other.reused)) == (1, 0)


def test_what_a_reused_task_cost_there_holds_what_it_delegated(session, tmp_path):
    step = "input_tokens: 500, output_tokens: 500"
    (tmp_path / "config.yaml").write_text(
        f"""
scripts:
  lead:
    price: {{input: 1000, output: 1000}}
    steps:
      - {{when: Lead, tool_calls: [{{name: subagent, arguments: {{task_prompt: "Look."}}}}], {step}}}
      - {{when: Look, answer: found, {step}}}
      - {{answer: led, {step}}}
"""
    )
    first, _ = ran(["Lead 1"], "scripted:lead", allowed_tools=["subagent"])

    again, sent = ran(["Lead 1"], "scripted:lead", allowed_tools=["subagent"], resume=True)

    tree = first.all_df.set_index("label").loc["task-1"]
    assert (again[0].reused.tokens, again[0].reused.cost_usd) == (tree["tree_tokens"], tree["tree_cost_usd"])
    assert (tree["tree_tokens"] > first[0].total_tokens, sent) == (True, [])


# Any earlier answer


def test_with_reuse_any_earlier_answer_serves_and_without_it_none(session):
    first, _ = ran(["a"])
    second, _ = ran(["b"])

    plain, sent_plain = ran(["a", "b", "c"])
    again, sent = ran(["c", "a", "b", "d"], reuse=True)

    assert (reused(plain), len(sent_plain)) == ({}, 3)
    assert sent == ["task-4"]
    assert {o.reused.run for o in again if o.reused} == {plain.run_id}
    assert {first.run_id, second.run_id}.isdisjoint(again.df["reused"].dropna())


def test_with_reuse_no_sample_serves_twice_however_often_it_was_reused(session):
    ran(["a"], repeat=2)
    ran(["a"], repeat=2, reuse=True)
    ran(["a"], repeat=2, resume=True)

    again, sent = ran(["a"], repeat=4, reuse=True)

    assert (len(set(reused(again).values())), len(sent)) == (2, 2)


def test_with_reuse_a_run_that_goes_on_serves_nobody(session):
    handle = start({"a": "one", "b": "two"}, model="scripted:quick_then_slow", max_concurrent=1)
    try:
        while not len(handle.results):
            time.sleep(0.01)
        looked = dry_run({"a": "one"}, model="scripted:quick_then_slow", reuse=True)
    finally:
        handle.cancel()
        handle.wait()

    assert looked.df["starts"].tolist() == ["sure"]
    assert dry_run({"a": "one"}, model="scripted:quick_then_slow", reuse=True).df["starts"].tolist() == ["reused"]


def test_with_reuse_an_answer_that_is_too_old_serves_nobody(session):
    ran(["a"])
    session.settings = changed(session.settings, {"journal_days": 1e-9}, "here")

    again, sent = ran(["a"], reuse=True)

    assert (reused(again), sent) == ({}, ["task-1"])


def test_with_resume_and_reuse_the_resumed_run_comes_first(session):
    first, _ = ran(["a", "b"], max_executions=1)
    ran(["x", "a", "b"])

    again, sent = ran(["a", "b"], resume=first.run_id, reuse=True)

    assert sent == []
    assert again["task-1"].reused.run == first.run_id
    assert again["task-2"].reused.run != first.run_id


@pytest.mark.parametrize("mode", ["off", "hashes"])
@pytest.mark.parametrize("option", ["resume", "reuse"])
def test_where_no_answers_are_kept_none_is_reused(session, mode, option):
    session.settings = changed(session.settings, {"journal": mode}, "here")
    ran(["a"])

    with pytest.raises(ConfigError, match=f"journal is {mode}, so no answer is kept") as caught:
        ran(["a"], **{option: True})

    assert caught.value.hint == f"leave --{option} out"


def test_a_run_of_which_hashes_alone_are_kept_serves_nobody(session):
    session.settings = changed(session.settings, {"journal": "hashes"}, "here")
    first, _ = ran(["a"])
    session.settings = changed(session.settings, {"journal": "on"}, "here")

    again, sent = ran(["a"], resume=first.run_id)

    assert (reused(again), sent) == ({}, ["task-1"])


def test_a_journal_that_cannot_be_opened_lets_nobody_pay_twice_unasked(session, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XZ_MAGICS_STATE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))

    with pytest.raises(JournalError, match="nothing was sent"):
        ran(["a"], resume=True)
    plain, _ = ran(["a"])

    assert plain[0].success


# What was sent, and whose end nobody has seen


def test_after_a_kill_what_is_done_is_reused_and_what_was_sent_is_unknown(session, tmp_path):
    work = {"a": "one", "b": "two", "c": "three", "d": "four"}
    killed(tmp_path, work, "c")
    dead = latest(session)

    again, sent = ran(work, resume=True)

    assert (dead.ended_at, dead.goes_on) == (None, False)
    assert [unknown.label for unknown in session.journal.unknowns(dead.id)] == ["c"]
    assert (reused(again), sent) == ({"a": "a", "b": "b"}, ["d"])
    assert statuses(again) == {"a": "done", "b": "done", "c": "unknown", "d": "done"}
    message, hint = again["c"].error.split("\n")
    assert message.startswith(f"it was sent in run {dead.id} at 20")
    assert "nobody has seen its end: it may have cost up to " in message
    assert hint == "--resend-unknown sends it again"
    assert again["c"].total_tokens is None


def test_what_it_may_have_cost_is_the_most_that_was_reserved(session, tmp_path):
    killed(tmp_path, ["one"], "task-1", "scripted:priced", max_tokens=1000)
    unknown = session.journal.unknowns(latest(session).id)[0]

    again, _ = ran(["one"], "scripted:priced", max_tokens=1000, resume=True)

    assert unknown.most_tokens > 1000
    assert unknown.most_cost_usd == pytest.approx(unknown.most_tokens * 100 / 1_000_000)
    assert f"up to {unknown.most_tokens:,} tokens and ${unknown.most_cost_usd:,.4f}" in again[0].error


def stop_at_once(stamped):
    if isinstance(stamped.event, RunStarted):
        xz_magics.current().cancel()


def stopped_at_once(work):
    with pytest.raises(RunInterrupted):
        run_sync(work, model="scripted:count", observers=[stop_at_once])


def without_room(work):
    ran(work, max_executions=0)


@pytest.mark.parametrize("between", [stopped_at_once, without_room])
def test_a_run_between_that_ended_at_once_hides_neither_answers_nor_what_is_unknown(session, tmp_path, between):
    work = {"a": "one", "b": "two", "c": "three"}
    killed(tmp_path, work, "b")
    dead = latest(session).id
    between(work)

    again, sent = ran(work, resume=True)
    later, sent_later = ran(work, resume=True)
    last, sent_last = ran(work, resume=True, resend_unknown=True)

    assert (statuses(again), sent) == ({"a": "done", "b": "unknown", "c": "done"}, ["c"])
    assert again["a"].reused.run == dead
    assert (statuses(later), sent_later) == (statuses(again), [])
    assert (set(statuses(last).values()), sent_last) == ({"done"}, ["b"])


def test_the_hint_looks_behind_a_run_that_was_stopped_at_once(session, tmp_path):
    work = {"a": "one", "b": "two", "c": "three"}
    killed(tmp_path, work, "b")
    stopped_at_once(work)

    hint = recollected(work, "scripted:count").hint

    assert hint.startswith(f"run {latest(session).id} ended early (")
    assert "would reuse 1 of its answers and of the runs before it, and leave out 1 task" in hint


def test_what_came_before_a_run_that_ended_by_itself_is_past(session):
    work = {"a": "one", "b": "two"}
    ran(work)
    stopped_at_once(work)

    again, sent = ran(work, resume=True)

    assert (reused(again), sent) == ({}, ["a", "b"])


def test_what_was_begun_anew_after_a_kill_and_failed_is_no_longer_unknown(session, tmp_path):
    work = {"a": "bad", "b": "two"}
    killed(tmp_path, work, "a")
    ran(work, max_executions=1)

    again, sent = ran(work, resume=True)

    assert (statuses(again), sent) == ({"a": "failed", "b": "done"}, ["a", "b"])


def test_after_a_run_that_a_quota_cut_short_the_next_one_says_so_and_who_reuses_is_warned(session, tmp_path):
    work = {"a": "one", "b": "two", "c": "three"}
    killed(tmp_path, work, "c")
    ran(work, max_executions=1)

    hint = recollected(work, "scripted:count").hint
    again, sent = ran(work, reuse=True)

    assert hint.startswith(
        f"run {again['a'].reused.run} left tasks unsent: --resume (resume=True) would reuse 2 of its"
    )
    assert (statuses(again)["c"], sent) == ("unknown", [])


def test_what_was_skipped_for_want_of_another_is_no_less_unknown(session, tmp_path):
    work = {"tasks": {"a": "one", "b": {"prompt": "two", "after": "a"}}}
    killed(tmp_path, work, "b")
    between, _ = ran(work, timeout=1e-9)

    again, sent = ran(work, resume=True)

    assert statuses(between) == {"a": "timed_out", "b": "skipped"}
    assert statuses(again)["b"] == "unknown"
    assert "b" not in sent


def test_a_run_between_that_a_quota_cut_short_hides_nothing_of_what_it_left_unsent(session, tmp_path):
    work = {"a": "one", "b": "two", "c": "three"}
    killed(tmp_path, work, "c")
    dead = latest(session).id
    between, _ = ran(work, max_executions=1)

    again, sent = ran(work, resume=True)

    assert (statuses(again), sent) == ({"a": "done", "b": "done", "c": "unknown"}, [])
    assert [again[label].reused.run for label in "ab"] == [between.run_id, dead]


def test_with_reuse_what_is_unknown_is_left_out_too_and_one_line_says_so(session, tmp_path):
    work = {"a": "one", "b": "two"}
    killed(tmp_path, work, "b")
    dead = latest(session).id

    again, sent = ran(work, reuse=True)
    later, sent_later = ran(work, reuse=True)
    last, sent_last = ran(work, reuse=True, resume=True, resend_unknown=True)

    assert [statuses(results) for results in (again, later)] == [{"a": "done", "b": "unknown"}] * 2
    assert (sent, sent_later, sent_last) == ([], [], ["b"])
    assert any(
        warning.startswith(f"run {dead} died with its kernel: 1 task whose end is unknown (it may have cost up to ")
        and warning.endswith("): --resume --resend-unknown sends it again")
        for warning in again.warnings
    )
    assert last["b"].success


def test_what_is_unknown_is_sent_again_only_when_that_is_asked_for(session, tmp_path):
    work = {"a": "one", "b": "two"}
    killed(tmp_path, work, "b")

    first, sent_by_first = ran(work, resume=True)
    second, sent_by_second = ran(work, resume=True)
    third, sent_by_third = ran(work, resume=True, resend_unknown=True)
    fourth, sent_by_fourth = ran(work, resume=True)

    assert [statuses(results)["b"] for results in (first, second, third, fourth)] == ["unknown"] * 2 + ["done"] * 2
    assert [sent_by_first, sent_by_second, sent_by_third, sent_by_fourth] == [[], [], ["b"], []]
    assert reused(fourth) == {"a": "a", "b": "b"}


def test_what_was_sent_again_and_failed_is_no_longer_unknown(session, tmp_path):
    killed(tmp_path, {"a": "bad"}, "a")

    again, _ = ran({"a": "bad"}, resume=True, resend_unknown=True)
    later, sent = ran({"a": "bad"}, resume=True)

    assert (statuses(again), statuses(later), sent) == ({"a": "failed"}, {"a": "failed"}, ["a"])


def test_what_was_sent_again_by_a_process_that_died_too_is_unknown_once(session, tmp_path):
    work = {"a": "same", "b": "same"}
    killed(tmp_path, work, "b")
    killed(tmp_path, work, "b", resume=True, resend_unknown=True)

    again, sent = ran(work | {"c": "same"}, resume=True)

    assert statuses(again) == {"a": "done", "b": "unknown", "c": "done"}
    assert (reused(again), sent) == ({"a": "a"}, ["c"])


def test_of_equal_tasks_as_many_are_unknown_as_were_sent(session, tmp_path):
    killed(tmp_path, {"a": "same", "b": "same", "c": "same"}, "b")

    again, sent = ran({"x": "same", "y": "same", "z": "same"}, resume=True)

    assert Counter(statuses(again).values()) == {"done": 2, "unknown": 1}
    assert (len(reused(again)), len(sent)) == (1, 1)


def test_a_run_anew_sends_all_that_is_unknown_with_the_rest(session, tmp_path):
    killed(tmp_path, {"a": "one"}, "a")

    again, sent = ran({"a": "one"})

    assert (statuses(again), sent) == ({"a": "done"}, ["a"])


def test_what_comes_after_an_unknown_task_waits_for_a_person_with_it(session, tmp_path):
    work = {"a": "one", "b": "More on {{results.a}}"}
    killed(tmp_path, work, "a")

    again, sent = ran(work, resume=True)
    later, sent_later = ran(work, resume=True, resend_unknown=True)

    assert (statuses(again), sent) == ({"a": "unknown", "b": "skipped"}, [])
    assert "it comes after 'a', which ended as unknown" in again["b"].error
    assert (statuses(later), sent_later) == ({"a": "done", "b": "done"}, ["a", "b"])


def test_a_late_task_that_was_sent_is_unknown_too(session, tmp_path):
    work = {"a": "one", "b": "More on {{results.a}}"}
    killed(tmp_path, work, "b")

    again, sent = ran(work, resume=True)
    later, sent_later = ran(work, resume=True, resend_unknown=True)
    last, sent_last = ran(work, resume=True)

    assert (statuses(again), sent) == ({"a": "done", "b": "unknown"}, [])
    assert (statuses(later), sent_later) == ({"a": "done", "b": "done"}, ["b"])
    assert (reused(last), sent_last) == ({"a": "a", "b": "b"}, [])


def test_a_judge_that_was_sent_is_unknown_alone(session, tmp_path):
    killed(tmp_path, {"a": "one", "b": "two"}, "b/judge", score=JUDGE)

    again, sent = ran({"a": "one", "b": "two"}, resume=True, score=JUDGE)
    later, sent_later = ran({"a": "one", "b": "two"}, resume=True, resend_unknown=True, score=JUDGE)

    assert (reused(again), sent) == ({"a": "a", "b": "b"}, [])
    assert [one["judge"] for one in again.scores.values()] == [4.0, None]
    assert sent_later == ["b/judge"]
    assert [one["judge"] for one in later.scores.values()] == [4.0, 4.0]


# Subagents that delegate


def test_a_task_is_unknown_where_one_that_it_delegated_is(session, tmp_path):
    work = {"lead": "Lead 1", "other": "Look at this."}
    options = {"allowed_tools": ["subagent"]}
    killed(tmp_path, work, "lead/1", "scripted:lead", **options)

    again, sent = ran(work, "scripted:lead", resume=True, **options)
    later, sent_later = ran(work, "scripted:lead", resume=True, resend_unknown=True, **options)
    last, sent_last = ran(work, "scripted:lead", resume=True, **options)

    assert (statuses(again), sent) == ({"lead": "unknown", "other": "done"}, ["other"])
    assert (statuses(later), sorted(set(sent_later))) == ({"lead": "done", "other": "done"}, ["lead", "lead/1"])
    assert (len(reused(last)), sent_last) == (2, [])


def test_what_a_task_delegated_is_reused_where_the_task_itself_is_not_done(session, tmp_path):
    work = {"lead": "Lead 1"}
    options = {"allowed_tools": ["subagent"]}
    first = run_stopped(work, "scripted:lead", after="lead/1", **options)

    again, sent = ran(work, "scripted:lead", resume=True, **options)

    assert statuses(first) == {"lead": "cancelled"}
    assert sent == ["lead", "lead"]
    assert again["lead/1"].reused.run == first.run_id
    assert again["lead"].success


def run_stopped(work, model, after, **options):
    """The results of a run that is stopped when that task has ended."""

    def stop(stamped):
        if isinstance(stamped.event, TaskEnded) and stamped.event.label == after:
            xz_magics.current().cancel(None if "/" not in after else after.partition("/")[0])

    return run_sync(work, model=model, observers=[stop], **options)


def test_no_answer_rests_on_a_sample_that_another_rests_on(session):
    """Lead 2 was not done, and would get what lead 1 has been given, whose answer is reused."""
    work = {"one": "Lead 1"}
    options = {"allowed_tools": ["subagent"]}
    ran(work, "scripted:lead", **options)

    again, sent = ran(work | {"two": "Lead 2"}, "scripted:lead", resume=True, **options)

    assert reused(again) == {"one": "one"}
    assert sorted(sent) == ["two", "two", "two/1"]
    assert again["two/1"].reused is None


# Stopped runs, and who is told of them


def test_a_run_that_was_stopped_is_gone_on_with(session):
    work = {"a": "one", "b": "two", "c": "three"}
    handle = start(work, model="scripted:quick_then_slow", max_concurrent=1)
    while not len(handle.results):
        time.sleep(0.01)
    handle.cancel()
    handle.wait()

    again = dry_run(work, model="scripted:quick_then_slow", resume=handle.run_id)

    assert again.df.set_index("label")["starts"].to_dict() == {"a": "reused", "b": "sure", "c": "sure"}


@pytest.fixture
def stopped(session):
    """The id of a run of three tasks that was stopped after its first."""
    handle = start(["a", "b", "c"], model="scripted:quick_then_slow", max_concurrent=1)
    while not len(handle.results):
        time.sleep(0.01)
    handle.cancel()
    handle.wait()
    return handle.run_id


def test_the_next_run_of_the_same_work_says_what_could_be_reused(stopped):
    told = f"run {stopped} ended early (stopped by you): --resume (resume=True) would reuse 1 of its answers"

    again = recollected(["a", "b", "c"])
    other = recollected(["a", "b", "c", "d"])

    assert (again.hint, other.hint) == (told, None)


def recollected(work, model="scripted:quick_then_slow", **options):
    return recollect(prepare(work, model=model, **options)).recollection


def test_the_hint_is_among_the_warnings_of_the_run_that_ignores_it(stopped):
    results, _ = ran(["a", "b", "c"], "scripted:quick_then_slow", max_executions=1)

    assert any(f"run {stopped} ended early" in warning for warning in results.warnings)


def test_no_hint_where_nothing_could_be_reused_or_the_last_run_came_to_its_end(session, stopped):
    nothing = recollected(["a", "b", "c"], "scripted:other")
    asked = recollected(["a", "b", "c"], resume=True)
    ran(["a", "b", "c"], "scripted:other")
    ended = recollected(["a", "b", "c"])

    assert [one.hint for one in (nothing, asked, ended)] == [None, None, None]


def test_the_hint_tells_of_what_is_unknown_and_what_that_may_have_cost(session, tmp_path):
    killed(tmp_path, ["one", "two"], "task-2", "scripted:priced", max_tokens=1000)
    unknown = session.journal.unknowns(latest(session).id)[0]

    hint = recollected(["one", "two"], "scripted:priced", max_tokens=1000).hint

    assert hint == (
        f"run {latest(session).id} died with its kernel: --resume (resume=True) would reuse 1 of its answers, "
        f"and leave out 1 task whose end is unknown (it may have cost up to {unknown.most_tokens:,} tokens and "
        f"${unknown.most_cost_usd:.4f})"
    )


# Cells, the background, and looking first


@pytest.fixture
def shell(session):
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "xz_magics")
    yield shell
    shell.run_line_magic("unload_ext", "xz_magics")


def cell(shell, text):
    ran = shell.run_cell("%%subagents " + text)
    ran.raise_error()
    return ran.result


def test_a_cell_resumes_its_last_run(shell):
    first = cell(shell, "--model scripted:count --max-executions 1\na: one\nb: two")

    bare = cell(shell, "--model scripted:count --resume\na: one\nb: two")
    named = cell(shell, f"--model scripted:count --resume {first.run_id[:8]} --out again\na: one\nb: two")
    reusing = cell(shell, "--model scripted:count --reuse\nx: two")

    assert (reused(bare), statuses(bare)) == ({"a": "a"}, {"a": "done", "b": "done"})
    assert (reused(named), shell.user_ns["again"]) == ({"a": "a"}, named)
    assert len(reused(reusing)) == 1


def test_a_cell_says_before_anything_is_sent_what_its_stopped_run_has_left(shell, session, capsys):
    body = "--model scripted:quick_then_slow --max-concurrent 1 {}\na: one\nb: two"
    handle = cell(shell, body.format("--background"))
    while not len(handle.results):
        time.sleep(0.01)
    handle.cancel()
    handle.wait()
    capsys.readouterr()

    cell(shell, body.format("--background --out more")).cancel()
    told = capsys.readouterr().out

    line = f"run {handle.run_id} ended early (stopped by you): --resume (resume=True) would reuse 1 of its answers"
    assert told.splitlines()[0] == line


def test_a_wrong_run_ends_a_cell_with_one_clear_error(shell):
    ran = shell.run_cell("%%subagents --model scripted:count --resume nosuch\na: one")

    assert isinstance(ran.error_in_exec, SpecError)
    assert ran.error_in_exec.message == "no run of the journal is 'nosuch'"


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("--resume", {"resume": "last"}),
        ("--resume last", {"resume": "last"}),
        ("--resume 3f09 --resend-unknown", {"resume": "3f09", "resend_unknown": True}),
        ("--resume --reuse", {"resume": "last", "reuse": True}),
        ("", {}),
    ],
)
def test_the_options_of_a_cell_are_the_arguments_of_run(line, arguments):
    assert parse_cell_line(line).arguments == arguments


def test_a_run_in_the_background_resumes_too(session):
    first, _ = ran(["a", "b"], max_executions=1)
    sent = Sent()

    handle = start(["a", "b"], model="scripted:count", resume=first.run_id, observers=[sent])
    handle.wait()

    assert (reused(handle.results), sent) == ({"task-1": "task-1"}, ["task-2"])
    with pytest.raises(SpecError, match="no run of the journal is 'nosuch'"):
        start(["a"], model="scripted:count", resume="nosuch")


async def test_an_awaited_run_resumes_too(session):
    first = await run(["a", "b"], model="scripted:count", max_executions=1)

    again = await run(["a", "b"], model="scripted:count", resume=True)

    assert again["task-1"].reused.run == first.run_id


def test_a_dry_run_says_how_much_would_be_reused_and_bills_the_rest(session, tmp_path):
    work = {"a": "one", "b": "two", "c": "three"}
    killed(tmp_path, work, "b", "scripted:priced", max_tokens=100)
    dead = latest(session)

    looked = dry_run(work, model="scripted:priced", max_tokens=100, resume=True)
    alone = dry_run({"c": "three"}, model="scripted:priced", max_tokens=100)

    assert looked.df["starts"].tolist() == ["reused", "unknown", "sure"]
    assert looked.df["most_tokens"].tolist()[:2] == [0, 0]
    assert (looked.most_tokens, looked.most_cost_usd) == (alone.most_tokens, alone.most_cost_usd)
    assert f"1 of these would be reused from run {dead.id}; 1 were sent before" in repr(looked)
    assert len(session.journal.runs()) == 1


def test_only_what_would_be_sent_needs_a_confirmation(session, tmp_path):
    ran(["a", "b"], "scripted:priced")
    limits = {"confirm_tasks": 1, "confirm_cost": 0.4}
    session.settings = changed(session.settings, limits, "here")

    def confirmed(**options):
        confirm(recollect(prepare(["a", "b", "c"], model="scripted:priced", max_tokens=100, retries=0, **options)))

    ran(["a", "b"], "scripted:priced", max_tokens=100)
    confirmed(resume=True)
    with pytest.raises(ConfirmationNeeded, match="3 tasks would start"):
        confirmed()


def test_tasks_of_ones_own_are_resumed_by_their_content(session):
    tasks = [Task(index=n, label=f"t{n}", prompt=f"p{n}", model="scripted:count", max_tokens=50) for n in range(3)]
    run_sync(tasks[:2])

    again = run_sync(tasks, resume=True)

    assert reused(again) == {"t0": "t0", "t1": "t1"}


def test_who_resumes_in_vain_is_told_so(session):
    first, _ = ran(["a"])

    again, _ = ran(["b"], resume=True)

    told = f"none of these tasks is done in run {first.run_id}, or none asks the same: all of them are sent"
    assert told in again.warnings


def test_what_is_reused_is_no_part_of_the_error_rate(session):
    good, bad = {f"good-{n}": f"good {n}" for n in range(30)}, {f"bad-{n}": f"bad {n}" for n in range(3)}
    ran(good)
    alerts = []

    again, sent = ran(good | bad, resume=True, on_alert=alerts.append)

    assert (len(reused(again)), sorted(set(sent))) == (30, ["bad-0", "bad-1", "bad-2"])
    assert alerts == []


def test_a_journal_that_cannot_be_written_now_is_not_resumed_from(session, monkeypatch):
    """What the last run brought waits in memory, and would be asked for again."""

    def full(connection, group):
        raise JournalError("the journal fails: its disk is full", "make room on it")

    ran(["a"])
    with monkeypatch.context() as patched:
        patched.setattr("xz_magics.observers.journal.store.insert", full)
        ran(["b"])
        with pytest.raises(JournalError, match="its disk is full; nothing was sent"):
            ran(["b"], resume=True)


def test_answers_in_the_file_of_an_older_version_serve_too(session):
    first, _ = ran({"a": "one", "b": "two"}, max_executions=1)
    file = session.journal.file
    session.close()
    old = file.with_name("old.db")
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1; ATTACH '{file}' AS now")
        for insert in (
            "INSERT INTO runs SELECT id, started_at, ended_at, owner, notebook, label, tasks, spec_hash FROM now.runs",
            "INSERT INTO events SELECT run, number, at, kind, label, body FROM now.events",
            "INSERT INTO answers SELECT key, run, label, number, at, NULL, NULL FROM now.events WHERE mark LIKE '%tokens%'",
        ):
            connection.execute(insert)
        connection.commit()
    old.replace(file)

    again, sent = ran({"a": "one", "b": "two"}, resume=True)

    assert (again["a"].reused.run, sent) == (first.run_id, ["b"])
    assert session.journal.unknowns(first.run_id) == []


@pytest.mark.parametrize(
    "mark",
    [
        *("{", "[]", "7", '"x"', "[" * 20_000),
        *('{"under": 7}', '{"under": "abc"}', '{"under": [1]}', '{"answered_at": "x"}', '{"origin_run": ["x"]}'),
        *('{"origin_run": 3, "origin_label": 4}', '{"cost_usd": [1]}', '{"cost_usd": "x"}', '{"tokens": "x"}'),
    ],
    ids=lambda mark: mark[:30],
)
def test_an_answer_beside_which_another_program_wrote_serves_nobody(session, mark):
    ran({"a": "one", "b": "two"})
    with closing(sqlite3.connect(session.journal.file)) as connection, connection:
        connection.execute("UPDATE events SET mark = ? WHERE label = 'a'", [mark])

    again, sent = ran({"a": "one", "b": "two"}, resume=True)

    assert sent == ["a"]
    assert again["b"].reused is not None


def test_what_a_run_will_cost_is_guessed_without_what_is_reused(session):
    ran(["a", "b"], "scripted:priced")
    told = []

    def look(stamped):
        if isinstance(stamped.event, RequestSent) and stamped.event.label == "task-4":
            fold = xz_magics.current().fold
            projection = Projection()
            for row in fold.written:
                projection.plan(row)
                projection.note(row)
            told.append((projection.words(fold.cost_usd, over=False), time_left_s(fold, row.started_at) is None))

    run_sync(["a", "b", "c", "d"], model="scripted:priced", max_concurrent=1, resume=True, observers=[look])

    assert told == [("$0.2000 of about $0.40", False)]
