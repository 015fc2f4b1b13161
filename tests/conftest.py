"""Coroutine tests run on a loop of their own."""

import asyncio
import inspect
import os
import shutil
from pathlib import Path

import pytest

import xz_magics


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
