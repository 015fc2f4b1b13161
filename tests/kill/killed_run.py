"""A run in a process of its own that is killed at a phase, and tells a pipe what it has shown to somebody before."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

from kill_server import BUSY, TOOL

from xz_magics.api import run_arguments, run_sync
from xz_magics.events import (
    CallIntended,
    RequestSent,
    RetryScheduled,
    RunStarted,
    Stream,
    TaskEnded,
    TextReceived,
    TurnEnded,
)
from xz_magics.observers.journal import store
from xz_magics.providers.http import HttpProvider
from xz_magics.views.progress import TerminalView

BEFORE_EVENT = {CallIntended: "before_intent", TurnEnded: "after_reply"}
AFTER_EVENT = {
    CallIntended: "intent_written",
    RequestSent: "after_send",
    TextReceived: "mid_stream",
    RetryScheduled: "in_retry_pause",
    TaskEnded: "before_commit",
}
PHASES = (
    *("before_intent", "intent_written", "after_intent", "after_send", "mid_stream", "after_reply"),
    *("between_turns", "before_commit", "in_commit", "after_commit", "in_render", "in_retry_pause"),
)
TASKS = 8
OFTEN = {"mid_stream": 3 * TASKS, "in_commit": TASKS, "after_commit": 4}
"""How often a run comes to its phase, at least, where that is not once for each task."""

LONGEST_S = 90


def prompts_of(phase, trial):
    """By label."""
    more = {"in_retry_pause": f" {BUSY}", "between_turns": f" {TOOL}"}.get(phase, "")
    return {f"t{n}": f"Say {trial} {n}.{more}" for n in range(TASKS)}


def resumes():
    """Whether there is anything yet that resumes."""
    return "resume" in run_arguments.parameters


class Killer:
    """Kills this process the n-th time that it comes to its phase, or within a few ms of that."""

    def __init__(self, phase, random):
        self._phase = phase
        self._random = random
        self._left = random.randint(1, OFTEN.get(phase, TASKS))

    def at(self, phase, later_s=0.0):
        """Meanwhile the thread that comes to it does nothing else, and the others go on."""
        if phase == self._phase:
            self._left -= 1
            if self._left == 0:
                time.sleep(self._random.choice([0.0, self._random.uniform(0, later_s)]))
                kill()

    def around(self, phase):
        """At any time from now to a few ms later, whatever is done then."""
        if phase == self._phase and self._left == 1:
            threading.Thread(target=lambda: (time.sleep(self._random.uniform(0, 0.006)), kill()), daemon=True).start()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def live(phase, trial, pipe, *, random=None, **resuming):
    """Runs, and ends this process: by a kill at the phase, or, without randomness, with the rows told."""
    signal.alarm(LONGEST_S)

    def tell(what, *values):
        os.write(pipe, json.dumps([what, *values]).encode() + b"\n")

    killer = Killer(phase, random) if random else Killer("never", Random())
    watch_events(killer)
    watch_commits(killer)
    watch_views(killer, tell)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - it is open until this process ends

    async def pause() -> str:
        """Waits for a moment."""
        await asyncio.sleep(0.01)
        killer.at("between_turns", 0.005)
        return "paused"

    def observe(stamped):
        if isinstance(stamped.event, RunStarted):
            tell("run", stamped.run)

    results = run_sync(
        prompts_of(phase, trial),
        model="openai:m",
        max_concurrent=4,
        **({"tools": [pause], "allowed_tools": ["pause"]} if phase == "between_turns" else {}),
        observers=[observe],
        on_result=lambda outcome: tell("heard", outcome.label, outcome.status, outcome.output),
        show=True,
        **resuming,
    )
    if random:
        tell("late")
        kill()
    for outcome in results:
        origin = outcome.reused and outcome.reused.run
        tell("row", outcome.label, outcome.status, outcome.output, origin, outcome.error)
    tell("ended")
    os._exit(0)


def watch_events(killer):
    emit = Stream.emit

    def watched(stream, event):
        killer.at(BEFORE_EVENT.get(type(event)))
        emit(stream, event)
        killer.at(AFTER_EVENT.get(type(event)), 0.005)

    Stream.emit = watched
    call = HttpProvider.call

    async def watched_call(provider, request, exchange):
        killer.at("after_intent")
        return await call(provider, request, exchange)

    HttpProvider.call = watched_call


def watch_commits(killer):
    insert, commit = store.insert, store.Store.commit

    def watched_insert(connection, group):
        killer.around("in_commit")
        insert(connection, group)
        killer.at("in_commit")

    def watched_commit(its_store, group):
        commit(its_store, group)
        if any("TaskEnded" in row.values for row in group):
            killer.at("after_commit")

    store.insert, store.Store.commit = watched_insert, watched_commit


def watch_views(killer, tell):
    draw = TerminalView.draw
    shown = set()

    def watched(view):
        draw(view)
        for label, row in view._watched.outcomes.rows.items():
            if row.outcome is not None and label not in shown:
                shown.add(label)
                tell("shown", label, row.outcome.status, row.outcome.output)
                killer.at("in_render")

    TerminalView.draw = watched
