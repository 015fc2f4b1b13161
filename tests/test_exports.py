"""Results as text and as files: what comes back, what a spreadsheet or a page cannot be made to do, and no half files."""

import io
import json
import os
import re
import resource
import stat
import sys
import tempfile
import unicodedata
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings, strategies as st
from test_frames import DONE, SKIPPED
from test_results import nested_results, results_with

from xz_magics import frames
from xz_magics.characters import whole
from xz_magics.errors import XzMagicsError
from xz_magics.frames import spreadsheets
from xz_magics.providers.scripted import Step

REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
FORMULAS = [
    "=HYPERLINK('http://x','y')",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    *(f"{sign}1+1" for sign in SIGNS),
    '"=1+1',
    "'=1+1",
    " \u00a0\u3000=1+1",
    "\u200b=1+1",
    "\x00=1+1",
    "\u202e=1+1",
    "- a list of one",
    "-",
    "--1",
    "+1 2",
    "-１",
]
PLAIN = [
    "",
    "a=b",
    "1-2",
    "-5",
    "+1.5e-3",
    "NA",
    "null",
    "None",
    " x ",
    'a "b", c',
    "a\n=1",
    "ü 🦊",
    "a\u200db",
    "\u200f",
]


def csv_of(*texts):
    return spreadsheets.csv_text(frames.tasks_frame([replace(DONE, output=text) for text in texts]))


def read_again(text):
    return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""], dtype="string")


def outputs(*texts):
    return read_again(csv_of(*texts))["output"].fillna("").tolist()


def without_controls(text):
    """What is promised to come back: line breaks as line feeds, and no other control character than the tab."""
    text = re.sub("\r\n?", "\n", whole(text))
    return "".join(
        char
        for char in text
        if (unicodedata.category(char) != "Cc" or char in "\t\n") and unicodedata.bidirectional(char) not in REORDERING
    )


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_might_compute_gets_an_apostrophe_in_front(text):
    assert outputs(text) == [f"'{without_controls(text)}"]


@pytest.mark.parametrize("text", PLAIN)
def test_all_other_text_is_written_as_it_is(text):
    assert outputs(text) == [text]


@pytest.mark.parametrize("dtype", ["category", "object", "string"])
def test_a_column_of_a_users_own_table_hides_no_formula_whatever_its_dtype_and_name(dtype):
    frame = pd.DataFrame({"=1+1": pd.Series(["=2+2", "plain"], dtype=dtype), "n": [1, 2]})

    assert spreadsheets.csv_text(frame).splitlines() == ["'=1+1,n", "'=2+2,1", "plain,2"]


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs", "Zs"]))
        | st.from_regex(rf"\A[ \t\n'\"\x00{SIGNS}]{{0,4}}\w?", fullmatch=True),
        min_size=1,
        max_size=5,
    )
)
@example(["'-", "''=", '"', "a,b", "\r\n", "a\rb", "\ufeff", "\u2028", "\x85"])
def test_every_text_comes_back_from_a_csv_and_none_begins_as_a_formula(texts):
    cells = outputs(*texts)

    for cell in cells:
        assert cell[:1] not in {*SIGNS, "\t", "\r", "\n"} or float(cell) is not None
    took = [cell[1:] if cell[:1] == "'" and spreadsheets.may_compute(cell[1:]) else cell for cell in cells]
    assert took == [without_controls(text) for text in texts]


def test_labels_errors_and_models_are_made_harmless_like_answers():
    outcome = replace(SKIPPED, label="=1", error="@x", model="+m", finish_reason="-f", parent="=p")

    row = read_again(spreadsheets.csv_text(frames.tasks_frame([outcome]))).iloc[0]

    assert row[["label", "error", "model", "finish_reason", "parent"]].tolist() == ["'=1", "'@x", "'+m", "'-f", "'=p"]


def test_numbers_and_times_stay_what_they_are():
    frame = frames.table(
        [{"text": "-7", "whole": -7, "part": -0.1}, {}], {"text": "string", "whole": "Int64", "part": "Float64"}
    )

    again = pd.read_csv(io.StringIO(spreadsheets.csv_text(frame)), dtype_backend="numpy_nullable")

    assert again["whole"].tolist() == again["text"].tolist() == [-7, pd.NA]
    assert again["part"].tolist() == [-0.1, pd.NA]
    started = pd.read_csv(io.StringIO(csv_of("x")), parse_dates=["started_at"])["started_at"]
    assert started[0] == pd.Timestamp("2023-11-14T22:13:20.250Z")


async def test_a_csv_file_tells_spreadsheets_that_it_is_utf8_and_pandas_reads_it_back(tmp_path):
    results = await results_with("Grüße,\n=1", Step(status=400))

    assert results.to_csv(tmp_path / "results.csv") is None

    assert (tmp_path / "results.csv").read_bytes() == b"\xef\xbb\xbf" + results.to_csv().encode()
    again = pd.read_csv(tmp_path / "results.csv")
    assert list(again) == list(results.df)
    assert again["output"].tolist()[0] == "Grüße,\n=1"
    assert again["total_tokens"].tolist() == results.df["total_tokens"].tolist()


async def test_parquet_brings_back_every_value_and_dtype(tmp_path):
    hostile = "=1 \x00\x1b\u202e\ud800 🦊\r\n"
    results = await results_with(hostile, Step(status=400))

    results.to_parquet(tmp_path / "results.parquet")

    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), results.df, check_frame_type=False)
    assert results.df["output"][0] == whole(hostile)


async def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    results = await results_with("yes")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(XzMagicsError, match="parquet files need pyarrow") as caught:
        results.to_parquet(tmp_path / "results.parquet")

    assert caught.value.hint == 'pip install "xz-magics[parquet]"'
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs"])))
def test_every_text_comes_back_from_parquet(text):
    frame = frames.tasks_frame([replace(DONE, label=text, output=text, error=text)])

    again = pd.read_parquet(io.BytesIO(frames.parquet(frame)))

    pd.testing.assert_frame_equal(again, frame, check_frame_type=False)
    assert again["output"].tolist() == [whole(text)]


async def test_json_in_a_file_is_the_json_as_text(tmp_path):
    results = await results_with("grün \ud800\x00", count=1)

    assert results.to_json(tmp_path / "results.json", indent=2) is None

    written = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert written == results.to_json(indent=2)
    assert json.loads(written)["results"][0]["output"] == "grün \ufffd\x00"


class Document(HTMLParser):
    """Each tag with its attributes, in order; raises on what can run, load or send."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "base", "iframe", "form", "a", "object", "svg"}
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"href", "srcset", "action"}
            assert name != "src" or value.startswith("data:image/png;base64,")
        self.tags.append((tag, dict(attrs)))


async def test_an_html_document_is_complete_and_forbids_what_it_does_not_need(tmp_path):
    results = await results_with("<script>alert(1)</script> grün", Step(status=400))

    assert results.to_html(tmp_path / "results.html") is None

    html = (tmp_path / "results.html").read_text(encoding="utf-8")
    assert html == results.to_html()
    assert html.startswith("<!DOCTYPE html>\n<html")
    tags = Document(html).tags
    metas = [attributes for tag, attributes in tags if tag == "meta"]
    assert metas[0] == {"charset": "utf-8"}
    policy = dict(rule.split(" ", 1) for rule in metas[1]["content"].split("; "))
    assert metas[1]["http-equiv"] == "Content-Security-Policy"
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["img-src"] == "data:"
    assert {"name": "color-scheme", "content": "light dark"} in metas
    assert "<title>subagents, run r1</title>" in html
    assert results._repr_html_() in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; grün" in html


def test_nested_subagents_are_told_in_no_export_but_counted_in_the_page():
    results = nested_results()

    assert read_again(results.to_csv())["label"].tolist() == ["a", "b"]
    assert [one["label"] for one in json.loads(results.to_json())["results"]] == ["a", "b"]
    assert "and 2 nested subagents" in results.to_html()


def test_a_path_may_be_a_text_and_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    nested_results().to_csv("~/home.csv")
    nested_results().to_csv("here.csv")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.csv", "home.csv"]


def test_a_file_that_is_there_is_replaced_with_its_rights_and_a_link_still_points_to_it(tmp_path):
    old, link, new = tmp_path / "old.csv", tmp_path / "link.csv", tmp_path / "new.csv"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    (tmp_path / "usual").touch()

    nested_results().to_csv(link)
    nested_results().to_csv(new)

    assert link.is_symlink()
    assert old.read_bytes() == new.read_bytes()
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (3, "3 could not be written: .*int"),
        (b"results.csv", "could not be written: .*bytes"),
        (io.StringIO(), "could not be written: .*StringIO"),
        ("", "'' could not be written: Is a directory"),
        (".", r"'\.' could not be written: Is a directory"),
        ("a\0b", "could not be written: embedded null byte"),
        ("\ud800", "could not be written: "),
        ("x" * 300, "could not be written: File name too long"),
        ("~nobody-of-that-name/x", "could not be written: "),
        ("loop", "could not be written: "),
        (Path("missing/results.csv"), "there is no folder .*missing"),
        ("old.csv/results.csv", r"there is no folder .*old\.csv"),
    ],
)
def test_a_path_that_cannot_be_written_is_one_clear_error_and_changes_nothing(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("old.csv").write_text("old")
    Path("loop").symlink_to("loop")

    with pytest.raises(XzMagicsError, match=said) as caught:
        nested_results().to_csv(path)

    assert "give a" in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "old.csv"]
    assert Path("old.csv").read_text() == "old"


@contextmanager
def files_of_at_most(size_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_rights_of_root():
    """Root may write everywhere; nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("write", ["to_csv", "to_parquet", "to_json", "to_html"])
def test_a_disk_that_is_full_in_the_middle_leaves_the_old_file_and_nothing_else(write, tmp_path):
    old = tmp_path / "old"
    old.write_text("old")

    with files_of_at_most(100), pytest.raises(XzMagicsError, match="could not be written: File too large"):
        getattr(nested_results(), write)(old)

    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_that_may_not_be_written_to_is_one_clear_error():
    results = nested_results()
    results.to_csv()

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with without_rights_of_root(), pytest.raises(XzMagicsError, match="could not be written: Permission denied"):
            results.to_csv(Path(folder) / "results.csv")

        assert list(Path(folder).iterdir()) == []
