"""One subagent: from its slot to its one final event."""

import asyncio
import logging
from dataclasses import dataclass

from xz_magics.agent.calls import Calls, Surroundings
from xz_magics.agent.charges import error_type_of
from xz_magics.errors import ProviderError, QuotaExceeded
from xz_magics.events import TaskEnded
from xz_magics.providers import Provider
from xz_magics.quotas import Grant
from xz_magics.records import ErrorType, Finish, Message, Reply, Status, Task

__all__ = ["Ending", "Subagent", "Surroundings", "clip"]

logger = logging.getLogger("xz_magics")

ENDINGS: dict[Finish, tuple[Status, ErrorType | None, str | None]] = {
    "stop": ("done", None, None),
    "length": ("incomplete", "length", "the answer was cut at max_tokens = {max_tokens}\nraise `max_tokens`"),
    "cut": ("incomplete", "cut", "the answer is cut: {why}\nrun the task again"),
    "refused": ("refused", "refused", "the model or its provider's filter refused to answer\nreword the prompt"),
    "tool_calls": ("failed", "tool_protocol", "the model asked for a tool, and none was granted\nreword the prompt"),
}
WITHOUT_SUMMARY = "the output is the text of the work, without its summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a subagent's work ended, before it becomes its final event."""

    status: Status
    error_type: ErrorType | None = None
    error: str | None = None
    finish_reason: str | None = None


class Subagent:
    """Works on one task; holds its messages and what its work and summary came to."""

    def __init__(self, task: Task, provider: Provider, around: Surroundings, *, ready_at: float) -> None:
        self.task = task
        self._around = around
        self._ready_at = ready_at
        self._calls = Calls(task, provider, around, ready_at=ready_at, on_sent=self._note_first_request)
        self._messages = _first_messages(task)
        self._work: str | None = None
        self._summary: str | None = None
        self._seat: Grant | None = None
        self._deadline: asyncio.Timeout | None = None
        self._halt: Ending | None = None
        self._job: asyncio.Task[None] | None = None

    def cancel(self, ending: Ending) -> None:
        """Ends it from outside, on its own loop; its text is kept. The first ending that is given is told."""
        self._halt = self._halt or ending
        if self._job is not None:
            self._job.cancel()

    async def run(self) -> Status:
        """Ends in exactly one TaskEnded, whatever happens. Cancellation goes on to whoever asked for it."""
        self._job = asyncio.current_task()
        try:
            return self._end(await self._work_within_limits())
        except asyncio.CancelledError:
            self._end(self._halt or Ending(status="cancelled", error_type="cancelled", error="cancelled"))
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
            return Ending(status="timed_out" if kind == "timeout" else "failed", error_type=kind, error=str(error))

    async def _take_turns(self) -> Ending:
        reply = await self._take_turn()
        self._work = reply.text
        ending = self._ending_of(reply)
        if self.task.summary_prompt is None or ending.status not in {"done", "incomplete"}:
            return ending
        self._messages.append(Message(role="user", content=self.task.summary_prompt))
        try:
            summary = await self._take_turn()
        except (ProviderError, QuotaExceeded) as error:
            return self._without_summary(ending, error.message, error.hint)
        if summary.finish not in {"stop", "length"}:
            return self._without_summary(ending, f"it ended as {summary.finish}", "reword `summary_prompt`")
        self._summary = summary.text
        return ending if summary.finish == "stop" else self._ending_of(summary)

    async def _take_turn(self) -> Reply:
        reply = await self._calls.take_turn(self._messages)
        if reply.text:
            self._messages.append(Message(role="assistant", content=reply.text))
        return reply

    def _note_first_request(self) -> None:
        """The subagent counts as executed, and its timeout begins."""
        if self._seat is not None:
            self._seat.settle_all()
        if self._deadline is not None and self.task.timeout is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self.task.timeout)

    def _ending_of(self, reply: Reply) -> Ending:
        status, error_type, error = ENDINGS[reply.finish]
        told = None if error is None else error.format(max_tokens=self.task.max_tokens, why=reply.note or "")
        return Ending(status=status, error_type=error_type, error=told, finish_reason=reply.finish_reason)

    @staticmethod
    def _without_summary(ending: Ending, why: str, mend: str) -> Ending:
        return Ending(
            status=ending.status,
            error_type=ending.error_type,
            error=f"the summary failed ({why}); {WITHOUT_SUMMARY}\n{mend}",
            finish_reason=ending.finish_reason,
        )

    def _end(self, ending: Ending) -> Status:
        """Emits the final event. A task of which nothing went out is skipped, unless that is a defect of ours."""
        status: Status = ending.status if self._calls.tried or ending.error_type == "internal" else "skipped"
        now = self._around.clock()
        sent_at, granted_at = self._calls.sent_at, self._calls.granted_at
        work = self._calls.text if self._work is None else self._work
        output = work if self._summary is None else self._summary
        summary_is_missing = status not in {"done", "incomplete"} and self._work and self.task.summary_prompt
        self._around.emit(
            TaskEnded(
                label=self.task.label,
                status=status,
                output=clip(output, self._around.output_max_size) if output else None,
                error=f"{ending.error}\n{WITHOUT_SUMMARY}" if summary_is_missing else ending.error,
                error_type=ending.error_type,
                finish_reason=ending.finish_reason,
                duration_s=None if sent_at is None else now - sent_at,
                queued_s=(now if granted_at is None else granted_at) - self._ready_at,
                work=None if self._summary is None else work,
                messages=self._messages_with_what_came(),
            )
        )
        return status

    def _messages_with_what_came(self) -> tuple[Message, ...]:
        """With the beginning of a summary that was broken off: it is no output, but it was paid for."""
        came = self._calls.text
        if self._work is None or not came or self._messages[-1].content == came:
            return tuple(self._messages)
        return (*self._messages, Message(role="assistant", content=came))


def clip(text: str, limit_bytes: int | None) -> str:
    """The text within so many bytes of UTF-8, cut at a character with a mark that counts; None is no limit."""
    raw = text.encode("utf-8", "surrogatepass")
    if limit_bytes is None or len(raw) <= limit_bytes:
        return text
    mark = " …[cut]".encode()[: max(0, limit_bytes)]
    kept = raw[: max(0, limit_bytes - len(mark))].decode("utf-8", "ignore")
    return kept + mark.decode("utf-8", "ignore")


def _first_messages(task: Task) -> list[Message]:
    system = [Message(role="system", content=task.system)] if task.system else []
    return [*system, Message(role="user", content=task.prompt)]
