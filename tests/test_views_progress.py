"""A run in one line while it goes on."""

import io
import itertools
import sys
from dataclasses import replace

import pytest
from strategies import task

from xz_magics.errors import ModelError
from xz_magics.events import (
    Noted,
    RequestSent,
    RunEnded,
    RunStarted,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    TurnEnded,
)
from xz_magics.outcomes import Outcomes
from xz_magics.records import Quota, Turn
from xz_magics.views.progress import TerminalView, progress_line, time_left_s, watched_line
from xz_magics.views.watched import Watched

STARTED = RunStarted(tasks=2, max_concurrent=5, quota=Quota())
TASKS = (STARTED, TaskPlanned(task=task("a")), TaskPlanned(task=task("b")), TaskStarted(label="a", queued_s=0.0))
TURN = Turn(number=1, attempts=1, max_tokens=9, started_at=0.0, duration_s=1.0, input_tokens=1_200, cost_usd=0.5)


def folded(*events):
    outcomes = Outcomes()
    for number, event in enumerate(events):
        outcomes(Stamped(run="r", number=number, at=1e12, event=event))
    return outcomes


def after(*rows, waiting=0):
    """A run that began 10 s ago, of tasks that took so long, or with None have worked for the whole time."""
    outcomes = Outcomes()
    number = itertools.count()

    def emit(at, event):
        outcomes(Stamped(run="r", number=next(number), at=at, event=event))

    emit(0.0, STARTED)
    for label in map(str, range(len(rows) + waiting)):
        emit(0.0, TaskPlanned(task=task(label)))
    for label, took_s in enumerate(rows):
        emit(0.0, TaskStarted(label=str(label), queued_s=0.0))
        emit(0.0, RequestSent(label=str(label), turn=1, attempt=1, spawn_s=0.0))
        if took_s is not None:
            emit(took_s, TaskEnded(label=str(label), status="done", duration_s=took_s))
    return outcomes


@pytest.mark.parametrize(
    ("outcomes", "left_s"),
    [
        (after(waiting=3), None),
        (after(None, waiting=3), None),
        (after(5.0, 5.0, waiting=2), 15.0),  # one begins each 5 s, and then takes another 5
        (after(5.0, 15.0, 25.0, None), 10.0),  # the mean of those that took longer than it has taken so far
        (after(1.0, 2.0, None), None),  # none has taken as long: nobody can tell
        (after(5.0, 5.0, None, waiting=2), 15.0),
        (after(5.0, 5.0), 0.0),
    ],
)
def test_the_time_left_comes_of_the_pace_and_of_how_long_the_tasks_took_that_ended(outcomes, left_s):
    assert time_left_s(outcomes, now=10.0) == left_s


def test_what_was_never_sent_makes_no_other_task_faster():
    outcomes = after(5.0, 5.0, waiting=4)
    for label in "23":
        outcomes(Stamped(run="r", number=99, at=5.0, event=TaskEnded(label=label, status="unknown")))

    assert time_left_s(outcomes, now=10.0) == 15.0


def test_before_a_run_and_after_it_no_time_is_left():
    ended = after(5.0, 5.0)
    ended(Stamped(run="r", number=99, at=5.0, event=RunEnded(duration_s=5.0)))

    assert time_left_s(Outcomes(), now=10.0) is None
    assert time_left_s(ended, now=10.0) is None


def test_a_run_that_waits_for_others_says_so_and_one_with_a_request_under_way_does_not():
    sent = RequestSent(label="a", turn=1, attempt=1, spawn_s=0.0)
    over = RunEnded(duration_s=3.0)

    def line(*events, waits):
        watched = Watched(
            run_id="r", outcomes=folded(*events), uses=list, stop=print, cancel=print, waits=lambda: waits
        )
        return watched_line(watched)

    assert line(*TASKS, waits=True).endswith(" · waits for room in the limit of the day or week")
    assert "waits" not in line(*TASKS, waits=False) + line(*TASKS, sent, waits=True) + line(*TASKS, over, waits=True)


class Screen(io.StringIO):
    """What stands for standard error."""

    def __init__(self, *, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


def shown_by(monkeypatch, *, terminal, outcomes, **options):
    """A view of this run, and what it writes to."""
    screen = Screen(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    view = TerminalView(**options)
    view.attach(Watched(run_id="r", outcomes=outcomes, uses=list, stop=lambda: None, cancel=lambda _: None))
    return view, screen


def test_before_the_start_the_line_says_what_goes_on():
    assert progress_line(folded(Noted(text="fetching"))) == "fetching"


def test_the_line_counts_the_tasks_and_apart_from_them_the_nested_ones():
    nested = [TaskPlanned(task=task(f"a/{number}"), parent="a", depth=1) for number in range(4)]
    events = [
        *TASKS,
        *nested,
        TaskStarted(label="a/0", queued_s=0.0),
        TurnEnded(label="a/1", turn=TURN),
        TaskEnded(label="a/1", status="failed"),
        TaskEnded(label="a/2", status="done"),
    ]

    plain, full = progress_line(folded(*TASKS)), progress_line(folded(*events))

    assert plain.startswith("0 of 2 · 1 running · 0 tokens · ")
    assert full.startswith("0 of 2 · 1 running · 4 nested (1 running, 1 failed) · 1,200 tokens · $0.5000 · ")
    assert " · 1 nested · " in progress_line(folded(*TASKS, nested[0]))


def test_tokens_that_are_estimated_in_part_are_told_to_be():
    estimated = [TurnEnded(label="a", turn=TURN), TurnEnded(label="b", turn=replace(TURN, estimated=True))]

    assert " · ≈ 2,400 tokens · " in progress_line(folded(*TASKS, *estimated))


def test_when_the_run_has_ended_the_line_tells_how_long_it_took():
    ended = folded(*TASKS, TaskEnded(label="a", status="done"), RunEnded(duration_s=2.5))

    assert progress_line(ended).endswith(" · 2.5 s")


def test_a_line_that_is_longer_than_the_terminal_is_cut_so_that_it_can_be_drawn_over(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    outcomes = folded(Noted(text="x" * 100))
    view, screen = shown_by(monkeypatch, terminal=True, outcomes=outcomes)

    view.draw()
    outcomes.note = "short"
    view.draw()
    view.end(None)

    assert screen.getvalue().split("\r") == ["", "x" * 39, "short".ljust(39), " " * 5, ""]


def test_where_there_is_no_terminal_lines_come_at_the_start_with_each_tenth_when_it_is_quiet_and_at_the_end(
    monkeypatch,
):
    seconds = [100.0]
    outcomes = folded(Noted(text="fetching"), *(TaskPlanned(task=task(f"t{number}")) for number in range(20)))
    view, screen = shown_by(monkeypatch, terminal=False, outcomes=outcomes, clock=lambda: seconds[0])

    def emit_and_draw(event, after_s):
        seconds[0] += after_s
        outcomes(Stamped(run="r", number=0, at=1e12, event=event))
        view.draw()
        return screen.getvalue().count("\n")

    lines = [
        emit_and_draw(Noted(text="fetching more"), 0.1),
        emit_and_draw(STARTED, 0.1),
        emit_and_draw(TaskEnded(label="t0", status="done"), 2),
        emit_and_draw(TaskEnded(label="t1", status="done"), 2),
        emit_and_draw(TaskEnded(label="t2", status="done"), 0.2),
        emit_and_draw(TaskEnded(label="t3", status="done"), 0.2),
        emit_and_draw(TaskEnded(label="t4", status="done"), 0.7),
        emit_and_draw(TaskStarted(label="t5", queued_s=0.0), 9),
        emit_and_draw(TaskStarted(label="t6", queued_s=0.0), 2),
        emit_and_draw(RunEnded(duration_s=3.0), 0.1),
    ]
    view.end(None)

    assert lines == [1, 2, 2, 3, 3, 3, 4, 4, 5, 5]
    told = screen.getvalue().splitlines()
    assert told[0] == "fetching more"
    assert [line.partition(" of ")[0] for line in told[1:]] == ["0", "2", "5", "5", "5"]
    assert "\r" not in screen.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_in_the_background_where_somebody_types_only_the_end_is_told(monkeypatch, terminal):
    outcomes = folded(*TASKS)
    view, screen = shown_by(monkeypatch, terminal=terminal, outcomes=outcomes, background=True)

    view.draw()
    outcomes(Stamped(run="r", number=9, at=1e12, event=RunEnded(duration_s=3.0)))
    view.draw()
    view.end(None)

    assert screen.getvalue() == "run r: 0 of 2 · 1 running · 0 tokens · 3.0 s\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_that_cannot_begin_is_told_of_where_no_cell_does_it(monkeypatch, terminal):
    told = []
    for background in (False, True):
        view, screen = shown_by(monkeypatch, terminal=terminal, outcomes=folded(), background=background)
        view.fail(ModelError("no such\x1b[31m model", "see the list"))
        told.append(screen.getvalue().strip(" \r"))

    assert told == ["", "ModelError: no such\\x1b[31m model\nsee the list\n"]
