"""A subagent's model calls: each waits at the gate, takes room, is tried, charged and, where it may be, tried again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from xz_magics.agent.charges import Charges, TurnLog
from xz_magics.agent.room import Needs, Room
from xz_magics.bursts import spread
from xz_magics.errors import JournalError, ProviderError, QuotaExceeded
from xz_magics.events import (
    AccountPaused,
    CallIntended,
    Event,
    RequestSent,
    RetryScheduled,
    TaskEnded,
    TaskStarted,
    TextReceived,
    TurnEnded,
)
from xz_magics.pacing import Gates, Passage
from xz_magics.providers import Exchange, Provider
from xz_magics.quotas import Grant, Tracker
from xz_magics.records import Message, Reply, Request, Task, ToolSpec
from xz_magics.retry import plan_retry


async def nothing_to_keep() -> None:
    """Where no journal is."""


def nothing_to_recall(task: Task, provider: Provider, tools: Sequence[ToolSpec]) -> None:
    """Where each task is asked anew."""
    del task, provider, tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all subagents of a run share. `clock` in seconds, monotonic.

    `kept` returns when all that was emitted so far is on disk, `settled` when nothing was emitted since, either. They
    raise JournalError where it cannot be brought there. `recall` is asked of each task that is complete and about to
    begin, with the tools that it may call: how it ended before, where it is not to be asked anew.
    """

    tracker: Tracker
    gates: Gates
    emit: Callable[[Event], None]
    retries: int = 2
    output_max_size: int | None = None
    stream: bool = True
    emit_text: bool = True
    clock: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)
    kept: Callable[[], Awaitable[None]] = nothing_to_keep
    settled: Callable[[], Awaitable[None]] = nothing_to_keep
    recall: Callable[[Task, Provider, Sequence[ToolSpec]], TaskEnded | None] = nothing_to_recall


class Calls:
    """Takes the turns of one task; it knows its needs, when its first request went out and what came last."""

    def __init__(
        self,
        task: Task,
        provider: Provider,
        around: Surroundings,
        *,
        tools: tuple[ToolSpec, ...],
        ready_at: float,
        on_sent: Callable[[], None],
    ) -> None:
        self.granted_at: float | None = None
        self.sent_at: float | None = None
        self.text = ""
        self.tried = False
        self.turns = 0
        self.needs = Needs(task, provider, around.tracker, tools)
        self._task = task
        self._provider = provider
        self._around = around
        self._tools = tools
        self._lane = around.gates.lane(provider.account, provider.model)
        self._ready_at = ready_at
        self._on_sent = on_sent
        self._log = TurnLog(0, task.max_tokens)

    @property
    def max_tokens(self) -> int:
        """What the answer of the last turn could have at most."""
        return self._log.max_tokens

    async def take_turn(self, messages: Sequence[Message], *, last: bool = True, typed: bool = True) -> Reply:
        """One model call with its attempts. Raises ProviderError of the last attempt, or QuotaExceeded.

        `last` False: tools may be called, and room for one turn more is asked for with it: where a quota has none, this
        is the time to answer. The last turn after such turns takes what is left, if that is less than max_tokens.
        `typed`: what comes is the answer, to which the task's schema applies.
        """
        self.turns += 1
        self.text = ""
        request = self._request(tuple(messages), may_call=not last, typed=typed)
        self._log = TurnLog(self.turns, request.max_tokens)
        reply: Reply | None = None
        error: ProviderError | QuotaExceeded | None = None
        try:
            reply = await self._try_until_done(request)
        except (ProviderError, QuotaExceeded) as caught:
            error = caught
            raise
        finally:
            if self._log.attempts:
                turn = self._log.ended(self._around.clock(), reply, error)
                self._around.emit(TurnEnded(label=self._task.label, turn=turn, text=self.text or None))
            else:
                self.turns -= 1
        return reply

    async def _try_until_done(self, request: Request) -> Reply:
        while True:
            try:
                return await self._attempt(request)
            except ProviderError as error:
                await self._pause_before_retry(error)

    async def _attempt(self, request: Request) -> Reply:
        while True:
            fitted = self.needs.fitted(request)
            room = self.needs.room_for(fitted)
            try:
                async with (
                    self._lane.entering(room.prompt + room.answer) as passage,
                    self._around.tracker.reserve(
                        tokens=room.tokens, cost=room.worst_cost(self._provider.price)
                    ) as grant,
                ):
                    if not passage.closed:
                        await self._intend(room)
                    if not passage.closed:  # it closed while this waited: the room goes back meanwhile
                        return await self._call(fitted, grant, passage, room.prompt)
            except QuotaExceeded:
                if self.needs.fitted(request).max_tokens >= fitted.max_tokens:
                    raise

    async def _intend(self, room: Room) -> None:
        """Nothing is sent before its intent is on disk: what a dead process has paid for is never unknown."""
        price = self._provider.price
        self._around.emit(
            CallIntended(
                label=self._task.label,
                turn=self.turns,
                attempt=self._log.attempts + 1,
                bound_tokens=room.prompt + room.answer,
                worst_cost_usd=None if price is None else float(price.worst(room.prompt, room.answer)),
            )
        )
        try:
            await self._around.kept()
        except JournalError as error:
            raise ProviderError(f"it was not sent: {error.message}", error.hint, "cancelled") from error
        await spread()

    async def _call(self, request: Request, grant: Grant, passage: Passage, bound: int) -> Reply:
        exchange = Exchange(
            on_sent=lambda: self._note_sent(passage), on_text=lambda text: self._note_text(passage, text)
        )
        exchange.idle_timeout_s = self._task.idle_timeout
        charges = Charges(grant, exchange, self._log, self._provider.price, bound, request)
        self._note_granted()
        self._log.attempts += 1
        self._log.max_tokens = request.max_tokens
        self.tried = True
        limited, answered = False, True
        try:
            reply = await self._provider.call(request, exchange)
        except ProviderError as error:
            limited = error.error_type == "rate_limited"
            charges.charge(error.charge)
            raise
        except BaseException:
            answered = False
            charges.charge_cancelled()
            raise
        else:
            charges.charge_reply(reply)
            self.needs.note_reply(request, reply.usage)
        finally:
            self.text = exchange.text
            if exchange.sent and answered:
                tokens = None if exchange.usage is None else exchange.usage.total_tokens
                passage.ended(tokens=tokens, headers=exchange.headers, limited=limited)
        self.text = reply.text
        return reply

    async def _pause_before_retry(self, error: ProviderError) -> None:
        """Waits until the call may be tried again; raises the error if it may not."""
        around = self._around
        if error.error_type in {"auth", "spent_account"}:
            self._lane.refuse(error)
        pause_s = self._pause_account(error) if error.error_type == "rate_limited" else None
        plan = plan_retry(
            error,
            attempt=self._log.attempts,
            retries=around.retries,
            time_left_s=self._time_left_s(),
            random=around.random.random,
            pause_s=pause_s,
        )
        if plan.delay_s is None:
            raise _with_reason(error, plan.reason) if plan.reason else error
        around.emit(
            RetryScheduled(
                label=self._task.label,
                turn=self.turns,
                attempt=self._log.attempts,
                delay_s=plan.delay_s,
                error_type=error.error_type,
                error=error.message,
            )
        )
        if pause_s is None:
            await asyncio.sleep(plan.delay_s)

    def _pause_account(self, error: ProviderError) -> float:
        """All calls of the account wait, whether this one is tried again or not. How long, in seconds."""
        pause_s = self._lane.pause_after_limit(error.retry_after_s)
        if pause_s:
            self._around.emit(AccountPaused(account=self._provider.account, delay_s=pause_s))
        return pause_s

    def _request(self, messages: tuple[Message, ...], *, may_call: bool, typed: bool) -> Request:
        task = self._task
        return Request(
            messages=messages,
            max_tokens=task.max_tokens,
            temperature=task.temperature,
            top_p=task.top_p,
            seed=task.seed,
            stop=task.stop,
            params=task.params,
            stream=self._around.stream,
            tools=self._tools,
            may_call=may_call,
            schema=task.schema if typed else None,
        )

    def _time_left_s(self) -> float | None:
        """Until the task's timeout, which begins with its first request, or until the time of a quota is up."""
        left_s = self._around.tracker.left("max_total_time")
        if self._task.timeout is None:
            return left_s
        own_s = self._task.timeout - (0.0 if self.sent_at is None else self._around.clock() - self.sent_at)
        return own_s if left_s is None else min(own_s, left_s)

    def _note_granted(self) -> None:
        if self.granted_at is None:
            self.granted_at = self._around.clock()
            self._around.emit(TaskStarted(label=self._task.label, queued_s=self.granted_at - self._ready_at))

    def _note_sent(self, passage: Passage) -> None:
        passage.sent()
        now = self._around.clock()
        spawn_s = None
        if self.sent_at is None:
            self.sent_at = now
            spawn_s = now - (self.granted_at or now)
            self._on_sent()
        self._log.note_sent(now)
        self._around.emit(
            RequestSent(label=self._task.label, turn=self.turns, attempt=self._log.attempts, spawn_s=spawn_s)
        )

    def _note_text(self, passage: Passage, text: str) -> None:
        passage.accepted()
        if self._around.emit_text:
            self._around.emit(TextReceived(label=self._task.label, text=text))


def _with_reason(error: ProviderError, reason: str) -> ProviderError:
    """The same failure, which also says why it is not tried again."""
    message, *rest = error.args
    return ProviderError(f"{message}; {reason}", *rest)
