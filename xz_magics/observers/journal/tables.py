"""The journal's tables, as they were made and changed from version to version; it alone names their columns."""

from collections.abc import Mapping, Sequence

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, owner TEXT NOT NULL,
        notebook TEXT, label TEXT, tasks INTEGER NOT NULL, spec_hash TEXT
    ) STRICT;
    CREATE INDEX runs_by_start ON runs (started_at);
    CREATE TABLE events (
        run TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, label TEXT,
        body TEXT NOT NULL, PRIMARY KEY (run, number)
    ) STRICT;
    CREATE TABLE answers (
        key TEXT NOT NULL, run TEXT NOT NULL, label TEXT NOT NULL, number INTEGER NOT NULL, ended_at REAL NOT NULL,
        tokens INTEGER, cost_usd REAL, PRIMARY KEY (run, label)
    ) STRICT;
    CREATE INDEX answers_by_key ON answers (key);
    """,
    """
    ALTER TABLE runs ADD COLUMN cell TEXT;
    ALTER TABLE runs ADD COLUMN resumes TEXT;
    ALTER TABLE runs ADD COLUMN nested INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX runs_by_cell ON runs (cell, started_at);
    CREATE INDEX runs_by_work ON runs (spec_hash, started_at);
    ALTER TABLE answers ADD COLUMN origin_run TEXT;
    ALTER TABLE answers ADD COLUMN origin_label TEXT;
    ALTER TABLE answers ADD COLUMN under TEXT;
    CREATE TABLE asked (
        run TEXT NOT NULL, label TEXT NOT NULL, key TEXT, under TEXT, resends_run TEXT, resends_label TEXT,
        PRIMARY KEY (run, label)
    ) STRICT;
    """,
)
"""Each leads from one version to the next; the file's `user_version` tells how many it has seen."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "runs": (
        "id", "started_at", "ended_at", "owner", "notebook", "label", "tasks", "spec_hash", "cell", "resumes", "nested"
    ),
    "events": ("run", "number", "at", "kind", "label", "body"),
    "answers": (
        "key", "run", "label", "number", "ended_at", "tokens", "cost_usd", "origin_run", "origin_label", "under"
    ),
    "asked": ("run", "label", "key", "under", "resends_run", "resends_label"),
}  # fmt: skip
"""What is written of each. A newer version may have added others meanwhile."""
