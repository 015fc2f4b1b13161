"""The magic in a real kernel: cells in order, none lost, the value where people look for it."""

import pytest

CELL = "%%subagents {options}\na: latency=0.5 first\nb: latency=0.5 second"


def cell(options=""):
    return CELL.format(options=options)


def test_a_cell_shows_its_results_once_and_holds_them_in_its_value(kernel):
    (ran,) = kernel.run(cell("--out answers"))

    assert ran.error is None
    tables = [shown for shown in ran.displays if "2 done" in str(shown.get("text/plain"))]
    assert [shown["how"] for shown in tables] == ["update_display_data"]
    assert "<table" in tables[0]["text/html"]
    assert kernel.value("(_ is answers, xz_magics.last is answers, len(answers))") == "(True, True, 2)"
    (again,) = kernel.run("answers")
    assert [shown["how"] for shown in again.displays] == ["execute_result"]


def test_it_runs_inside_time_and_in_a_loop_in_a_function(kernel):
    (timed,) = kernel.run("%%time\n" + cell())
    loop = """
def several():
    for _ in range(3):
        yield get_ipython().run_cell_magic('subagents', '', 'a: latency=0.1 x')
print([len(results) for results in several()])
"""
    (looped,) = kernel.run(loop)

    assert "Wall time" in timed.text
    assert timed.html.count("2 done") == 1
    assert "[1, 1, 1]" in looped.text


@pytest.mark.parametrize("nested", [False, True], ids=["awaited", "nested"])
def test_the_users_own_tasks_go_on_meanwhile(kernel, nested):
    ticking = """
ticks = []
async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0.02)
ticker = asyncio.ensure_future(tick())
"""
    before = "len(ticks)"
    kernel.run(ticking)

    kernel.run("n = len(ticks)", ("%%time\n" if nested else "") + cell(), f"grown = {before} - n")

    assert int(kernel.value("grown")) > 4
    assert kernel.value("ticker.done()") == "False"


def test_run_and_run_sync_are_the_same_engine(kernel):
    code = """
awaited = await xz_magics.run(["latency=0.1 one", "latency=0.1 two"])
nested = xz_magics.run_sync({"a": "latency=0.1 one"})
print(len(awaited), len(nested), awaited["task-1"].status)
"""
    (ran,) = kernel.run(code)

    assert ran.error is None, ran.error
    assert "2 1 done" in ran.text


def test_a_mistake_is_one_short_error_and_unbinds_the_old_table(kernel):
    kernel.run("answers = 'old'")

    wrong, after = kernel.run("%%subagents --out answers\na:\n  promt: hi", "print('went on')")

    assert "did you mean" in wrong.error
    assert len(wrong.error.splitlines()) <= 4
    assert "Traceback" not in wrong.error
    assert (after.status, after.text) == ("aborted", "")
    assert kernel.value("'answers' in globals()") == "False"


def test_check_ends_the_cell_with_an_error_and_keeps_the_table(kernel):
    (ran,) = kernel.run(
        "%%subagents --check --out answers --max-total-tokens 300 --max-tokens 100\na: x\nb: " + "y" * 400
    )

    assert "TasksFailed: 1 of 2 tasks are not done: b (quota_exceeded)" in ran.error
    assert kernel.value("len(answers)") == "2"


def test_help_shows_every_option(kernel):
    (helped,) = kernel.run("%%subagents --help")
    (asked,) = kernel.run("%%subagents?")

    assert "--max-total-tokens" in helped.text
    assert helped.error is None
    assert "--max-total-tokens" in asked.all_text + str(asked.displays)


def test_quota_and_metrics_show_what_was_used(kernel):
    kernel.run("%subagents quota --max-total-tokens 5000", cell())

    (quota,) = kernel.run("%subagents quota")
    (metrics,) = kernel.run("%subagents metrics")

    assert "max_total_tokens" in quota.all_text
    assert "subagent_executions_total" in metrics.all_text
    assert kernel.value("xz_magics.quota.usage.tokens") == "40"
    assert kernel.value("xz_magics.quota.remaining_tokens") == "4960"
    kernel.run("%subagents quota --reset")
    assert kernel.value("xz_magics.quota.remaining_tokens") == "5000"


def test_config_and_presets_set_the_sessions_settings(kernel):
    kernel.run("%config SubagentMagics.max_tokens = 77", "%subagents quota --preset cost-optimized", cell("--out r"))

    assert kernel.value("r['a'].max_tokens") == "77"
    assert kernel.value("xz_magics.quota.remaining_executions") == "3"
    (wrong,) = kernel.run("%config SubagentMagics.max_concurrent = 0")
    assert "max_concurrent is 0" in (wrong.error or "") + wrong.all_text


def test_templates_see_the_notebooks_names_and_refuse_keys(kernel):
    kernel.run("city = 'Lima'\nkey = 'k'")

    good, bad, secret = (
        kernel.run("%%subagents --out r\na: latency=0.1 {{city}}")[0],
        kernel.run("%%subagents\na: '{{citty}}'")[0],
        kernel.run("%%subagents\na: '{{key}}'")[0],
    )

    assert good.error is None
    assert kernel.value("r['a'].messages[0].content") == "'latency=0.1 Lima'"
    assert "city" in bad.error
    assert "SpecError" in secret.error
