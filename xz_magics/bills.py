"""What a plan may cost at most, before any of it is sent: it reckons as the agent reserves, turn by turn."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from xz_magics.agent.answers import MOST_FAULT_BYTES
from xz_magics.agent.room import LEAST_TOKENS, Needs, Room
from xz_magics.plan import MOST_OUTPUT_BYTES
from xz_magics.providers import Provider
from xz_magics.quotas import Tracker
from xz_magics.records import LimitUse, Message, Outcome, Request, Task, ToolSpec, Usage
from xz_magics.scores.fencing import room_bytes
from xz_magics.scores.judging import judged
from xz_magics.specs.scoring import Summarise
from xz_magics.tools.granted import Granted
from xz_magics.tools.rights import Rights

MARKS_BYTES = 128
"""The most that is written below an output that goes into another task's prompt: that it is cut, or not done."""

REASK_BYTES = 512 + MOST_FAULT_BYTES
"""The most that a task is told of an answer that does not fit its schema, beside that schema."""

Standing = Literal["sure", "perhaps", "never"]
"""Whether the limits let a task start: surely, where all before it use the most that they may; or if they use less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one task may come to at most where no call is tried twice; `first` is what its first call asks for.

    Tokens None: it has no bound of its own, for what tools bring and whom it delegates to is the model's. Dollars None:
    no bound, or an unknown price, which `unpriced` tells apart.
    """

    turns: int
    first_tokens: int
    first_usd: Decimal
    tokens: int | None
    cost_usd: Decimal | None
    unpriced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Of many bills. Tokens are None where one has no bound; dollars are those of the tasks that have a price and one.

    `unbounded`, `unbounded_cost` and `unpriced` count the tasks that have none.
    """

    tasks: int
    turns: int
    tokens: int | None
    cost_usd: Decimal | None
    unbounded: int
    unbounded_cost: int
    unpriced: int


class Biller:
    """Bills the tasks of one run. `output_max_size`: the most bytes of one output; None: any."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        granted: Callable[[Rights], Granted],
        max_depth: int,
        output_max_size: int | None = None,
    ) -> None:
        self._providers = providers
        self._granted = granted
        self._max_depth = max_depth
        self._output_bytes = sys.maxsize if output_max_size is None else output_max_size
        self._insert_bytes = min(MOST_OUTPUT_BYTES, self._output_bytes) + MARKS_BYTES
        self._tracker = Tracker()
        self._offered: dict[tuple[str, ...], tuple[tuple[ToolSpec, ...], bool]] = {(): ((), False)}

    def bill(self, task: Task, *, unseen_bytes: int = 0) -> Bill:
        """`unseen_bytes`: so many more may be in its prompt."""
        provider = self._providers[task.model]
        tools, delegates = self._tools_of(task)
        rooms = list(self._rooms(task, provider, tools, unseen_bytes))
        asked = [provider] if not (tools and delegates) else list(self._providers.values())
        prices = [one.price for one in asked]
        free = all(price is not None and not price.worst(1, 1) for price in prices)
        bounded = free or not tools
        first = Room(prompt=rooms[0].prompt, answer=min(LEAST_TOKENS, task.max_tokens)) if tools else rooms[0]
        cost = sum((room.worst_cost(provider.price) for room in rooms), Decimal(0))
        return Bill(
            turns=len(rooms) - 1 + (task.max_turns if tools else 1),
            first_tokens=first.tokens,
            first_usd=first.worst_cost(provider.price),
            tokens=None if tools else sum(room.tokens for room in rooms),
            cost_usd=cost if bounded and None not in prices else None,
            unpriced=None in prices,
        )

    def judging(self, task: Task) -> Iterator[Bill]:
        """Of each judge of its answer: how long that will be is not known, but how much of it a judge is shown."""
        answer = Outcome(
            index=task.index, label=task.label, status="done", model=task.model, max_tokens=task.max_tokens, output="-"
        )
        for one in judged([(answer, task)]):
            room = room_bytes(one.task.model)
            question_bytes = min(self._inserted(task, "prompt"), room) + MARKS_BYTES
            yield self.bill(one.task, unseen_bytes=question_bytes + min(self._output_bytes, room) + MARKS_BYTES)

    def summing_up(self, step: Summarise) -> Bill:
        """Without bound: how many calls it takes depends on how long the outputs are."""
        task = Task(index=0, label="summary", prompt=step.prompt, model=step.model, max_tokens=step.max_tokens)
        one = self.bill(task)
        return replace(one, tokens=None, cost_usd=None if one.cost_usd else one.cost_usd)

    def _tools_of(self, task: Task) -> tuple[tuple[ToolSpec, ...], bool]:
        """What it is offered, and whether one of these delegates."""
        if task.max_turns == 1:
            return (), False
        allowed = task.allowed_tools
        if allowed not in self._offered:
            rights = Rights.of(allowed)
            tools = self._granted(rights)
            if not self._max_depth and tools.delegating:
                tools = self._granted(rights.only(set(rights.words) - tools.delegating))
            self._offered[allowed] = tools.specs, bool(tools.delegating)
        return self._offered[allowed]

    def _rooms(self, task: Task, provider: Provider, tools: tuple[ToolSpec, ...], unseen_bytes: int) -> Iterator[Room]:
        """What each turn of it asks for at most; of those in which tools may be called the first one alone.

        Which of the later turns comes first is not known: the longer prompt is, since all that follow hold it, too.
        """
        needs = Needs(task, provider, self._tracker, tools)
        messages = [Message(role="user", content=task.prompt)]
        if task.system:
            messages.insert(0, Message(role="system", content=task.system))
        added_bytes = unseen_bytes + self._inserted(task, "prompt", "system")
        for later in [None, *self._later(task)]:
            if later is not None:
                text, added_bytes = later
                messages += [Message(role="assistant", content=""), Message(role="user", content=text)]
            request = Request(messages=tuple(messages), max_tokens=task.max_tokens)
            bound = needs.room_for(request).prompt + added_bytes
            yield Room(prompt=bound, answer=task.max_tokens)
            needs.note_reply(request, Usage(input_tokens=bound, output_tokens=task.max_tokens))

    def _later(self, task: Task) -> list[tuple[str, int]]:
        """The prompts of the turns after the work, and how many bytes more they may have."""
        later = []
        if task.schema is not None:
            schema_bytes = len(json.dumps(task.schema.json, ensure_ascii=False).encode("utf-8", "surrogatepass"))
            later.append(("", REASK_BYTES + schema_bytes))
        if task.summary_prompt is not None:
            later.append((task.summary_prompt, self._inserted(task, "summary_prompt")))
        return sorted(later, key=lambda one: len(one[0].encode("utf-8", "surrogatepass")) + one[1], reverse=True)

    def _inserted(self, task: Task, *fields: str) -> int:
        return self._insert_bytes * sum(insert.field in fields for insert in task.inserts)


def add_up(bills: Sequence[Bill]) -> Sum:
    tokens = [bill.tokens for bill in bills if bill.tokens is not None]
    costs = [bill.cost_usd for bill in bills if bill.cost_usd is not None]
    return Sum(
        tasks=len(bills),
        turns=sum(bill.turns for bill in bills),
        tokens=sum(tokens) if len(tokens) == len(bills) else None,
        cost_usd=sum(costs, Decimal(0)) if costs or not bills else None,
        unbounded=sum(bill.tokens is None for bill in bills),
        unbounded_cost=sum(bill.cost_usd is None and not bill.unpriced for bill in bills),
        unpriced=sum(bill.unpriced for bill in bills),
    )


def standings(bills: Sequence[Bill], use: LimitUse, tries: int = 1) -> list[Standing]:
    """What one limit lets start of tasks that begin in this order. A limit of time tells nothing beforehand.

    `tries`: how often each call may be charged.
    """
    left = float("inf") if use.limit is None else use.limit - use.used
    match use.name:
        case "max_executions":
            return ["sure" if place < left else "never" for place in range(len(bills))]
        case "max_total_tokens":
            return _standing([(bill.first_tokens, bill.tokens) for bill in bills], left, tries)
        case "max_total_cost":
            return _standing([(float(bill.first_usd), _float(bill.cost_usd)) for bill in bills], left, tries)
    return ["perhaps"] * len(bills)


def _standing(needs: Sequence[tuple[float, float | None]], left: float, tries: int) -> list[Standing]:
    """`needs` are of each task the first call's and the most that it may use."""
    found: list[Standing] = []
    spent: float | None = 0.0
    for first, most in needs:
        spent = None if spent is None or most is None else spent + most * tries
        found.append("never" if first > left else "sure" if spent is not None and spent <= left else "perhaps")
    return found


def _float(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)
