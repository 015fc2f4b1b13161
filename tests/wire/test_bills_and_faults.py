"""Whatever a server does, and however often a call is tried: what it costs stays on the bill."""

import asyncio
from decimal import Decimal
from random import Random

import fault_server as fs
import pytest
from calling import WIRES, nothing_left
from fault_server import FaultServer
from hypothesis import example, given, settings as hypothesis, strategies as st
from strategies import Ran, granting, task

from xz_magics.bills import Biller
from xz_magics.prices import FlatPrice
from xz_magics.providers.endpoint import Endpoint
from xz_magics.providers.http import HttpProvider

pytestmark = pytest.mark.slow

PRICE = FlatPrice(input_usd=Decimal(3), output_usd=Decimal(15))
NOW = b"retry-after-ms: 1\r\n"
FAULTS = {
    "none": fs.answering,
    "no usage": fs.ending(fs.stream(fs.TOKENS + fs.FINISH + fs.DONE)),
    "cut": fs.ending(fs.stream(fs.TOKENS)),
    "reset after text": fs.then("reset", fs.stream(fs.TOKENS)),
    "closed": fs.then("close"),
    "reset": fs.then("reset"),
    "no JSON": fs.response(b"<html>"),
    "empty": fs.response(b""),
    "500": fs.refusal(500, headers=NOW),
    "503": fs.refusal(503, headers=NOW),
    "429": fs.refusal(429, headers=NOW),
    "400": fs.refusal(400),
}
SILENT = {"closed", "reset"}


class AtOnce(Random):
    """No pause before another try."""

    def random(self):
        return 0.0


@given(
    names=st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=6),
    retries=st.integers(0, 2),
    summary_prompt=st.none() | st.just("In short?"),
)
@example(names=["429", "closed"], retries=1, summary_prompt=None)
@hypothesis(max_examples=60, deadline=None)
def test_no_sequence_of_faults_costs_more_than_the_bill_with_all_tries(names, retries, summary_prompt):
    one = task(model="test:m", max_tokens=20, summary_prompt=summary_prompt)

    async def scenario():
        async with FaultServer(fs.in_turn(*(FAULTS[name] for name in names))) as server, nothing_left(server):
            endpoint = Endpoint(name="test", wire="openai", base_url=f"http://127.0.0.1:{server.port}")
            provider = HttpProvider(
                model="test:m", model_id="m", endpoint=endpoint, wire=WIRES["openai"], key=None, price=PRICE
            )
            bill = Biller({"test:m": provider}, granted=granting(()), max_depth=0).bill(one)
            ran = Ran([one], {"test:m": provider}, retries=retries, around={"random": AtOnce()})
            (outcome,) = await ran.to_the_end()
            await provider.aclose()
            return bill, outcome, len(server.bodies)

    bill, outcome, requests = asyncio.run(scenario())

    served = [*names, *[names[-1]] * requests][:requests]
    goodbyes = sum(name in SILENT for name in served)  # on a kept connection, each is sent once more at once
    assert requests <= bill.turns * (retries + 1) + goodbyes
    assert (outcome.total_tokens or 0) <= bill.tokens * (retries + 1)
    assert Decimal(str(outcome.cost_usd or 0)) <= bill.cost_usd * (retries + 1)
    if outcome.attempts == len(outcome.turns):
        assert (outcome.total_tokens or 0) <= bill.tokens
