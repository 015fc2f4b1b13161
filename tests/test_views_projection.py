"""What a run will have cost: told once it can be guessed, and never as more than is known."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from strategies import Ran, answering, task

from xz_magics.prices import FlatPrice
from xz_magics.records import Judge, Quota, Scorer
from xz_magics.views.projection import Projection

PRICE = FlatPrice(input_usd=Decimal(0), output_usd=Decimal(10_000))


def words_after(ended, planned=4, *, price=PRICE, over=False, limit_usd=None, models=1, **fields):
    """Of a run of so many tasks of which so many have ended, each for two cents."""
    tasks = [task(f"t{place}", f"m{place % models}", index=place, **fields) for place in range(planned)]
    ran = Ran(tasks, {f"m{place}": answering("two words", price=price) for place in range(models)}, max_concurrent=1)
    asyncio.run(ran.to_the_end())
    projection = Projection()
    rows = ran.outcomes.written
    for row in rows:
        projection.plan(row)
    for row in [*rows[:ended], *rows[:ended]]:  # a row that has ended may change once more
        projection.note(row)
    so_far = sum(row.cost_usd or 0 for row in rows[:ended])
    return projection.words(so_far, over=over, limit_usd=limit_usd)


@pytest.mark.parametrize(
    ("ended", "words"),
    [(0, ""), (1, "$0.0200 of about $0.0800"), (3, "$0.0600 of about $0.0800"), (4, "$0.0800")],
)
def test_the_whole_is_guessed_from_the_tasks_that_have_ended(ended, words):
    assert words_after(ended) == words


def test_the_end_is_no_guess():
    assert words_after(2, over=True) == "$0.0400"


def test_nothing_is_guessed_before_a_task_of_each_model_has_ended():
    assert words_after(1, models=2) == "$0.0200"
    assert words_after(2, models=2) == "$0.0400 of about $0.0800"


def test_no_guess_passes_the_limit_of_the_run():
    assert words_after(1, planned=100, limit_usd=0.5) == "$0.0200 of about $0.50"


def test_free_is_not_told_and_unpriced_is():
    free = FlatPrice(input_usd=Decimal(0), output_usd=Decimal(0))

    assert words_after(2, price=free) == ""
    assert words_after(2, price=None) == "unpriced"


def test_judges_still_to_come_are_said():
    judge = Scorer(name="j", kind="judge", judge=Judge(model="m0", rubric="?", scale={"a": 1}, max_tokens=9))

    assert words_after(1, scores=(judge,)) == "$0.0200 of about $0.0800 and the judges"


def test_a_task_that_was_never_sent_has_cost_nothing():
    tasks = [task(f"t{place}", "m", index=place) for place in range(2)]
    ran = Ran(tasks, {"m": answering("two words", price=PRICE)}, quota=Quota(max_executions=1))
    asyncio.run(ran.to_the_end())
    projection = Projection()
    for row in ran.outcomes.written:
        projection.plan(row)
        projection.note(row)

    assert projection.words(0.02, over=False) == "$0.0200"


def test_what_is_unknown_is_not_sent_and_makes_no_other_task_cheaper():
    tasks = [task(f"t{place}", "m", index=place) for place in range(4)]
    ran = Ran(tasks, {"m": answering("two words", price=PRICE)}, max_concurrent=1)
    asyncio.run(ran.to_the_end())
    projection = Projection()
    rows = ran.outcomes.written
    for row in rows:
        projection.plan(row)
    rows[0].outcome = replace(rows[0].outcome, status="unknown", turns=(), tree_tokens=None, tree_cost_usd=None)
    for row in rows[:2]:
        projection.note(row)

    words = projection.words(0.02, over=False)

    assert words == "$0.0200 of about $0.0600"
