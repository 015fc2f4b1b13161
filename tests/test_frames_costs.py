"""What each part of a run cost: groups that add up to the whole."""

import pytest
from hypothesis import given, settings as hypothesis, strategies as st

from xz_magics.errors import SpecError
from xz_magics.frames.costs import costs_frame
from xz_magics.records import Outcome, Reused, Trial, Turn, known_sum

NUMBERS = st.none() | st.integers(0, 10_000)


def turn(number=1, tokens_in=None, tokens_out=None, cached=None, usd=None):
    return Turn(
        number=number,
        attempts=1,
        max_tokens=10,
        started_at=None,
        duration_s=None,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=cached,
        cost_usd=usd,
    )


def outcome(label, *turns, model="m", **fields):
    return Outcome(index=0, label=label, status="done", model=model, max_tokens=10, turns=turns, **fields)


TURNS = st.builds(turn, st.integers(1, 3), NUMBERS, NUMBERS, NUMBERS, st.none() | st.integers(0, 64).map(float))
ARMS = st.fixed_dictionaries({"wording": st.sampled_from(["plain", "strict"]), "t": st.sampled_from([0, 1, 0.5, None])})


@st.composite
def runs(draw):
    """Tasks with arms and tags, each followed by nested subagents and judges of it."""
    outcomes = []
    for place in range(draw(st.integers(0, 5))):
        trial = Trial(input=f"i{place % 2}", arms=draw(ARMS)) if draw(st.booleans()) else None
        tags = tuple(draw(st.lists(st.sampled_from(["a", "b", "user:ada"]), max_size=3, unique=True)))
        turns = draw(st.lists(TURNS, max_size=3))
        model = draw(st.sampled_from(["m", "n"]))
        outcomes.append(outcome(f"t{place}", *turns, model=model, trial=trial, tags=tags))
        for child, purpose in enumerate(draw(st.lists(st.sampled_from(["task", "judge"]), max_size=2))):
            nested = draw(st.lists(TURNS, max_size=2))
            outcomes.append(outcome(f"t{place}/{child}", *nested, parent=f"t{place}", depth=1, purpose=purpose))
    return outcomes


@given(run=runs(), what=st.sampled_from(["model", "task", "input", "purpose", "turn", "wording", "t"]))
@hypothesis(deadline=None)
def test_the_rows_add_up_to_the_whole_run(run, what):
    if what in {"wording", "t"} and not any(one.trial for one in run):
        return
    turns = [one for each in run for one in each.turns]

    table = costs_frame([run], what)

    assert table[what].is_unique
    assert table["cost_usd"].sum() == (known_sum(one.cost_usd for one in turns) or 0)
    assert table["unpriced"].sum() == sum(one.cost_usd is None for one in turns)
    assert table["turns"].sum() == len(turns)
    for name, own in (("input_tokens", "input_tokens"), ("cached_tokens", "cache_read_tokens")):
        assert table[name].sum() == (known_sum(getattr(one, own) for one in turns) or 0)
    assert table["total_tokens"].sum() == (known_sum(one.total_tokens for one in turns) or 0)
    if what != "turn":
        assert table["tasks"].sum() == len(run)


def test_what_is_unknown_is_na_and_is_counted():
    run = [
        outcome("a", turn(1, 5, 2, 3, 0.5), turn(2, 7, 1)),
        outcome("b", turn(1), model="n"),
        outcome("c", model="o"),
    ]

    table = costs_frame([run], "model")

    assert table["cached_tokens"].tolist()[0] == 3
    assert table["cost_usd"].isna().tolist() == [False, True, True]
    assert table["total_tokens"].isna().tolist() == [False, True, True]
    assert table["unpriced"].tolist() == [1, 1, 0]


def test_a_task_with_two_tags_counts_for_both_and_one_without_stands_apart():
    run = [
        outcome("a", turn(1, 1, 0, 0, 1.0), tags=("x", "y")),
        outcome("a/1", turn(1, 1, 0, 0, 2.0), parent="a", depth=1),
        outcome("b", turn(1, 1, 0, 0, 4.0), tags=("x",)),
        outcome("c", turn(1, 1, 0, 0, 8.0)),
    ]

    table = costs_frame([run], "tag")

    assert table["tag"].fillna("none").tolist() == ["x", "y", "none"]
    assert table["cost_usd"].tolist() == [7.0, 3.0, 8.0]
    assert table["tasks"].tolist() == [3, 2, 1]


def test_nested_subagents_count_for_their_task_and_judges_for_themselves():
    trial = Trial(input="i", arms={"t": 1})
    run = [
        outcome("a", turn(1, 1, 1, 0, 1.0), trial=trial),
        outcome("a/1", turn(1, 1, 1, 0, 2.0), parent="a", depth=1),
        outcome("a/1/1", turn(1, 1, 1, 0, 4.0), parent="a/1", depth=2),
        outcome("a/judge", turn(1, 1, 1, 0, 8.0), parent="a", purpose="judge"),
        outcome("summary", turn(1, 1, 1, 0, 16.0), purpose="combine"),
    ]

    assert costs_frame([run], "task")["cost_usd"].tolist() == [7.0, 8.0, 16.0]
    assert costs_frame([run], "purpose")["cost_usd"].tolist() == [7.0, 8.0, 16.0]
    assert costs_frame([run], "t")["cost_usd"].tolist() == [7.0, 24.0]
    assert costs_frame([run], "t")["t"].dtype == "Int64"


def test_several_runs_stand_in_one_table():
    one = [outcome("a", turn(1, 1, 1, 0, 1.0)), outcome("a/1", turn(1, 1, 1, 0, 2.0), parent="a", depth=1)]
    other = [outcome("a/1", turn(1, 1, 1, 0, 4.0), model="n")]

    assert costs_frame([one, other], "task")["cost_usd"].tolist() == [3.0, 4.0]
    assert costs_frame([one, other], "model")["cost_usd"].tolist() == [3.0, 4.0]


def test_values_of_different_kinds_stay_apart_and_lists_become_text():
    run = [
        outcome(str(place), turn(1, 1, 1, 0, 1.0), trial=Trial(input="i", arms={"turns": value}))
        for place, value in enumerate([1, "1", True, [1, 2], [1, 2]])
    ]

    table = costs_frame([run], "turns")

    assert table["matrix.turns"].tolist() == ["1", "1", "true", "[1, 2]"]
    assert table["turns"].tolist() == [1, 1, 1, 2]


def test_an_unknown_word_is_an_error_that_tells_the_known_ones():
    run = [outcome("a", trial=Trial(input="i", arms={"wording": "plain"}))]

    with pytest.raises(SpecError, match="did you mean 'wording'"):
        costs_frame([run], "wordng")
    with pytest.raises(SpecError, match=r"there are: .*model"):
        costs_frame([run], "zzzzzzzz")


def test_what_is_no_text_is_no_name():
    with pytest.raises(SpecError, match="one name, given as text, not a list"):
        costs_frame([[outcome("a")]], ["model"])


def test_what_is_reused_cost_nothing_and_that_is_known():
    reused = Reused(run="r", label="a", ended_at=0.0)
    run = [outcome("a", reused=reused), outcome("b", turn(1), reused=None), outcome("c", turn(1, 5, 2, 3, 0.5))]

    table = costs_frame([run], "task")

    numbers = ["turns", "input_tokens", "cached_tokens", "output_tokens", "total_tokens", "cost_usd", "unpriced"]
    assert table[numbers].iloc[0].tolist() == [0] * 7
    assert table["cost_usd"].isna().tolist() == [False, True, False]
