"""What a run would send and may cost at most: it is prepared as a run is, and then nothing of it happens."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from xz_magics.api import run_arguments
from xz_magics.api.bill_words import calls_words, cost_words, limit_words, most_words, price_words, tokens_words
from xz_magics.api.preparing import Prepared, Work, prepare
from xz_magics.api.recollecting import recollect
from xz_magics.bills import Bill, Biller, add_up, standings
from xz_magics.errors import ConfirmationNeeded
from xz_magics.plan import MOST_OUTPUT_BYTES
from xz_magics.records import Outcome, Task
from xz_magics.session import session
from xz_magics.specs.scoring import Summarise
from xz_magics.views import previews
from xz_magics.views.previews import Preview
from xz_magics.views.wording import dollars_words, limit_name, tasks_words

if TYPE_CHECKING:
    from xz_magics.frames import DataFrame

SHOWN = 5
"""So many tasks are shown with their prompts; all of them stand in .df."""

NOTHING = Bill(turns=0, first_tokens=0, first_usd=Decimal(0), tokens=0, cost_usd=Decimal(0), unpriced=False)

TEXTS = ("system", "prompt", "summary_prompt")
DTYPES = {
    "label": "string",
    "model": "string",
    **dict.fromkeys(TEXTS, "string"),
    "max_tokens": "Int64",
    "turns": "Int64",
    "most_tokens": "Int64",
    "most_cost_usd": "Float64",
    "unpriced": "boolean",
    "starts": "string",
}
SUMMARY_DTYPES = {
    "tasks": "Int64",
    "turns": "Int64",
    "tokens": "Int64",
    "cost_usd": "Float64",
    "most_tokens": "Int64",
    "most_cost_usd": "Float64",
    "unbounded": "Int64",
    "unpriced": "Int64",
}


def dry_run(work: Work, **options: Any) -> "DryRun":
    """What `run` would do with the same arguments, task by task; nothing is sent, fetched or started.

    Raises what `run` raises before anything is sent, but needs no key.
    """
    run_arguments.bind(work, **options)
    options.pop("show", None)
    prepared = prepare(work, sending=False, **options)
    return DryRun(recollect(prepared) if prepared.resume is not None or prepared.reuse else prepared)


dry_run.__signature__ = run_arguments.replace(  # type: ignore[attr-defined]  # what help shows: one list of options
    return_annotation="DryRun"
)


def confirm(prepared: Prepared) -> None:
    """Raises ConfirmationNeeded where a run sends more tasks than the settings let start unasked, or may cost more."""
    settings, tasks = prepared.settings, len(prepared.plan.tasks) - len(_left_out(prepared))
    if tasks <= settings.confirm_tasks and settings.confirm_cost is None:
        return
    looked, limit = DryRun(prepared), settings.confirm_cost
    reasons = [f"confirm_tasks is {settings.confirm_tasks:,}"] if tasks > settings.confirm_tasks else []
    if limit is not None and (looked.most_cost_usd is None or looked.most_cost_usd > limit):
        reasons.append(f"confirm_cost is {dollars_words(limit)}")
    if reasons:
        raise ConfirmationNeeded(
            f"{tasks_words(tasks)} would start, and {' and '.join(reasons)}\nat most {looked.most_words}",
            "add --yes to start them, or --dry-run to look first",
        )


class DryRun:
    """What a run would do: `plan` holds its tasks as they would be sent, `df` a row for each.

    "At most" is what the run cannot pass, whatever the models answer, while the providers' counts stay within what is
    reserved. A task that has tools has no bound of its own: then it is the quota's, if any. What is reused, or left out
    for it was sent before and its end is unknown, costs nothing.
    """

    def __init__(self, prepared: Prepared) -> None:
        plan, settings = prepared.plan, prepared.settings
        self.plan = plan
        self._tries = settings.retries + 1
        self._uses = [use for use in session.quota.child(plan.quota).uses(above=True) if use.limit is not None]
        biller = Biller(
            prepared.providers,
            granted=prepared.granted,
            max_depth=plan.max_depth,
            output_max_size=settings.output_max_size,
        )
        self._left_out = _left_out(prepared)
        self._sent = [task for task in plan.tasks if task.label not in self._left_out]
        self._bills = [biller.bill(task) for task in self._sent]
        answered = [task for task in plan.tasks if self._left_out.get(task.label) != "unknown"]
        self._judging = [bill for task in answered for bill in biller.judging(task)]
        steps = () if plan.combine is None else plan.combine.steps
        self._summing_up = [biller.summing_up(step) for step in steps if isinstance(step, Summarise)]
        self._sum = add_up([*self._bills, *self._judging, *self._summing_up])
        self._from = prepared.recollection and prepared.recollection.resumes
        self._notes = (*plan.warnings, *dict.fromkeys(p.note for p in prepared.providers.values() if p.note))

    @property
    def most_tokens(self) -> int | None:
        """With all tries, within the quota; None: there is no bound."""
        tokens = None if self._sum.tokens is None else self._sum.tokens * self._tries
        bounds = [bound for bound in (tokens, self._left("max_total_tokens")) if bound is not None]
        return int(min(bounds)) if bounds else None

    @property
    def most_cost_usd(self) -> float | None:
        """With all tries, within the quota; None: there is no bound, or a price is unknown."""
        if self._sum.unpriced:
            return None
        usd = self._sum.cost_usd
        own = None if usd is None or self._sum.unbounded_cost else float(usd) * self._tries
        bounds = [bound for bound in (own, self._left("max_total_cost")) if bound is not None]
        return min(bounds) if bounds else None

    @property
    def most_words(self) -> str:
        """Such as "4,032,000 tokens and $1.21", in the worst case."""
        tokens, usd = self.most_tokens, self.most_cost_usd
        cost = cost_words(self._sum, self._tries) if usd is None else price_words(usd)
        return f"{tokens_words(tokens)}, {cost}"

    @property
    def df(self) -> "DataFrame":
        """A row per task, in the order planned: its texts as they would be sent, and what it may come to at most.

        That is without repeated tries; NA: no bound, or no price. `starts` says whether the limits let it:
        "sure", even where all before it use the most that they may; "perhaps", if they use less; "never". What is not
        sent is "reused" or "unknown". Then come the columns that tell where each stands in the fan-out, as in the `df`
        of Results.
        """
        from xz_magics.frames import table
        from xz_magics.frames.trials import trial_columns

        rows = zip(self._sent, self._bills, self._starts(), strict=True)
        billed = {task.label: (bill, starts) for task, bill, starts in rows}
        billed |= {label: (NOTHING, why) for label, why in self._left_out.items()}
        columns = trial_columns([_unsent(task) for task in self.plan.tasks], self.plan.dtypes, taken=DTYPES)
        return table([_row(task, *billed[task.label]) for task in self.plan.tasks], DTYPES).assign(**columns)

    @property
    def summary(self) -> "DataFrame":
        """One row, of the whole plan with its judges: the sums, and the most with all tries, within the quota."""
        from xz_magics import frames

        total = self._sum
        cost = None if total.cost_usd is None or total.unbounded_cost or total.unpriced else float(total.cost_usd)
        row = {"tasks": len(self), "turns": total.turns, "tokens": total.tokens, "cost_usd": cost}
        row |= {"most_tokens": self.most_tokens, "most_cost_usd": self.most_cost_usd}
        row |= {"unbounded": total.unbounded, "unpriced": total.unpriced}
        return frames.table([row], SUMMARY_DTYPES)

    def __len__(self) -> int:
        return len(self.plan.tasks)

    def __repr__(self) -> str:
        return previews.text(*self._drawn())

    def _repr_html_(self) -> str:
        return previews.page(*self._drawn())

    def _drawn(self) -> tuple[list[str], list[Preview], int]:
        shown = [_preview(task, bill) for task, bill in zip(self._sent[:SHOWN], self._bills, strict=False)]
        return list(self._facts()), shown, len(self._sent) - len(shown)

    def _facts(self) -> Iterator[str]:
        total = self._sum
        yield f"dry run of {tasks_words(len(self))}: nothing was sent"
        if self._left_out:
            yield self._left_out_words()
        models = Counter(task.model for task in self._sent)
        named = [model if len(models) == 1 else f"{model} ({count:,})" for model, count in models.items()]
        more = " and those of the summary" if self._summing_up else ""
        calls = sum(bill.turns for bill in (*self._bills, *self._judging))
        yield " · ".join([*([", ".join(named)] if named else []), f"at most {calls_words(calls)}{more}"])
        yield f"where no call is tried twice: at most {most_words(total, 1)}"
        if (tries := self._tries) > 1:
            yield f"where each is charged {tries} times (retries = {tries - 1}): at most {most_words(total, tries)}"
        if self._uses:
            yield f"within the quota: at most {self.most_words}"
        yield from self._reasons()
        yield from (limit_words(use, self._bills) for use in self._uses)
        yield from self._notes

    def _left_out_words(self) -> str:
        counts = Counter(self._left_out.values())
        where = f" from run {self._from}" if self._from else ""
        told = [f"{counts['reused']:,} of these would be reused{where}"] if counts["reused"] else []
        if counts["unknown"]:
            told.append(f"{counts['unknown']:,} were sent before and their end is unknown: --resend-unknown sends them")
        return "; ".join([*told, f"{tasks_words(len(self._sent))} would be sent"])

    def _reasons(self) -> Iterator[str]:
        """Why a bound is high, or there is none."""
        if self._judging:
            yield f"among these {len(self._judging):,} judges, each for an answer as long as it is shown"
        if filled := sum(bool(task.inserts) for task in self._sent):
            yield f"{tasks_words(filled)} with answers of others in them, up to {MOST_OUTPUT_BYTES:,} bytes of each"
        if unbounded := sum(bill.tokens is None for bill in self._bills):
            yield f"without bound: {tasks_words(unbounded)} with tools, for what these bring is not known beforehand"
        if self._summing_up:
            yield "without bound: the summary of all answers, whose length is not known beforehand"

    def _starts(self) -> list[str]:
        """The worst that a limit says of each task."""
        starts = ["sure"] * len(self._bills)
        for use in self._uses:
            for place, standing in enumerate(standings(self._bills, use, self._tries)):
                if standing == "never":
                    starts[place] = f"never: {limit_name(use)}"
                elif standing == "perhaps" and starts[place] == "sure":
                    starts[place] = "perhaps"
        return starts

    def _left(self, name: str) -> float | None:
        left = [use.limit - use.used for use in self._uses if use.name == name and use.limit is not None]
        return max(0.0, min(left)) if left else None


def _left_out(prepared: Prepared) -> dict[str, Literal["reused", "unknown"]]:
    """Why, by label."""
    if prepared.recollection is None:
        return {}
    foreseen = prepared.recollection.foreseen
    reused: dict[str, Literal["reused", "unknown"]] = dict.fromkeys(foreseen.reused, "reused")
    return reused | dict.fromkeys(foreseen.unknown, "unknown")


def _unsent(task: Task) -> Outcome:
    return Outcome(
        index=task.index,
        label=task.label,
        status="skipped",
        model=task.model,
        max_tokens=task.max_tokens,
        trial=task.trial,
    )


def _row(task: Task, bill: Bill, starts: str) -> dict[str, Any]:
    return {
        "label": task.label,
        "model": task.model,
        **{name: _text(task, name) for name in TEXTS},
        "max_tokens": task.max_tokens,
        "turns": bill.turns,
        "most_tokens": bill.tokens,
        "most_cost_usd": None if bill.cost_usd is None else float(bill.cost_usd),
        "unpriced": bill.unpriced,
        "starts": starts,
    }


def _preview(task: Task, bill: Bill) -> Preview:
    return Preview(
        label=task.label,
        model=task.model,
        prompts=[(name.replace("_", " "), text) for name in TEXTS if (text := _text(task, name))],
        calls=calls_words(bill.turns),
        tokens=tokens_words(bill.tokens),
        cost=cost_words(add_up([bill]), 1),
    )


def _text(task: Task, name: str) -> str | None:
    """As it would be sent, with the name of what is still to come where another task's output goes in."""
    text: str | None = getattr(task, name)
    for insert in sorted(task.inserts, key=lambda one: one.at, reverse=True):
        if text is not None and insert.field == name:
            text = f"{text[: insert.at]}{{{{results.{insert.label}}}}}{text[insert.at :]}"
    return text
