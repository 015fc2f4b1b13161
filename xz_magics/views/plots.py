"""Outcomes as pictures: the one room that knows matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from xz_magics.metrics import Bin, duration_bins, token_bins
from xz_magics.records import STATUSES, Outcome, Status
from xz_magics.views.wording import COLOURS, tasks_words

PAGE_DPI = 96
FINE_DPI = 1.5 * PAGE_DPI
SANE_STEPS = [1, 2, 5, 10]

INK = "#7A7A7A"
"""Reads equally well on a white and on a dark page: 4.3 to 1 on #FFFFFF and on #111111."""
HATCHES: dict[Status, str] = {
    "done": "",
    "incomplete": "///",
    "refused": "...",
    "failed": "xxx",
    "timed_out": "\\\\\\",
    "cancelled": "---",
    "skipped": "++",
}


class Figure(figure.Figure):
    """A figure that a notebook shows as a cell's value whether or not somebody has imported pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches()
        return png(self), {"width": round(width * PAGE_DPI), "height": round(height * PAGE_DPI)}


def histograms(outcomes: Sequence[Outcome]) -> Figure:
    """Durations and tokens side by side; bars are stacked by status, each with a colour and a hatch of its own."""
    drawn = Figure(figsize=(9, 2.8), dpi=PAGE_DPI, layout="constrained", facecolor="none")
    durations, tokens = drawn.subplots(1, 2)
    seen = _draw(durations, duration_bins(outcomes), "Duration", "seconds", whole=False)
    seen |= _draw(tokens, token_bins(outcomes), "Tokens", "tokens per task", whole=True)
    if seen:
        drawn.legend(
            handles=[_patch(status) for status in STATUSES if status in seen],
            loc="outside lower center",
            ncols=len(seen),
            frameon=False,
            labelcolor=INK,
        )
    return drawn


def png(drawn: figure.Figure) -> bytes:
    """Finer than a page's pixels, so that it is sharp on most screens and still small."""
    with io.BytesIO() as file:
        drawn.savefig(file, format="png", dpi=FINE_DPI)
        return file.getvalue()


def _draw(axes: Axes, bins: Sequence[Bin], title: str, unit: str, *, whole: bool) -> set[Status]:
    """Draws one histogram and returns the statuses that are to be seen in it. No label holds a word of a model."""
    _dress(axes, title, unit, whole=whole)
    seen: set[Status] = set()
    for one in bins:
        if one.left is None or one.right is None:
            axes.set_title(f"and {tasks_words(one.total)} without a value", loc="right", color=INK, size="small")
            continue
        bottom = 0
        for status in (status for status in STATUSES if one.counts.get(status)):
            axes.bar(one.left, one.counts[status], one.right - one.left, bottom, align="edge", **_look(status))
            bottom += one.counts[status]
            seen.add(status)
    if not seen:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=INK)
    return seen


def _dress(axes: Axes, title: str, unit: str, *, whole: bool) -> None:
    axes.set_facecolor("none")
    axes.set_title(title, loc="left", color=INK, weight="bold")
    axes.set_xlabel(unit, color=INK)
    axes.set_ylabel("tasks", color=INK)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.grid(axis="y", color=INK, alpha=0.25)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole, steps=SANE_STEPS))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if whole else "{x:,g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=SANE_STEPS))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.margins(x=0.02)


def _patch(status: Status) -> Patch:
    return Patch(label=status.replace("_", " "), **_look(status))


def _look(status: Status) -> dict[str, Any]:
    return {"facecolor": COLOURS[status], "edgecolor": "#00000060", "hatch": HATCHES[status], "linewidth": 0.5}
