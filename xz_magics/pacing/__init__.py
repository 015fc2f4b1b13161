"""What each call passes before it is sent: pauses, places among the calls in flight, requests and tokens a minute."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf

from xz_magics.errors import ProviderError
from xz_magics.pacing.account import Account
from xz_magics.pacing.pace import Pace
from xz_magics.ratelimits import read_allowances

CUT = 0.8


class Gates:
    """The lanes of a run, each made when it is first asked for. They belong to one event loop.

    `rpm` and `tpm` bound each lane's requests and tokens in any minute; None: only what the server says counts.
    `clock` is monotonic, `wall` gives seconds since the epoch.
    """

    def __init__(
        self,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        max_concurrent: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._rpm = rpm
        self._tpm = tpm
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._wall = wall
        self._random = random
        self._accounts: dict[str, Account] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}

    def lane(self, account: str, model: str) -> "Lane":
        """The one lane of this model; pauses and refusals are shared by all lanes of the account."""
        if account not in self._accounts:
            self._accounts[account] = Account(clock=self._clock, random=self._random)
        if (account, model) not in self._lanes:
            self._lanes[account, model] = Lane(
                self._accounts[account],
                requests=Pace(self._rpm),
                tokens=Pace(self._tpm),
                max_concurrent=self._max_concurrent,
                clock=self._clock,
                wall=self._wall,
            )
        return self._lanes[account, model]


class Lane:
    """The way of all calls to one model. First come, first served: what is large is never overtaken.

    At most `places` calls are in flight. A 429 cuts that once for all requests sent before the cut; answers raise it
    again, by one for every `places` of them that came while all places were taken, up to max_concurrent.
    """

    def __init__(
        self,
        account: Account,
        *,
        requests: Pace,
        tokens: Pace,
        max_concurrent: int | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.account = account
        self.requests = requests
        self.tokens = tokens
        self.clock = clock
        self.wall = wall
        self.in_flight = 0
        self.places = self._most_places = inf if max_concurrent is None else float(max_concurrent)
        self._cut_at_number = 0
        self._turnstile = asyncio.Lock()

    @property
    def closed(self) -> bool:
        """Whether the account is paused at present, or refused."""
        return self.account.closed

    def refuse(self, error: ProviderError) -> None:
        """No request goes out on this account any more."""
        self.account.refuse(error)

    def pause_after_limit(self, asked_s: float | None, delay_s: float = 0.0) -> float:
        """A 429 came: the account waits as long as the server asks, else as long as itself thinks right.

        `delay_s` is the least without the server's word. How long it waits now, in seconds; 0 where the server asks
        for more than is ever waited.
        """
        return self.account.pause(asked_s, delay_s)

    @asynccontextmanager
    async def entering(self, tokens: int) -> AsyncIterator["Passage"]:
        """Waits until a call of at most so many tokens may be sent.

        Raises ProviderError, with nothing charged, once the account is refused. What the passage was not used for is
        given back when it is left.
        """
        passage = await self._let_through(tokens)
        try:
            yield passage
        finally:
            passage.leave()

    async def _let_through(self, tokens: int) -> "Passage":
        self.account.arrive()
        try:
            async with self._turnstile:
                while (wait_s := self._wait_s(tokens)) > 0:
                    await self.account.change(wait_s)
                return Passage(self, tokens)
        finally:
            self.account.depart()

    def _wait_s(self, tokens: int) -> float:
        self.account.raise_refusal()
        if self._saturated:
            return inf
        now = self.clock()
        return max(self.account.wait_s(), self.requests.wait_s(1, now), self.tokens.wait_s(tokens, now))

    @property
    def _saturated(self) -> bool:
        return self.in_flight + 1 > self.places

    def note_limited(self, number: int) -> None:
        if number > self._cut_at_number:
            self._cut_at_number = self.account.last_number
            self.places = max(1.0, CUT * (self.in_flight if self.places == inf else self.places))
        self.account.note_limited(number)

    def note_accepted(self, number: int) -> None:
        if self._saturated:
            self.places = min(self._most_places, self.places + 1 / self.places)
        self.account.note_accepted(number)


class Passage:
    """The right to send one request, until it has ended or is left."""

    def __init__(self, lane: Lane, tokens: int) -> None:
        self._lane = lane
        self._request = lane.requests.take(1)
        self._tokens = lane.tokens.take(tokens)
        self._number = lane.account.let_through(self)
        self._sent_at: float | None = None
        self._over = False
        lane.in_flight += 1

    @property
    def closed(self) -> bool:
        """Whether the account was refused or paused since this was entered: nothing may be sent, enter again."""
        return self._lane.closed or self._lane.account.paused_since(self._number)

    def sent(self) -> None:
        """The request goes out. Only the first call counts."""
        if self._sent_at is not None:
            return
        lane = self._lane
        self._sent_at = now = lane.clock()
        lane.requests.send(self._request, now)
        lane.tokens.send(self._tokens, now)

    def accepted(self) -> None:
        """A part of an answer is there: it is no 429, and a pause that waits for this probe need not wait for all."""
        self._lane.account.note_accepted(self._number)

    def ended(self, *, tokens: int | None, headers: Mapping[str, str], limited: bool) -> None:
        """The answer is there: so many tokens in truth (None: as estimated), or it is a 429."""
        self.sent()
        lane = self._lane
        now = lane.clock()
        if tokens is not None:
            lane.tokens.correct(self._tokens, tokens, now)
        self._learn(headers)
        if limited:
            lane.note_limited(self._number)
        else:
            lane.note_accepted(self._number)
        self.leave()

    def leave(self) -> None:
        """Gives the place back, and what was taken and not sent. Only the first call counts."""
        if self._over:
            return
        self._over = True
        lane = self._lane
        if self._sent_at is None:
            lane.requests.give_back(self._request)
            lane.tokens.give_back(self._tokens)
        lane.in_flight -= 1
        lane.account.note_left(self)

    def _learn(self, headers: Mapping[str, str]) -> None:
        """The server counts when a request comes in, not when its answer ends."""
        if not headers or self._sent_at is None:
            return
        lane = self._lane
        allowances = read_allowances(headers, now=lane.wall() - (lane.clock() - self._sent_at))
        if "requests" in allowances:
            lane.requests.learn(allowances["requests"], self._request)
        if "tokens" in allowances:
            lane.tokens.learn(allowances["tokens"], self._tokens)
