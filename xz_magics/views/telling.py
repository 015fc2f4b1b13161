"""Each picture in a sentence or two, for those who cannot see it."""

from collections.abc import Sequence

from xz_magics.metrics import percentile
from xz_magics.records import Outcome, Span
from xz_magics.views.spans import KIND_WORDS, kind_seconds, most_words, requests_under_way, whole_time
from xz_magics.views.wording import left_out_words, seconds_words, tasks_words


def histograms_told(outcomes: Sequence[Outcome], by: str = "status") -> str:
    sent = [outcome for outcome in outcomes if outcome.reused is None]
    seconds = [outcome.duration_s for outcome in sent if outcome.duration_s is not None]
    tokens = [outcome.total_tokens for outcome in sent if outcome.total_tokens is not None]
    words = [f"Histograms of {tasks_words(len(sent))} by {by}."]
    if seconds:
        low, middle, high = (seconds_words(percentile(seconds, percent)) for percent in (0, 50, 100))
        words.append(f"Durations from {low} to {high}, median {middle}.")
    if tokens:
        low, middle, high = (f"{percentile(tokens, percent):,.0f}" for percent in (0, 50, 100))
        words.append(f"Tokens from {low} to {high}, median {middle}.")
    if left_out := left_out_words(outcomes):
        words.append(f"{left_out}.")
    return " ".join(words)


def timeline_told(outcomes: Sequence[Outcome], pauses: Sequence[Span] = ()) -> str:
    time = whole_time(outcomes)
    if time is None:
        return "Timeline: nothing ran."
    number = f"{len(outcomes):,} subagent{'' if len(outcomes) == 1 else 's'}"
    most = max((count for _, count in requests_under_way(outcomes)), default=0)
    seconds = [f"{KIND_WORDS[kind]} {seconds_words(time_s)}" for kind, time_s in kind_seconds(outcomes).items()]
    words = [f"Timeline of {number} over {seconds_words(time[1] - time[0])}: {most_words(most)}."]
    words.append(f"Time of all together: {', '.join(seconds)}.")
    if pauses:
        words.append(f"Rate limits paused the account {'once' if len(pauses) == 1 else f'{len(pauses):,} times'}.")
    return " ".join(words)
