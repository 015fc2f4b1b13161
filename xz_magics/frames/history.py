"""Runs of many kernels as tables: a row per run, and the tasks and turns of all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xz_magics import frames
from xz_magics.characters import whole
from xz_magics.frames import TIME, DataFrame, Series
from xz_magics.records import Outcome
from xz_magics.records.scores import Scores

RUN_DTYPES = {
    "run": "string",
    "started": TIME,
    "notebook": "string",
    "label": "string",
    "tasks": "Int64",
    "states": "string",
    "tokens": "Int64",
    "cost_usd": "Float64",
    "duration_s": "Float64",
    "state": "string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The outcomes of one run, nested ones too, and their scores by label."""

    run: str
    outcomes: Sequence[Outcome]
    scores: Scores


def runs_frame(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """A row per run, in the order given."""
    return frames.table(rows, RUN_DTYPES)


def tasks_frame(runs: Sequence[Ran]) -> DataFrame:
    """The columns of `all_df`, after the run's id."""
    labels = [outcome.label for run in runs for outcome in run.outcomes]
    # Two runs may well have a task of the same label, and it is by labels that scores are found.
    outcomes = [replace(one, label=f"{run.run} {one.label}") for run in runs for one in run.outcomes]
    scores = {f"{run.run} {label}": of_one for run in runs for label, of_one in run.scores.items()}
    table = frames.tasks_frame(outcomes, scores)
    table["label"] = _texts(labels)
    table.insert(0, "run", _texts([run.run for run in runs for _ in run.outcomes]))
    return table


def turns_frame(runs: Sequence[Ran]) -> DataFrame:
    """The columns of `turns_df`, after the run's id."""
    table = frames.turns_frame([outcome for run in runs for outcome in run.outcomes])
    table.insert(0, "run", _texts([run.run for run in runs for one in run.outcomes for _ in one.turns]))
    return table


def _texts(values: Sequence[str]) -> "Series[str]":
    return Series([whole(value) for value in values], dtype="string")
