"""The journal's tables, as they were made and changed from version to version."""

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
    """
    ALTER TABLE events ADD COLUMN key TEXT;
    ALTER TABLE events ADD COLUMN mark TEXT;
    UPDATE events SET (key, mark) = (
        SELECT key, json_object(
            'under', CASE WHEN json_valid(under) THEN json(under) END,
            'origin_run', resends_run, 'origin_label', resends_label
        )
        FROM asked WHERE run = events.run AND label = events.label
    ) WHERE kind = 'CallIntended';
    UPDATE events SET (key, mark) = (
        SELECT key, json_object(
            'under', CASE WHEN json_valid(under) THEN json(under) END,
            'origin_run', origin_run, 'origin_label', origin_label,
            'answered_at', CASE WHEN origin_run IS NOT NULL THEN ended_at END,
            'tokens', tokens, 'cost_usd', cost_usd
        ) FROM answers WHERE run = events.run AND label = events.label AND number = events.number
    ) WHERE kind = 'TaskEnded';
    CREATE INDEX events_by_key ON events (key) WHERE kind = 'TaskEnded' AND key IS NOT NULL;
    DELETE FROM asked;
    DELETE FROM answers;
    """,
)
"""Each leads from one version to the next; the file's `user_version` tells how many it has seen.

`asked` and `answers` are empty since the third: a process of an older version that is at work may still write there.
"""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "runs": (
        "id", "started_at", "ended_at", "owner", "notebook", "label", "tasks", "spec_hash", "cell", "resumes", "nested"
    ),
    "events": ("run", "number", "at", "kind", "label", "body", "key", "mark"),
}  # fmt: skip
"""What is written of each. A newer version may have added others meanwhile.

Key and mark stand with the intents of calls, and with the answers that may serve again.
"""
