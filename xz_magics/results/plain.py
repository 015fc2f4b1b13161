"""A run as dicts, lists, texts and numbers: the form of its JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from xz_magics.records import Outcome
from xz_magics.records.scores import Scores


def run(outcomes: Sequence[Outcome], duration_s: float | None, scores: Scores) -> dict[str, Any]:
    """`failed` counts whatever is not done. What only an experiment has stands where there is some."""
    successful = sum(outcome.success for outcome in outcomes)
    return {
        "results": [_outcome(outcome) | dict(_of_experiment(outcome, scores)) for outcome in outcomes],
        "total_duration_ms": None if duration_s is None else round(duration_s * 1000),
        "successful": successful,
        "failed": len(outcomes) - successful,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    duration_s = outcome.duration_s
    return {
        "label": outcome.label,
        "success": outcome.success,
        "status": outcome.status,
        "output": outcome.output,
        "duration_ms": None if duration_s is None else round(duration_s * 1000),
        "error": outcome.error,
        "error_type": outcome.error_type,
        "model": outcome.model,
        "turns": len(outcome.turns),
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
        "total_tokens": outcome.total_tokens,
        "estimated": outcome.estimated,
        "cost_usd": outcome.cost_usd,
        "tree_tokens": outcome.tree_tokens,
        "tree_cost_usd": outcome.tree_cost_usd,
    }


def _of_experiment(outcome: Outcome, scores: Scores) -> Iterator[tuple[str, Any]]:
    if outcome.trial is not None:
        yield "trial", asdict(outcome.trial)
    if outcome.tags:
        yield "tags", list(outcome.tags)
    if outcome.value is not None:
        yield "value", outcome.value
    if outcome.label in scores:
        yield "scores", dict(scores[outcome.label])
