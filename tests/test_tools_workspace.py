"""The workspace: no name, link, race or odd file leads out of it, with openat2 and without."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.tools import Context, ToolError
from xz_magics.tools.files import list_directory, read_file, write_file
from xz_magics.tools.searching import find_files, grep
from xz_magics.tools.workspace import MOST_DEPTH, NEVER_WRITTEN, Workspace, read_at_most

CORPUS = Path(__file__).parents[2] / "shared" / "corpora" / "path-traversal"
CANARY = "the canary outside"
LEVELS = 10
"""The deepest climb of the corpus is 8 folders; the workspace lies deeper than that below the test's own folder."""


@pytest.fixture
def root(tmp_path):
    """A workspace with a file, deep in folders that each hold a canary."""
    folder = tmp_path
    for level in range(LEVELS):
        (folder / "canary.txt").write_text(CANARY)
        folder /= f"level{level}"
        folder.mkdir()
    (folder / "inside.txt").write_text("inside")
    return folder


@pytest.fixture(params=[True, False], ids=["openat2", "fallback"])
def follows_links(request):
    """Whether openat2 is used; without it, names are walked one by one."""
    return request.param


def content_of(workspace, path):
    with workspace.opened(path, "file") as fd:
        return read_at_most(fd, 10_000)[0].decode(errors="replace")


def written(workspace, path, *, replaces=False):
    return workspace.write(path, b"new", replaces=replaces)


def attempt(action, *arguments, **named):
    """What it gives; None where a ToolError refuses."""
    try:
        return action(*arguments, **named)
    except ToolError:
        return None


def files_around(root, top):
    """Every name below `top` but outside the workspace, with its content."""
    return {
        path: path.read_text() if path.is_file() else ""
        for path in top.rglob("*")
        if path != root and not path.is_relative_to(root)
    }


def traversals(name):
    """Every line of the corpus that is to reach `name`, as it stands and URL-decoded once and twice."""
    for file in sorted(CORPUS.glob("*.txt")):
        for line in file.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            path = line.replace("{FILE}", name)
            yield from {path, unquote(path), unquote(unquote(path))}


needs_corpus = pytest.mark.skipif(not CORPUS.exists(), reason=f"the public traversals are not at {CORPUS}")


@needs_corpus
def test_no_public_traversal_reads_what_is_outside(root, follows_links):
    with Workspace(root, follows_links=follows_links) as workspace:
        read = [attempt(content_of, workspace, path) for path in traversals("canary.txt")]
        inside = content_of(workspace, "inside.txt")

    assert inside == "inside"
    assert len(read) > 3000
    assert set(read) == {None}


@needs_corpus
def test_no_public_traversal_writes_outside(root, tmp_path, follows_links):
    before = files_around(root, tmp_path)
    aims = {os.path.normpath(root / path) for path in traversals("new.txt") if "\0" not in path}
    there_before = {aim for aim in aims if os.path.lexists(aim)}

    with Workspace(root, follows_links=follows_links) as workspace:
        for path in traversals("new.txt"):
            attempt(written, workspace, path, replaces=True)

    assert files_around(root, tmp_path) == before
    outside = {aim for aim in aims if os.path.lexists(aim) and not Path(aim).is_relative_to(root)}
    assert outside <= there_before
    assert Path("/etc/passwd").read_bytes() != b"new"


PIECES = [
    "..",
    ".",
    "/",
    "//",
    "\\",
    "~",
    "%2e%2e",
    "\0",
    "\n",
    "canary.txt",
    "inside.txt",
    "out",
    "in",
    "\udc80",
    "\ud800",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join), st.booleans())
def test_any_text_is_a_path_inside_or_a_tool_error(tmp_path_factory, path, follows_links):
    top = tmp_path_factory.mktemp("any")
    root = top / "ws"
    root.mkdir()
    (top / "canary.txt").write_text(CANARY)
    (root / "inside.txt").write_text("inside")
    (root / "out").symlink_to("..")
    (root / "in").symlink_to(".")
    before = files_around(root, top)

    with Workspace(root, follows_links=follows_links) as workspace:
        read = attempt(content_of, workspace, path)
        attempt(written, workspace, path, replaces=True)

    assert read in {None, "inside"}
    assert files_around(root, top) == before
    shutil.rmtree(top)


def test_an_absolute_path_is_accepted_inside_alone(root, follows_links):
    with Workspace(root, follows_links=follows_links) as workspace:
        assert content_of(workspace, str(root / "inside.txt")) == "inside"
        with pytest.raises(ToolError, match="is outside the workspace"):
            content_of(workspace, str(root.parent / "canary.txt"))
        with pytest.raises(ToolError, match=r"'\.\.'"):
            content_of(workspace, f"{root}/../canary.txt")
        with pytest.raises(ToolError, match="is outside the workspace"):
            content_of(workspace, f"{root}-evil/canary.txt")


def test_a_root_that_is_a_link_is_accepted_by_either_name(root, tmp_path):
    (tmp_path / "link").symlink_to(root)

    with Workspace(tmp_path / "link") as workspace:
        assert content_of(workspace, str(tmp_path / "link" / "inside.txt")) == "inside"
        assert content_of(workspace, str(root / "inside.txt")) == "inside"


def test_links_inside_are_followed_with_openat2_and_refused_without(root):
    (root / "folder").mkdir()
    (root / "folder" / "link").symlink_to("../inside.txt")
    (root / "way").symlink_to("folder")

    with Workspace(root) as workspace:
        assert content_of(workspace, "way/link") == "inside"
    with Workspace(root, follows_links=False) as workspace:
        assert attempt(content_of, workspace, "folder/link") is None
        assert attempt(content_of, workspace, "way/link") is None


@pytest.mark.parametrize(
    "target", ["../canary.txt", "{root}/../canary.txt", "/proc/self/environ", "/proc/self/root/etc/passwd", "/dev/zero"]
)
def test_a_link_that_leads_out_is_refused(root, follows_links, target):
    (root / "link").symlink_to(target.format(root=root))

    with Workspace(root, follows_links=follows_links) as workspace, pytest.raises(ToolError) as refused:
        content_of(workspace, "link")

    assert CANARY not in str(refused.value)


def test_the_kernels_own_files_are_refused_even_in_a_workspace_that_is_everything(follows_links):
    with Workspace(Path("/"), follows_links=follows_links) as workspace:
        for path in ("proc/self/environ", "/proc/self/environ", "proc/self/root/etc/passwd", "proc/self/fd/0"):
            assert attempt(content_of, workspace, path) is None
        assert content_of(workspace, "etc/passwd")


def test_a_link_is_not_entered_from_an_open_folder(root):
    (root / "folder").mkdir()
    (root / "link").symlink_to("folder")
    (root / "link.txt").symlink_to("inside.txt")

    with Workspace(root) as workspace:
        for name, kind in (("link", "folder"), ("link.txt", "file"), ("link.txt", "any")):
            with (
                pytest.raises(OSError, match=r"Not a directory|symbolic links"),
                workspace.entered(workspace.fd, name, kind),
            ):
                pytest.fail("it was followed")


def test_a_fifo_a_socket_and_a_folder_are_no_files_and_do_not_block(root, follows_links):
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    here = Path.cwd()
    os.chdir(root)  # the path of a socket is at most 108 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
    finally:
        os.chdir(here)

    with Workspace(root, follows_links=follows_links) as workspace:
        for name, why in (("pipe", "neither"), ("socket", "neither"), ("folder", "is a folder"), (".", "is a folder")):
            with pytest.raises(ToolError, match=why):
                content_of(workspace, name)
            assert attempt(written, workspace, name, replaces=True) is None

    assert (root / "pipe").is_fifo()


def test_a_hidden_name_is_no_part_of_the_workspace(root, follows_links):
    (root / ".env").write_text(CANARY)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text(CANARY)

    with Workspace(root, follows_links=follows_links) as workspace:
        for path in (
            ".env",
            ".git/config",
            "./.git/config",
            str(root / ".env"),
            ".ssh/authorized_keys",
            "a/.ipython/x",
        ):
            with pytest.raises(ToolError, match="hidden"):
                content_of(workspace, path)
            with pytest.raises(ToolError, match="hidden"):
                written(workspace, path, replaces=True)

    assert sorted(path.name for path in root.iterdir()) == [".env", ".git", "inside.txt"]


@pytest.mark.parametrize(
    "path",
    [
        "~/x.txt", "~root/x.txt", "GIT~1/config", "first.ipynb", "First.IPYNB", "first.ipynb. ", "x.pth", "a/x.PTH",
        "sitecustomize.py", "usercustomize.py", "a/SiteCustomize.py",
        "sitecustomize/__init__.py", "x.dist-info/entry_points.txt",
        "x.egg-info/entry_points.txt", "__pycache__/x.txt", "x.pyc", "x.so", "a\\b.txt", "..\\x.txt", "a\nb.txt",
        "a\u202eb.txt", "a\x1b[2Jb.txt", "caf\udce9.txt", "", ".", "/".join("a" * (MOST_DEPTH + 1)), "a" * 300,
        "a/" * 3000, "inside.txt/x.txt",
    ],
)  # fmt: skip
def test_a_name_that_would_run_or_mislead_is_not_written(root, path):
    with Workspace(root) as workspace, pytest.raises(ToolError):
        written(workspace, path, replaces=True)

    assert [path.name for path in root.iterdir()] == ["inside.txt"]
    assert (root / "inside.txt").read_text() == "inside"


def test_each_reason_not_to_write_is_told(root):
    names = {"~*": "~x", "*~[0-9]*": "git~1"}

    for pattern, why in NEVER_WRITTEN.items():
        with Workspace(root) as workspace, pytest.raises(ToolError, match=why):
            written(workspace, names.get(pattern) or pattern.replace("*", "x"))


def test_nothing_is_written_that_this_interpreter_could_import_unasked(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", ["", *sys.path])

    with Workspace(root) as workspace:
        for path in ("numpy.py", "numpy/__init__.py"):
            with pytest.raises(ToolError, match="imports from that folder") as refused:
                written(workspace, path, replaces=True)
            assert "scripts/" in refused.value.hint
        written(workspace, "scripts/numpy.py")
        written(workspace, "report.md")

    assert not (root / "numpy.py").exists()


def test_a_file_is_written_whole_with_its_folders_and_no_rest_beside_it(root, follows_links):
    with Workspace(root, follows_links=follows_links) as workspace:
        assert written(workspace, "a/b/c.txt") is False

    assert (root / "a/b/c.txt").read_bytes() == b"new"
    assert [path.name for path in (root / "a/b").iterdir()] == ["c.txt"]


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling", "fifo"])
def test_an_existing_name_is_never_written_over(root, tmp_path, kind):
    taken = root / "taken"
    match kind:
        case "file":
            taken.write_text("old")
        case "folder":
            taken.mkdir()
        case "link":
            taken.symlink_to(tmp_path / "canary.txt")
        case "dangling":
            taken.symlink_to(tmp_path / "nowhere")
        case "fifo":
            os.mkfifo(taken)
    before = os.lstat(taken)

    with Workspace(root) as workspace, pytest.raises(ToolError, match="exists already"):
        written(workspace, "taken")

    assert os.path.samestat(os.lstat(taken), before)
    assert files_around(root, tmp_path).get(tmp_path / "canary.txt") == CANARY
    assert not (tmp_path / "nowhere").exists()
    assert sorted(path.name for path in root.iterdir()) == ["inside.txt", "taken"]


def test_replacing_keeps_the_permissions_and_leaves_a_hard_linked_file_elsewhere_alone(root, tmp_path):
    (root / "script.sh").write_text("old")
    (root / "script.sh").chmod(0o750)
    os.link(tmp_path / "canary.txt", root / "linked.txt")

    with Workspace(root) as workspace:
        assert written(workspace, "script.sh", replaces=True) is True
        assert written(workspace, "linked.txt", replaces=True) is True

    assert (root / "script.sh").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "canary.txt").read_text() == CANARY


def test_of_many_that_write_one_new_name_at_once_one_wins(root):
    wins = []
    start = threading.Barrier(8)

    def write(number):
        with Workspace(root) as workspace:
            start.wait()
            if attempt(workspace.write, "one.txt", str(number).encode() * 100_000, replaces=False) is not None:
                wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(wins) == 1
    assert (root / "one.txt").read_text() == str(wins[0]) * 100_000


RIVAL = """
import contextlib, os, sys
name = sys.argv[1]
while os.getppid() == int(sys.argv[2]):
    with contextlib.suppress(FileExistsError):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for _ in range(20):
            if os.fstat(fd).st_nlink != 1:
                sys.exit("its file was written over")
        os.close(fd)
    os.unlink(name)
"""


def test_a_name_taken_at_the_last_moment_is_not_written_over(root):
    rival = subprocess.Popen([sys.executable, "-c", RIVAL, root / "new.txt", str(os.getpid())])
    wrote = []

    while rival.poll() is None and (len(wrote) < 600 or len(set(wrote)) < 2):
        with Workspace(root) as workspace:
            wrote.append(attempt(written, workspace, "new.txt") is not None)

    assert rival.poll() is None
    rival.kill()
    rival.wait()


SWAPPER = """
import ctypes, os, sys
renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
EXCHANGE = 2
os.chdir(sys.argv[1])
swaps = [(b"folder", b"link1"), (b"folder", b"link2"), (b"file.txt", b"link3"), (b"file.txt", b"link4")]
while os.getppid() == int(sys.argv[2]):
    for pair in swaps + swaps:
        if renameat2(-100, pair[0], -100, pair[1], EXCHANGE):
            sys.exit(os.strerror(ctypes.get_errno()))
"""


@pytest.fixture
def swapped(tmp_path):
    """A workspace in which another process swaps a folder and a file with links to outside, as fast as it can."""
    root, outside = tmp_path / "ws", tmp_path / "outside"
    for folder, text in ((root / "folder", "inside"), (outside, CANARY)):
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(text)
    (root / "file.txt").write_text("inside")
    for number, target in enumerate((outside, "../outside", outside / "file.txt", "../outside/file.txt"), start=1):
        (root / f"link{number}").symlink_to(target)
    swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, root, str(os.getpid())])
    yield root, outside
    assert swapper.poll() is None, "it ended before its time: nothing was swapped any more"
    swapper.kill()
    swapper.wait()


def test_no_swapped_link_is_read_or_listed_through(swapped, follows_links):
    root, _ = swapped
    read = []

    while len(read) < 4000 or len(set(read)) < 2:
        with Workspace(root, follows_links=follows_links) as workspace:
            read += [attempt(content_of, workspace, path) for path in ("folder/file.txt", "file.txt")]

    assert set(read) == {None, "inside"}  # both ways of the race were met


def test_no_tool_shows_what_a_swapped_link_leads_to(swapped):
    root, _ = swapped
    context = Context(workspace=root)
    told = []

    for _ in range(300):
        told.append(attempt(read_file, context, "folder/file.txt"))
        told.append(attempt(list_directory, context, "folder"))
        told.append(attempt(find_files, context, "**"))
    told += [attempt(grep, context, "canary|inside") for _ in range(10)]

    assert any(text and "inside" in text for text in told)
    assert not any(text and "canary" in text for text in told)


def test_nothing_is_written_through_a_swapped_link(swapped, follows_links):
    root, outside = swapped
    before = files_around(root, outside.parent)
    replaced = []

    while len(replaced) < 1000 or len(set(replaced)) < 2:
        with Workspace(root, follows_links=follows_links) as workspace:
            replaced.append(attempt(written, workspace, "folder/other.txt", replaces=True) is not None)
            attempt(written, workspace, f"folder/new{len(replaced)}.txt")

    assert files_around(root, outside.parent) == before


def test_a_workspace_that_is_not_there_is_a_tool_error(root):
    (root / "loop").symlink_to("loop")

    for missing in (root / "missing", root / "inside.txt", root / "loop"):
        with pytest.raises(ToolError, match="the workspace cannot be opened"):
            Workspace(missing)


def test_deleting_the_workspace_during_a_call_is_a_tool_error(root, follows_links):
    def read():
        with Workspace(root, follows_links=follows_links) as workspace:
            shutil.rmtree(root)
            content_of(workspace, "inside.txt")

    with pytest.raises(ToolError, match="no such file"):
        read()


def test_a_call_that_does_not_notice_that_the_workspace_went_is_told_at_its_end(root):
    with pytest.raises(ToolError, match="deleted or moved during the call"), Workspace(root):
        root.rename(root.with_name("moved"))
    with pytest.raises(ToolError, match="deleted or moved during the call"), Workspace(root.with_name("moved")):
        shutil.rmtree(root.with_name("moved"))


def test_no_descriptor_stays_open(root, follows_links):
    (root / "folder").mkdir()
    (root / "link").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    before = set(Path("/proc/self/fd").iterdir())

    for path in ("inside.txt", "folder", "link", "pipe", "missing", "folder/missing/x", "inside.txt/x", "../x"):
        with Workspace(root, follows_links=follows_links) as workspace:
            attempt(content_of, workspace, path)
            attempt(written, workspace, path)

    assert set(Path("/proc/self/fd").iterdir()) == before


WITHOUT_OPENAT2 = """
import ctypes, json, struct, sys
from pathlib import Path
from xz_magics.tools.workspace import Workspace, read_at_most
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x50000 | int(sys.argv[2])), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.byref(Filter(len(code), ctypes.addressof(program)))) == 0, "seccomp"
with Workspace(Path(sys.argv[1])) as workspace:
    with workspace.opened("inside.txt", "file") as fd:
        print(json.dumps([workspace._follows_links, read_at_most(fd, 100)[0].decode()]))
"""


@pytest.mark.parametrize("code", [1, 38], ids=["EPERM", "ENOSYS"])
def test_where_the_kernel_refuses_openat2_names_are_walked_one_by_one(root, code):
    ran = subprocess.run([sys.executable, "-c", WITHOUT_OPENAT2, root, str(code)], capture_output=True, check=False)

    assert ran.returncode == 0, ran.stderr.decode()
    assert json.loads(ran.stdout) == [False, "inside"]


def test_a_message_shows_a_name_on_one_line(root):
    with Workspace(root) as workspace, pytest.raises(ToolError) as refused:
        content_of(workspace, "no\n\x1b[2J" + "x" * 1000)

    assert "no\\n\\x1b[2Jxxx" in refused.value.message
    assert len(str(refused.value)) < 400


def test_write_file_and_read_file_stay_inside_too(root):
    context = Context(workspace=root, params=frozenset({"overwrite"}))

    for path in ("../canary.txt", str(root.parent / "canary.txt"), "~/x", "\0"):
        assert attempt(read_file, context, path) is None
        assert attempt(write_file, context, path, "new") is None

    assert (root.parent / "canary.txt").read_text() == CANARY
