"""Outcomes, histograms, limits and metrics as DataFrames: the one room that knows pandas.

Unknown numbers are NA, and the dtypes are the same for every run, an empty one too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pandas as pd

from xz_magics.characters import whole
from xz_magics.errors import XzMagicsError
from xz_magics.frames.answers import answer_columns
from xz_magics.frames.scores import score_columns
from xz_magics.frames.trials import trial_columns
from xz_magics.metrics import Bin, Metrics, duration_bins, token_bins
from xz_magics.records import STATUSES, LimitUse, Outcome, known_sum

DataFrame: TypeAlias = pd.DataFrame
Series: TypeAlias = pd.Series

TIME = "datetime64[us, UTC]"


class Table(pd.DataFrame):
    """A DataFrame that a page does not read for formulas: between two dollar signs a model could hide a link."""

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    def _repr_html_(self) -> str | None:
        with pd.option_context({"display.html.use_mathjax": False}):
            html: str | None = super()._repr_html_()  # type: ignore[misc]  # it is in no stub
            return html


class Told(Table):
    """A table for a person to read: no text in it is cut, and an empty one says so in words."""

    @property
    def _constructor(self) -> type["Told"]:
        return Told

    def __repr__(self) -> str:
        if self.empty:
            return "there is nothing to show"
        with pd.option_context({"display.max_colwidth": None}):
            return super().__repr__()

    def _repr_html_(self) -> str | None:
        with pd.option_context({"display.max_colwidth": None}):
            return super()._repr_html_()


TASK_DTYPES = {
    "label": "string",
    "status": "string",
    "success": "boolean",
    "output": "string",
    "error": "string",
    "error_type": "string",
    "model": "string",
    "tags": "string",
    "parent": "string",
    "depth": "Int64",
    "turns": "Int64",
    "tool_calls": "Int64",
    "attempts": "Int64",
    "max_tokens": "Int64",
    "input_tokens": "Int64",
    "cached_tokens": "Int64",
    "output_tokens": "Int64",
    "total_tokens": "Int64",
    "estimated": "boolean",
    "cost_usd": "Float64",
    "tree_tokens": "Int64",
    "tree_cost_usd": "Float64",
    "queued_s": "Float64",
    "spawn_s": "Float64",
    "duration_s": "Float64",
    "started_at": TIME,
    "finish_reason": "string",
    "reused": "string",
}
TURN_DTYPES = {
    "label": "string",
    "turn": "Int64",
    "attempts": "Int64",
    "max_tokens": "Int64",
    "input_tokens": "Int64",
    "cached_tokens": "Int64",
    "output_tokens": "Int64",
    "total_tokens": "Int64",
    "estimated": "boolean",
    "cost_usd": "Float64",
    "duration_s": "Float64",
    "started_at": TIME,
    "finish_reason": "string",
    "tool_calls": "Int64",
    "error_type": "string",
    "error": "string",
}
MESSAGE_DTYPES = {
    "label": "string",
    "number": "Int64",
    "role": "string",
    "content": "string",
    "tool": "string",
    "tool_call_id": "string",
    "arguments": "string",
    "error": "boolean",
    "cached": "boolean",
}
SAMPLE_DTYPES = {
    "name": "string",
    "depth": "Int64",
    "status": "string",
    "error_type": "string",
    "le": "Float64",
    "value": "Float64",
}
SPAWN_DTYPES = {
    "spawns": "Int64",
    "success_rate": "Float64",
    "min_s": "Float64",
    "mean_s": "Float64",
    "max_s": "Float64",
    "p95_s": "Float64",
}
LIMIT_DTYPES = {
    "level": "string",
    "name": "string",
    "limit": "Float64",
    "used": "Float64",
    "reserved": "Float64",
    "remaining": "Float64",
}


def table(rows: Sequence[Mapping[str, Any]], dtypes: Mapping[str, str]) -> DataFrame:
    """A row per mapping and a column per dtype, such as {"label": "string", "turns": "Int64"}; what is left out is NA.

    For whatever else is shown as a table: dtypes that hold NA are "string", "boolean", "Int64", "Float64" and TIME,
    whose values are datetimes with a time zone.
    """
    return Told(_frame([{name: row.get(name) for name in dtypes} for row in rows], dtypes))


def tasks_frame(
    outcomes: Sequence[Outcome],
    scores: Mapping[str, Mapping[str, float | bool | None]] | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> DataFrame:
    """A row per outcome, in the order given. `reused` names the run whose answer it is.

    After the columns that every run has: where each stands in its fan-out, the fields of its answer, its scores by
    label. A name that is taken gets a prefix, such as `answer.label`. `dtypes` are those of the foreach table.
    """
    columns = dict(_frame([_task_row(outcome) for outcome in outcomes], TASK_DTYPES))
    columns |= trial_columns(outcomes, dtypes or {}, taken=TASK_DTYPES)
    for prefix, found in (("answer", answer_columns(outcomes)), ("score", score_columns(outcomes, scores or {}))):
        for written, column in found.items():
            name = written
            while name in columns:
                name = f"{prefix}.{name}"
            columns[name] = column
    return Table(columns)


def turns_frame(outcomes: Sequence[Outcome]) -> DataFrame:
    """A row per model call, task by task."""
    return _frame([row for outcome in outcomes for row in _turn_rows(outcome)], TURN_DTYPES)


def messages_frame(outcomes: Sequence[Outcome]) -> DataFrame:
    """A row per message, task by task. `number` counts a task's messages from 1.

    A message that asks for tools is followed by a row per call with its `number` and role, but no content.
    """
    return _frame([row for outcome in outcomes for row in _message_rows(outcome)], MESSAGE_DTYPES)


def duration_histogram(outcomes: Sequence[Outcome]) -> DataFrame:
    """Seconds: `left`, `right`, `total` and a column per status that occurs; at most 30 bins.

    Rows without a value stand in a last row whose edges are NaN: the totals add up to the tasks that are not reused.
    """
    return _bins_frame(duration_bins(outcomes))


def token_histogram(outcomes: Sequence[Outcome]) -> DataFrame:
    """Input and output tokens together, in the same form, with whole edges."""
    return _bins_frame(token_bins(outcomes))


def summary(outcomes: Sequence[Outcome], duration_s: float | None) -> "Series[Any]":
    """Sums over all outcomes, and the run's own duration (None while it goes on); NA where nothing is known.

    `tasks` are those as written, `nested` the subagents that they led to; all else speaks of both together.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    numbers: dict[str, float | None] = {
        "tasks": sum(outcome.written for outcome in outcomes),
        "nested": sum(not outcome.written for outcome in outcomes),
        **{status: counts[status] for status in STATUSES if counts[status]},
        "success_rate": counts["done"] / len(outcomes) if outcomes else None,
        "input_tokens": known_sum(outcome.input_tokens for outcome in outcomes),
        "cached_tokens": known_sum(outcome.cached_tokens for outcome in outcomes),
        "output_tokens": known_sum(outcome.output_tokens for outcome in outcomes),
        "total_tokens": known_sum(outcome.total_tokens for outcome in outcomes),
        "estimated": sum(outcome.estimated for outcome in outcomes),
        "cost_usd": known_sum(outcome.cost_usd for outcome in outcomes),
        "duration_s": duration_s,
    }
    known = {name: pd.NA if number is None else number for name, number in numbers.items()}
    return pd.Series(known, dtype=object, name="summary")


def metrics_frame(metrics: Metrics) -> DataFrame:
    """A row per number of every series; `le` is the upper bound of a cumulative bucket."""
    return _frame([asdict(sample) for sample in (*metrics.rows(), *metrics.spawn_rows())], SAMPLE_DTYPES)


def spawn_frame(metrics: Metrics) -> DataFrame:
    """One row: the spawns of the rolling window."""
    return _frame([asdict(metrics.spawns())], SPAWN_DTYPES)


def quota_frame(uses: Sequence[LimitUse]) -> DataFrame:
    """A row per limit of each level; no limit is NA."""
    return _frame([{name: getattr(use, name) for name in LIMIT_DTYPES} for use in uses], LIMIT_DTYPES)


def parquet(frame: DataFrame) -> bytes:
    """The table in the form that keeps its dtypes. Raises XzMagicsError where pyarrow is missing or too old."""
    try:
        content: bytes = frame.to_parquet(engine="pyarrow", index=False)
    except ImportError as error:
        raise XzMagicsError("parquet files need pyarrow", 'pip install "xz-magics[parquet]"') from error
    return content


def _task_row(outcome: Outcome) -> dict[str, Any]:
    counted = {"turns": len(outcome.turns), "tool_calls": sum(turn.tool_calls for turn in outcome.turns)}
    row = {name: getattr(outcome, name) for name in TASK_DTYPES if name not in counted}
    texts = {"tags": ", ".join(outcome.tags) or None, "reused": outcome.reused and outcome.reused.run}
    return row | counted | texts | {"started_at": _utc(outcome.started_at)}


def _turn_rows(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "label": outcome.label,
            "turn": turn.number,
            **{name: getattr(turn, name) for name in TURN_DTYPES if name not in {"label", "turn", "cached_tokens"}},
            "cached_tokens": turn.cache_read_tokens,
            "started_at": _utc(turn.started_at),
        }
        for turn in outcome.turns
    ]


def _message_rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for number, message in enumerate(outcome.messages, 1):
        row = dict.fromkeys(MESSAGE_DTYPES) | {"label": outcome.label, "number": number, "role": message.role}
        yield row | {name: getattr(message, name) for name in ("content", "tool", "tool_call_id", "error", "cached")}
        for call in message.tool_calls:
            yield row | {"tool": call.name, "tool_call_id": call.id, "arguments": call.arguments}


def _bins_frame(bins: Sequence[Bin[Any]]) -> DataFrame:
    statuses = [status for status in STATUSES if any(status in one.counts for one in bins)]
    rows = [
        {
            "left": one.left,
            "right": one.right,
            "total": one.total,
            **{name: one.counts.get(name, 0) for name in statuses},
        }
        for one in bins
    ]
    return _frame(rows, {"left": "float64", "right": "float64", "total": "Int64", **dict.fromkeys(statuses, "Int64")})


def _frame(rows: Sequence[Mapping[str, Any]], dtypes: Mapping[str, str]) -> DataFrame:
    return Table(
        {name: pd.Series([_storable(row[name]) for row in rows], dtype=dtype) for name, dtype in dtypes.items()}
    )


def _storable(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


def _utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
