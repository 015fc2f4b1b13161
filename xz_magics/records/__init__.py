"""The values that pass between the rooms: frozen, and this room alone knows their fields."""

from xz_magics.records.calls import Finish, Message, Reply, Request, ToolCall, ToolSpec, Usage
from xz_magics.records.limits import LimitUse, Quota
from xz_magics.records.outcomes import ERROR_TYPES, STATUSES, ErrorType, Outcome, Reused, Span, SpanKind, Status, Turn
from xz_magics.records.sums import Number, known_sum
from xz_magics.records.tasks import AfterWhen, AnswerSchema, Insert, Judge, Purpose, Scorer, Task, Trial

__all__ = [
    "ERROR_TYPES",
    "STATUSES",
    "AfterWhen",
    "AnswerSchema",
    "ErrorType",
    "Finish",
    "Insert",
    "Judge",
    "LimitUse",
    "Message",
    "Number",
    "Outcome",
    "Purpose",
    "Quota",
    "Reply",
    "Request",
    "Reused",
    "Scorer",
    "Span",
    "SpanKind",
    "Status",
    "Task",
    "ToolCall",
    "ToolSpec",
    "Trial",
    "Turn",
    "Usage",
    "known_sum",
]
