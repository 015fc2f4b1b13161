"""A subagent's model calls: each waits at the gate, takes room, is tried, charged and, where it may be, tried again."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from xz_magics.agent.charges import Charges, TurnLog
from xz_magics.errors import ProviderError, QuotaExceeded
from xz_magics.events import AccountPaused, Event, RequestSent, RetryScheduled, TaskStarted, TextReceived, TurnEnded
from xz_magics.pacing import Gates
from xz_magics.providers import Exchange, Provider
from xz_magics.quotas import Grant, Tracker, prompt_bound
from xz_magics.records import Message, Reply, Request, Task, Usage
from xz_magics.retry import LONGEST_WAIT_S, plan_retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all subagents of a run share. `clock` in seconds, monotonic."""

    tracker: Tracker
    gates: Gates
    emit: Callable[[Event], None]
    retries: int = 2
    output_max_size: int | None = None
    stream: bool = True
    emit_text: bool = True
    clock: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)


class Calls:
    """Takes the turns of one task; it knows when its first request went out and the text that came last."""

    def __init__(
        self, task: Task, provider: Provider, around: Surroundings, *, ready_at: float, on_sent: Callable[[], None]
    ) -> None:
        self.granted_at: float | None = None
        self.sent_at: float | None = None
        self.text = ""
        self.tried = False
        self._task = task
        self._provider = provider
        self._around = around
        self._gate = around.gates[provider.account]
        self._ready_at = ready_at
        self._on_sent = on_sent
        self._turns = 0
        self._log = TurnLog(0, task.max_tokens)
        self._last_usage: Usage | None = None

    async def take_turn(self, messages: list[Message]) -> Reply:
        """One model call with its attempts. Raises ProviderError of the last attempt, or QuotaExceeded."""
        self._turns += 1
        self._log = TurnLog(self._turns, self._task.max_tokens)
        self.text = ""
        request = _request_of(self._task, tuple(messages), stream=self._around.stream)
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
                self._around.emit(TurnEnded(label=self._task.label, turn=turn))
        return reply

    async def _try_until_done(self, request: Request) -> Reply:
        while True:
            try:
                return await self._attempt(request)
            except ProviderError as error:
                await self._pause_before_retry(error)

    async def _attempt(self, request: Request) -> Reply:
        bound = self._prompt_bound(request)
        while True:
            await self._gate.passed()
            async with self._reserve(bound, request.max_tokens) as grant:
                if self._gate.closed:
                    continue  # it closed while this waited for room: the room goes back, others may use it
                return await self._call(request, grant, bound)

    def _reserve(self, bound: int, max_tokens: int) -> AbstractAsyncContextManager[Grant]:
        price = self._provider.price
        cost = Decimal(0) if price is None else price.worst(bound, max_tokens)
        return self._around.tracker.reserve(tokens=bound + max_tokens, cost=cost)

    async def _call(self, request: Request, grant: Grant, bound: int) -> Reply:
        exchange = Exchange(on_sent=self._note_sent, on_text=self._note_text)
        exchange.idle_timeout_s = self._task.idle_timeout
        charges = Charges(grant, exchange, self._log, self._provider.price, bound, request)
        self._note_granted()
        self._log.attempts += 1
        self.tried = True
        try:
            reply = await self._provider.call(request, exchange)
        except ProviderError as error:
            charges.charge(error.charge)
            raise
        except BaseException:
            charges.charge_cancelled()
            raise
        finally:
            self.text = exchange.text
        charges.charge_reply(reply)
        self.text, self._last_usage = reply.text, reply.usage
        return reply

    async def _pause_before_retry(self, error: ProviderError) -> None:
        """Waits until the call may be tried again; raises the error if it may not."""
        around = self._around
        if error.error_type in {"auth", "spent_account"}:
            self._gate.refuse(error)
        plan = plan_retry(
            error,
            attempt=self._log.attempts,
            retries=around.retries,
            time_left_s=self._time_left_s(),
            random=around.random.random,
        )
        if self._log.attempts == 0 or plan.delay_s is None:
            self._pause_others(error)
            raise _with_reason(error, plan.reason) if plan.reason else error
        around.emit(
            RetryScheduled(
                label=self._task.label,
                turn=self._turns,
                attempt=self._log.attempts,
                delay_s=plan.delay_s,
                error_type=error.error_type,
                error=error.message,
            )
        )
        if error.error_type == "rate_limited":
            self._pause_account(plan.delay_s)
        else:
            await asyncio.sleep(plan.delay_s)

    def _pause_others(self, error: ProviderError) -> None:
        """This call is given up; those of the others wait as long as the server asks."""
        asked_s = error.retry_after_s
        if error.error_type == "rate_limited" and asked_s is not None and asked_s <= LONGEST_WAIT_S:
            self._pause_account(asked_s)

    def _pause_account(self, delay_s: float) -> None:
        self._gate.pause(delay_s)
        self._around.emit(AccountPaused(account=self._provider.account, delay_s=delay_s))

    def _prompt_bound(self, request: Request) -> int:
        """From the second turn on: what the last one reported, the bytes added since, the wire's constant.

        What `params` pass through, such as the schema of an answer, is a part of the prompt for some providers.
        """
        overhead = self._provider.overhead_tokens
        if request.params:
            overhead += len(json.dumps(request.params, default=str))
        if self._last_usage is None:
            return prompt_bound(request.messages, overhead)
        return self._last_usage.total_tokens + prompt_bound(request.messages[-1:], overhead)

    def _time_left_s(self) -> float | None:
        """Until the task's timeout; before the first request the whole of it."""
        if self._task.timeout is None:
            return None
        return self._task.timeout - (0.0 if self.sent_at is None else self._around.clock() - self.sent_at)

    def _note_granted(self) -> None:
        if self.granted_at is None:
            self.granted_at = self._around.clock()
            self._around.emit(TaskStarted(label=self._task.label, queued_s=self.granted_at - self._ready_at))

    def _note_sent(self) -> None:
        now = self._around.clock()
        spawn_s = None
        if self.sent_at is None:
            self.sent_at = now
            spawn_s = now - (self.granted_at or now)
            self._on_sent()
        self._log.note_sent(now)
        self._around.emit(
            RequestSent(label=self._task.label, turn=self._turns, attempt=self._log.attempts, spawn_s=spawn_s)
        )

    def _note_text(self, text: str) -> None:
        if self._around.emit_text:
            self._around.emit(TextReceived(label=self._task.label, text=text))


def _with_reason(error: ProviderError, reason: str) -> ProviderError:
    """The same failure, which also says why it is not tried again."""
    message, *rest = error.args
    return ProviderError(f"{message}; {reason}", *rest)


def _request_of(task: Task, messages: tuple[Message, ...], *, stream: bool) -> Request:
    return Request(
        messages=messages,
        max_tokens=task.max_tokens,
        temperature=task.temperature,
        top_p=task.top_p,
        seed=task.seed,
        stop=task.stop,
        params=task.params,
        stream=stream,
    )
