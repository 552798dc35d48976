"""The atlas file's tables as numbered migrations, and every SQL statement that is run on them."""

import sqlite3

MIGRATIONS = (
    """
    CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sae (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        facts TEXT NOT NULL,
        mean BLOB NOT NULL
    );
    CREATE TABLE feature (
        sae INTEGER NOT NULL REFERENCES sae (id),
        idx INTEGER NOT NULL,
        density REAL NOT NULL,
        max REAL NOT NULL,
        label TEXT,
        rule TEXT,
        score REAL,
        evidence INTEGER NOT NULL,
        background BLOB NOT NULL,
        topics BLOB NOT NULL,
        profile BLOB NOT NULL,
        PRIMARY KEY (sae, idx)
    ) WITHOUT ROWID;
    """,
)
"""Migration ``n`` (from 1) brings a file from ``user_version`` n-1 to n."""

VERSION = len(MIGRATIONS)

PUT_FACT = "INSERT OR REPLACE INTO fact (key, value) VALUES (?, ?)"
PUT_SAE = "INSERT INTO sae (name, facts, mean) VALUES (?, ?, ?)"
PUT_FEATURE = """
    INSERT INTO feature (sae, idx, density, max, label, rule, score, evidence, background, topics, profile)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
GET_FACTS = "SELECT key, value FROM fact ORDER BY key"
GET_SAES = "SELECT id, name, facts, mean FROM sae ORDER BY id"
GET_TABLE = """
    SELECT density, max, label, rule, score, evidence, background, topics FROM feature WHERE sae = ? ORDER BY idx
"""
GET_FEATURE = """
    SELECT density, max, label, rule, score, evidence, profile FROM feature WHERE sae = ? AND idx = ?
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file that this version may write to up to `VERSION`."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(MIGRATIONS[found:], found + 1):
        connection.executescript(f"BEGIN; {statements} PRAGMA user_version = {number}; COMMIT;")
