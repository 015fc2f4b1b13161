"""What loading costs: a fresh Python and a fresh shell get the names, and the heavy libraries at first use alone."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("pandas", "matplotlib", "ipywidgets", "httpx", "aiohttp", "anywidget", "nest_asyncio2", "pydantic")
HEAVY += ("genai_prices", "ruamel", "xllamacpp", "jsonpath", "jsonschema", "scipy")
LOADED = "print(json.dumps([name for name in HEAVY if name in sys.modules]))"


def printed(code, **environ):
    command = [sys.executable, "-c", f"import json, sys\nHEAVY = {HEAVY!r}\n{code}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environ, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()


def in_a_shell(code, **environ):
    shell = "from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell.instance()\n"
    return printed(shell + code, **environ)


def test_importing_loads_nothing_heavy_and_not_even_ipython():
    (loaded, ipython, names) = printed(
        f"import xz_magics\n{LOADED}\nprint('IPython' in sys.modules)\nprint('run' in dir(xz_magics))"
    )

    assert (json.loads(loaded), ipython, names) == ([], "False", "True")


def test_loading_the_extension_loads_nothing_heavy_and_registers_both_magics():
    (loaded, magics) = in_a_shell(
        f"before = set(HEAVY) & set(sys.modules)\nshell.run_line_magic('load_ext', 'xz_magics')\n{LOADED}\n"
        "print('subagents' in shell.magics_manager.magics['cell'], 'subagents' in shell.magics_manager.magics['line'])"
    )

    assert (json.loads(loaded), magics) == ([], "True True")


def test_loading_the_extension_costs_little():
    # In processor time, which other work on the machine does not add to; it was 0.05 s when this was written.
    (cost_s,) = in_a_shell(
        "import time\nbefore = time.process_time()\nshell.run_line_magic('load_ext', 'xz_magics')\n"
        "print(time.process_time() - before)"
    )

    assert float(cost_s) < 0.5


def test_help_and_a_mistake_load_nothing_heavy_either():
    *_, loaded = in_a_shell(
        "shell.run_line_magic('load_ext', 'xz_magics')\nshell.run_cell('%%subagents --help\\na: b')\n"
        f"shell.run_cell('%%subagents --modle x\\na: b')\n{LOADED}"
    )

    assert json.loads(loaded) == []


def test_unloading_takes_everything_back_and_loading_again_works():
    assert in_a_shell(
        "def registered():\n"
        "    kinds = [kind for kind in ('line', 'cell') if 'subagents' in shell.magics_manager.magics[kind]]\n"
        "    print(kinds, len(shell.input_transformers_post))\n"
        "registered()\n"
        "for verb in ('load_ext', 'unload_ext', 'load_ext', 'reload_ext'):\n"
        "    shell.run_line_magic(verb, 'xz_magics'); registered()\n"
    ) == ["[] 0", "['line', 'cell'] 1", "[] 0", "['line', 'cell'] 1", "['line', 'cell'] 1"]


@pytest.mark.parametrize("name", ["errors", "records", "options", "config"])
def test_the_rooms_at_the_bottom_load_nothing_heavy(name):
    (loaded,) = printed(f"import xz_magics.{name}\n{LOADED}")

    assert json.loads(loaded) == []


def test_run_sync_enters_a_loop_that_is_running(tmp_path):
    (tmp_path / "config.yaml").write_text("scripts: {hi: {steps: [{answer: hi, latency_s: 0.05}]}}")
    code = """
import asyncio, xz_magics

async def main():
    other = asyncio.ensure_future(asyncio.sleep(0.01, "the user's own task went on"))
    results = xz_magics.run_sync(["a", "b"], model="scripted:hi")
    print([outcome.output for outcome in results], other.done() and other.result())

asyncio.run(main())
"""

    assert printed(code, XZ_MAGICS_CONFIG=str(tmp_path / "config.yaml")) == [
        """['hi', 'hi'] the user's own task went on"""
    ]
