"""The file tools as a model sees them: what they say, and their bounds."""

import json
import os
import threading

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.schemas import Signature
from xz_magics.tools import Context, ToolError
from xz_magics.tools.files import (
    MOST_READ_BYTES,
    MOST_SHOWN_BYTES,
    MOST_WRITTEN_BYTES,
    list_directory,
    read_file,
    write_file,
)
from xz_magics.tools.searching import find_files, grep


@pytest.fixture
def context(tmp_path):
    return Context(workspace=tmp_path)


def test_every_argument_is_described_to_the_model():
    for function in (read_file, list_directory, find_files, grep, write_file):
        signature = Signature(function, context=Context)

        assert signature.takes_context
        assert signature.description
        for name, parameter in signature.parameters["properties"].items():
            assert parameter.get("description"), (function, name)
            assert f"{name}:" not in signature.description


def test_a_whole_file_is_read_as_it_stands(context, tmp_path):
    text = "one\r\ntwo\x0b\u2028still two\n\nfour"
    (tmp_path / "notes.txt").write_bytes(text.encode())

    assert read_file(context, "notes.txt") == text


def test_an_empty_file_is_said_to_be_empty(context, tmp_path):
    (tmp_path / "empty.txt").touch()

    assert read_file(context, "empty.txt") == "(the file is empty)"


def test_a_range_of_lines_says_which_and_how_to_go_on(context, tmp_path):
    (tmp_path / "notes.txt").write_text("".join(f"line {number}\n" for number in range(1, 11)))

    assert read_file(context, "notes.txt", 3, 2) == "line 3\nline 4\n[lines 3 to 4 of 10; go on with start_line=5]"
    assert read_file(context, "notes.txt", 10, 5) == "line 10\n[lines 10 to 10 of 10]"
    with pytest.raises(ToolError, match="has 10 lines; there is no line 11"):
        read_file(context, "notes.txt", 11)


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])), min_size=1), st.data())
def test_reading_range_by_range_gives_the_whole_file(tmp_path_factory, lines, data):
    folder = tmp_path_factory.mktemp("ranges")
    (folder / "notes.txt").write_bytes("\n".join([*lines, ""]).encode())
    step = data.draw(st.integers(1, len(lines)))

    read = []
    for start in range(1, len(lines) + 1, step):
        told = read_file(Context(workspace=folder), "notes.txt", start, step).split("\n")
        read += told[:-1]  # the last is the note, or what follows the last line feed

    assert read == lines


def test_what_does_not_fit_into_an_answer_is_left_for_the_next_range(context, tmp_path):
    line = "x" * (MOST_SHOWN_BYTES // 3)
    (tmp_path / "wide.txt").write_text(f"{line}\n" * 5)

    assert read_file(context, "wide.txt") == f"{line}\n{line}\n[lines 1 to 2 of 5; go on with start_line=3]"
    assert read_file(context, "wide.txt", 5) == f"{line}\n[lines 5 to 5 of 5]"


@pytest.mark.parametrize(("start_line", "lines"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_line_numbers_below_1_are_refused(context, tmp_path, start_line, lines):
    (tmp_path / "notes.txt").write_text("text")

    with pytest.raises(ToolError, match="at least 1"):
        read_file(context, "notes.txt", start_line, lines)


def test_a_binary_file_is_refused_with_a_word(context, tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")

    with pytest.raises(ToolError, match=r"picture\.png is a binary file: byte 8 is NUL"):
        read_file(context, "picture.png")


def test_what_is_not_utf8_is_replaced_and_said(context, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")

    assert read_file(context, "latin.txt") == (
        "caf\ufffd\n\n[not UTF-8 at byte 3: what is no UTF-8 is shown as \ufffd]"
    )


def test_of_a_huge_file_the_beginning_is_read(context, tmp_path):
    with (tmp_path / "huge.txt").open("wb") as file:
        file.write("é".encode() * (MOST_READ_BYTES // 2) + b"x")
        file.seek(1 << 40)
        file.write(b"end")

    told = read_file(context, "huge.txt")

    assert told == "é" * (MOST_READ_BYTES // 2) + f"\n[only the file's first {MOST_READ_BYTES} bytes can be read]"


def test_a_file_that_grows_all_the_time_is_read_to_the_cap(context, tmp_path):
    stop = threading.Event()
    grown = threading.Event()

    def grow():
        with (tmp_path / "log.txt").open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 50 * MOST_READ_BYTES:
                file.write(b"x" * 10_000)
                grown.set()

    writer = threading.Thread(target=grow)
    writer.start()
    grown.wait()
    told = [read_file(context, "log.txt") for _ in range(20)]
    stop.set()
    writer.join()

    assert all(text.startswith("x") and len(text) <= MOST_READ_BYTES + 100 for text in told)


def test_a_missing_file_is_told_with_how_to_look(context):
    with pytest.raises(ToolError, match=r"missing\.txt: there is no such file or folder") as refused:
        read_file(context, "missing.txt")

    assert "list_directory" in refused.value.hint


def test_a_folder_is_listed_sorted_with_marks_and_hidden_names_are_counted(context, tmp_path):
    (tmp_path / "b.txt").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "deeper.txt").touch()
    (tmp_path / "c").symlink_to("/etc")
    (tmp_path / ".env").touch()
    os.mkfifo(tmp_path / "d")

    assert list_directory(context) == "a/\nb.txt\nc (symbolic link)\nd (no regular file)\n[left out: 1 hidden]"
    assert list_directory(context, "a") == "deeper.txt"


def test_an_empty_folder_and_one_that_is_none_are_told(context, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()

    assert list_directory(context, "empty") == "(the folder is empty)"
    with pytest.raises(ToolError, match="Not a directory"):
        list_directory(context, "notes.txt")


def test_a_name_that_is_not_utf8_is_shown_as_one_can_give_it_in_json(context, tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    (tmp_path / "line\nbreak.txt").write_text("text")

    told = list_directory(context).split("\n")

    assert told == ["caf\\udce9.txt", "line\\nbreak.txt"]
    assert [read_file(context, json.loads(f'"{name}"')) for name in told] == ["text", "text"]


def test_a_file_is_written_and_replaced_only_where_that_is_granted(context, tmp_path):
    granted = Context(workspace=tmp_path, params=frozenset({"overwrite"}))

    assert write_file(context, "out/report.md", "é") == "wrote out/report.md: 2 bytes"
    with pytest.raises(ToolError, match="exists already") as refused:
        write_file(context, "out/report.md", "new")
    assert "may not replace" in refused.value.hint
    assert (tmp_path / "out/report.md").read_text() == "é"
    assert write_file(granted, "out/report.md", "new") == "replaced out/report.md: 3 bytes"
    assert (tmp_path / "out/report.md").read_text() == "new"


@pytest.mark.parametrize("content", ["half \ud83d", "é" * (MOST_WRITTEN_BYTES // 2) + "x"])
def test_content_that_cannot_be_written_leaves_nothing(context, tmp_path, content):
    with pytest.raises(ToolError):
        write_file(context, "report.md", content)

    assert list(tmp_path.iterdir()) == []
