"""One task as it goes: what the fold keeps of it, and the part of that which a person is shown."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xz_magics.records import STATUSES, Outcome, Span, SpanKind, Status, Task, Turn, known_sum

State = Literal["waiting", "running"] | Status
STATES: tuple[State, ...] = ("waiting", "running", *STATUSES)

SHORTEST_SPAN_S = 0.001


def states_words(counts: Mapping[Any, int]) -> str:
    """Such as "3 done, 1 timed out"."""
    told = {state: counts.get(state, 0) for state in STATES}
    return ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in told.items() if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A task that has not ended, as it stands now: `output` is what its present turn has answered so far.

    `note` says what it does meanwhile, such as "calls read_file". Tokens and cost are those of the turns that ended.
    """

    label: str
    status: State
    model: str
    output: str | None
    note: str
    parent: str | None
    depth: int
    turns: tuple[Turn, ...]
    started_at: float | None

    @property
    def success(self) -> bool:
        return False

    @property
    def total_tokens(self) -> int | None:
        return known_sum(turn.total_tokens for turn in self.turns)

    @property
    def cost_usd(self) -> float | None:
        return known_sum(turn.cost_usd for turn in self.turns)


@dataclass(slots=True)
class Row:
    """One task as it goes. `state` is "waiting" or "running", then its status.

    `calls` are the names of the tools that it waits for, by the call's id; `children` what it delegated. `since` holds
    when what it does now began, by the call's id for tools and by kind for the rest. `tokens`, `cost_usd`, `estimated`
    and `unpriced` sum up its turns.
    """

    task: Task
    parent: str | None
    depth: int
    state: State = "waiting"
    parts: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    tokens: int | None = None
    cost_usd: float | None = None
    estimated: bool = False
    unpriced: bool = False
    calls: dict[str, str] = field(default_factory=dict)
    children: list["Row"] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    since: dict[str, float] = field(default_factory=dict)
    spawn_s: float | None = None
    started: bool = False
    started_at: float | None = None
    note: str = ""
    outcome: Outcome | None = None

    @property
    def written(self) -> bool:
        return self.parent is None and self.task.purpose == "task"

    @property
    def text(self) -> str:
        """What the present turn has answered so far."""
        return "".join(self.parts)

    def spend(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.tokens = known_sum([self.tokens, turn.total_tokens])
        self.cost_usd = known_sum([self.cost_usd, turn.cost_usd])
        self.estimated |= turn.estimated
        self.unpriced |= turn.cost_usd is None

    def progress(self) -> Progress:
        return Progress(
            label=self.task.label,
            status=self.state,
            model=self.task.model,
            output=self.text or None,
            note=self.note,
            parent=self.parent,
            depth=self.depth,
            turns=tuple(self.turns),
            started_at=self.started_at,
        )

    def with_nested(self) -> "Iterator[Row]":
        """This row, then each child with its own, in the order planned."""
        yield self
        for child in self.children:
            yield from child.with_nested()

    def close(self, kind: SpanKind, at: float, *, key: str = "", name: str = "") -> None:
        """What began under this key ends; what took next to no time is not told."""
        started_at = self.since.pop(key or kind, at)
        if at - started_at >= SHORTEST_SPAN_S:
            self.spans.append(Span(kind=kind, started_at=started_at, ended_at=at, name=name))
