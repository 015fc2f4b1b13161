"""What a plan may cost at most is never below what it costs, whatever the models do."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st
from strategies import Ran, answering, granting, task

from xz_magics.bills import Biller, add_up, standings
from xz_magics.prices import FlatPrice
from xz_magics.providers.scripted import Step
from xz_magics.records import AnswerSchema, Insert, Judge, LimitUse, Quota, Scorer
from xz_magics.scores.judging import judged

PRICE = FlatPrice(input_usd=Decimal(3), output_usd=Decimal(15), cache_read_usd=Decimal("0.3"))
YES_OR_NO = AnswerSchema(
    name="answer",
    json={"type": "object", "properties": {"is": {"type": "boolean"}}, "required": ["is"]},
)
TEXTS = st.text(max_size=60)
PROMPTS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60)


class AtOnce(Random):
    """No pause before another try."""

    def random(self):
        return 0.0


def a_biller(providers, *, tools=(), max_depth=3, **more):
    return Biller(providers, granted=granting(tools), max_depth=max_depth, **more)


def bill_of(one, *, tools=(), price=PRICE, others=(), **more):
    providers = {one.model: answering("hi", price=price), **dict(others)}
    return a_biller(providers, tools=tools, **more).bill(one)


def look_up(word: str) -> str:
    """What a word means."""
    return word


@st.composite
def tasks(draw):
    fields = {
        "prompt": draw(PROMPTS),
        "max_tokens": draw(st.integers(1, 60)),
        "max_turns": draw(st.integers(1, 3)),
        "system": draw(st.none() | PROMPTS),
        "summary_prompt": draw(st.none() | PROMPTS),
        "schema": draw(st.none() | st.just(YES_OR_NO)),
    }
    return task(model="m", **fields)


@st.composite
def steps(draw):
    status = draw(st.sampled_from([200, 200, 200, 429, 500, 503, 400]))
    cut = draw(st.none() | st.none() | st.integers(0, 3))
    answer = draw(TEXTS | st.sampled_from(['{"is": true}', "word " * 40, "é" * 2_000]))
    finish = draw(st.sampled_from(["stop", "stop", "length", "refused"]))
    return Step(answer=answer, status=status, retry_after_s=0.001, chunks=3, cut=cut, finish=finish)


@given(one=tasks(), script=st.lists(steps(), min_size=1, max_size=6), retries=st.integers(0, 2))
@hypothesis(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_run_costs_more_than_its_bill_with_all_tries(one, script, retries):
    providers = {"m": answering(*script, price=PRICE)}
    bill = a_biller(providers).bill(one)
    ran = Ran([one], providers, retries=retries, around={"random": AtOnce()})

    (outcome,) = asyncio.run(ran.to_the_end())

    assert len(outcome.turns) <= bill.turns
    assert (outcome.total_tokens or 0) <= bill.tokens * (retries + 1)
    assert Decimal(str(outcome.cost_usd or 0)) <= bill.cost_usd * (retries + 1)
    if all(turn.attempts == 1 for turn in outcome.turns):
        assert (outcome.total_tokens or 0) <= bill.tokens
        assert Decimal(str(outcome.cost_usd or 0)) <= bill.cost_usd


@given(
    outputs=st.lists(st.text(alphabet="aé\U0001f600 \n", min_size=1, max_size=300), min_size=1, max_size=3),
    prompt=PROMPTS,
    most=st.none() | st.integers(1, 200),
)
@hypothesis(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_other_tasks_put_into_a_prompt_is_on_the_bill(outputs, prompt, most):
    before = [
        task(f"t{place}", f"m{place}", index=place, max_tokens=2_000, prompt="Say it.") for place in range(len(outputs))
    ]
    inserts = tuple(Insert(field="prompt", at=len(prompt), label=one.label) for one in before)
    last = task(
        "last", "last", index=9, prompt=prompt, inserts=inserts, after=tuple(one.label for one in before), max_tokens=20
    )
    providers = {one.model: answering(output) for one, output in zip(before, outputs, strict=True)}
    # A reply that is cut is charged by the bound of its prompt.
    providers["last"] = answering(Step(answer="ab", chunks=2, cut=1), price=PRICE)
    bill = a_biller(providers, output_max_size=most).bill(last)
    ran = Ran([*before, last], providers, around={"output_max_size": most})

    *_, outcome = asyncio.run(ran.to_the_end())

    assert outcome.total_tokens is None or outcome.total_tokens <= bill.tokens


def test_a_turn_more_is_on_the_bill_for_a_summary_and_for_an_answer_that_does_not_fit():
    plain, summed_up = bill_of(task()), bill_of(task(summary_prompt="In short?"))
    typed = bill_of(task(schema=YES_OR_NO))
    both = bill_of(task(schema=YES_OR_NO, summary_prompt="In short?"))

    assert [plain.turns, summed_up.turns, typed.turns, both.turns] == [1, 2, 2, 3]
    assert plain.first_tokens == plain.tokens
    assert plain.tokens < summed_up.tokens < both.tokens
    assert typed.tokens < both.tokens


def test_what_tools_bring_has_no_bound_and_without_a_price_nothing_is_known_of_the_cost():
    with_tools = bill_of(task(allowed_tools=("look_up",), max_turns=4), tools=[look_up])
    of_one_turn = bill_of(task(allowed_tools=("look_up",), max_turns=1), tools=[look_up])
    unpriced = bill_of(task(), price=None)

    assert (with_tools.turns, with_tools.tokens, with_tools.cost_usd, with_tools.unpriced) == (4, None, None, False)
    assert of_one_turn.tokens is not None
    assert (unpriced.cost_usd, unpriced.unpriced) == (None, True)
    assert unpriced.tokens is not None


@pytest.mark.parametrize(
    ("allowed", "max_depth", "other", "cost"),
    [
        (("look_up",), 3, PRICE, 0),
        (("subagent",), 3, PRICE, None),
        (("subagent",), 0, PRICE, 0),
        (("subagent",), 3, FlatPrice(input_usd=Decimal(0), output_usd=Decimal(0)), 0),
    ],
)
def test_a_free_model_with_tools_is_free_unless_it_may_call_upon_another(allowed, max_depth, other, cost):
    free = FlatPrice(input_usd=Decimal(0), output_usd=Decimal(0))

    bill = bill_of(
        task(allowed_tools=allowed),
        tools=[look_up],
        price=free,
        others={"dear": answering("hi", price=other)},
        max_depth=max_depth,
    )

    assert bill.cost_usd == cost


async def test_a_judge_never_uses_more_than_its_bill_however_long_the_answer_is():
    judge = Scorer(
        name="judge", kind="judge", judge=Judge(model="j", rubric="Is it good?", scale={"a": 1}, max_tokens=9)
    )
    one = task(model="m", scores=(judge,), max_tokens=100_000)
    cut_short = Step(answer="xyz", chunks=3, cut=1)  # charged by the bound of its prompt
    providers = {"m": answering("é" * 100_000), "j": answering(cut_short, price=PRICE)}
    (bill,) = a_biller(providers).judging(one)
    (outcome,) = await Ran([one], providers).to_the_end()
    (judging,) = judged([(outcome, one)])

    (verdict,) = await Ran([replace(judging.task, of=None, purpose="task")], providers).to_the_end()

    assert outcome.status == "done"
    assert 10_000 < verdict.total_tokens <= bill.tokens
    assert verdict.cost_usd <= bill.cost_usd


def test_bills_add_up_and_one_without_a_bound_leaves_the_sum_without():
    priced, unpriced = bill_of(task()), bill_of(task(), price=None)
    unbounded = bill_of(task(allowed_tools=("look_up",)), tools=[look_up])

    both = add_up([priced, unpriced])
    all_three = add_up([priced, unpriced, unbounded])

    assert (both.tokens, both.cost_usd, both.unpriced) == (priced.tokens + unpriced.tokens, priced.cost_usd, 1)
    assert (all_three.tokens, all_three.unbounded, all_three.unbounded_cost) == (None, 1, 1)
    assert (add_up([]).tokens, add_up([]).cost_usd) == (0, 0)
    assert add_up([unpriced]).cost_usd is None


def limit(name, most, used=0):
    return LimitUse(level="run", name=name, limit=most, used=used, reserved=0)


def test_a_limit_lets_tasks_start_surely_perhaps_or_never():
    small, large = bill_of(task(max_tokens=10)), bill_of(task(max_tokens=1_000))
    three = [small, large, small]

    assert standings(three, limit("max_executions", 2)) == ["sure", "sure", "never"]
    assert standings(three, limit("max_executions", 2, used=1)) == ["sure", "never", "never"]
    assert standings(three, limit("max_total_tokens", 500)) == ["sure", "never", "perhaps"]
    assert standings(three, limit("max_total_tokens", small.tokens + large.tokens)) == ["sure", "sure", "perhaps"]
    assert standings(three, limit("max_total_cost", float(small.cost_usd) * 2)) == ["sure", "never", "perhaps"]
    assert standings(three, limit("max_total_time", 9)) == ["perhaps"] * 3
    assert standings([small] * 3, limit("max_total_tokens", 3 * small.tokens), tries=3) == [
        "sure",
        "perhaps",
        "perhaps",
    ]


@given(ones=st.lists(tasks(), min_size=1, max_size=4), most=st.integers(0, 3_000))
@hypothesis(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_limit_keeps_its_word_of_which_tasks_start(ones, most):
    planned = [task(f"t{place}", one.model, index=place, prompt=one.prompt) for place, one in enumerate(ones)]
    providers = {"m": answering("a short answer", price=PRICE)}
    biller = a_biller(providers)
    said = standings([biller.bill(one) for one in planned], limit("max_total_tokens", most))

    outcomes = asyncio.run(Ran(planned, providers, quota=Quota(max_total_tokens=most)).to_the_end())

    for standing, outcome in zip(said, outcomes, strict=True):
        assert (standing, outcome.status) not in {("never", "done"), ("sure", "skipped")}


async def test_a_cut_answer_of_many_bytes_makes_the_next_prompt_no_dearer_than_billed():
    one = task(model="m", max_tokens=10, summary_prompt="In short?")
    cut = Step(answer="é" * 3_000, chunks=3, cut=2)  # its reply tells no usage
    providers = {"m": answering(cut, price=PRICE)}

    (outcome,) = await Ran([one], providers).to_the_end()

    assert len(outcome.turns) == 2
    assert outcome.total_tokens <= a_biller(providers).bill(one).tokens
