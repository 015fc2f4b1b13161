"""What a model call may cost and did cost, in US dollars; it alone knows the price table."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Protocol

from xz_magics.errors import ConfigError
from xz_magics.records import Usage

PER_MILLION = Decimal(1_000_000)


class Price(Protocol):
    def cost(self, usage: Usage) -> Decimal:
        """What these tokens cost, in dollars."""
        ...

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that so many tokens can cost, however they turn out to be cached."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPrice:
    """Dollars per million tokens. A cached price of None is the input price."""

    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None

    def cost(self, usage: Usage) -> Decimal:
        plain = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens
        read = self.input_usd if self.cache_read_usd is None else self.cache_read_usd
        write = self.input_usd if self.cache_write_usd is None else self.cache_write_usd
        total = plain * self.input_usd + usage.cache_read_tokens * read + usage.cache_write_tokens * write
        return (total + usage.output_tokens * self.output_usd) / PER_MILLION

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        dearest = max(self.input_usd, self.cache_read_usd or self.input_usd, self.cache_write_usd or self.input_usd)
        return (input_tokens * dearest + output_tokens * self.output_usd) / PER_MILLION


FREE = FlatPrice(input_usd=Decimal(0), output_usd=Decimal(0))


class TablePrice:
    """A model of genai-prices' table, whose prices may have tiers and parts that depend on the time of day.

    Raises LookupError for one that is not in the table.
    """

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._changes = isinstance(self._calculation(1, 1, 0, 0).model.prices, list)

    def cost(self, usage: Usage) -> Decimal:
        return self._total(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens)

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        cached = ((0, 0), (input_tokens, 0), (0, input_tokens))
        return max(self._total(input_tokens, output_tokens, read, write) for read, write in cached)

    def flat(self) -> FlatPrice | None:
        """The same as plain rates, which take a hundredth of the time to reckon with; None: there is more to it."""
        one, few = int(PER_MILLION), Usage(input_tokens=5, output_tokens=1, cache_read_tokens=2, cache_write_tokens=1)
        price = FlatPrice(
            input_usd=self._total(one, 0, 0, 0),
            output_usd=self._total(0, one, 0, 0),
            cache_read_usd=self._total(one, 0, one, 0),
            cache_write_usd=self._total(one, 0, 0, one),
        )
        return None if self._changes or price.cost(few) != self.cost(few) else price

    def _total(self, tokens_in: int, tokens_out: int, read: int, write: int) -> Decimal:
        total: Decimal = self._calculation(tokens_in, tokens_out, read, write).total_price
        return total

    def _calculation(self, tokens_in: int, tokens_out: int, read: int, write: int) -> Any:
        from genai_prices import Usage as TableUsage, calc_price

        usage = TableUsage(
            input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=read, cache_write_tokens=write
        )
        return calc_price(usage, self._model, provider_id=self._provider)


def price_of(provider: str, model: str, own: Mapping[str, FlatPrice]) -> Price | None:
    """The price of "provider:model": the user's own table first, then genai-prices'; None is unpriced."""
    return own.get(f"{provider}:{model}") or _listed(provider, model)


def flat_price(written: Mapping[str, Any], where: str) -> FlatPrice:
    """From {input, output, cache_read, cache_write}, in dollars per million tokens. Raises ConfigError."""
    try:
        usd = {f"{name}_usd": Decimal(str(value)) for name, value in written.items()}
        fine = all(value.is_finite() and value >= 0 for value in usd.values())
        price = FlatPrice(**usd)
    except (AttributeError, TypeError, InvalidOperation):
        fine = False
    if not fine:
        mend = "give dollars per million tokens: {input: 1.0, output: 2.0, cache_read: 0.1, cache_write: 1.2}"
        raise ConfigError(f"the price of {where} is {written!r}", mend)
    return price


@lru_cache(maxsize=256)
def _listed(provider: str, model: str) -> Price | None:
    """None also for what the table knows without a price per token: unknown is never 0."""
    try:
        price = TablePrice(provider, model)
    except LookupError:
        return None
    return (price.flat() or price) if price.worst(1, 1) else None
