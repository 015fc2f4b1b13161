"""One subagent: from its slot to its one final event."""

import asyncio
import logging
from dataclasses import dataclass
from typing import NamedTuple

from xz_magics.agent.answers import Checked
from xz_magics.agent.calls import Calls, Surroundings, nothing_to_keep, nothing_to_recall
from xz_magics.agent.charges import error_type_of
from xz_magics.agent.texts import clip, within
from xz_magics.agent.toolcalls import MOST_EQUAL, MOST_FAULTS, Delegation, Means, ToolCalls
from xz_magics.errors import ProviderError, QuotaExceeded
from xz_magics.events import TaskEnded
from xz_magics.providers import Provider
from xz_magics.quotas import Grant
from xz_magics.records import ErrorType, Finish, Message, Reply, Status, Task

__all__ = ["Delegation", "Ending", "Means", "Subagent", "Surroundings", "clip", "nothing_to_keep", "nothing_to_recall"]

logger = logging.getLogger("xz_magics")

ENDINGS: dict[Finish, tuple[Status, ErrorType | None, str | None]] = {
    "stop": ("done", None, None),
    "length": ("incomplete", "length", "the answer was cut at max_tokens = {max_tokens}\nraise `max_tokens`"),
    "cut": ("incomplete", "cut", "the answer is cut: {why}\nrun the task again"),
    "refused": ("refused", "refused", "the model or its provider's filter refused to answer\nreword the prompt"),
    "tool_calls": (
        "failed",
        "tool_protocol",
        "the model asked for a tool, and it can call none\ngrant it tools, raise `max_turns`, or reword the prompt",
    ),
}
WITHOUT_SUMMARY = "the output is the text of the work, without its summary"
WIND_DOWN = (
    "This is your last turn, for {why}. No tool can be called any more. "
    "Answer now, as well as you can, with what you have found out so far, and say what is missing."
)
UNREADABLE_CALL = "You ended with a call of a tool, but no call came with it. Call a tool again, or answer."
FAULTY = (
    f"its calls of tools went wrong in more than {MOST_FAULTS} turns in a row\nsee its messages, or reword the prompt"
)
SHARED_LIMITS = frozenset({"max_total_tokens", "max_total_cost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a subagent's work ended, before it becomes its final event."""

    status: Status
    error_type: ErrorType | None = None
    error: str | None = None
    finish_reason: str | None = None


class LastTurn(NamedTuple):
    """Why a turn is the last one, before the model has said that it is done: for the model, for the row, the mend."""

    why: str
    error_type: ErrorType
    mend: str


class Subagent:
    """Works on one task; holds its messages and what its work and summary came to."""

    def __init__(
        self,
        task: Task,
        provider: Provider,
        around: Surroundings,
        means: Means,
        *,
        ready_at: float,
        abandoned: Ending,
    ) -> None:
        """`abandoned`: how it ends where it is cancelled and nobody says why."""
        self.ended: TaskEnded | None = None
        self.task = task
        self.halted: Ending | None = None
        self._around = around
        self._ready_at = ready_at
        self._abandoned = abandoned
        tools = means.tools_of(task)
        self._has_tools = bool(tools)
        self._calls = Calls(task, provider, around, tools=tools, ready_at=ready_at, on_sent=self._note_first_request)
        self._tool_calls = ToolCalls(task.label, means, emit=around.emit, clock=around.clock)
        self._messages = _first_messages(task)
        self._work: str | None = None
        self._summary: str | None = None
        self._answer = Checked(task.schema)
        self._summarising = False
        self._seat: Grant | None = None
        self._deadline: asyncio.Timeout | None = None
        self._job: asyncio.Task[TaskEnded] | None = None

    def cancel(self, ending: Ending) -> None:
        """Ends it from outside, on its own loop; its text is kept. The first ending that is given is told."""
        self.halted = self.halted or ending
        if self._job is not None:
            self._job.cancel()

    async def run(self) -> TaskEnded:
        """Ends in exactly one TaskEnded, whatever happens. Cancellation goes on to whoever asked for it."""
        self._job = asyncio.current_task()
        try:
            return self._end(await self._work_within_limits())
        except asyncio.CancelledError:
            self._end(self.halted or self._abandoned)
            raise
        except Exception as error:
            logger.exception("task %s met a defect", self.task.label)
            return self._end(Ending(status="failed", error_type="internal", error=f"a defect of xz_magics: {error!r}"))

    async def _work_within_limits(self) -> Ending:
        tracker = self._around.tracker
        try:
            async with asyncio.timeout(None) as self._deadline, tracker.reserve(executions=1) as self._seat:
                with tracker.working():
                    return await self._take_turns()
        except TimeoutError:
            error = f"timeout of {self.task.timeout:g} s ran out\nraise `timeout`, or lower `max_tokens`"
            return Ending(status="timed_out", error_type="timeout", error=error)
        except (ProviderError, QuotaExceeded) as error:
            kind = error_type_of(error)
            late = kind == "timeout" or (isinstance(error, QuotaExceeded) and error.limit == "max_total_time")
            return Ending(status="timed_out" if late else "failed", error_type=kind, error=str(error))

    async def _take_turns(self) -> Ending:
        """The work and its summary; an answer that does not fit its schema is asked for once more."""
        ending = await self._work_and_sum_up()
        if ending.status not in {"done", "incomplete"} or await self._answer.fits(self._summary or self._work):
            return ending
        if ending.status == "incomplete":
            return ending
        trouble: str | None = None
        if ending.error is not None:
            trouble = ending.error
        elif self._calls.turns >= self.task.max_turns + self._summarising:
            trouble = f"max_turns = {self.task.max_turns} is reached\nraise `max_turns`"
        else:
            self._messages.append(self._answer.asked_again())
            try:
                reply = await self._take_turn()
            except (ProviderError, QuotaExceeded) as error:
                trouble = str(error)
            else:
                ending = self._ending_of(reply)
                if ending.status != "done" or await self._answer.fits(reply.text):
                    return ending
        told = self._answer.told(trouble)
        return Ending(status="failed", error_type="schema", error=told, finish_reason=ending.finish_reason)

    async def _work_and_sum_up(self) -> Ending:
        """Whatever fails in the summary, the work stays."""
        ending = await self._work_to_its_end()
        if self.task.summary_prompt is None or ending.status not in {"done", "incomplete"}:
            return ending
        self._messages.append(Message(role="user", content=self.task.summary_prompt))
        self._summarising = True
        try:
            summary = await self._take_turn()
        except (ProviderError, QuotaExceeded) as error:
            return self._without_summary(ending, error.message, error.hint)
        if summary.finish not in {"stop", "length"} or not summary.text:
            return self._without_summary(ending, f"it ended as {summary.finish}", "reword `summary_prompt`")
        return ending if summary.finish == "stop" else self._ending_of(summary)

    async def _work_to_its_end(self) -> Ending:
        """Turns, and the calls of tools that they ask for, until an answer comes or a turn has to be the last."""
        if not self._has_tools:
            return self._ending_of(await self._take_turn())
        last = self._why_last()
        while last is None:
            try:
                reply = await self._take_turn(last=False)
            except QuotaExceeded as error:
                if error.limit not in SHARED_LIMITS:
                    raise
                last = LastTurn("the quota has room for one more reply only", "quota_exceeded", f"raise {error.limit}")
            else:
                if reply.finish != "tool_calls":
                    return self._ending_of(reply)
                await self._answer_calls(reply)
                if self._tool_calls.faults > MOST_FAULTS:
                    return Ending(status="failed", error_type="tool_protocol", error=FAULTY)
                last = self._why_last()
        return await self._wind_down(last)

    def _why_last(self) -> LastTurn | None:
        if (name := self._tool_calls.circling) is not None:
            why = f"{name} was called {MOST_EQUAL} times in a row with the same arguments"
            return LastTurn(why, "turn_limit", "reword the prompt, or what the tool returns")
        if self._calls.turns >= self.task.max_turns - 1:
            return LastTurn(f"max_turns = {self.task.max_turns} is reached", "turn_limit", "raise `max_turns`")
        return None

    async def _answer_calls(self, reply: Reply) -> None:
        if reply.tool_calls:
            results = await self._tool_calls.answer(self._calls.turns, reply.tool_calls)
            self._messages += within(results, self._calls.needs.bytes_for_results(len(results)))
        else:
            self._tool_calls.faults += 1
            self._messages.append(Message(role="user", content=UNREADABLE_CALL))

    async def _wind_down(self, last: LastTurn) -> Ending:
        """The last turn, without tools. What earlier turns have said is the output if it brings none."""
        self._messages.append(Message(role="user", content=WIND_DOWN.format(why=last.why)))
        told, finish_reason = f"it was told to answer at once, for {last.why}\n{last.mend}", None
        try:
            reply = await self._take_turn()
        except (ProviderError, QuotaExceeded) as error:
            if not self._work:
                raise
            told = f"{last.why}, and the last turn failed: {error.message}\n{last.mend}"
        else:
            finish_reason = reply.finish_reason
            if reply.finish in {"refused", "cut"}:
                return self._ending_of(reply)
        status: Status = "incomplete" if self._work else "failed"
        return Ending(status=status, error_type=last.error_type, error=told, finish_reason=finish_reason)

    async def _take_turn(self, *, last: bool = True) -> Reply:
        typed = self._summarising or self.task.summary_prompt is None
        reply = await self._calls.take_turn(self._messages, last=last, typed=typed)
        calls = () if last else reply.tool_calls
        if reply.text or calls:
            self._messages.append(Message(role="assistant", content=reply.text, tool_calls=calls))
        if not self._summarising:
            self._work = reply.text or self._work
        elif reply.finish in {"stop", "length"}:
            self._summary = reply.text or self._summary
        return reply

    def _note_first_request(self) -> None:
        """The subagent counts as executed, and its timeout begins."""
        if self._seat is not None:
            self._seat.settle_all()
        if self._deadline is not None and self.task.timeout is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self.task.timeout)

    def _ending_of(self, reply: Reply) -> Ending:
        status, error_type, error = ENDINGS[reply.finish]
        if error_type == "length" and self._calls.max_tokens < self.task.max_tokens:
            error_type = "quota_exceeded"
            error = f"the quota had room for {self._calls.max_tokens} tokens of the answer\nraise it"
        told = None if error is None else error.format(max_tokens=self.task.max_tokens, why=reply.note or "")
        if status == "incomplete" and not self._work:
            status = "failed"
        return Ending(status=status, error_type=error_type, error=told, finish_reason=reply.finish_reason)

    @staticmethod
    def _without_summary(ending: Ending, why: str, mend: str) -> Ending:
        told = f"{ending.error}\n" if ending.error else ""
        return Ending(
            status=ending.status,
            error_type=ending.error_type,
            error=f"{told}the summary failed ({why}); {WITHOUT_SUMMARY}\n{mend}",
            finish_reason=ending.finish_reason,
        )

    def _end(self, ending: Ending) -> TaskEnded:
        """Emits the final event. A task whose first call was never tried is skipped, unless by a defect of ours."""
        status: Status = ending.status if self._calls.tried or ending.error_type == "internal" else "skipped"
        now = self._around.clock()
        sent_at, granted_at = self._calls.sent_at, self._calls.granted_at
        came = "" if self._summarising else self._calls.text
        work = came or self._work or ""
        output = work if self._summary is None else self._summary
        shown = clip(output, self._around.output_max_size)
        summary_is_missing = status not in {"done", "incomplete"} and self._work and self.task.summary_prompt
        ended = TaskEnded(
            label=self.task.label,
            status=status,
            output=shown or None,
            error=f"{ending.error}\n{WITHOUT_SUMMARY}" if summary_is_missing else ending.error,
            error_type=ending.error_type,
            finish_reason=ending.finish_reason,
            duration_s=None if sent_at is None else now - sent_at,
            queued_s=(now if granted_at is None else granted_at) - self._ready_at,
            work=work if shown != work else None,
            messages=self._messages_with_what_came(),
            value=self._answer.value,
        )
        self.ended = ended
        self._around.emit(ended)
        return ended

    def _messages_with_what_came(self) -> tuple[Message, ...]:
        """With the beginning of an answer that was broken off: it was paid for."""
        came = self._calls.text
        said = next((message.content for message in reversed(self._messages) if message.role == "assistant"), "")
        if not came or came == said:
            return tuple(self._messages)
        return (*self._messages, Message(role="assistant", content=came))


def _first_messages(task: Task) -> list[Message]:
    system = [Message(role="system", content=task.system)] if task.system else []
    return [*system, Message(role="user", content=task.prompt)]
