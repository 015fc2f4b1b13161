"""A run of one kernel, shown by the next."""

ALL = "[{0}.all_df.to_csv(), {0}.turns_df.to_csv(), {0}.scores, {0}.warnings]"


def test_a_run_is_found_and_shown_with_all_that_it_was_after_a_restart(kernel):
    kernel.run("%%subagents --model openai:m --score equals --out live\na: one\nb: {prompt: two, expect: two}")
    run_id = kernel.value("live.run_id").strip("'")
    before = kernel.value(ALL.format("live"))

    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    kernel.run("%load_ext xz_magics\nimport xz_magics")
    line = f"%subagents show {run_id[:6]}"
    completed = kernel.client.complete(line, reply=True, timeout=60)["content"]["matches"]
    (runs,) = kernel.run("%subagents runs")
    (shown,) = kernel.run(line)
    after = kernel.value(ALL.format("_"))

    assert completed == [run_id]
    assert run_id in runs.all_text
    assert "2 done" in shown.all_text
    assert after == before
