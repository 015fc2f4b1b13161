"""The short form of tests/journal_kills.py: two kills at each phase, and the runs that resume them."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 24


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_kills_at_any_phase_lose_nothing_that_was_told_and_send_nothing_again_that_ended():
    told = subprocess.run(
        [sys.executable, Path(__file__).with_name("journal_kills.py"), "--kills", str(KILLS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{KILLS} kills, 0 faults" in told.stdout
