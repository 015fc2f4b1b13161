"""A limit of the day in a real kernel: how it is set and seen, and what the next cell over it says."""

import os
from datetime import UTC, datetime

import pytest
from conftest import Kernel

CONFIG = """
scripts:
  dear: {steps: [{answer: dear, input_tokens: 6, output_tokens: 4}], price: {input: 25000, output: 25000}}
"""
CELL = "%%subagents --model scripted:dear --max-tokens 4 --out answers\n- Hi.\n- Ho."


@pytest.fixture
def kernels(tmp_path):
    """Kernels of one user, in whose days no midnight comes while this runs."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    environ = os.environ | {
        "XZ_MAGICS_CONFIG": str(tmp_path / "config.yaml"),
        "XZ_MAGICS_STATE": str(tmp_path / "state"),
        "XZ_MAGICS_BUDGET_ZONE": f"Etc/GMT{datetime.now(UTC).hour - 12:+d}",
    }
    begun = []

    def begin():
        begun.append(Kernel(environ))
        begun[-1].run("%load_ext xz_magics")
        return begun[-1]

    yield begin
    for kernel in begun:
        kernel.close()


def test_a_limit_of_the_day_is_set_seen_and_kept_over_what_was_spent_before_it(kernels):
    kernel = kernels()

    before, limit, look, over = kernel.run(CELL, "%subagents quota --daily-max-cost 2", "%subagents quota", CELL)

    assert [cell.error for cell in (before, limit, look, over)] == [None] * 4
    assert len(limit.displays) == 1
    spending, levels = look.displays[-2:]
    assert "scripted:dear" in spending["text/plain"]
    of_the_day = [line.split()[2:] for line in levels["text/plain"].splitlines() if " day " in line]
    assert of_the_day[2] == ["max_total_cost", "2.0", "0.5", "0.0", "1.5"]
    assert kernel.value("[one.status for one in answers]") == "['skipped', 'skipped']"
    assert "max_total_cost of the day is 2 USD, and 0.5 are used; this needs up to" in kernel.value("answers[0].error")
    assert "raise daily_max_cost, or take a cheaper model; the day ends at 00:00 " in kernel.value("answers[0].error")


def test_the_next_kernel_knows_what_the_one_before_it_spent_also_when_that_was_killed(kernels):
    first, second = kernels(), kernels()
    first.run("%subagents quota --daily-max-cost 2", CELL, "%subagents quota")
    first.close()

    second.run("%subagents quota --daily-max-cost 2", CELL)

    assert second.value("[one.status for one in answers]") == "['skipped', 'skipped']"
    assert "is 2 USD, and 0.25 are used" in second.value("answers[0].error")
