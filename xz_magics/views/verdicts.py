"""What a comparison comes to in words, and how its numbers are written: the same in every view."""

import math
from collections.abc import Sequence

from xz_magics.stats import LEAST_INPUTS, Arm, Compared, Difference, Estimate, Interval, Measure, Pair, least_inputs
from xz_magics.views.wording import harmless, seconds_words

SIGNIFICANT = 0.05
MOST_NAMED = 5
MOST_TOLD = 12
NAME_CHARACTERS = 40
MOST_DECIMALS = 9
HUGE = 1e9

HEADS: dict[Measure, str] = {"score": "score", "tokens": "tokens", "cost_usd": "cost", "duration_s": "time"}
MORE: dict[Measure, str] = {
    "score": "scores higher than",
    "tokens": "takes more tokens than",
    "cost_usd": "costs more than",
    "duration_s": "takes longer than",
}
MOST: dict[Measure, str] = {
    "score": "the highest score",
    "tokens": "the most tokens",
    "cost_usd": "the highest cost",
    "duration_s": "the longest time",
}


def title(compared: Compared) -> str:
    """What is compared, and by what."""
    by = f"by score {name_words(compared.score)}" if compared.score else "without a score"
    number = len(compared.arms)
    return f"{name_words(compared.variable)} compared {by}, {number:,} arm{'' if number == 1 else 's'}"


def arms_told(compared: Compared) -> str:
    """The picture of the arms in words, for those who cannot see it."""
    measure: Measure = "score" if compared.score else "tokens"
    shown = [
        f"{name_words(arm.name)} {estimate_words(arm.estimates[measure], measure) or 'unknown'}"
        for arm in compared.arms[:MOST_TOLD]
    ]
    more = [f"{len(compared.arms) - MOST_TOLD:,} more"] if len(compared.arms) > MOST_TOLD else []
    spent = "cost" if has_cost(compared) else "tokens"
    drawn = f"score by arm, {spent} and duration against score"
    if not compared.score:
        drawn = f"tokens{', cost' if has_cost(compared) else ''} and duration by arm"
    return f"{title(compared)}: {drawn}. Mean {HEADS[measure]} with 95 % interval: {'; '.join([*shown, *more])}."


def has_cost(compared: Compared) -> bool:
    """Whether any is known, and not all is free."""
    return any(arm.estimates["cost_usd"].mean for arm in compared.arms)


def of_all(compared: Compared) -> str:
    """All in a few sentences: the differences by each measure, then what failed."""
    measures = list(dict.fromkeys(pair.measure for pair in compared.pairs))
    words = [_of_measure(compared, measure) for measure in measures]
    if not words:
        words = [f"There is one arm alone, {name_words(compared.arms[0].name)}: nothing to compare it with."]
    return " ".join([*words, *_of_failures(compared)])


def of_pair(pair: Pair) -> str:
    """Such as "strict scores higher than plain", "no significant difference", "too few to compare"."""
    if pair.p_holm is None:
        return "too few to compare"
    if not _is_significant(pair):
        return _lost_words([pair]) if _is_lost(pair) else "no significant difference"
    return f"{name_words(_winner(pair))} {MORE[pair.measure]} {name_words(_loser(pair))}"


def name_words(name: str) -> str:
    """An arm's name in one line, without its middle where it is long: a whole prompt may be one."""
    line = harmless(" ".join(name.split()))
    tail = NAME_CHARACTERS // 3
    return line if len(line) <= NAME_CHARACTERS else f"{line[: NAME_CHARACTERS - tail - 1]}…{line[-tail:]}"


def estimate_words(estimate: Estimate, measure: Measure) -> str:
    """Such as "0.83 (0.64 to 0.93)"; empty where there is no mean."""
    return _with_interval(estimate.mean, estimate.interval, measure)


def interval_words(interval: Interval, measure: Measure) -> str:
    return " to ".join(number_words(end, measure, interval) for end in (interval.low, interval.high))


def difference_words(difference: Difference, measure: Measure) -> str:
    """Such as "-0.12 (-0.21 to -0.03)"; empty where there is none."""
    return _with_interval(difference.difference, difference.interval, measure)


def number_words(number: float, measure: Measure, interval: Interval | None = None) -> str:
    """Scores and dollars have two digits of their interval's width, or where there is none a few of their own."""
    size, sign = abs(number), "-" if number < 0 else ""
    width = interval.high - interval.low if interval else 0.0
    match measure:
        case "tokens":
            return f"{sign}{size:,.0f}" if size >= 10 or float(size).is_integer() else f"{sign}{size:.1f}"
        case "cost_usd":
            return f"{sign}${size:,.{max(2, _decimals(width or size))}f}" if size else "free"
        case "duration_s":
            return f"{sign}{seconds_words(size)}"
        case _:
            return sign + score_words(size, width)


def score_words(score: float, width: float = 0.0) -> str:
    return f"{score:,.{_decimals(width)}f}" if width and abs(score) < HUGE else f"{score:.3g}"


def p_words(p: float | None) -> str:
    """Such as "p = 0.012"; empty where there is none."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def inputs_words(number: int) -> str:
    return f"{number:,} input{'' if number == 1 else 's'}"


def _decimals(width: float) -> int:
    """So many as show two digits of it."""
    return min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(width))))


def _with_interval(number: float | None, interval: Interval | None, measure: Measure) -> str:
    if number is None:
        return ""
    words = number_words(number, measure, interval)
    return f"{words} ({interval_words(interval, measure)})" if interval else words


def _of_measure(compared: Compared, measure: Measure) -> str:
    pairs = [pair for pair in compared.pairs if pair.measure == measure]
    if all(pair.p_holm is None for pair in pairs):
        return _too_few(pairs, measure)
    if len(pairs) == 1:
        return _of_two(pairs[0])
    return _of_many(compared.arms, pairs, measure)


def _too_few(pairs: Sequence[Pair], measure: Measure) -> str:
    most = max(pair.difference.inputs for pair in pairs)
    by = "" if measure == "score" else f" by {HEADS[measure]}"
    left_out = max(pair.left_out for pair in pairs)
    common = " in common" if len(pairs) > 1 or left_out else ""
    mend = "foreach gives a task more of them"
    return f"Too few to compare{by}: {inputs_words(most)}{common}, at least {LEAST_INPUTS} are needed; {mend}."


def _of_two(pair: Pair) -> str:
    """Seen from the arm that has more."""
    found = pair.difference
    size, interval = abs(found.difference or 0.0), found.interval
    if interval and _winner(pair) == pair.second:
        interval = Interval(low=-interval.high, high=-interval.low)
    facts = [
        f"difference {number_words(size, pair.measure, interval)}",
        *([f"95 % interval {interval_words(interval, pair.measure)}"] if interval else []),
        p_words(pair.p_holm),
        inputs_words(found.inputs),
        *([f"{pair.left_out:,} left out"] if pair.left_out else []),
    ]
    if _is_significant(pair):
        return f"{of_pair(pair)}: {', '.join(facts)}."
    by = "" if pair.measure == "score" else f" in {HEADS[pair.measure]}"
    between = f"No significant difference{by} between {name_words(pair.first)} and {name_words(pair.second)}"
    return f"{between}: {', '.join(facts)}.{_needed(found)}"


def _of_many(arms: Sequence[Arm], pairs: Sequence[Pair], measure: Measure) -> str:
    """The arm whose mean is the highest, and which others it is significantly apart from."""
    means = {arm.name: arm.estimates[measure].mean for arm in arms}
    top = max(means, key=lambda name: -math.inf if (own := means[name]) is None else own)
    pairs_of_top = [pair for pair in pairs if top in {pair.first, pair.second}]
    below = [_loser(pair) for pair in pairs_of_top if _is_significant(pair) and _winner(pair) == top]
    rest = [pair.second if pair.first == top else pair.first for pair in pairs_of_top]
    lost = [pair for pair in pairs_of_top if _is_lost(pair) and _winner(pair) == top]
    equal = [name for name in rest if name not in {*below, *map(_loser, lost)}]
    found = sum(map(_is_significant, pairs))
    has = "has" if list(means.values()).count(means[top]) == 1 else "shares"
    mean = estimate_words(next(arm.estimates[measure] for arm in arms if arm.name == top), measure)
    words = [f"{name_words(top)} {has} {MOST[measure]}, {mean}"]
    if below:
        words.append(f"significantly above {_listed([name_words(name) for name in below])}")
    if lost:
        words.append(f"{_lost_words(lost)} above {_listed([name_words(_loser(pair)) for pair in lost])}")
    if equal:
        words.append(f"no significant difference to {_listed([name_words(name) for name in equal])}")
    counted = f"Of {len(pairs):,} pairs {found:,} differ significantly (Holm's correction)."
    return f"{'; '.join(words)}. {counted}{_out_of_reach(pairs)}"


def _out_of_reach(pairs: Sequence[Pair]) -> str:
    """Where even inputs that all speak for one arm could not make any pair significant."""
    tested = [pair for pair in pairs if pair.p_holm is not None]
    most, least = max(pair.difference.inputs for pair in tested), least_inputs(len(tested))
    if most >= least or not all(pair.difference.method.startswith("exact") for pair in tested):
        return ""
    return (
        f" With {inputs_words(most)} no difference can be significant among {len(tested):,} pairs:"
        f" it takes at least {least:,}."
    )


def _of_failures(compared: Compared) -> list[str]:
    """What failed has no score: an arm in which more did so looks better than it is, or worse."""
    lost = {arm.name: arm.failed + arm.missing_scores for arm in compared.arms}
    if not any(lost.values()):
        return []
    tasks = {arm.name: arm.failed + arm.answers for arm in compared.arms}
    counts = [
        f"{name_words(arm.name)} {lost[arm.name]:,} of {tasks[arm.name]:,}"
        + "".join(f"{', ' if place else ': '}{words}" for place, words in enumerate(_losses(arm)))
        for arm in compared.arms
        if lost[arm.name]
    ]
    kinds = [
        *(["an answer"] if any(arm.failed for arm in compared.arms) else []),
        *(["a score"] if any(arm.missing_scores for arm in compared.arms) else []),
    ]
    kind = f"tasks without {' or '.join(kinds)}"
    differ = len({lost[name] / tasks[name] for name in lost}) > 1
    begin = f"Beware, arms differ in {kind}" if differ else f"Every arm has as many {kind}"
    return [f"{begin} ({'; '.join(counts[:MOST_TOLD])}): these are left out, so only the rest is compared."]


def _losses(arm: Arm) -> list[str]:
    """Such as "6 skipped: quota exceeded"."""
    told = [f"{number:,} {how}" for how, number in arm.lost.items()]
    return [*told, f"{arm.missing_scores:,} without a score"] if told and arm.missing_scores else told


def _needed(found: Difference) -> str:
    if found.needed_inputs is None:
        return ""
    return f" To find such a difference in 80 % of cases takes about {inputs_words(found.needed_inputs)}."


def _is_significant(pair: Pair) -> bool:
    return pair.p_holm is not None and pair.p_holm <= SIGNIFICANT


def _is_lost(pair: Pair) -> bool:
    """Whether it would be significant if it stood alone."""
    return not _is_significant(pair) and pair.difference.p is not None and pair.difference.p <= SIGNIFICANT


def _lost_words(pairs: Sequence[Pair]) -> str:
    ps = [pair.difference.p or 0.0 for pair in pairs]
    before = " to ".join(dict.fromkeys([p_words(min(ps)), p_words(max(ps))]))
    return f"not significant after correction for {pairs[0].tested:,} pairs ({before} before)"


def _winner(pair: Pair) -> str:
    return pair.first if (pair.difference.difference or 0.0) > 0 else pair.second


def _loser(pair: Pair) -> str:
    return pair.second if _winner(pair) == pair.first else pair.first


def _listed(words: Sequence[str]) -> str:
    shown = list(words[:MOST_NAMED])
    if len(words) > MOST_NAMED:
        shown.append(f"{len(words) - MOST_NAMED:,} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
