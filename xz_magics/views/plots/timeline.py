"""Who ran when: a lane per subagent, and below it how many requests were under way at the same time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from matplotlib.transforms import Affine2D, ScaledTranslation

from xz_magics.records import STATUSES, Outcome, Span, SpanKind, Status
from xz_magics.views.plots.figure import (
    FINE_DPI,
    INK,
    SANE_STEPS,
    Figure,
    Look,
    add_legend,
    dress,
    paper,
    shortened,
    take_literally,
)
from xz_magics.views.spans import KIND_WORDS, LEAST_TIME_S, finite_spans, most_by_column, most_words, whole_time
from xz_magics.views.telling import timeline_told
from xz_magics.views.wording import COLOURS, SIGNS, status_word

MOST_LABELLED = 32
LANE_INCHES = 0.18
MANY_LANES_INCHES = 3.6
CURVE_INCHES = 0.7
MARGIN_INCHES = 1.2
LABEL_CHARACTERS = 32
LABEL_SIZE = 8
SIGN_POINTS, SMALL_SIGN_POINTS = 7.5, 6.5
INDENT = "    "
CURVE_COLUMNS = 400
MINUTES_FROM_S = 300
SHORTEST_SHARE = 1 / 1_200
"""Of the whole time: about a pixel, so that nothing is too short to be seen."""
LEAST_QUEUED_SHARE = 1 / 300

FILLINGS: Mapping[SpanKind, tuple[str, str]] = {
    "call": ("#0072B2", ""),
    "tool": ("#009E73", "\\\\\\\\"),
    "children": ("#CC79A7", "...."),
    "queued": ("#8C8C8C50", ""),
    "retry": ("#E69F00", "////"),
    "rate_limited": ("#D55E00", "xxxx"),
}
PAUSE = Look(name="account paused by a rate limit", colour="#D55E0028")
HEIGHT, CHILDREN_HEIGHT, QUEUED_HEIGHT = 0.8, 0.5, 0.3
"""Of a lane's."""

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Clock:
    """Turns seconds since the epoch into places on the axis."""

    began_at: float
    ended_at: float

    @property
    def unit_s(self) -> float:
        return 60.0 if self.ended_at - self.began_at >= MINUTES_FROM_S else 1.0

    @property
    def end(self) -> float:
        """Where the axis ends, more than 0 in any case."""
        return max(self.place(self.ended_at), LEAST_TIME_S)

    def place(self, at: float) -> float:
        return (at - self.began_at) / self.unit_s


def timeline(outcomes: Sequence[Outcome], pauses: Sequence[Span] = ()) -> Figure:
    """`outcomes` hold nested subagents after their parents; `pauses` are times in which an account was closed.

    Up to MOST_LABELLED lanes have labels, in the order given; more are thin and in the order in which they began.
    """
    time = whole_time(outcomes)
    if time is None:
        return _empty()
    clock = Clock(*time)
    labelled = len(outcomes) <= MOST_LABELLED
    lanes = list(outcomes) if labelled else _by_start(outcomes)
    tall = LANE_INCHES * max(2, len(lanes)) if labelled else MANY_LANES_INCHES
    drawn = paper(tall + CURVE_INCHES + MARGIN_INCHES)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=[tall, CURVE_INCHES])
    _dress(above, below, clock, len(lanes))
    looks = _draw_spans(above, lanes, clock, labelled=labelled) + _draw_pauses(above, pauses, clock)
    statuses = _draw_ends(above, lanes, clock, labelled=labelled)
    if labelled:
        _label(above, lanes)
    _draw_pauses(below, pauses, clock)
    _draw_curve(below, outcomes, clock)
    handles: list[Artist] = [look.patch() for look in looks]
    handles += [_signs(status, [(0, 0)], markersize=SIGN_POINTS) for status in statuses]
    add_legend(drawn, handles, [*(look.name for look in looks), *map(status_word, statuses)])
    drawn.told = timeline_told(outcomes, pauses)
    return drawn


def _empty() -> Figure:
    drawn = paper(1)
    drawn.text(0.5, 0.5, "nothing ran", ha="center", va="center", color=INK)
    drawn.told = timeline_told([])
    return drawn


def _by_start(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Parents with their children, in the order in which the first of each went to work; those who never did last."""
    found: list[list[Outcome]] = []
    labels: set[str] = set()
    for outcome in outcomes:
        if outcome.parent is None or outcome.parent not in labels:
            found.append([])
            labels.clear()
        found[-1].append(outcome)
        labels.add(outcome.label)
    return [outcome for family in sorted(found, key=_began_at) for outcome in family]


def _began_at(family: Sequence[Outcome]) -> float:
    begun = (span.started_at for outcome in family for span in finite_spans(outcome) if span.kind != "queued")
    return min(begun, default=math.inf)


def _dress(above: Axes, below: Axes, clock: Clock, lanes: int) -> None:
    for axes in (above, below):
        dress(axes)
        axes.grid(axis="x", color=INK, alpha=0.25)
    above.set_title("Timeline", loc="left", color=INK, weight="bold")
    above.set_ylim(lanes - 0.5, -0.5)
    above.set_yticks([])
    above.set_ylabel(f"{lanes:,} subagents, by start", color=INK)
    below.set_xlim(0, 1.01 * clock.end)
    below.set_xlabel(f"{'minutes' if clock.unit_s == 60 else 'seconds'} since the start", color=INK)
    below.set_ylabel("requests", color=INK)
    below.xaxis.set_major_locator(MaxNLocator(8, steps=SANE_STEPS))
    below.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True, steps=SANE_STEPS))
    below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _draw_pauses(axes: Axes, pauses: Sequence[Span], clock: Clock) -> list[Look]:
    """Bands from top to bottom, as far as they lie within the run."""
    bands = []
    for pause in pauses:
        left = clock.place(max(pause.started_at, clock.began_at))
        right = clock.place(min(pause.ended_at, clock.ended_at))
        if left < right:
            bands.append(_box(left, right, 0, 1))
    if not bands:
        return []
    axes.add_collection(
        PolyCollection(bands, facecolor=PAUSE.colour, linewidth=0, zorder=1, transform=axes.get_xaxis_transform()),
        autolim=False,
    )
    return [PAUSE]


def _draw_spans(axes: Axes, lanes: Sequence[Outcome], clock: Clock, *, labelled: bool) -> list[Look]:
    """One collection for each kind, the later ones above: thousands of bars are drawn as fast as a few."""
    spans: dict[SpanKind, list[tuple[int, Span]]] = {kind: [] for kind in KIND_WORDS}
    for lane, outcome in enumerate(lanes):
        for span in finite_spans(outcome):
            spans[span.kind].append((lane, span))
    pixel_lanes = 0 if labelled else len(lanes) / (MANY_LANES_INCHES * FINE_DPI)
    looks = []
    for kind, name in KIND_WORDS.items():
        queued = kind == "queued"
        bars = _queued_bars(spans[kind], clock, pixel_lanes) if queued else _bars(kind, spans[kind], clock, pixel_lanes)
        if bars:
            colour, hatch = FILLINGS[kind]
            looks.append(look := Look(name=name, colour=colour, hatch=hatch if labelled else ""))
            filling = look.filling if labelled else {"facecolor": colour, "linewidth": 0, "antialiased": False}
            axes.add_collection(PolyCollection(bars, zorder=1.5 if queued else 2, **filling), autolim=False)
    return looks


def _bars(kind: SpanKind, spans: Sequence[tuple[int, Span]], clock: Clock, pixel_lanes: float) -> list[Points]:
    """None is shorter than can be seen, nor thinner where a pixel holds several lanes."""
    shortest = SHORTEST_SHARE * clock.end
    half = max(CHILDREN_HEIGHT if kind == "children" and not pixel_lanes else HEIGHT, pixel_lanes) / 2
    bars = []
    for lane, span in spans:
        left = clock.place(span.started_at)
        bars.append(_box(left, max(clock.place(span.ended_at), left + shortest), lane - half, lane + half))
    return bars


def _queued_bars(spans: Sequence[tuple[int, Span]], clock: Clock, pixel_lanes: float) -> list[Points]:
    """Those that somebody could have noticed. Of many lanes one stands for as many as a pixel holds.

    The colour is transparent: bars that overlap would add up to a dark one, so they stand edge to edge.
    """
    every = math.ceil(pixel_lanes)
    bars = []
    for lane, span in spans:
        left, right = clock.place(span.started_at), clock.place(span.ended_at)
        if right - left < LEAST_QUEUED_SHARE * clock.end:
            continue
        if not every:
            bars.append(_box(left, right, lane - QUEUED_HEIGHT / 2, lane + QUEUED_HEIGHT / 2))
        elif lane % every == lane // every % every:  # each time another: of equal families not always the parent
            bars.append(_box(left, right, lane - lane % every - 0.5, lane - lane % every + every - 0.5))
    return bars


def _box(left: float, right: float, top: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _draw_ends(axes: Axes, lanes: Sequence[Outcome], clock: Clock, *, labelled: bool) -> list[Status]:
    """A sign where each lane ends. Where there are many lanes only those have one that did not end as done."""
    shown = []
    points = SIGN_POINTS if labelled else SMALL_SIGN_POINTS
    beside = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
    for status in STATUSES:
        ends = [(_end(outcome, clock), lane) for lane, outcome in enumerate(lanes) if outcome.status == status]
        if ends and (labelled or status != "done"):
            axes.add_line(_signs(status, ends, markersize=points, transform=beside, clip_on=False))
            shown.append(status)
    return shown


def _end(outcome: Outcome, clock: Clock) -> float:
    return clock.place(max((span.ended_at for span in finite_spans(outcome)), default=clock.began_at))


def _signs(status: Status, places: Sequence[tuple[float, float]], **look: Any) -> Line2D:
    """The same sign as in the table, as the outline of its letter."""
    outline = TextPath((0, 0), SIGNS[status], size=10, prop=FontProperties(family=["DejaVu Sans"]))
    (left, bottom), (right, top) = outline.get_extents().get_points()
    centred = outline.transformed(Affine2D().translate(-(left + right) / 2, -(bottom + top) / 2))
    x, y = zip(*places, strict=True)
    return Line2D(x, y, linestyle="", marker=centred, color=COLOURS[status], markeredgewidth=0, **look)


def _label(axes: Axes, lanes: Sequence[Outcome]) -> None:
    """Each under its parent and further in."""
    axes.set_ylabel("")
    names = [INDENT * outcome.depth + shortened(outcome.label, LABEL_CHARACTERS) for outcome in lanes]
    font = FontProperties(size=LABEL_SIZE)
    widths = [text_to_path.get_text_width_height_descent(name, font, ismath=False)[0] for name in names]
    axes.set_yticks(range(len(lanes)), names, ha="left", fontproperties=font)
    axes.tick_params(axis="y", length=0, pad=max(widths) + 5)
    take_literally(*axes.get_yticklabels())


def _draw_curve(axes: Axes, outcomes: Sequence[Outcome], clock: Clock) -> None:
    most = most_by_column(outcomes, CURVE_COLUMNS)
    edges = [clock.end * column / CURVE_COLUMNS for column in range(CURVE_COLUMNS + 1)]
    colour, _ = FILLINGS["call"]
    axes.stairs(most, edges, fill=True, color=colour, alpha=0.3)
    axes.stairs(most, edges, color=colour, linewidth=1.2)
    axes.set_ylim(0, 1.15 * max(1, *most))
    axes.set_title(most_words(max(most)), loc="right", color=INK, size="small")
