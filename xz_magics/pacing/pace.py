"""How much may be sent in a minute, of requests or of tokens: what the user allows and what the server says is left."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from xz_magics.ratelimits import Allowance

WINDOW_S = 60.0
SHORTEST_RESET_S = 0.001


@dataclass(slots=True, eq=False)
class Share:
    """What one request takes. It counts for a minute from when it is sent; until then it is held for it."""

    amount: float
    sent_at: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the server said was left when it saw the request that has this share, and how fast it comes back."""

    share: Share
    allowance: Allowance

    @property
    def at(self) -> float:
        return self.share.sent_at

    @property
    def per_s(self) -> float:
        said = self.allowance
        lacking = said.limit - said.remaining
        return lacking / said.reset_s if lacking and said.reset_s >= SHORTEST_RESET_S else said.limit / WINDOW_S


class Pace:
    """Promises that what is sent in any window of a minute stays within `per_minute`, by the amounts taken.

    The one exception: what is larger than that goes alone, and counts for as many minutes as it is times as large.
    What the server says tightens this. It is believed for a minute at most, so that no nonsense can hold a call up.
    """

    def __init__(self, per_minute: float | None = None) -> None:
        self._limit = inf if per_minute is None else per_minute
        self._sent: deque[Share] = deque()
        self._used = 0.0
        self._held = 0.0
        self._said: Said | None = None

    def wait_s(self, amount: float, now: float) -> float:
        """How long until so much may be sent if nothing else happens; 0 is now, inf is not before something does."""
        self._forget(now)
        return max(self._own_wait_s(amount, now), self._said_wait_s(amount, now))

    def take(self, amount: float) -> Share:
        self._held += amount
        return Share(amount)

    def send(self, share: Share, now: float) -> None:
        share.sent_at = now
        self._held -= share.amount
        self._used += share.amount
        self._sent.append(share)

    def give_back(self, share: Share) -> None:
        """What was taken was not sent."""
        self._held -= share.amount

    def correct(self, share: Share, amount: float, now: float) -> None:
        """So much was it in truth, of what was sent."""
        self._forget(now)
        if self._ends_at(share) > now:
            self._used += amount - share.amount
            share.amount = amount

    def learn(self, allowance: Allowance, share: Share) -> None:
        """The server said so in its answer to the request that has this share; older news than the last is no news."""
        if self._said is None or share.sent_at >= self._said.at:
            self._said = Said(share=share, allowance=allowance)

    def _forget(self, now: float) -> None:
        while self._sent and self._ends_at(self._sent[0]) <= now:
            self._used -= self._sent.popleft().amount

    def _ends_at(self, share: Share) -> float:
        return share.sent_at + WINDOW_S * max(1.0, share.amount / self._limit)

    def _own_wait_s(self, amount: float, now: float) -> float:
        room = max(0.0, self._limit - amount)
        left = self._used + self._held
        if left <= room:
            return 0.0
        for share in self._sent:
            left -= share.amount
            if left <= room:
                return self._ends_at(share) - now
        return inf

    def _said_wait_s(self, amount: float, now: float) -> float:
        if self._said is None:
            return 0.0
        lacking = min(amount, self._said.allowance.limit) - self._left(self._said, now)
        return max(0.0, min(lacking / self._said.per_s, self._said.at + WINDOW_S - now))

    def _left(self, said: Said, now: float) -> float:
        """What the server should have left by now: it fills up steadily, and what was sent since has been taken."""
        limit, left, at = said.allowance.limit, said.allowance.remaining, said.at
        for share in reversed(list(self._sent_since(said.share))):
            left = min(limit, left + said.per_s * (share.sent_at - at)) - share.amount
            at = share.sent_at
        return min(limit, left + said.per_s * (now - at)) - self._held

    def _sent_since(self, earlier: Share) -> Iterator[Share]:
        """The latest first."""
        for share in reversed(self._sent):
            if share is earlier or share.sent_at < earlier.sent_at:
                return
            yield share
