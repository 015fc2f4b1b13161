"""What calls cost: a user's own prices, the table's, and that the worst case is never passed."""

from decimal import Decimal

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.errors import ConfigError
from xz_magics.prices import FREE, FlatPrice, TablePrice, flat_price, price_of
from xz_magics.records import Usage

PRICE = FlatPrice(
    input_usd=Decimal(3), output_usd=Decimal(15), cache_read_usd=Decimal("0.3"), cache_write_usd=Decimal(4)
)
IN_THE_TABLE = [
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("groq", "llama-3.3-70b-versatile"),
    ("deepseek", "deepseek-chat"),
    ("google", "gemini-2.5-pro"),
]

COUNT = st.integers(0, 300_000)
USAGES = st.builds(
    lambda plain, read, write, output: Usage(
        input_tokens=plain + read + write, output_tokens=output, cache_read_tokens=read, cache_write_tokens=write
    ),
    *[COUNT] * 4,
)
USD = st.decimals(0, 100, places=3)
PRICES = st.builds(
    FlatPrice, input_usd=USD, output_usd=USD, cache_read_usd=st.none() | USD, cache_write_usd=st.none() | USD
)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(input_tokens=1_000_000, output_tokens=0), "3"),
        (Usage(input_tokens=0, output_tokens=1_000_000), "15"),
        (Usage(input_tokens=1_000_000, output_tokens=0, cache_read_tokens=1_000_000), "0.3"),
        (Usage(input_tokens=100, output_tokens=10, cache_read_tokens=50, cache_write_tokens=20), "0.000335"),
    ],
)
def test_a_flat_price_is_per_million_tokens_cached_ones_apart(usage, usd):
    assert PRICE.cost(usage) == Decimal(usd)


def test_cached_tokens_without_a_price_of_their_own_cost_what_others_do():
    price = FlatPrice(input_usd=Decimal(2), output_usd=Decimal(1))
    cached = Usage(input_tokens=10, output_tokens=10, cache_read_tokens=4, cache_write_tokens=6)

    assert price.cost(cached) == price.cost(Usage(input_tokens=10, output_tokens=10)) == Decimal("0.00003")


@given(USAGES, PRICES)
def test_no_usage_costs_more_than_the_worst_case_of_its_tokens(usage, price):
    assert price.cost(usage) <= price.worst(usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize(("provider", "model"), IN_THE_TABLE)
@settings(max_examples=15, deadline=None)
@given(usage=USAGES)
def test_nor_does_it_by_the_tables_prices(provider, model, usage):
    price = price_of(provider, model, {})

    assert 0 <= price.cost(usage) <= price.worst(usage.input_tokens, usage.output_tokens)
    assert price.cost(usage) <= price.worst(usage.input_tokens + 1000, usage.output_tokens + 1000)


@pytest.mark.parametrize(("provider", "model"), IN_THE_TABLE)
@settings(max_examples=10, deadline=None)
@given(usage=USAGES)
def test_plain_rates_stand_in_for_the_table_only_where_they_say_the_same(provider, model, usage):
    price, table = price_of(provider, model, {}), TablePrice(provider, model)

    assert price.cost(usage) == table.cost(usage)
    assert price.worst(usage.input_tokens, usage.output_tokens) == table.worst(usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize(
    ("provider", "model", "kind"),
    [
        ("openai", "gpt-4o-mini", FlatPrice),
        ("google", "gemini-2.5-pro", TablePrice),  # dearer from 200,000 tokens on
        ("deepseek", "deepseek-chat", TablePrice),  # cheaper at night
    ],
)
def test_prices_with_tiers_or_times_are_the_tables_own(provider, model, kind):
    assert isinstance(price_of(provider, model, {}), kind)


def test_the_tables_prices_are_those_of_the_makers():
    price = price_of("openai", "gpt-4o", {})

    assert price.cost(Usage(input_tokens=1_000_000, output_tokens=0)) == Decimal("2.5")
    assert price.cost(Usage(input_tokens=0, output_tokens=1_000_000)) == Decimal(10)
    assert price.cost(Usage(input_tokens=1_000_000, output_tokens=0, cache_read_tokens=1_000_000)) == Decimal("1.25")


def test_the_users_own_price_wins_over_the_tables():
    own = {"openai:gpt-4o": FREE}

    assert price_of("openai", "gpt-4o", own) is FREE


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("openai", ""), ("nobody", "gpt-4o"), ("openai", "whisper-1"), ("openai", "tts-1")],
)
def test_what_the_table_does_not_price_by_the_token_is_unpriced_and_not_free(provider, model):
    assert price_of(provider, model, {}) is None


def test_a_price_is_read_as_it_is_written():
    assert flat_price({"input": 0.1, "output": "0.2", "cache_read": 0}, "a:b") == FlatPrice(
        input_usd=Decimal("0.1"), output_usd=Decimal("0.2"), cache_read_usd=Decimal(0)
    )


@pytest.mark.parametrize(
    "written",
    [
        {"input": 1},
        {"input": 1, "output": 2, "cached": 3},
        {"input": -1, "output": 2},
        {"input": float("nan"), "output": 2},
        {"input": float("inf"), "output": 2},
        {"input": True, "output": 2},
        {"input": None, "output": 2},
        {"input": "1 USD", "output": 2},
        {1: 1},
        3,
    ],
)
def test_a_price_that_is_none_is_refused_with_its_mend(written):
    with pytest.raises(ConfigError) as caught:
        flat_price(written, "groq:m")

    assert caught.value.message.startswith("the price of groq:m is ")
    assert caught.value.hint.startswith("give dollars per million tokens: {input: 1.0, output: 2.0")
