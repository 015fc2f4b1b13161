"""Durations and tokens as stacked bars: it alone knows what these can be told apart by."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from xz_magics.errors import SpecError
from xz_magics.metrics import histogram
from xz_magics.records import STATUSES, Outcome, Status
from xz_magics.views.plots.figure import INK, SANE_STEPS, Figure, Look, add_legend, dress, paper, shortened
from xz_magics.views.telling import histograms_told
from xz_magics.views.wording import COLOURS, left_out_words, status_word, tasks_words

HEIGHT_INCHES = 2.6
STATUS_HATCHES: dict[Status, str] = {
    "done": "",
    "incomplete": "///",
    "refused": "...",
    "failed": "xxx",
    "timed_out": "\\\\\\",
    "cancelled": "---",
    "skipped": "++",
    "unknown": "**",
}
GROUP_LOOKS = (
    ("#4477AA", ""),
    ("#DDCC77", "///"),
    ("#AA3377", "..."),
    ("#66CCEE", "\\\\\\"),
    ("#EE6677", "xxx"),
    ("#999933", "---"),
    ("#7766CC", "ooo"),
    ("#4477AA", "|||"),
    ("#DDCC77", "++"),
    ("#BBBBBB", "**"),
)
"""From the largest group on; the last one is that of all the others. None is the colour of a status. Most are of the
palettes of Paul Tol for colour-blind eyes (sronpersonalpages.nl/~pault)."""
NAME_CHARACTERS = 36

Groups = dict[Look, list[Outcome]]
"""In the order in which they are stacked and told."""


def histograms(outcomes: Sequence[Outcome], by: str = "status") -> Figure:
    """Durations and tokens side by side; bars are stacked by "status", by "model" or by a variable of the matrix.

    What is reused took no time here: a line says how many are left out. Raises SpecError for any other `by`.
    """
    groups = _groups([one for one in outcomes if one.reused is None], by)
    drawn = paper(HEIGHT_INCHES)
    durations, tokens = drawn.subplots(1, 2)
    _dress(durations, "Duration", "seconds", whole=False)
    _dress(tokens, "Tokens", "tokens per task", whole=True)
    seen = _draw(durations, groups, [[one.duration_s for one in members] for members in groups.values()], whole=False)
    seen |= _draw(tokens, groups, [[one.total_tokens for one in members] for members in groups.values()], whole=True)
    shown = [look for look in groups if look in seen]
    add_legend(drawn, [look.patch() for look in shown], [look.name for look in shown])
    if left_out := left_out_words(outcomes):
        drawn.suptitle(left_out, color=INK, size="small", x=0.99, ha="right")
    drawn.told = histograms_told(outcomes, by)
    return drawn


def _groups(outcomes: Sequence[Outcome], by: str) -> Groups:
    if by == "status":
        return _by_status(outcomes)
    if by == "model":
        return _ranked((one.model, one) for one in outcomes)
    arms = [one.trial.arms if one.trial else {} for one in outcomes]
    variables = dict.fromkeys(variable for of_one in arms for variable in of_one)
    if by not in variables:
        raise _no_such(by, ["status", "model", *variables])
    return _ranked((str(of_one.get(by, f"no {by}")), one) for of_one, one in zip(arms, outcomes, strict=True))


def _no_such(by: str, known: Sequence[str]) -> SpecError:
    close = get_close_matches(by, known, n=1)
    mend = f'did you mean by="{close[0]}"?' if close else f"there are: {', '.join(known)}"
    return SpecError(f"outcomes cannot be told apart by {by!r}", mend)


def _by_status(outcomes: Sequence[Outcome]) -> Groups:
    found: defaultdict[Status, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.status].append(outcome)
    return {
        Look(name=status_word(status), colour=COLOURS[status], hatch=STATUS_HATCHES[status]): found[status]
        for status in STATUSES
        if status in found
    }


def _ranked(named: Iterable[tuple[str, Outcome]]) -> Groups:
    """The largest first, equals as they come; where there are more than looks, the smallest are one group together."""
    found: defaultdict[str, list[Outcome]] = defaultdict(list)
    for name, outcome in named:
        found[name].append(outcome)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    if len(ranked) > len(GROUP_LOOKS):
        rest = ranked[len(GROUP_LOOKS) - 1 :]
        ranked[len(GROUP_LOOKS) - 1 :] = [(f"{len(rest)} others", [one for _, members in rest for one in members])]
    return {
        Look(name=shortened(name, NAME_CHARACTERS), colour=colour, hatch=hatch): members
        for (name, members), (colour, hatch) in zip(ranked, GROUP_LOOKS, strict=False)
    }


def _draw(axes: Axes, groups: Groups, values: Sequence[Sequence[float | None]], *, whole: bool) -> set[Look]:
    """Draws one histogram and returns the looks that are to be seen in it."""
    looks = [look for look, members in groups.items() for _ in members]
    bins = histogram([value for group in values for value in group], looks, whole=whole)
    seen: set[Look] = set()
    for one in bins:
        if one.left is None or one.right is None:
            axes.set_title(f"and {tasks_words(one.total)} without a value", loc="right", color=INK, size="small")
            continue
        bottom = 0
        for look in (look for look in groups if one.counts.get(look)):
            axes.bar(one.left, one.counts[look], one.right - one.left, bottom, align="edge", **look.filling)
            bottom += one.counts[look]
            seen.add(look)
    if not seen:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=INK)
    return seen


def _dress(axes: Axes, title: str, unit: str, *, whole: bool) -> None:
    dress(axes)
    axes.set_title(title, loc="left", color=INK, weight="bold")
    axes.set_xlabel(unit, color=INK)
    axes.set_ylabel("tasks", color=INK)
    axes.grid(axis="y", color=INK, alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole, steps=SANE_STEPS))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if whole else "{x:,.10g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=SANE_STEPS))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.margins(x=0.02)
