"""A run in one line while it goes on."""

import io
import sys

from strategies import task

from xz_magics.events import Noted, RunStarted, Stamped, TaskEnded, TaskPlanned, TaskStarted, TurnEnded
from xz_magics.outcomes import Outcomes
from xz_magics.records import Quota, Turn
from xz_magics.views.progress import TerminalView, progress_line
from xz_magics.views.watched import Watched

STARTED = RunStarted(tasks=2, max_concurrent=5, quota=Quota())
TASKS = (STARTED, TaskPlanned(task=task("a")), TaskPlanned(task=task("b")), TaskStarted(label="a", queued_s=0.0))
TURN = Turn(number=1, attempts=1, max_tokens=9, started_at=0.0, duration_s=1.0, input_tokens=1_200, cost_usd=0.5)


def folded(*events):
    outcomes = Outcomes()
    for number, event in enumerate(events):
        outcomes(Stamped(run="r", number=number, at=1e12, event=event))
    return outcomes


class Terminal(io.StringIO):
    def isatty(self):
        return True


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


def test_a_line_that_is_longer_than_the_terminal_is_cut_so_that_it_can_be_drawn_over(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    view = TerminalView()

    outcomes = folded(Noted(text="x" * 100))
    view.attach(Watched(run_id="r", outcomes=outcomes, uses=list, stop=lambda: None, cancel=lambda _: None))
    view.draw()
    outcomes.note = "short"
    view.draw()
    view.end(None)

    drawn = terminal.getvalue().split("\r")
    assert drawn == ["", "x" * 39, "short".ljust(39), " " * 5, ""]
