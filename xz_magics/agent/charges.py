"""What calls are charged: the same to the grant that held the room and to the turn that shows it."""

import time
from dataclasses import dataclass
from decimal import Decimal

from xz_magics.errors import Charge, ProviderError, QuotaExceeded
from xz_magics.prices import Price
from xz_magics.providers import Exchange
from xz_magics.quotas import Grant
from xz_magics.records import ErrorType, Reply, Request, Turn, Usage


class TurnLog:
    """What one turn has come to over its attempts."""

    def __init__(self, number: int, max_tokens: int) -> None:
        self.number = number
        self.attempts = 0
        self.max_tokens = max_tokens
        self._sent_at: float | None = None
        self._started_at: float | None = None
        self._usages: list[Usage] = []
        self._cost: Decimal | None = None

    def note_sent(self, now: float) -> None:
        if self._sent_at is None:
            self._sent_at, self._started_at = now, time.time()

    def book(self, usage: Usage, cost: Decimal | None) -> None:
        self._usages.append(usage)
        if cost is not None:
            self._cost = (self._cost or Decimal(0)) + cost

    def ended(self, now: float, reply: Reply | None, error: ProviderError | QuotaExceeded | None) -> Turn:
        """What was never sent has no tokens; what was sent and refused has 0."""
        known = self._sent_at is not None
        return Turn(
            number=self.number,
            attempts=self.attempts,
            max_tokens=self.max_tokens,
            started_at=self._started_at,
            duration_s=None if self._sent_at is None else now - self._sent_at,
            input_tokens=sum(usage.input_tokens for usage in self._usages) if known else None,
            output_tokens=sum(usage.output_tokens for usage in self._usages) if known else None,
            cache_read_tokens=sum(usage.cache_read_tokens for usage in self._usages) if known else None,
            cache_write_tokens=sum(usage.cache_write_tokens for usage in self._usages) if known else None,
            cost_usd=None if self._cost is None else float(self._cost),
            estimated=any(usage.estimated for usage in self._usages),
            finish_reason=None if reply is None else reply.finish_reason,
            error_type=None if error is None else error_type_of(error),
            error=None if error is None else error.message,
            tool_calls=0 if reply is None else len(reply.tool_calls),
        )


@dataclass(frozen=True, slots=True)
class Charges:
    """The charges of one attempt. `bound` is the most that its prompt can have, in tokens."""

    grant: Grant
    exchange: Exchange
    turn: TurnLog
    price: Price | None
    bound: int
    request: Request

    def charge_reply(self, reply: Reply) -> None:
        if reply.usage is not None:
            self._book(reply.usage)
        else:
            self.charge("received" if reply.finish == "cut" else "all")

    def charge_cancelled(self) -> None:
        """A model may think long before its first piece of text: until then the reservation is the honest guess."""
        if self.exchange.sent:
            self.charge("received" if self.request.stream and self.exchange.received_bytes else "all")

    def charge(self, charge: Charge) -> None:
        if self.exchange.usage is not None:
            self._book(self.exchange.usage)
        elif charge == "nothing":
            self.turn.book(Usage(input_tokens=0, output_tokens=0), None if self.price is None else Decimal(0))
        else:
            most = self.request.max_tokens
            output = most if charge == "all" else min(self.exchange.received_bytes, most)
            self._book(Usage(input_tokens=self.bound, output_tokens=output, estimated=True))

    def _book(self, usage: Usage) -> None:
        """What is estimated costs the most that it can, as it was reserved."""
        cost = None if self.price is None else self._cost_of(usage, self.price)
        self.grant.settle(usage, cost or Decimal(0))
        self.turn.book(usage, cost)

    @staticmethod
    def _cost_of(usage: Usage, price: Price) -> Decimal:
        return price.worst(usage.input_tokens, usage.output_tokens) if usage.estimated else price.cost(usage)


def error_type_of(error: ProviderError | QuotaExceeded) -> ErrorType:
    return error.error_type if isinstance(error, ProviderError) else "quota_exceeded"
