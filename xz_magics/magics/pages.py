"""The texts that the magics show of themselves: the page of help, and the template for an empty cell."""

from collections.abc import Mapping

from xz_magics.options import VERBS, cell_parser, line_parser, options_of

SETTINGS: Mapping[str, str] = {
    "model": "the model of cells that name none: local, openai:MODEL, anthropic:MODEL, scripted:NAME, ENDPOINT:MODEL",
    "max_concurrent": "subagents at work at once",
    "max_tokens": "the most tokens of one answer; None: as the provider has it",
    "default_max_turns": "the most model calls of one task",
    "max_depth": "how deep subagents may start subagents",
    "retries": "more tries after a passing failure",
    "timeout": "seconds for one task; None: no limit",
    "idle_timeout": "seconds without progress that end a call",
    "output_max_size": "the most bytes of an output; None: no limit",
    "fail_fast": "whether the first failure stops the others",
    "stream": "whether answers are streamed",
    "confirm_tasks": "a cell of more tasks starts only with --yes",
    "confirm_cost": "a cell that may cost more US dollars starts only with --yes; None: no such question",
    "user": "who runs this: the tag user:NAME on every task; None: no tag",
    "alert_utilisation": "the share of a limit, 0 to 1, above whose use a run raises an alert",
    "alert_error_rate": "the share of subagents that failed, 0 to 1, above which it raises one, from 20 subagents on",
    "alert_p95_duration": "the 95th percentile of durations, in seconds, likewise; None: no such alert",
    "daily_max_executions": "limit of a day over all kernels: subagents",
    "daily_max_tokens": "limit of a day over all kernels: tokens",
    "daily_max_cost": "limit of a day over all kernels: US dollars",
    "weekly_max_executions": "limit of a week over all kernels: subagents",
    "weekly_max_tokens": "limit of a week over all kernels: tokens",
    "weekly_max_cost": "limit of a week over all kernels: US dollars",
    "journal": "on: runs are kept on disk; hashes: without their texts; off: not at all",
    "journal_days": "so many days the journal keeps a run",
    "journal_megabytes": "so large the journal may grow before it lets go of the oldest runs",
    "budget_zone": "the zone whose days and weeks these are, such as Europe/Berlin, from the next kernel on",
    "max_executions": "limit of the session: subagents",
    "max_total_tokens": "limit of the session: tokens",
    "max_total_time": "limit of the session: seconds at work",
    "max_total_cost": "limit of the session: US dollars",
}
"""What `%config SubagentMagics` tells of each; None there means: not set."""

TEMPLATE = """\
This cell has no tasks yet. Copy one of these into it; %%subagents --help tells more.

%%subagents --model local
capital: What is the capital of Peru?
haiku: Write a haiku about rain on a window.

%%subagents --model local --max-total-tokens 5000 --out answers
--- summary
Plain prompts, any text, each after a line with its label:
sum up this in one sentence. {{text}}
--- title
Find a title for this. {{text}}
"""

EXAMPLES = """\
%%subagents [options]      runs the tasks of a cell side by side; the cell's value is their Results
%subagents VERB [options]  tells of the runs, the limits, the models and what is here

The smallest cell: a line for each task, its label and its prompt.

    %%subagents --model local
    capital: What is the capital of Peru?
    haiku: Write a haiku about rain.

Plain prompts, which may hold anything, each after a line with its label. {{name}} inserts a variable of the notebook.

    %%subagents --model openai:gpt-4o-mini --out answers
    --- short
    Sum up in one sentence: {{text}}
    --- title
    Find a title: {{text}}

A head with limits that hold, tools that are granted by name, and tasks that build on others.

    %%subagents
    model: anthropic:claude-haiku-4-5
    quota: {max_total_tokens: 20000, max_total_time: 120}
    tasks:
      facts: {prompt: "What do the files say of rain?", allowed_tools: [grep, read_file]}
      essay: {prompt: "Write a paragraph from this: {{results.facts}}"}
      check: {prompt: "Is all of it true? {{results.essay}}", after: essay, temperature: 0}

An experiment: every prompt for each row of the table `reviews`, with each model, three times. `is_right` is a function
of the notebook that scores an outcome.

    %%subagents --out tried
    foreach: reviews
    matrix: {model: [local, "openai:gpt-4o-mini"]}
    repeat: 3
    schema: {mood: [good, bad]}
    score: is_right
    tasks:
      mood: "What is the mood of this review? {{text}}"

Then tried.compare_by("model"), tried.pivot("model") and tried.costs_by("model") tell how they differ.

The results, bound to a name by --out, else in xz_magics.last: .df (a row per task), answers["title"].output, .plot().
The Stop button, or interrupting the kernel, ends all requests and keeps what came. In the background other cells can
run meanwhile:

    %%subagents --background --out handle
    ...

    handle.done        handle.results        await handle        %subagents status        %subagents cancel essay
"""

EPILOG = """\
A task's own fields win over these options. From Python, await xz_magics.run(work, ...), xz_magics.run_sync(work, ...)
and xz_magics.start(work, ...), which runs in the background, take the same. %config SubagentMagics shows and changes
what holds for all cells.
"""


def help_page() -> str:
    verbs = "\n".join(f"  {verb:<10}{what}" for verb, what in VERBS.items())
    cell, line = options_of(cell_parser()), options_of(line_parser())
    return f"{EXAMPLES}\nOptions of %%subagents\n\n{cell}\n\n{EPILOG}\n%subagents VERB\n\n{verbs}\n\n{line}\n"
