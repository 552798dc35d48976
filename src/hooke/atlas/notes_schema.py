"""The notes file's table as numbered migrations, and every SQL statement that is run on it."""

MIGRATIONS = (
    """
    CREATE TABLE note (
        digest TEXT NOT NULL,
        sae TEXT NOT NULL,
        idx INTEGER NOT NULL,
        star INTEGER NOT NULL,
        note TEXT NOT NULL,
        label TEXT NOT NULL,
        changed TEXT NOT NULL,
        PRIMARY KEY (digest, sae, idx)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE listed (
        list TEXT NOT NULL,
        digest TEXT NOT NULL,
        sae TEXT NOT NULL,
        idx INTEGER NOT NULL,
        changed TEXT NOT NULL,
        PRIMARY KEY (list, digest, sae, idx)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE saved (id TEXT PRIMARY KEY, text TEXT NOT NULL, changed TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Migration ``n`` (from 1) brings a file from ``user_version`` n-1 to n."""
VERSION = len(MIGRATIONS)

# What was written while an atlas could not say which weights it describes (digest '') counts for the SAE of that name.
_OF = "(digest = :digest AND :digest <> '' OR digest = '' AND sae = :sae)"
GET = f"SELECT idx, star, note, label FROM note WHERE {_OF} AND idx = :idx ORDER BY digest DESC"
GET_ALL = f"SELECT idx, star, note, label FROM note WHERE {_OF} ORDER BY digest"
DROP = f"DELETE FROM note WHERE {_OF} AND idx = :idx"
PUT = """
    INSERT OR REPLACE INTO note (digest, sae, idx, star, note, label, changed)
    VALUES (:digest, :sae, :idx, :star, :note, :label, :changed)
"""
EXPORT = "SELECT digest, sae, idx, star, note, label, changed FROM note ORDER BY sae, digest, idx"
CHANGED = "SELECT changed FROM note WHERE digest = :digest AND sae = :sae AND idx = :idx"

WITH_LISTS = 2
"""The version from which on there are lists."""
LISTS = "SELECT DISTINCT list FROM listed ORDER BY list"
LISTED = f"SELECT DISTINCT idx FROM listed WHERE {_OF} AND list = :list ORDER BY idx"
LISTS_OF = f"SELECT DISTINCT list FROM listed WHERE {_OF} AND idx = :idx ORDER BY list"
ENLIST = "INSERT OR IGNORE INTO listed (list, digest, sae, idx, changed) VALUES (:list, :digest, :sae, :idx, :changed)"
DELIST = f"DELETE FROM listed WHERE {_OF} AND idx = :idx AND list = :list"
EXPORT_LISTS = "SELECT list, digest, sae, idx, changed FROM listed ORDER BY list, sae, digest, idx"

WITH_SAVED = 3
"""The version from which on texts are kept for addresses."""
SAVE = "INSERT OR REPLACE INTO saved (id, text, changed) VALUES (:id, :text, :changed)"
FORGET = "DELETE FROM saved WHERE id NOT IN (SELECT id FROM saved ORDER BY changed DESC, id LIMIT :most)"
SAVED = "SELECT text FROM saved WHERE id = :id"
EXPORT_SAVED = "SELECT id, text, changed FROM saved ORDER BY changed, id"
