"""What 10,000 tasks of one prompt cost beside the same tasks written out: `python benchmarks/fanout.py`.

The baseline is a plain list of 10,000 dicts, each with the prompt, label and temperature that the fan-out gives it. CPU
time is that from what is written to the complete plan, the best of five. Memory is what is held per task once a
scripted model has answered all of them: plan, outcomes and results together, by tracemalloc.
"""

import argparse
import gc
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import xz_magics
from xz_magics import specs
from xz_magics.config import Settings
from xz_magics.plan import Plan, make_plan
from xz_magics.tools.registry import Registry

STATE = tempfile.TemporaryDirectory()
os.environ |= {"XZ_MAGICS_STATE": STATE.name, "XZ_MAGICS_JOURNAL": "off"}  # what a journal costs, journal.py says
ROWS, REPEATS = 100, 20
TEMPERATURES = [0, 0.25, 0.5, 0.75, 1]
PROMPT = "{{wording}}\n\nThe review, number {{row.number}}:\n{{text}}"
WORDING = "Is the review of {{product}} positive or negative? Answer in one word."
REVIEW = "I took it along for a week and it did what it says, though the lid is hard to open with wet hands. "


def fanned_out() -> tuple[Any, dict[str, Any]]:
    rows = [{"text": f"{REVIEW * 5}{n}", "number": n, "product": f"flask {n}"} for n in range(ROWS)]
    matrix = {"temperature": TEMPERATURES, "wording": [WORDING]}
    return {"review": {"prompt": PROMPT}}, {"foreach": rows, "matrix": matrix, "repeat": REPEATS}


def planned(work: Any, options: dict[str, Any]) -> Plan:
    return make_plan(
        specs.read(work),
        settings=Settings(model="scripted:"),
        options=specs.check_options(options),
        names={},
        tools=Registry(),
    )


def best_s(work: Callable[[], Plan], times: int = 5) -> float:
    def once_s() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return min(once_s() for _ in range(times))


def held_bytes(work: Any, options: dict[str, Any]) -> float:
    """Per task, after its end."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    results = xz_magics.run_sync(work, model="scripted:", max_concurrent=100, **options)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(results) == ROWS * len(TEMPERATURES) * REPEATS
    xz_magics.session.session.last = None
    return (after - before) / len(results)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    work, options = fanned_out()
    plan = planned(work, options)
    written = [{"label": t.label, "prompt": t.prompt, "temperature": t.temperature} for t in plan.tasks]
    ours_s, bare_s = best_s(lambda: planned(work, options)), best_s(lambda: planned(written, {}))
    ours_bytes, bare_bytes = held_bytes(work, options), held_bytes(written, {})

    print(f"{len(plan.tasks):,} tasks: {ROWS} rows x {len(TEMPERATURES)} arms x {REPEATS} repeats")
    print(f"planned in {ours_s:.2f} s; a list of dicts in {bare_s:.2f} s; ratio {ours_s / bare_s:.2f}")
    print(f"held {ours_bytes / 1000:.1f} KB per task with its results; a list of dicts {bare_bytes / 1000:.1f} KB;")
    print(f"ratio {ours_bytes / bare_bytes:.2f}")


if __name__ == "__main__":
    main()
