"""What a flush of the dashboard costs the kernel: `python benchmarks/dashboard_kernel.py`.

A run of subagents of many turns, of which a part changes between two flushes; as in every run, only those of small runs
tell their text as it streams. Timed is what happens on the run's loop: making the message and writing it as the
kernel's session does (JSON, signature). Figures are CPU time of this thread; on a busy machine even these are longer.
The baseline, in turn with it in the same process, makes and writes the whole table as HTML each time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from html import escape
from random import Random
from typing import Any

from jupyter_client.session import Session

from xz_magics.api.launching import MOST_TASKS_WITH_TEXT_EVENTS
from xz_magics.events import (
    Event,
    RequestSent,
    RunStarted,
    Stamped,
    TaskEnded,
    TaskPlanned,
    TaskStarted,
    TextReceived,
    ToolAnswered,
    ToolCalled,
    TurnEnded,
)
from xz_magics.outcomes import Outcomes
from xz_magics.records import LimitUse, Quota, Task, ToolCall, Turn
from xz_magics.views.dashboard import Dashboard
from xz_magics.views.watched import Watched

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "“the", "lazy", "dog”", "and", "runs", "home", "again\n"]
TURN = Turn(number=1, attempts=1, max_tokens=100, started_at=0, duration_s=1, input_tokens=90, output_tokens=17)
CALL = ToolCall(id="c", name="read_file", arguments="{}")


class Stage:
    """A run whose events are made up: all of its subagents are at work."""

    def __init__(self, rows: int, share: float) -> None:
        self.outcomes = Outcomes()
        self.random = Random(1)
        self.labels = [f"task-{number}" for number in range(rows)]
        self.changing = int(share * rows)
        self.streaming = rows <= MOST_TASKS_WITH_TEXT_EVENTS
        self.emit(RunStarted(tasks=rows, max_concurrent=rows, quota=Quota()))
        for index, label in enumerate(self.labels):
            task = Task(index=index, label=label, prompt="Say hi.", model="openai:test", max_tokens=100)
            self.emit(TaskPlanned(task=task), TaskStarted(label=label, queued_s=0.1))

    def emit(self, *events: Event) -> None:
        for event in events:
            self.outcomes(Stamped(run="r", number=0, at=time.time(), event=event))

    def go_on(self) -> None:
        """What happens in a tenth of a second: each row that changes takes one step more, and one in a hundred ends."""
        for label in self.random.sample(self.labels, min(self.changing, len(self.labels))):
            row = self.outcomes.rows[label]
            if self.random.random() < 0.01:
                self.emit(TaskEnded(label=label, status="done", output=" ".join(WORDS) * 9, duration_s=1.25))
                self.labels.remove(label)
            elif row.note:
                self.emit(ToolAnswered(label=label, turn=1, call_id="c", tool="read_file", duration_s=0.1))
            elif "call" not in row.since:
                self.emit(RequestSent(label=label, turn=1, attempt=1))
            elif self.streaming and self.random.random() < 0.9:
                self.emit(*(TextReceived(label=label, text=word + " ") for word in self.random.choices(WORDS, k=4)))
            else:
                self.emit(TurnEnded(label=label, turn=TURN), ToolCalled(label=label, turn=1, call=CALL))


def whole_table(outcomes: Outcomes) -> dict[str, Any]:
    """The baseline: what a view does that keeps no account of what the page knows."""
    rows = "".join(
        f"<tr><td>{escape(row.task.label)}</td><td>{row.state}</td><td>{escape(row.task.model)}</td>"
        f"<td>{len(row.turns)}</td><td>{sum(turn.total_tokens or 0 for turn in row.turns)}</td>"
        f"<td>{escape(row.text[-160:])}</td></tr>"
        for row in outcomes.rows.values()
    )
    return {"kind": "table", "html": f"<table>{rows}</table>"}


def sent(session: Session, content: dict[str, Any]) -> int:
    """The bytes of a message to the page, written and signed as the kernel's session does it."""
    message = session.msg("comm_msg", {"comm_id": "c", "data": {"method": "custom", "content": content}})
    return sum(map(len, session.serialize(message)))


def measure(rows: int, share: float, flushes: int) -> None:
    stage, session = Stage(rows, share), Session(key=b"k")
    uses = [LimitUse(level="run", name="max_total_tokens", limit=10**6, used=123_456, reserved=4_096)]
    nothing = Watched(run_id="r", outcomes=stage.outcomes, uses=lambda: uses, stop=lambda: None, cancel=lambda _: None)
    dashboard = Dashboard(nothing)
    while dashboard.more or stage.outcomes.changed:
        dashboard.flush()
    mine: list[tuple[float, int]] = []
    whole: list[tuple[float, int]] = []
    for _ in range(flushes):
        stage.go_on()
        mine.append(timed(lambda: sum(sent(session, message) for message in dashboard.flush())))
        whole.append(timed(lambda: sent(session, whole_table(stage.outcomes))))
    ratio = statistics.median(one[0] / other[0] for one, other in zip(mine, whole, strict=True))
    print(f"{rows} rows, {share:.0%} change: {told(mine)}; whole table {told(whole)}; time ratio {ratio:.3f}")


def timed(flush: Callable[[], int]) -> tuple[float, int]:
    """Milliseconds of CPU, which other programs of the machine do not stretch, and bytes."""
    before = time.thread_time()
    size = flush()
    return (time.thread_time() - before) * 1000, size


def told(flushes: list[tuple[float, int]]) -> str:
    times, sizes = (sorted(side) for side in zip(*flushes, strict=True))
    late = int(0.99 * len(flushes))
    middle = statistics.median
    return (
        f"best {times[0]:.2f} ms, median {middle(times):.2f} ms and {middle(sizes) / 1000:.1f} kB,"
        f" p99 {times[late]:.2f} ms and {sizes[late] / 1000:.1f} kB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=300)
    given = parser.parse_args()
    for rows, share in ((50, 1.0), (1000, 0.1), (1000, 0.3)):
        measure(rows, share, given.flushes)


if __name__ == "__main__":
    main()
