"""Coroutine tests run on a loop of their own; what tests of whole runs stand on."""

import asyncio
import inspect
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import xz_magics
import xz_magics.api.dry_run
import xz_magics.background  # with all that holds the session: what is loaded later would keep a test's own
from xz_magics.session import Session

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # a test is no clock: on a busy machine anything takes long
settings.load_profile("untimed")

FOREIGN = ("xz_magics_model", "openai_base_url", "openai_api_key", "anthropic_base_url", "anthropic_api_key")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where nothing may skip, a skipped test is a failed one."""
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("XZ_MAGICS_NOTHING_MAY_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may skip here: {report.longrepr}"


@pytest.fixture
def package_alone(tmp_path):
    """A folder that holds this package and nothing else: for what is to happen where a library is missing."""
    folder = tmp_path / "alone"
    shutil.copytree(Path(xz_magics.__file__).parent, folder / "xz_magics", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def session(monkeypatch, tmp_path):
    """A session of the test's own in an environment without keys and proxies; it ends with the test.

    Its configuration is `config.yaml` in tmp_path: what stands there before the session is first used.
    """
    for name in FOREIGN + PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "config.yaml").touch()
    monkeypatch.setenv("XZ_MAGICS_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("XZ_MAGICS_STATE", str(tmp_path / "state"))
    fresh = Session()
    for name, module in tuple(sys.modules.items()):
        if name.startswith("xz_magics.") and isinstance(getattr(module, "session", None), Session):
            monkeypatch.setattr(module, "session", fresh)
    yield fresh
    fresh.close()


@pytest.fixture(autouse=True, scope="session")
def state_of_the_tests(tmp_path_factory):
    """No test writes the journal of whoever runs it; it is never put back, for threads write until the very end."""
    os.environ["XZ_MAGICS_STATE"] = str(tmp_path_factory.mktemp("state"))
