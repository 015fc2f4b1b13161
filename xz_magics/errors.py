"""Everything that can go wrong, as one tree.

XzMagicsError
├── SpecError            what was written cannot be run: the cell, its options, a call's arguments
├── ConfigError          a setting is wrong
├── ConfirmationNeeded   a cell would start many tasks, or costly ones, and nobody has said --yes
├── ModelError           a model that cannot be opened: unknown, no key, extra missing, no price under a cost limit
├── QuotaExceeded        a reservation that can never fit
├── ProviderError        one attempt of a model call failed
├── JournalError         the journal cannot be opened, written or read
├── UnknownLabel         no task of a run is called so (a KeyError, too)
├── TasksFailed          asked for by raise_for_failures() and --check
└── NestingError         this event loop cannot be entered a second time
RunInterrupted           Stop was pressed: ends a cell (a KeyboardInterrupt, so that queued cells do not go on)
RunStopped               Stop was pressed: ends an awaited run() (a CancelledError)

A message says what, where and which value; `hint` says how to mend it.
"""

import asyncio
from typing import Literal

from xz_magics.records import ErrorType

Charge = Literal["nothing", "received", "all"]
"""What a failed attempt costs: nothing was sent or it was refused; prompt bound + bytes received; the reservation."""


class XzMagicsError(Exception):
    """The root. Arguments are positional, so that every error survives pickling."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the user's mistake, not our lines."""
        return f"{type(self).__name__}: {self}".split("\n")


class SpecError(XzMagicsError):
    """What was written cannot be run. `line` and `column` count from 1 within the cell's body; None is unknown."""

    def __init__(
        self, message: str, hint: str = "", line: int | None = None, column: int | None = None, source: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, line, column, source)
        self.line = line
        self.column = column
        self.source = source

    def __str__(self) -> str:
        place = [f"{name} {at}" for name, at in (("line", self.line), ("column", self.column)) if at is not None]
        shown = [": ".join([", ".join(place), self.message] if place else [self.message])]
        if self.source and self.column is not None:
            excerpt, at = _excerpt(self.source, self.column)
            shown += [f"    {excerpt}", f"    {' ' * at}^"]
        return "\n".join([*shown, self.hint] if self.hint else shown)


class ConfigError(XzMagicsError):
    """A setting is wrong, or comes from where it may not."""


class ConfirmationNeeded(XzMagicsError):  # noqa: N818 - it asks; nothing has gone wrong
    """A cell would start more tasks than the settings let start unasked, or may cost more; nothing has been sent."""


class ModelError(XzMagicsError):
    """A model that cannot be opened; nothing has been sent."""


class QuotaExceeded(XzMagicsError):  # noqa: N818 - the quota's own word, and the name of its error_type
    """A reservation that can never fit: which limit, what is used of it, what was needed."""

    def __init__(self, message: str, hint: str = "", limit: str = "") -> None:
        super().__init__(message, hint)
        self.args = (message, hint, limit)
        self.limit = limit


class ProviderError(XzMagicsError):
    """One attempt of a model call failed. `retry_after_s` is what the server asked for, in seconds."""

    def __init__(  # noqa: PLR0917 - an exception's arguments are positional, or it cannot be unpickled
        self,
        message: str,
        hint: str = "",
        error_type: ErrorType = "network",
        charge: Charge = "nothing",
        status: int | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,  # noqa: FBT001 - see above
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, error_type, charge, status, retry_after_s, should_retry)
        self.error_type: ErrorType = error_type
        self.charge: Charge = charge
        self.status = status
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class JournalError(XzMagicsError):
    """The journal cannot be opened, written or read: which file, why, and what becomes of the run."""


class UnknownLabel(XzMagicsError, KeyError):  # noqa: N818 - says what happened, not that it is an error
    """No task of a run is called so."""


class TasksFailed(XzMagicsError):  # noqa: N818 - says what happened, not that it is an error
    """Some tasks did not end as done, and the caller asked to be told by an exception."""


class NestingError(XzMagicsError):
    """This event loop cannot be entered a second time."""


class RunInterrupted(KeyboardInterrupt):
    """Stop was pressed: a KeyboardInterrupt, so that queued cells do not go on with half a table."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class RunStopped(asyncio.CancelledError):
    """Stop was pressed: a CancelledError, since a KeyboardInterrupt that leaves an asyncio task ends the kernel."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def _excerpt(source: str, column: int, width: int = 96) -> tuple[str, int]:
    """The part of a line around a column, made printable, and where the caret stands under it."""
    start = max(0, column - 1 - width // 2)
    before, after = source[start : column - 1], source[column - 1 : start + width]
    lead = "…" if start else ""
    shown = lead + _printable(before)
    return shown + _printable(after) + ("…" if len(source) > start + width else ""), len(shown)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
