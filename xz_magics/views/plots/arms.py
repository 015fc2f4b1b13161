"""Arms as pictures: score by arm with the inputs behind it, and what a score takes in money and time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from xz_magics.stats import MEASURES, Arm, Compared, Estimate, Measure
from xz_magics.views.plots.figure import (
    EDGE,
    INK,
    SANE_STEPS,
    Figure,
    add_legend,
    dress,
    paper,
    shortened,
    take_literally,
)
from xz_magics.views.verdicts import arms_told, has_cost

MOST_ARMS = 30
LANE_INCHES = 0.3
LEAST_INCHES = 2.4
MARGIN_INCHES = 0.9
NAME_CHARACTERS = 28
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C"),
    *("#7A5CD6", "#9A6324", "#7FB800", "#00A6A6", "#B8174A", "#C9B400"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", "*", ">", "h")
"""As many looks as both numbers multiplied: they have no divisor in common."""
SPREAD = 0.28
"""Of a lane: how far to either side of its middle the inputs stand, so that equal ones are told apart."""
GOLDEN = (math.sqrt(5) - 1) / 2

TITLES: dict[Measure, str] = {"score": "Score", "tokens": "Tokens", "cost_usd": "Cost", "duration_s": "Duration"}
UNITS: dict[Measure, str] = {"score": "score", "tokens": "tokens", "cost_usd": "US dollars", "duration_s": "seconds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One arm and how it looks in every panel."""

    arm: Arm
    colour: str
    marker: str

    def estimate(self, measure: Measure) -> Estimate:
        return self.arm.estimates[measure]


def arms(compared: Compared) -> Figure:
    """Three panels: the score by arm, cost against it, duration against it; without a score tokens, cost and duration.

    Where no cost is known, or all is free, tokens take its place, or it has no panel. Bars are 95 % intervals of
    the means.
    """
    lanes = [
        Lane(arm=arm, colour=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)])
        for number, arm in enumerate(compared.arms[:MOST_ARMS])
    ]
    drawn = paper(max(LEAST_INCHES, LANE_INCHES * len(lanes)) + MARGIN_INCHES)
    if compared.score is None:
        measures = [measure for measure in MEASURES[1:] if measure != "cost_usd" or has_cost(compared)]
        panels = drawn.subplots(1, len(measures))
        for axes, measure in zip(panels, measures, strict=True):
            _draw_lanes(axes, lanes, measure, names=axes is panels[0])
    else:
        panels = drawn.subplots(1, 3, width_ratios=[1.5, 1, 1])
        _draw_lanes(panels[0], lanes, "score", names=True)
        _draw_against(panels[1], lanes, "cost_usd" if has_cost(compared) else "tokens")
        _draw_against(panels[2], lanes, "duration_s")
        names = [shortened(lane.arm.name, NAME_CHARACTERS) for lane in lanes]
        add_legend(drawn, [Line2D([], [], linestyle="", marker=lane.marker, **_look(lane)) for lane in lanes], names)
    more = len(compared.arms) - len(lanes)
    if more > 0:
        panels[0].set_title(f"and {more:,} more arms", loc="right", color=INK, size="small")
    drawn.told = arms_told(compared)
    return drawn


def _draw_lanes(axes: Axes, lanes: Sequence[Lane], measure: Measure, *, names: bool) -> None:
    """A lane per arm, the first on top: faint inputs, and above them the mean with its interval."""
    _dress(axes, TITLES[measure])
    for place, lane in enumerate(lanes):
        estimate = lane.estimate(measure)
        heights = [place + SPREAD * (2 * (number * GOLDEN % 1) - 1) for number in range(len(estimate.points))]
        axes.plot(estimate.points, heights, "o", color=lane.colour, alpha=0.4, markersize=3, markeredgewidth=0)
        if estimate.mean is not None:
            axes.plot(_ends(estimate, estimate.mean), [place] * 2, color=lane.colour, linewidth=2.5)
            axes.plot(estimate.mean, place, lane.marker, **_look(lane))
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_yticks(range(len(lanes)), [shortened(lane.arm.name, NAME_CHARACTERS) if names else "" for lane in lanes])
    axes.tick_params(axis="y", length=0)
    take_literally(*axes.get_yticklabels())
    axes.set_xlabel(UNITS[measure], color=INK)
    axes.grid(axis="x", color=INK, alpha=0.25)
    _number(axes, "x")
    if not any(lane.estimate(measure).points for lane in lanes):
        _say(axes, "none is known")


def _draw_against(axes: Axes, lanes: Sequence[Lane], measure: Measure) -> None:
    """A sign per arm: what it takes to the right, its score upwards, an interval along both."""
    _dress(axes, TITLES[measure])
    known = False
    for lane in lanes:
        across, up = lane.estimate(measure), lane.estimate("score")
        if across.mean is None or up.mean is None:
            continue
        known = True
        axes.plot(_ends(across, across.mean), [up.mean] * 2, color=lane.colour, linewidth=1.2)
        axes.plot([across.mean] * 2, _ends(up, up.mean), color=lane.colour, linewidth=1.2)
        axes.plot(across.mean, up.mean, lane.marker, **_look(lane))
    axes.set_xlabel(f"{UNITS[measure]} per answer", color=INK)
    axes.set_ylabel("score", color=INK)
    axes.grid(color=INK, alpha=0.25)
    _number(axes, "x")
    _number(axes, "y")
    if not known:
        axes.set_yticks([])
        _say(axes, "none is known")


def _ends(estimate: Estimate, mean: float) -> list[float]:
    interval = estimate.interval
    return [interval.low, interval.high] if interval else [mean, mean]


def _look(lane: Lane) -> dict[str, Any]:
    return {"color": lane.colour, "markersize": 7, "markeredgecolor": EDGE, "markeredgewidth": 0.5}


def _dress(axes: Axes, title: str) -> None:
    dress(axes)
    axes.set_title(title, loc="left", color=INK, weight="bold")
    axes.margins(x=0.06, y=0.1)


def _number(axes: Axes, which: Literal["x", "y"]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(4, steps=SANE_STEPS))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _say(axes: Axes, words: str) -> None:
    axes.set_xticks([])
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=INK)
