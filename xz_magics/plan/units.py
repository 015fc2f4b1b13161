"""Which tasks are one observation: those on one row, or without a table those that build on one another."""

from collections.abc import Sequence
from dataclasses import replace

from xz_magics.records import Task


def with_units(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Each trial with its unit; what the tasks come after is known to be there."""
    trials = {task.label: task.trial for task in tasks if task.trial is not None}
    places = {trial.input: place for place, trial in enumerate(trials.values())}
    firsts = {trial.input: trial.input for trial in trials.values()}

    def first(name: str) -> str:
        while firsts[name] != name:
            firsts[name] = name = firsts[firsts[name]]
        return name

    for task in tasks:
        for label in task.after if task.label in trials else ():
            earlier, later = sorted(
                (first(trials[task.label].input), first(trials[label].input)), key=places.__getitem__
            )
            firsts[later] = earlier
    return tuple(
        task
        if task.trial is None
        else replace(task, trial=replace(task.trial, unit=_row(task.trial.row) or first(task.trial.input)))
        for task in tasks
    )


def _row(index: str | int | None) -> str | None:
    return None if index is None else str(index)
