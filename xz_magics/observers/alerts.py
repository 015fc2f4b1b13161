"""What a person should be warned of while a run goes on: it alone decides when."""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Sequence

from xz_magics.config import Settings
from xz_magics.events import (
    AlertKind,
    AlertRaised,
    RequestSent,
    RetryScheduled,
    RunEnded,
    RunStarted,
    Stamped,
    TaskEnded,
    ToolAnswered,
    ToolCalled,
    TurnEnded,
)
from xz_magics.metrics import P95_FROM, percentile
from xz_magics.quotas.level import setting_of
from xz_magics.records import LimitUse, Status
from xz_magics.tools.delegating import DELEGATING

ERROR_RATE_FROM = 20
FAILURES: frozenset[Status] = frozenset({"failed", "timed_out"})
NOT_COUNTED: frozenset[Status] = frozenset({"skipped", "cancelled", "unknown"})
"""They tell nothing of a model or a network: a Stop would look like a catastrophe."""

LENDING = frozenset(tool.name for tool in DELEGATING)
"""Who waits for these alone has lent its slot."""
REQUEST = ""
"""What a subagent is at work with, beside the ids of its tool calls."""


class Alerts:
    """Called with each event of a run, nested subagents' too, it raises an alert when a value comes to lie above its
    threshold, and again only after it fell below half of that: one that wavers is told once.

    `emit` comes back to this very observer: it has to be the last of its stream, so that the others hear in order.
    """

    def __init__(
        self, settings: Settings, *, uses: Callable[[], Sequence[LimitUse]], emit: Callable[[AlertRaised], None]
    ) -> None:
        self._settings = settings
        self._uses = uses
        self._emit = emit
        self._raised: set[str] = set()
        self._is_running = False
        self._max_concurrent = 0
        self._at_work: defaultdict[str, set[str]] = defaultdict(set)
        self._ended = 0
        self._failed = 0
        self._durations_s: list[float] = []

    def __call__(self, stamped: Stamped) -> None:
        match stamped.event:
            case RunStarted(max_concurrent=max_concurrent):
                self._is_running, self._max_concurrent = True, max_concurrent
            case RequestSent(label=label):
                self._begin(label, REQUEST)
            case ToolCalled(label=label, call=call) if call.name not in LENDING:
                self._begin(label, call.id)
            case TurnEnded(label=label) | RetryScheduled(label=label):
                self._at_work[label].discard(REQUEST)
                self._weigh_active()
            case ToolAnswered(label=label, call_id=call_id):
                self._at_work[label].discard(call_id)
                self._weigh_active()
            case TaskEnded():
                self._note_end(stamped.event)
                self.look()
            case RunEnded():
                self._is_running = False

    def look(self) -> None:
        """At the limits: when a task has ended, and at each heartbeat, for time passes without events."""
        if not self._is_running:
            return
        threshold = self._settings.alert_utilisation
        for use in self._uses():
            if use.limit:  # under a limit of 0 nothing is ever used
                text = f"more than {_percent(threshold)} of {_limit_name(use)} is used"
                self._weigh("utilisation", text, use.used / use.limit, threshold)

    def _begin(self, label: str, what: str) -> None:
        self._at_work[label].add(what)
        self._weigh_active()

    def _weigh_active(self) -> None:
        """Only those at a request or a tool of their own: whoever waits for a slot is none of them."""
        most = self._max_concurrent
        text = f"more than max_concurrent, {most:,}, subagents are at work at once: a defect of xz_magics, report it"
        self._weigh("active", text, sum(map(bool, self._at_work.values())), most)

    def _note_end(self, ended: TaskEnded) -> None:
        if self._at_work.pop(ended.label, None):
            self._weigh_active()
        if ended.status not in NOT_COUNTED and ended.reused is None:
            self._ended += 1
            self._failed += ended.status in FAILURES
            self._weigh_error_rate()
        if ended.duration_s is not None:
            insort(self._durations_s, ended.duration_s)
            self._weigh_durations()

    def _weigh_error_rate(self) -> None:
        if self._ended >= ERROR_RATE_FROM:
            threshold = self._settings.alert_error_rate
            text = f"more than {_percent(threshold)} of the subagents failed or timed out"
            self._weigh("error_rate", text, self._failed / self._ended, threshold)

    def _weigh_durations(self) -> None:
        threshold_s = self._settings.alert_p95_duration
        if threshold_s is not None and len(self._durations_s) >= P95_FROM:
            text = f"the p95 of the subagents' durations is above {threshold_s:,g} s"
            self._weigh("p95_duration", text, percentile(self._durations_s, 95), threshold_s)

    def _weigh(self, kind: AlertKind, text: str, value: float, threshold: float) -> None:
        """The text says which threshold it is, and no number that changes: it is the alert's name, too."""
        if value < threshold / 2:
            self._raised.discard(text)
        elif value > threshold and text not in self._raised:
            self._raised.add(text)
            self._emit(AlertRaised(kind=kind, text=text, value=value, threshold=threshold))


def _limit_name(use: LimitUse) -> str:
    """As refusals name it: by its setting, and with its level where that does not tell it."""
    setting = setting_of(use.level, use.name)
    return f"{use.level} {setting}" if setting == use.name else setting


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
