"""Cells whose subagents use tools and start others, in the real page."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

SOON_MS = 20_000
"""A cell that takes a second or two, on a busy machine."""

TOOL = """
@xz_magics.tool
def echo(text: str) -> str:
    "Gives the text back."
    return f"<b>echo of {text}</b>"
"""
SCRIPTS = """
import os, pathlib
pathlib.Path("lesson").mkdir(exist_ok=True)
folder = pathlib.Path("lesson").resolve()
(folder / "scripts.yaml").write_text('''
scripts:
  team:
    steps:
      - {when: status, answer: merged}
      - when: Plan
        tool_calls: [{name: parallel_subagent, arguments: {tasks: [{task_prompt: one}, {task_prompt: two}]}}]
      - {answer: "<i>done</i>", latency_s: 2}
''')
os.environ["XZ_MAGICS_CONFIG"] = str(folder / "scripts.yaml")
"""


def test_turns_and_calls_stand_in_the_table_and_the_conversation_in_its_frame(open_notebook):
    notebook = open_notebook(
        TOOL,
        "%%subagents --allowed-tools echo --out asked\nasking: turns=3 latency=0.2\nother: latency=0.2",
        "asked.messages_df[['label', 'role', 'content', 'tool']]",
    )

    notebook.run_all()

    expect(notebook.prompt(3)).to_have_text("[4]:", timeout=SOON_MS)
    head = notebook.table(2).locator("thead th")
    row = notebook.table(2).locator("tbody tr").first
    columns = head.all_inner_texts()
    cells = row.locator("td").all_inner_texts()
    assert cells[columns.index("turns")] == "3"
    assert cells[columns.index("tools")] == "2"
    expect(notebook.output(3)).to_contain_text("<b>echo of 0</b>")


def test_subagents_that_others_started_stand_under_them_while_they_work_and_are_counted_below_the_table(open_notebook):
    notebook = open_notebook(
        SCRIPTS,
        "%%subagents --model scripted:team --allowed-tools parallel_subagent --out team\nlead: Plan it.",
        "team.all_df[['label', 'parent', 'depth', 'output']]",
    )

    notebook.run_all()

    dashboard = notebook.dashboard(2)
    expect(dashboard.locator(".xz-head")).to_contain_text("2 nested (2 running)", timeout=SOON_MS)
    expect(dashboard.locator("[data-n] .xz-label")).to_contain_text(["lead", "lead/1", "lead/2"])
    expect(dashboard.locator("[data-depth='1'] .xz-state")).to_have_text(["▶running", "▶running"])
    expect(notebook.prompt(3)).to_have_text("[4]:", timeout=SOON_MS)
    expect(notebook.table(2)).to_contain_text("merged")
    expect(notebook.output(2)).to_contain_text("and 2 nested subagents (2 done): see .all_df")
    expect(notebook.output(3)).to_contain_text("lead/2")
    expect(notebook.output(3)).to_contain_text("<i>done</i>")
