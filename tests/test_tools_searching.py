"""find_files and grep: what fits, in which order, and that no pattern or tree takes them beyond their bounds."""

import os
import re
import shutil
from contextlib import suppress

import psutil
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.tools import Context, ToolError
from xz_magics.tools.searching import (
    MOST_FILE_BYTES,
    MOST_FOUND,
    MOST_LINE_CHARS,
    MOST_MATCHES,
    MOST_PATTERN_CHARS,
    MOST_PER_FILE,
    MOST_SEARCHED_BYTES,
    Glob,
    Walk,
    find_files,
    grep,
)
from xz_magics.tools.workspace import MOST_DEPTH, Workspace

TREE = ["a/a/a.txt", "a/b.txt", "a/b/c/a.py", "b.py", "b/a.txt", "b/b/b/b.txt", "c.txt"]


@pytest.fixture
def context(tmp_path):
    return Context(workspace=tmp_path)


@pytest.fixture
def tree(tmp_path):
    plant(tmp_path)
    return tmp_path


def plant(folder):
    for path in TREE:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"in {path}\n")


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    plant(folder)
    return folder


def walked(folder, path=".", **bounds):
    walk = Walk(**bounds)
    with Workspace(folder) as workspace, workspace.opened(path, "folder") as fd:
        return [entry.shown for entry in walk.entries(workspace, fd, workspace.parts(path))], walk.left_out


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("*.py", ".", ["a/b/c/a.py", "b.py"]),
        ("a/*.txt", ".", ["a/b.txt"]),
        ("a/**/*.txt", ".", ["a/a/a.txt", "a/b.txt"]),
        ("./*", ".", ["a/", "b/", "b.py", "c.txt"]),
        ("b", ".", ["a/b/", "b/", "b/b/", "b/b/b/"]),
        ("*.txt", "b", ["b/a.txt", "b/b/b/b.txt"]),
        ("[ac].???", "a", ["a/a/a.txt"]),
        ("*.rs", ".", ["(nothing fits *.rs)"]),
    ],
)
def test_files_and_folders_that_fit_are_found_sorted_and_named_from_the_workspace_on(
    tree, context, pattern, path, found
):
    assert find_files(context, pattern, path) == "\n".join(found)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["**", "*", "a", "b", "?", "*.txt", "[ab]*", "c"]), min_size=2, max_size=5), st.data())
def test_a_pattern_fits_what_pathlib_finds_for_it(shared_tree, names, data):
    names = [*names, data.draw(st.sampled_from(["*", "*.txt", "b", "?"]))]  # pathlib's last ** means folders alone
    glob = Glob("/".join(names))

    fitting = {path for path in shared_tree.rglob("*") if glob.fits(path.relative_to(shared_tree).parts)}

    assert fitting == set(shared_tree.glob("/".join(names)))
    for path in fitting:
        for folder in path.relative_to(shared_tree).parents:
            assert glob.leads_to(folder.parts)


def test_only_folders_that_may_hold_what_fits_are_entered():
    glob = Glob("data/*/x.csv")

    assert glob.leads_to(("data",))
    assert glob.leads_to(("data", "a"))
    assert not glob.leads_to(("other",))
    assert not glob.leads_to(("data", "a", "b"))


def test_a_pattern_of_many_stars_takes_no_time(tree, context):
    assert find_files(context, "/".join(["**"] * 300) + "/none").startswith("(nothing fits")
    assert find_files(context, "*a" * 400 + "b").startswith("(nothing fits")


@pytest.mark.parametrize("pattern", ["", "/", "/etc/*", "../*", "a/../../*", ".", "x" * (MOST_PATTERN_CHARS + 1)])
def test_a_pattern_that_is_none_or_leads_out_is_refused(context, pattern):
    with pytest.raises(ToolError, match="is no pattern of files"):
        find_files(context, pattern)


def test_links_are_named_and_never_entered(tree, context, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "canary.txt").write_text("the canary outside")
    (tree / "link").symlink_to(outside)
    (tree / "link.txt").symlink_to(outside / "canary.txt")
    (tree / "b" / "round").symlink_to("..")

    assert "canary" not in find_files(context, "**")
    assert find_files(context, "link*") == "link (symbolic link)\nlink.txt (symbolic link)"
    assert grep(context, "canary") == "(no line matches; files searched: 7)"


def test_only_so_many_found_files_are_shown(context, tmp_path):
    for number in range(MOST_FOUND + 1):
        (tmp_path / f"{number:05}.txt").touch()

    told = find_files(context, "*").split("\n")

    assert told[:MOST_FOUND] == [f"{number:05}.txt" for number in range(MOST_FOUND)]
    assert told[MOST_FOUND:] == [f"[only the first {MOST_FOUND} are shown: narrow the pattern or the path]"]


def test_a_walk_ends_at_its_bound_of_entries_and_says_so(tree):
    everything, left_out = walked(tree)
    assert (len(everything), left_out) == (14, [])

    assert walked(tree, most_entries=14) == (everything, [])
    some, left_out = walked(tree, most_entries=13)

    assert some == everything[:13]
    assert left_out == ["[not all was seen: there is too much; name a folder further down]"]


def test_a_walk_ends_when_its_time_is_over_and_says_so(tree):
    seconds = iter(range(100))

    some, left_out = walked(tree, most_s=5, clock=lambda: next(seconds))

    assert len(some) == 5
    assert left_out == ["[not all was seen: it took too long; name a folder further down]"]


def test_hidden_names_count_as_entries_so_that_a_folder_full_of_them_is_bounded(tmp_path):
    for number in range(20):
        (tmp_path / f".{number}").touch()
    (tmp_path / "seen").touch()

    assert walked(tmp_path) == (["seen"], ["[left out: 20 hidden]"])
    assert walked(tmp_path, most_entries=10)[1] == [
        "[left out: 10 hidden]",
        "[not all was seen: there is too much; name a folder further down]",
    ]


def test_a_walk_goes_only_so_deep(tmp_path):
    (tmp_path / "/".join("a" * (MOST_DEPTH + 2))).mkdir(parents=True)

    found, left_out = walked(tmp_path)

    assert len(found) == MOST_DEPTH
    assert left_out == [f"[left out: 1 below the {MOST_DEPTH}th folder]"]


def test_matching_lines_are_shown_with_file_and_number(tree, context):
    (tree / "b.py").write_text("one\r\nTwo é\r\nthree\n")

    assert grep(context, "(?i)^two .$") == "b.py:2: Two é"
    assert grep(context, "in a", glob="a/*.txt") == "a/b.txt:1: in a/b.txt"
    assert grep(context, "in", "a/b") == "a/b/c/a.py:1: in a/b/c/a.py"
    assert grep(context, "e$", "b.py") == "b.py:1: one\nb.py:3: three"
    assert grep(context, "nowhere") == "(no line matches; files searched: 7)"


def test_a_name_that_is_not_utf8_is_searched_too(context, tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"caf\xe9\n")

    assert grep(context, "caf") == "caf\\udce9.txt:1: caf\ufffd"


def test_what_is_not_searched_is_counted(context, tmp_path):
    (tmp_path / "binary.dat").write_bytes(b"text\0text")
    (tmp_path / "big.txt").write_text("x" * MOST_FILE_BYTES + "text")
    (tmp_path / ".env").write_text("text")
    os.mkfifo(tmp_path / "pipe")

    assert grep(context, "text").split("\n") == [
        "(no line matches; files searched: 1)",
        "[left out: 1 binary]",
        f"[left out: 1 hidden, 1 rests of files after {MOST_FILE_BYTES} bytes]",
    ]


def test_no_more_bytes_are_searched_than_the_bound(context, tmp_path):
    for number in range(MOST_SEARCHED_BYTES // MOST_FILE_BYTES + 1):
        (tmp_path / f"{number:03}.txt").write_text(f"first\n{'x' * 79}\n" * (MOST_FILE_BYTES // 86 - 1) + "last")

    told = grep(context, "last")

    assert len(re.findall(r"^\d+\.txt:\d+: last$", told, re.MULTILINE)) == MOST_SEARCHED_BYTES // MOST_FILE_BYTES
    assert "[not all was seen: more than" in told


def test_matches_are_bounded_by_file_and_in_all_and_the_rest_is_counted(context, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("match\n" * 50)

    told = grep(context, "match").split("\n")

    assert told[:MOST_PER_FILE] == [f"00.txt:{line}: match" for line in range(1, MOST_PER_FILE + 1)]
    assert len(told) == MOST_MATCHES + 1
    assert told[-1].startswith(f"[{30 * 50 - MOST_MATCHES} more matches")


def test_a_long_line_is_shown_around_its_match(context, tmp_path):
    (tmp_path / "long.txt").write_text("x" * 5000 + "needle" + "y" * 5000)
    (tmp_path / "short.txt").write_text("needle")

    long, short = grep(context, "needle").split("\n")

    assert re.fullmatch(r"long\.txt:1: …x+needley+…", long)
    assert len(long) == len("long.txt:1: ") + MOST_LINE_CHARS + 2
    assert short == "short.txt:1: needle"


@pytest.mark.parametrize("pattern", ["(", "a**", "[z-a]", "(?P<1>x)", r"\1", "(?i", "*", "a{99999999999}"])
def test_a_bad_expression_is_told_with_its_fault(tree, context, pattern):
    with pytest.raises(ToolError, match="is no regular expression: ") as refused:
        grep(context, pattern)

    assert (
        "position" in refused.value.message
        or "overflow" in refused.value.message.lower()
        or "repetition" in refused.value.message
    )


def test_an_expression_that_is_too_long_is_refused(tree, context):
    with pytest.raises(ToolError, match=f"has {MOST_PATTERN_CHARS + 1} characters"):
        grep(context, "x" * (MOST_PATTERN_CHARS + 1))


def test_an_expression_that_takes_for_ever_is_ended_with_its_file_and_a_mend(context, tmp_path, monkeypatch):
    (tmp_path / "evil.txt").write_text("a" * 60 + "!")
    monkeypatch.setattr("xz_magics.tools.searching.MATCHER_WALL_S", 600)  # the child's own limit is to end it

    with pytest.raises(ToolError, match=r"takes too much time or memory in evil\.txt") as refused:
        grep(context, "(a+)+$")

    assert "(a+)+" in refused.value.hint
    assert not [child for child in psutil.Process().children() if "line_matcher" in " ".join(child.cmdline())]


def test_what_was_found_before_an_expression_took_for_ever_is_shown(context, tmp_path):
    (tmp_path / "1.txt").write_text("aaa")
    (tmp_path / "2.txt").write_text("a" * 60 + "!")

    assert grep(context, "(a+)+$").split("\n") == [
        "1.txt:1: aaa",
        "[not all was searched: the pattern takes too much time or memory in 2.txt]",
    ]


def test_an_expression_that_takes_all_memory_is_ended(context, tmp_path):
    (tmp_path / "x.txt").write_text("x" * MOST_FILE_BYTES)

    with pytest.raises(ToolError, match=r"takes too much time or memory in x\.txt"):
        grep(context, f"(?:{'()' * 200}x)*z")


def test_a_search_that_does_nothing_at_all_is_ended_and_leaves_no_process(tree, context, monkeypatch):
    (tree / "sleeper.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr("xz_magics.tools.searching.MATCHER", tree / "sleeper.py")
    monkeypatch.setattr("xz_magics.tools.searching.MATCHER_WALL_S", 0.2)

    with pytest.raises(ToolError, match="takes too much time or memory"):
        grep(context, "in")

    assert not [child for child in psutil.Process().children() if "sleeper" in " ".join(child.cmdline())]


def test_a_search_that_cannot_be_started_is_a_tool_error(tree, context, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with pytest.raises(ToolError, match="could not be started: No such file"):
        grep(context, "in")


def test_a_search_that_fails_tells_why(tree, context, monkeypatch):
    monkeypatch.setattr("xz_magics.tools.searching.MATCHER", tree / "missing.py")

    with pytest.raises(ToolError, match=r"the search failed: .*missing\.py"):
        grep(context, "in")


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_an_expression_or_a_tool_error(shared_tree, pattern):
    with suppress(ToolError):
        assert grep(Context(workspace=shared_tree), pattern)


def test_a_neighbour_of_the_standard_librarys_name_is_not_imported(context, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "x.txt").write_text("match")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert grep(context, "match", "x.txt") == "x.txt:1: match"


def test_deleting_the_workspace_while_it_is_walked_is_a_tool_error(tree):
    looks = iter(range(100))

    def delete_at_the_fifth_look():
        if next(looks) == 5:
            shutil.rmtree(tree)
        return 0.0

    with pytest.raises(ToolError, match="deleted or moved during the call"):
        walked(tree, clock=delete_at_the_fifth_look)
