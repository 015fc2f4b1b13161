"""What a day and a week cost, as the journal tells it by tag, model and notebook."""

import asyncio
import sqlite3

import pytest
from strategies import task

from xz_magics.errors import JournalError
from xz_magics.events import RunEnded, Stamped, TaskPlanned, TurnEnded
from xz_magics.observers.journal import About, Journal
from xz_magics.observers.journal.spending import spending
from xz_magics.records import Turn

WEEK_AT, DAY_AT, NOW = 1_000.0, 2_000.0, 2_500.0
FIELDS = ("by", "value", "day_tokens", "day_usd", "week_tokens", "week_usd", "unpriced")


@pytest.fixture
def journal(tmp_path):
    journal = Journal.open(tmp_path / "state", keep_s=None)
    yield journal
    journal.close()


def told(journal):
    found = spending(journal.file, day_at=DAY_AT, week_at=WEEK_AT)
    return [tuple(getattr(one, field) for field in FIELDS) for one in found]


def write(journal, run, *events, notebook=None):
    """Each event with its time."""
    observe = journal.observer(run, About(notebook=notebook))
    for number, (at, event) in enumerate(events):
        observe(Stamped(run=run, number=number, at=at, event=event))
    asyncio.run(journal.kept())


def planned(label, parent=None, **fields):
    return NOW, TaskPlanned(task=task(label, **fields), parent=parent)


def turn(label, usd=None, tokens_in=None, tokens_out=None, at=NOW):
    numbers = {"input_tokens": tokens_in, "output_tokens": tokens_out, "cost_usd": usd}
    one = Turn(number=1, attempts=1, max_tokens=10, started_at=None, duration_s=None, **numbers)
    return at, TurnEnded(label=label, turn=one, text="x")


def test_the_day_the_week_and_what_was_before_are_told_apart(journal):
    before, week, day = (
        turn("a", 4.0, 40, 1, at=999),
        turn("a", 2.0, 20, 1, at=1_000),
        turn("a", 1.0, 10, 1, at=2_000),
    )

    write(journal, "r", planned("a", model="m"), before, week, day)

    assert told(journal) == [("model", "m", 11, 1.0, 32, 3.0, 0)]


def test_a_run_that_ended_before_the_week_is_not_read_and_one_that_goes_on_is(journal):
    write(journal, "old", planned("a"), turn("a", 1.0, at=900), (950, RunEnded(duration_s=1)))
    write(journal, "new", planned("a", model="m"), turn("a", 2.0, 1, 1))
    with sqlite3.connect(journal.file) as edited:
        edited.execute("UPDATE events SET at = 2500 WHERE run = 'old'")

    assert told(journal) == [("model", "m", 2, 2.0, 2, 2.0, 0)]


def test_tags_are_those_of_the_task_that_led_to_it_and_models_its_own(journal):
    write(
        journal,
        "r",
        planned("a", model="m", tags=("x", "y")),
        planned("a/1", "a", model="n", tags=("of its own",)),
        planned("a/1/1", "a/1", model="n"),
        planned("a/judge", "a", model="n", purpose="judge", tags=("x",)),
        planned("b", model="m"),
        *(turn(label, usd, 1, 1) for label, usd in [("a", 1.0), ("a/1", 2.0), ("a/1/1", 4.0), ("a/judge", 8.0)]),
        turn("b", 16.0, 1, 1),
        notebook="/home/ada/study.ipynb",
    )

    assert [(by, value, week_usd) for by, value, *_, week_usd, _ in told(journal)] == [
        ("tag", None, 16.0),
        ("tag", "x", 15.0),
        ("tag", "y", 7.0),
        ("model", "m", 17.0),
        ("model", "n", 14.0),
        ("notebook", "/home/ada/study.ipynb", 31.0),
    ]


def test_what_is_unknown_is_no_zero_and_what_was_not_spent_today_is_one(journal):
    write(journal, "r", planned("a", model="m"), planned("b", model="n"), turn("a"), turn("b", 1.0, 3, at=1_500))

    assert told(journal) == [("model", "n", 0, 0.0, 3, 1.0, 0), ("model", "m", None, None, None, None, 1)]


def test_equal_labels_of_two_runs_stay_apart(journal):
    write(journal, "r", planned("a", tags=("x",)), turn("a", 1.0))
    write(journal, "s", planned("a", tags=("y",)), turn("a", 2.0))

    assert [one[:2] + one[5:6] for one in told(journal) if one[0] == "tag"] == [("tag", "y", 2.0), ("tag", "x", 1.0)]


def test_a_run_that_somebody_handed_over_is_not_ones_own_spending(journal, tmp_path):
    write(journal, "r", planned("a"), turn("a", 1.0), (NOW, RunEnded(duration_s=1)))
    journal.export("r", tmp_path / "run.jsonl")
    other = Journal.open(tmp_path / "other", keep_s=None)

    other.import_(tmp_path / "run.jsonl")

    assert other.runs()[0].id == "r"
    assert told(other) == []
    other.close()


def test_rows_that_nobody_of_ours_wrote_break_nothing(journal):
    write(journal, "r", planned("a", model="m", tags=("x",)), turn("a", 1.0, 1, 1))
    plan = '{"task": {"label": "loop", "model": "m", "purpose": "task", "tags": 7}, "parent": "loop"}'
    turns = ["{", "[]", '{"turn": 1}', '{"turn": {"cost_usd": "much", "input_tokens": null}}', '"\\ud800"']
    with sqlite3.connect(journal.file) as edited:
        rows = [("r", 100, NOW, "TaskPlanned", None, plan), ("r", 101, NOW, "TaskPlanned", None, "{")]
        rows += [("r", 200 + at, NOW, "TurnEnded", "loop", body) for at, body in enumerate(turns)]
        edited.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", rows)

    assert ("tag", "x", 2, 1.0, 2, 1.0, 0) in told(journal)


def test_a_file_that_is_none_is_an_error(tmp_path):
    with pytest.raises(JournalError):
        spending(tmp_path / "journal.db", day_at=0, week_at=0)


def test_a_journal_that_takes_too_long_to_read_is_an_error_and_no_wait(journal):
    write(journal, "r", planned("a", model="m"), *[turn("a", 1.0, 1, 1)] * 500)

    with pytest.raises(JournalError, match="takes longer than 0 s"):
        spending(journal.file, day_at=DAY_AT, week_at=WEEK_AT, longest_s=0)
