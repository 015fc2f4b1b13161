"""One run as a file for somebody else: written whole, without paths, and read only where it can be believed."""

import resource
import time

import pytest
from hypothesis import given, settings, strategies as st
from journal_runs import journalled, tasks_of
from strategies import answering
from test_events import events_of

from xz_magics.errors import JournalError
from xz_magics.events import Event, Stamped, TextReceived
from xz_magics.observers.journal import About, Journal

EVENTS = st.one_of(*(events_of(kind) for kind in Event.__args__ if kind is not TextReceived))


@pytest.fixture
def journal(tmp_path):
    journal = Journal.open(tmp_path / "state")
    yield journal
    journal.close()


def stamped(event, number=0, run="r"):
    return Stamped(run=run, number=number, at=time.time(), event=event)


@settings(max_examples=30, deadline=None)
@given(events=st.lists(EVENTS, min_size=1, max_size=5))
def test_any_events_are_the_same_after_the_journal_an_export_and_an_import(events, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    here, there = Journal.open(folder / "here"), Journal.open(folder / "there")
    observe = here.observer("r", About(tasks=2, notebook="/home/somebody/n.ipynb", label="trial"))
    given_events = [stamped(event, number) for number, event in enumerate(events)]

    for event in given_events:
        observe(event)
    here.close()
    here.export("r", folder / "run.jsonl")
    there.import_(folder / "run.jsonl")
    there.export("r", folder / "again.jsonl")

    assert list(here.events("r")) == list(there.events("r")) == given_events
    assert (folder / "again.jsonl").read_bytes() == (folder / "run.jsonl").read_bytes()
    assert there.runs()[0].notebook == "n.ipynb"


async def test_an_exported_run_tells_no_path_of_the_user(journal, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    await journalled(journal, "r", tasks_of(1), answering("See /home/somebody/x and /home/somebodyelse"))

    journal.export("r", tmp_path / "run.jsonl")

    text = (tmp_path / "run.jsonl").read_text()
    assert "See ~/x and ~" in text
    assert "somebody" not in text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no exported run: it is empty"),
        ("{}", "is no exported run: it begins otherwise"),
        ("hello", "is no exported run: line 1: it is no JSON"),
        ("[" * 100_000, "is no exported run: line 1: it is no JSON"),
        ('{"xz_magics_run": 1, "about": 3}', "line 1: it tells of no run"),
        ('{"xz_magics_run": 1, "about": {"id": "", "started_at": 1}}\n{"end": ""}', "line 1: no run is called ''"),
        ('{"xz_magics_run": 1, "about": {"id": "r", "started_at": 1}}\n{"@": "Sta', "is cut"),
        ('{"xz_magics_run": 9, "about": {"id": "r", "started_at": 1}}\n{"end": "r"}', "another version"),
        ('{"xz_magics_run": 1, "about": {"id": "r", "started_at": 1}}\n{"end": "x"}', "is cut"),
        (
            '{"xz_magics_run": 1, "about": {"id": "r", "started_at": 1}}\n{"@": "Noted", "text": ""}\n{"end": "r"}',
            "no exp",
        ),
    ],
)
def test_a_file_that_is_no_exported_run_is_refused(journal, tmp_path, text, why):
    (tmp_path / "x").write_text(text)

    with pytest.raises(JournalError, match=why) as caught:
        journal.import_(tmp_path / "x")

    assert caught.value.hint
    assert journal.runs() == []


@pytest.mark.parametrize(
    ("line", "written", "changed"),
    [
        (1, '"started_at": ', '"started_at": 1e300, "ended_at": '),
        (1, '"started_at": ', '"started_at": -1, "ended_at": '),
        (1, '"tasks": 1', f'"tasks": {10**30}'),
        (1, '"notebook": null', '"notebook": 5'),
        (2, '"max_concurrent": 5', f'"max_concurrent": {10**30}'),
        (2, '"at": ', '"at": 1e300, "number": 0, "at": Infinity, "run": "r", "_": '),
        (3, '"prompt": "', '"prompt": 5, "system": "'),
        (3, '"max_tokens": 50', '"max_tokens": true'),
        (8, '"status": "done"', '"status": "outlandish"'),
        (8, '"duration_s": ', '"duration_s": NaN, "queued_s": '),
        (8, '"messages": [', '"messages": [5, '),
    ],
)
async def test_a_file_with_absurd_values_is_refused_with_the_line_in_which_they_stand(
    journal, tmp_path, line, written, changed
):
    await journalled(journal, "r", tasks_of(1), answering("x"), about=About(tasks=1))
    journal.export("r", tmp_path / "x")
    journal.delete(["r"])
    lines = (tmp_path / "x").read_text().splitlines()
    at = next(at for at, text in enumerate(lines, 1) if at >= line and written in text)
    lines[at - 1] = lines[at - 1].replace(written, changed, 1)
    (tmp_path / "x").write_text("\n".join(lines))

    with pytest.raises(JournalError, match=f"x is no exported run: line {at}: "):
        journal.import_(tmp_path / "x")
    assert journal.runs() == []


async def test_a_disk_that_is_full_leaves_the_exported_file_as_it_was(journal, tmp_path):
    await journalled(journal, "r", tasks_of(1), answering("x" * 5_000))
    journal.export("r", tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(JournalError, match="cannot be written"):
            journal.export("r", tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (tmp_path / "x").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"x", "state"}


async def test_only_an_exported_run_is_written_over(journal, tmp_path):
    await journalled(journal, "r", tasks_of(1), answering("x"))
    (tmp_path / "thesis.tex").write_text("years of work")

    for _ in range(2):
        journal.export("r", tmp_path / "x")
    with pytest.raises(JournalError, match=r"thesis\.tex is there already, and is no exported run"):
        journal.export("r", tmp_path / "thesis.tex")

    assert (tmp_path / "thesis.tex").read_text() == "years of work"


async def test_a_run_is_imported_once(journal, tmp_path):
    await journalled(journal, "r", tasks_of(1), answering("x"))
    journal.export("r", tmp_path / "x")

    with pytest.raises(JournalError, match="run r is in the journal already"):
        journal.import_(tmp_path / "x")
    with pytest.raises(JournalError, match="no run of the journal is 'other'"):
        journal.export("other", tmp_path / "y")
