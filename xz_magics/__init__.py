"""xz_magics: language-model subagents in a notebook cell, under budgets that hold."""
