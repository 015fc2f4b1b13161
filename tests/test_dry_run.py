"""A dry run prepares what a run does, tells what it may cost, and does nothing of it; a cell asks before much is spent."""

import re
import threading
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st

import xz_magics
from xz_magics.api import run_sync
from xz_magics.api.dry_run import DryRun, confirm, dry_run
from xz_magics.api.preparing import prepare
from xz_magics.config import changed
from xz_magics.errors import ConfirmationNeeded, ModelError, SpecError
from xz_magics.records import Quota

CONFIG = """
endpoints: {house: {wire: openai, base_url: "http://127.0.0.1:9"}}
prices: {"house:dear": {input: 10, output: 100}}
scripts:
  hi: {steps: [{answer: hi}]}
  priced: {steps: [{answer: dear}], price: {input: 10, output: 100}}
"""
WORDS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="{}"), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def configured(session, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    return session


def sent(results):
    return {
        outcome.label: [message.content for message in outcome.messages if message.role in {"system", "user"}]
        for outcome in results
    }


def facts(looked):
    return repr(looked).split("\n\n")[0].splitlines()


@st.composite
def works(draw):
    """Specs with arms, rows and repeats in whatever combination."""
    tasks = {f"t{place}": draw(WORDS) for place in range(draw(st.integers(1, 3)))}
    work = {"tasks": {label: f"{text} {{{{word}}}}" for label, text in tasks.items()}, "system": draw(WORDS)}
    rows = draw(st.lists(WORDS, min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        work["foreach"] = [{"word": word, "n": place} for place, word in enumerate(rows)]
    else:
        work["matrix"] = {"word": rows}
    if draw(st.booleans()):
        work["matrix"] = work.get("matrix", {}) | {"temperature": [0, 1]}
    if draw(st.booleans()):
        work["repeat"] = draw(st.integers(1, 2))
    return work


@given(work=works())
@hypothesis(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_dry_run_and_a_run_plan_the_same_tasks_and_the_run_stays_below(work):
    looked = dry_run(work, model="scripted:priced")
    results = run_sync(work, model="scripted:priced")

    planned = looked.df
    shown = {row.label: [row.system, row.prompt] for row in planned.itertuples()}
    assert list(planned["label"]) == [outcome.label for outcome in results]
    assert shown == sent(results)
    assert all(outcome.total_tokens <= most for outcome, most in zip(results, planned["most_tokens"], strict=True))
    assert all(outcome.cost_usd <= most for outcome, most in zip(results, planned["most_cost_usd"], strict=True))
    assert results.summary["total_tokens"] <= looked.most_tokens
    assert results.summary["cost_usd"] <= looked.most_cost_usd


def test_nothing_is_sent_fetched_or_started_and_nothing_is_used(session, tmp_path, monkeypatch):
    monkeypatch.setenv("XZ_MAGICS_CACHE", str(tmp_path / "cache"))
    before = set(threading.enumerate())

    for model in ("local", "house:dear", "scripted:hi"):
        dry_run(["a", "b"], model=model)

    assert not (tmp_path / "cache").exists()
    assert session.quota.usage == (0, 0, 0)
    assert session.quota.reserved == (0, 0, 0)
    assert (session.runs.all(), session.last) == ([], None)
    assert "engine" not in vars(session)
    assert set(threading.enumerate()) <= before  # of those before, any may have ended


def test_what_is_wrong_with_a_run_is_wrong_with_its_dry_run():
    with pytest.raises(SpecError, match="unknown field"):
        dry_run({"tasks": [{"prompt": "a", "temprature": 1}]}, model="scripted:hi")
    with pytest.raises(TypeError):
        dry_run("a", modle="scripted:hi")


def test_no_key_is_needed_where_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    assert list(dry_run("a", model="openai:gpt-4o-mini").df["model"]) == ["openai:gpt-4o-mini"]
    with pytest.raises(ModelError, match="needs a key"):
        prepare("a", model="openai:gpt-4o-mini")


def test_a_row_tells_what_would_be_sent_and_what_it_may_come_to():
    work = {"tasks": {"facts": "Say it.", "essay": "With {{results.facts}}, and\nthat."}, "system": "Be kind."}

    table = dry_run(work, model="house:dear", max_tokens=100, summary_prompt="In short?").df

    assert list(table["label"]) == ["facts", "essay"]
    assert table["prompt"][1] == "With {{results.facts}}, and\nthat."
    assert list(table["system"]) == ["Be kind."] * 2
    assert list(table["turns"]) == [2, 2]
    assert table["most_tokens"][1] - table["most_tokens"][0] > 2 * 65_536
    assert table["most_cost_usd"][0] > 200 * 100 / 1e6
    assert list(table["starts"]) == ["sure", "sure"]


def test_where_a_task_stands_in_its_fan_out_is_told_as_in_the_results():
    work = {"matrix": {"temperature": [0, 1.5]}, "foreach": [{"word": "rain", "n": 3}], "tasks": {"a": "{{word}}"}}

    table, results = dry_run(work, model="scripted:hi").df, run_sync(work, model="scripted:hi").df

    for name in ("input", "temperature", "word", "n", "row"):
        assert table[name].tolist() == results[name].tolist()
        assert table[name].dtype == results[name].dtype


def test_an_unknown_price_is_said_and_is_never_0():
    mixed = dry_run([{"prompt": "a", "model": "house:dear"}, {"prompt": "b", "model": "house:unknown"}])

    assert mixed.df["most_cost_usd"].isna().tolist() == [False, True]
    assert mixed.df["unpriced"].tolist() == [False, True]
    assert mixed.most_cost_usd is None
    assert mixed.summary["cost_usd"].isna().all()
    assert "+ unpriced" in facts(mixed)[2]


def test_repeated_tries_are_told_apart_and_the_quota_bounds_them():
    free_of_tries = dry_run(["a"], model="house:dear", retries=0)
    with_tries = dry_run(["a"], model="house:dear", retries=4)
    bounded = dry_run(["a"], model="house:dear", retries=4, max_total_tokens=2_000, max_total_cost=0.25)

    assert with_tries.most_tokens == 5 * free_of_tries.most_tokens
    assert with_tries.most_cost_usd == pytest.approx(5 * free_of_tries.most_cost_usd)
    assert "where each is charged 5 times (retries = 4): at most" in facts(with_tries)[3]
    assert not any("charged" in fact for fact in facts(free_of_tries))
    assert (bounded.most_tokens, bounded.most_cost_usd) == (2_000, 0.25)
    assert "within the quota: at most 2,000 tokens, $0.2500" in facts(bounded)


def test_each_limit_of_run_and_session_says_what_it_allows(session):
    session.settings = changed(session.settings, {"max_executions": 30}, "here")
    limits = {"max_total_tokens": 10_000, "max_total_time": 30}

    looked = dry_run([f"task {place:3}" for place in range(120)], model="house:dear", **limits)
    tiny = dry_run(["a", "b"], model="house:dear", max_total_tokens=500)

    starts, lasts = looked.df["starts"], 10_000 // looked.df["most_tokens"][0]
    assert facts(looked)[-3:] == [
        f"the run's limit of 10,000 tokens lasts for {lasts} of 120 tasks at their most, for more where they use less",
        "the run's limit of 30.0 s ends what runs then",
        "the session's limit of 30 subagents lets 30 of 120 tasks start",
    ]
    assert (starts[29], starts[30]) == ("perhaps", "never: session executions")
    assert "; 2 can never start" in " ".join(facts(tiny))
    assert tiny.df["starts"].tolist() == ["never: run tokens"] * 2


def test_tools_have_no_bound_but_the_quotas():
    @xz_magics.tool
    def look_up(word: str) -> str:
        """What a word means."""
        return word

    free = dry_run("a", model="house:dear", tools=[look_up], allowed_tools=["look_up"])
    bound = dry_run("a", model="house:dear", tools=[look_up], allowed_tools=["look_up"], max_total_tokens=900)

    assert (free.most_tokens, free.most_cost_usd) == (None, None)
    assert free.df["most_tokens"].isna().all()
    assert "tokens without bound, cost without bound" in facts(free)[2]
    assert any(fact.startswith("without bound: 1 task with tools") for fact in facts(free))
    assert bound.most_tokens == 900


def test_judges_and_summaries_are_on_the_bill():
    plain = dry_run(["a"], model="house:dear")
    judged = dry_run(["a"], model="house:dear", score={"judge": {"rubric": "Is it good?"}})
    summed_up = dry_run(["a"], model="house:dear", combine="summarise")

    assert judged.most_tokens > plain.most_tokens + 24_000
    assert len(judged) == 1
    assert judged.summary["turns"][0] > plain.summary["turns"][0]
    assert summed_up.most_tokens is None
    assert facts(summed_up)[-1] == "without bound: the summary of all answers, whose length is not known beforehand"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]

    def handle_data(self, data):
        self.text += data


@given(text=st.text(min_size=1, max_size=80) | st.sampled_from(["<script>alert(1)</script>", "$a$ <img src=x>", "`"]))
@hypothesis(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_prompts_reach_the_page_as_text(text):
    looked = dry_run([{"prompt": f"x{text}", "label": "a<b>"}], model="scripted:hi")
    page = Tags()

    page.feed(looked._repr_html_())

    assert page.seen <= {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "bdi", "br", "small"}
    assert "a<b>" in page.text
    assert not re.search("[\x00-\x08\x1b\u202e]", looked._repr_html_() + repr(looked))


def test_the_first_tasks_are_shown_and_the_others_counted():
    looked = dry_run([f"Question {place}." for place in range(1_200)], model="scripted:hi")

    assert len(looked) == len(looked.plan.tasks) == len(looked.df) == 1_200
    assert "Question 4." in repr(looked)
    assert "Question 5." not in repr(looked)
    assert "… and 1,195 more in .df" in repr(looked)
    assert "… and 1,195 more in .df" in looked._repr_html_()
    assert facts(looked)[:2] == ["dry run of 1,200 tasks: nothing was sent", "scripted:hi · at most 1,200 calls"]


def test_a_long_prompt_is_shown_in_part_and_stands_whole_in_the_table():
    looked = dry_run("word " * 5_000, model="scripted:hi", format="text")

    assert len(repr(looked)) < 3_000
    assert "of 24,999 characters" in repr(looked)
    assert len(looked.df["prompt"][0]) == 24_999


# Confirmation


def asked(work, *, session, **options):
    with pytest.raises(ConfirmationNeeded) as caught:
        confirm(prepare(work, **options))
    return caught.value


def test_many_tasks_need_a_word_that_tells_number_tokens_and_money(session):
    error = asked(["a"] * 501, session=session, model="house:dear")

    looked = dry_run(["a"] * 501, model="house:dear")
    assert str(error).splitlines() == [
        "501 tasks would start, and confirm_tasks is 500",
        f"at most {looked.most_tokens:,} tokens, ${looked.most_cost_usd:,.2f}",
        "add --yes to start them, or --dry-run to look first",
    ]
    assert len(error._render_traceback_()) <= 4
    confirm(prepare(["a"] * 500, model="house:dear"))


@pytest.mark.parametrize(
    ("model", "options", "needed"),
    [
        ("house:dear", {}, True),
        ("house:dear", {"max_total_cost": 0.05}, False),
        ("house:dear", {"max_tokens": 1, "retries": 0}, False),
        ("house:unknown", {}, True),
        ("scripted:hi", {}, False),
    ],
)
def test_a_worst_case_above_the_configured_cost_needs_a_word_and_so_does_one_that_is_unknown(
    session, model, options, needed
):
    session.settings = changed(session.settings, {"confirm_cost": 0.1}, "here")

    if needed:
        assert "confirm_cost is $0.1000" in str(asked("a", session=session, model=model, **options))
    else:
        confirm(prepare("a", model=model, **options))


def test_run_asks_nobody(session):
    session.settings = changed(session.settings, {"confirm_tasks": 1, "confirm_cost": 0.0}, "here")

    assert len(run_sync(["a", "b", "c"], model="scripted:hi")) == 3


def test_it_is_one_of_the_public_names():
    assert xz_magics.dry_run is dry_run
    assert xz_magics.DryRun is DryRun
    assert dry_run("a", model="scripted:hi").plan.quota == Quota()
