"""Kills runs by SIGKILL at each phase, has others resume them, and looks for what is lost, sent again or corrupt.

`python tests/journal_kills.py --kills 1000` prints each fault, a line per phase, and the whole in the last line.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent / "kill"))

from kill_server import output_of
from killed_run import PHASES, live, prompts_of, resumes

from xz_magics.api.preparing import prepare
from xz_magics.events import CallIntended, RetryScheduled, TaskEnded, TurnEnded
from xz_magics.observers.journal import Journal

SERVER = Path(__file__).parent / "kill" / "kill_server.py"
KILLED_TWICE = 0.3
"""So many of the runs that resume are killed as well."""

RUNS_PER_FILE = 25
"""So many killed runs, and those that resume them, write one journal; then a new one is begun."""


@dataclass
class Left:
    """What a run has left on disk: its ends by label, what it meant to send, and what of that nobody saw the end of."""

    ended: dict = field(default_factory=dict)
    intended: set = field(default_factory=set)
    open: dict = field(default_factory=dict)

    def and_then(self, later):
        """Both runs together: what is unknown in the first is so in the later one, or it was sent there again."""
        ended = {label: end for left in (self, later) for label, end in left.ended.items() if end.status == "done"}
        still = {label: calls for label, calls in (self.open | later.open).items() if label not in ended}
        return Left(ended, self.intended | later.intended, still)


@dataclass
class Lived:
    """What a process has told before its end, by kind of line, and the labels that it has sent, each time it did."""

    told: dict
    sent: Counter
    exit: int

    def values(self, kind):
        return [tuple(values) for values in self.told.get(kind, [])]

    @property
    def run(self):
        return next((run for (run,) in self.values("run")), None)


class Trials:
    def __init__(self, folder, server, seed):
        self.counts = {phase: Counter() for phase in PHASES}
        self._folder = folder
        self._server = server
        self._seed = seed
        self._journal = None

    def run(self, number):
        """One kill and what comes after it. Yields what does not hold."""
        phase = PHASES[number % len(PHASES)]
        trial = f"{self._seed}-{number}"
        random = Random(trial)
        if number % RUNS_PER_FILE == 0:
            state = self._folder / str(number)
            os.environ["XZ_MAGICS_STATE"] = str(state)
            self._journal = Journal.open(state)
        counts = self.counts[phase]
        killed = self._lived(phase, trial, random=random)
        counts["kills"] += 1
        counts["late"] += len(killed.values("late"))
        if not os.WIFSIGNALED(killed.exit) or os.WTERMSIG(killed.exit) != 9:
            yield f"the process ended by itself: {killed.exit}"
        left = self._left_by(killed)
        counts["done"] += len(left.ended)
        counts["unknown"] += len(left.open)
        counts["heard"] += len(killed.values("heard"))
        yield from self._faults_of_killed(killed, left)
        if not resumes() or not self._journal.runs():
            return
        if random.random() < KILLED_TWICE:
            again = self._lived(phase, trial, random=random, resume="last")
            counts["killed twice"] += 1
            later = self._left_by(again)
            yield from self._faults_of_killed(again, later)
            if wrong := set(again.sent) & {*left.ended, *left.open}:
                yield f"{wrong} were sent again by what resumes and was killed itself"
            left = left.and_then(later)
        yield from self._faults_of_resumed(phase, trial, left)

    def _faults_of_killed(self, killed, left):
        yield from self._faults_of_file()
        for kind in ("heard", "shown"):
            for label, status, output in killed.values(kind):
                end = left.ended.get(label)
                if end is None:
                    yield f"{label} was {kind} and is lost"
                elif (end.status, end.output) != (status, output):
                    yield f"{label} was {kind} as {status}, {output!r}, and is {end.status}, {end.output!r}"
        if unmeant := set(killed.sent) - left.intended:
            yield f"{unmeant} were sent without an intent"
        unknown = {task.label for task in self._journal.unknowns(killed.run)}
        if resumes() and unknown != set(left.open):
            yield f"unknown are {unknown}, not {set(left.open)}"

    def _faults_of_resumed(self, phase, trial, left):
        """Of one that resumes, and of another that resumes that one and sends what is unknown."""
        again = self._lived(phase, trial, resume="last")
        expected = {label: "done" if label in left.ended else "unknown" for label in {*left.ended, *left.open}}
        yield from self._faults_of_ended(phase, trial, again, expected)
        if left.open:
            self.counts[phase]["resent"] += len(left.open)
            last = self._lived(phase, trial, resume="last", resend_unknown=True)
            done = dict.fromkeys(set(prompts_of(phase, trial)) - set(left.open), "done")
            yield from self._faults_of_ended(phase, trial, last, done)
        yield from self._faults_of_file()

    def _faults_of_ended(self, phase, trial, lived, expected):
        """`expected`: the status of those that are not to be sent. All others are, and are done."""
        prompts = prompts_of(phase, trial)
        rows = {label: rest for label, *rest in lived.values("row")}
        if lived.exit != 0 or list(rows) != list(prompts):
            yield f"what resumes has ended with {lived.exit} and the rows {list(rows)}"
            return
        self.counts[phase]["reused"] += sum(status == "done" for status in expected.values())
        for label, prompt in prompts.items():
            status, output, reused, error = rows[label]
            wanted = expected.get(label)
            if status != (wanted or "done"):
                yield f"{label} is {status}, not {wanted or 'done'}: {error}"
            if status == "done" and output != output_of(prompt):
                yield f"{label} has the answer {output!r}"
            if bool(reused) != (wanted == "done"):
                yield f"{label} is reused from {reused}"
            if (label in lived.sent) != (wanted is None):
                yield f"{label} was sent {lived.sent[label]} times where it should end as {wanted or 'sent anew'}"

    def _faults_of_file(self):
        with closing(sqlite3.connect(self._journal.file)) as connection:
            if (found := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                yield f"the file is corrupt: {found}"
        if aside := [file.name for file in self._journal.file.parent.glob("*damaged*")]:
            yield f"moved aside were {aside}"

    def _left_by(self, killed):
        left = Left()
        events = list(self._journal.events(killed.run or ""))
        assert [stamped.number for stamped in events] == sorted({stamped.number for stamped in events})
        for event in (stamped.event for stamped in events):
            match event:
                case CallIntended(label=label, turn=turn, attempt=attempt):
                    left.intended.add(label)
                    left.open.setdefault(label, set()).add((turn, attempt))
                case RetryScheduled(label=label, turn=turn, attempt=attempt):
                    left.open[label].discard((turn, attempt))
                case TurnEnded(label=label, turn=turn):
                    left.open[label] = {call for call in left.open[label] if call[0] != turn.number}
                case TaskEnded(label=label):
                    left.ended[label] = event
                    left.open.pop(label, None)
        left.open = {label: calls for label, calls in left.open.items() if calls}
        return left

    def _lived(self, phase, trial, **how):
        """Forks a process, and waits for its end."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                live(phase, trial, write, **how)
            except BaseException as error:  # whatever it is, the parent is to hear of it
                os.write(write, json.dumps(["fault", repr(error)]).encode())
            finally:
                os._exit(1)
        os.close(write)
        told = {}
        with os.fdopen(read) as pipe:
            for line in pipe:
                kind, *values = json.loads(line)
                told.setdefault(kind, []).append(values)
        _, status = os.waitpid(child, 0)
        for (fault,) in told.get("fault", []):
            print(f"FAULT in the process: {fault}", flush=True)
        labels = {prompt: label for label, prompt in prompts_of(phase, trial).items()}
        return Lived(told, Counter(labels[prompt] for prompt in self._server()), status)


@contextmanager
def serving():
    """Gives what asks the server for the prompts that have come."""
    with subprocess.Popen(
        [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        os.environ |= {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{int(process.stdout.readline())}/v1",
            "OPENAI_API_KEY": "no-real-key",
            "XZ_MAGICS_CONFIG": os.devnull,
        }

        def came():
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield came
        process.stdin.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    began, faults = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        prepare(["Hi."], model="openai:m")  # what it imports need not be imported by each process
        trials = Trials(Path(folder), server, options.seed)
        for number in range(options.kills):
            for fault in trials.run(number):
                faults += 1
                print(f"FAULT in kill {number} {PHASES[number % len(PHASES)]}: {fault}", flush=True)
    for phase, counts in trials.counts.items():
        print(f"{phase:15}", ", ".join(f"{number} {what}" for what, number in counts.items()))
    print(f"{options.kills} kills, {faults} faults in {time.monotonic() - began:.0f} s", flush=True)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
