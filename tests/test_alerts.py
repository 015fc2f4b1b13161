"""Alerts: raised if and only if their condition comes to hold, and again only after its value fell far."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis, strategies as st
from strategies import Ran, answering, task

from xz_magics.api import run_sync
from xz_magics.config import Settings
from xz_magics.errors import SpecError
from xz_magics.events import (
    AlertRaised,
    RequestSent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    Stream,
    TaskEnded,
    ToolAnswered,
    ToolCalled,
    TurnEnded,
)
from xz_magics.observers.alerts import Alerts
from xz_magics.outcomes import Outcomes
from xz_magics.providers.scripted import Step
from xz_magics.records import STATUSES, LimitUse, Quota, ToolCall, Turn
from xz_magics.views.dashboard import Dashboard
from xz_magics.views.progress import progress_line
from xz_magics.views.watched import Watched

TURN = Turn(number=1, attempts=1, max_tokens=9, started_at=0.0, duration_s=1.0)
TEXT = "more than 80 % of run max_total_tokens is used"
SCRIPTS = """
scripts:
  ten: {steps: [{answer: ten tokens, input_tokens: 6, output_tokens: 4}]}
  slow: {steps: [{answer: hi, latency_s: 60}]}
  bad: {steps: [{status: 400}]}
"""


class Watch:
    """Alerts in a stream whose events are made up; `uses` are those of the next look."""

    def __init__(self, *, max_concurrent=5, **settings):
        self.uses = []
        self.heard = []
        self.stream = Stream("r", observers=[self.heard.append])
        self.alerts = Alerts(Settings(**settings), uses=lambda: self.uses, emit=self.stream.emit)
        self.stream._observers.append(self.alerts)
        self.emit(RunStarted(tasks=1, max_concurrent=max_concurrent, quota=Quota()))

    def emit(self, event):
        """What is raised at this event: kind, value, threshold."""
        before = len(self.heard)
        self.stream.emit(event)
        return [
            (alert.kind, alert.value, alert.threshold)
            for alert in (stamped.event for stamped in self.heard[before:])
            if isinstance(alert, AlertRaised)
        ]

    def use(self, used, limit=100, name="max_total_tokens", level="run"):
        """When another task has ended, this much of one limit is used."""
        self.uses = [LimitUse(level=level, name=name, limit=limit, used=used, reserved=0)]
        return self.emit(ended("skipped"))


def ended(status="done", duration_s=None, label="a"):
    return TaskEnded(label=label, status=status, duration_s=duration_s)


def crossings(values, threshold):
    """Where an alert is raised: above the threshold, if it was never so, or has fallen below half of it since."""
    raised, armed = [], True
    for value in values:
        armed |= value is not None and value < threshold / 2
        raised.append(armed and value is not None and value > threshold)
        armed &= not raised[-1]
    return raised


async def echo(text: str):
    """Repeats."""
    return text


def configure(tmp_path, **subagent):
    (tmp_path / "config.yaml").write_text(f"{SCRIPTS}\nagent: {{subagent: {subagent}}}")


# When an alert is raised


@hypothesis(deadline=None)
@given(st.lists(st.integers(0, 120)), st.integers(0, 100))
def test_utilisation_is_told_when_it_crosses_its_threshold_and_again_only_after_it_fell_to_less_than_half(
    used, percent
):
    watch = Watch(alert_utilisation=percent / 100)

    raised = [watch.use(amount) for amount in used]

    wanted = crossings([amount / 100 for amount in used], percent / 100)
    assert raised == [
        [("utilisation", amount / 100, percent / 100)] if crosses else []
        for amount, crosses in zip(used, wanted, strict=True)
    ]


LIMIT = st.builds(
    LimitUse,
    level=st.sampled_from(["run", "session"]),
    name=st.sampled_from(["max_executions", "max_total_tokens", "max_total_time", "max_total_cost"]),
    limit=st.none() | st.sampled_from([0, 0.5, 10]),
    used=st.floats(0, 12),
    reserved=st.floats(0, 12),
)


@hypothesis(deadline=None)
@given(st.lists(st.lists(LIMIT, unique_by=lambda use: (use.level, use.name))))
def test_each_limit_of_each_level_is_told_of_by_itself(looks):
    watch = Watch()
    told = set()

    for uses in looks:
        watch.uses = uses
        before = len(watch.heard)
        watch.alerts.look()
        raised = [stamped.event.text for stamped in watch.heard[before:]]

        wanted = []
        for use in uses:
            name = f"{use.level} {use.name}"
            if use.limit is None or use.limit == 0:
                continue
            if use.used / use.limit > 0.8 and name not in told:
                wanted.append(f"more than 80 % of {name} is used")
                told.add(name)
            if use.used / use.limit < 0.4:
                told.discard(name)
        assert raised == wanted


@hypothesis(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(STATUSES) | st.just("done"), max_size=80), st.sampled_from([0, 0.05, 0.25, 1]))
def test_the_error_rate_is_told_from_twenty_subagents_on(statuses, threshold):
    watch = Watch(alert_error_rate=threshold)

    raised = [watch.emit(ended(status)) for status in statuses]

    rates, weighed = [], []
    for number in range(1, len(statuses) + 1):
        counted = [status for status in statuses[:number] if status not in {"skipped", "cancelled", "unknown"}]
        rates.append(sum(status in {"failed", "timed_out"} for status in counted) / max(1, len(counted)))
        weighed.append(rates[-1] if len(counted) >= 20 else None)
    assert raised == [
        [("error_rate", rate, threshold)] if crosses else []
        for rate, crosses in zip(rates, crossings(weighed, threshold), strict=True)
    ]


def test_an_error_rate_that_falls_far_and_rises_again_is_told_twice():
    watch = Watch(alert_error_rate=0.1)

    raised = [
        watch.emit(ended(status)) for status in [*["failed"] * 3, *["done"] * 17, *["done"] * 41, *["failed"] * 4]
    ]

    assert [(place, *alerts) for place, alerts in enumerate(raised) if alerts] == [
        (19, ("error_rate", 0.15, 0.1)),
        (64, ("error_rate", 7 / 65, 0.1)),
    ]


def test_an_error_rate_that_wavers_about_its_threshold_is_told_once():
    watch = Watch(alert_error_rate=0.05)

    raised = [watch.emit(ended("done" if place % 20 else "failed")) for place in range(1_000)]

    assert [place for place, alerts in enumerate(raised) if alerts] == [20]


def test_limits_of_days_and_weeks_are_named_by_their_settings():
    watch = Watch()

    watch.use(1.9, limit=2, name="max_total_cost", level="day")
    watch.use(90, level="week")

    texts = [stamped.event.text for stamped in watch.heard if isinstance(stamped.event, AlertRaised)]
    assert texts == ["more than 80 % of daily_max_cost is used", "more than 80 % of weekly_max_tokens is used"]


@hypothesis(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.integers(0, 20), max_size=60))
def test_the_p95_of_durations_is_told_from_twenty_durations_on(durations_s):
    watch = Watch(alert_p95_duration=10.01)  # between whole seconds a p95 is a multiple of 0.05

    raised = [[kind for kind, *_ in watch.emit(ended(duration_s=duration_s))] for duration_s in durations_s]

    weighed = []
    for number in range(1, len(durations_s) + 1):
        known = [duration_s for duration_s in durations_s[:number] if duration_s is not None]
        weighed.append(np.percentile(known, 95) if len(known) >= 20 else None)
    assert raised == [["p95_duration"] if crosses else [] for crosses in crossings(weighed, 10.01)]


def test_without_a_threshold_no_duration_is_too_long():
    watch = Watch()

    assert not any(watch.emit(ended(duration_s=1e6)) for _ in range(30))


CALL = st.integers(1, 2).map(lambda number: ToolCall(id=str(number), name="grep", arguments="{}"))
LABEL = st.sampled_from("abcd")
AT_WORK = st.one_of(
    st.builds(RequestSent, label=LABEL, turn=st.just(1), attempt=st.just(1)),
    st.builds(TurnEnded, label=LABEL, turn=st.just(TURN)),
    st.builds(
        RetryScheduled,
        label=LABEL,
        turn=st.just(1),
        attempt=st.just(1),
        delay_s=st.just(1.0),
        error_type=st.just("network"),
        error=st.just(""),
    ),
    st.builds(ToolCalled, label=LABEL, turn=st.just(1), call=CALL),
    st.builds(
        ToolAnswered,
        label=LABEL,
        turn=st.just(1),
        call_id=st.sampled_from("12"),
        tool=st.just("grep"),
        duration_s=st.just(0.0),
    ),
    st.builds(ended, label=LABEL),
)


@hypothesis(deadline=None)
@given(st.lists(AT_WORK, max_size=60), st.integers(1, 3))
def test_more_at_work_than_slots_are_told_as_a_defect(events, slots):
    watch = Watch(max_concurrent=slots)

    raised = [watch.emit(event) for event in events]

    requests, calls, counts = set(), set(), []
    for event in events:
        match event:
            case RequestSent(label=label):
                requests.add(label)
            case ToolCalled(label=label, call=call):
                calls.add((label, call.id))
            case TurnEnded(label=label) | RetryScheduled(label=label):
                requests.discard(label)
            case ToolAnswered(label=label, call_id=call_id):
                calls.discard((label, call_id))
            case TaskEnded(label=gone):
                requests.discard(gone)
                calls = {(label, call_id) for label, call_id in calls if label != gone}
        counts.append(len(requests | {label for label, _ in calls}))
    wanted = crossings(counts, slots)
    assert raised == [
        [("active", count, slots)] if crosses else [] for count, crosses in zip(counts, wanted, strict=True)
    ]


def test_time_that_passes_without_events_is_told_by_the_heartbeat_but_only_while_the_run_goes_on():
    watch = Watch()
    watch.uses = [LimitUse(level="run", name="max_total_time", limit=10, used=9, reserved=0)]

    watch.alerts.look()
    watch.alerts.look()
    watch.emit(RunEnded(duration_s=1.0))
    watch.uses = [LimitUse(level="run", name="max_total_cost", limit=10, used=9, reserved=0)]
    watch.alerts.look()

    texts = [stamped.event.text for stamped in watch.heard if isinstance(stamped.event, AlertRaised)]
    assert texts == ["more than 80 % of run max_total_time is used"]


def test_every_observer_before_them_hears_the_alert_after_what_it_was_raised_for():
    watch = Watch()

    watch.use(90)

    assert [stamped.number for stamped in watch.heard] == [0, 1, 2]
    assert [type(stamped.event) for stamped in watch.heard] == [RunStarted, TaskEnded, AlertRaised]


# In real runs


@pytest.mark.parametrize(("slots", "told"), [(3, []), (2, ["active"])])
async def test_parents_that_wait_for_children_count_as_at_work_only_while_they_are(slots, told):
    """Three slots are all taken, and no more than these: with a lower threshold the same events raise the alert."""
    children = {"tasks": [{"task_prompt": f"Count {number}"} for number in range(3)]}
    call = {"name": "parallel_subagent", "arguments": children}
    model = answering(
        Step(tool_calls=(call, {"name": "echo", "arguments": {"text": "hi"}}), when="Lead"),
        Step(answer="merged", when='"status"'),
        Step(answer="counted", when="Count", latency_s=0.005),
    )
    leads = [task(f"lead {n}", prompt="Lead.", allowed_tools=("parallel_subagent", "echo"), index=n) for n in range(8)]
    ran = Ran(leads, {"scripted:": model}, tools=[echo], max_concurrent=3)

    outcomes = await ran.to_the_end()

    watch = Watch(max_concurrent=slots)
    raised = [
        kind
        for stamped in ran.events
        if type(stamped.event) is not RunStarted
        for kind, *_ in watch.emit(stamped.event)
    ]
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert sorted(set(raised)) == told


@pytest.fixture
def scripts(session, tmp_path):
    (tmp_path / "config.yaml").write_text(SCRIPTS)


def test_a_run_tells_its_callback_its_observers_and_its_pages(session, scripts):
    heard, alerts = [], []

    results = run_sync(
        [{"label": str(number), "prompt": "x", "max_tokens": 5} for number in range(9)],
        model="scripted:ten",
        max_executions=10,
        observers=[heard.append],
        on_alert=alerts.append,
    )

    text = "more than 80 % of run max_executions is used"
    assert alerts == [AlertRaised(kind="utilisation", text=text, value=0.9, threshold=0.8)]
    assert [stamped.event for stamped in heard if isinstance(stamped.event, AlertRaised)] == alerts
    assert [stamped.number for stamped in heard] == list(range(len(heard)))
    assert text in results.warnings
    assert f"! {text}" in repr(results)
    assert text in results._repr_html_()
    assert progress_line(results.fold).endswith(f" · ! {text}")


def test_a_session_whose_limit_is_nearly_used_is_told_in_each_run(session, scripts):
    session.quota.quota = Quota(max_executions=5)
    alerts = []

    run_sync(["a", "b", "c"], model="scripted:ten", on_alert=alerts.append)
    run_sync(["d"], model="scripted:ten", on_alert=alerts.append)
    run_sync(["e"], model="scripted:ten", on_alert=alerts.append)

    assert [(alert.text, alert.value) for alert in alerts] == [
        ("more than 80 % of session max_executions is used", 1.0)
    ]


def test_a_silent_run_tells_that_its_time_runs_out(session, scripts):
    alerts = []

    results = run_sync(["a"], model="scripted:slow", max_total_time=1.5, on_alert=alerts.append)

    assert [alert.text for alert in alerts] == ["more than 80 % of run max_total_time is used"]
    assert 0.8 < alerts[0].value < 1
    assert results[0].status == "timed_out"


def test_the_settings_say_when(session, tmp_path):
    configure(tmp_path, alert_error_rate=0.5, alert_utilisation=1, alert_p95_duration=1e-9)
    alerts = []

    run_sync([f"{n}" for n in range(20)], model="scripted:bad", max_executions=20, on_alert=alerts.append)

    assert [(alert.kind, alert.threshold) for alert in alerts] == [("error_rate", 0.5), ("p95_duration", 1e-9)]


def test_a_callback_that_fails_is_logged_and_the_run_and_its_alerts_go_on(session, scripts, caplog):
    def fail(alert):
        raise ValueError("no such pager")

    with caplog.at_level(logging.ERROR, "xz_magics"):
        results = run_sync(["a", "b"], model="scripted:ten", max_executions=2, on_alert=fail)

    assert [outcome.status for outcome in results] == ["done", "done"]
    assert "more than 80 % of run max_executions is used" in results.warnings
    assert "on_alert raised ValueError and is called no more; the log tells where" in results.warnings
    assert "no such pager" in caplog.text
    assert caplog.text.count("failed and hears no more") == 1


def test_what_cannot_be_called_is_refused_before_anything_is_sent(session, scripts):
    with pytest.raises(SpecError, match=r"on_alert is 'print'\ngive a function"):
        run_sync(["a"], model="scripted:ten", on_alert="print")

    assert session.runs.all() == []


# What a page is told


def test_the_head_of_the_dashboard_tells_each_alert_once():
    outcomes = Outcomes()
    stream = Stream("r", critical=[outcomes])
    watched = Watched(run_id="r", outcomes=outcomes, uses=list, stop=print, cancel=print)
    dashboard = Dashboard(watched)
    stream.emit(RunStarted(tasks=1, max_concurrent=1, quota=Quota()))
    for value in (0.81, 0.9):
        stream.emit(AlertRaised(kind="utilisation", text=TEXT, value=value, threshold=0.8))

    (message,) = dashboard.flush()

    assert message["head"]["alerts"] == [TEXT]
