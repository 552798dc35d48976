"""The atlas file's tables, and every SQL statement that is run on them."""

import hashlib
import sqlite3
from collections.abc import Iterator

# Features are numbered through all SAEs (first + index), so that one integer finds them in every table. What lists and filters need is
# kept apart from what only a feature's own page needs.
_FIRST_TABLES = """
    CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sae (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        digest TEXT NOT NULL,
        first INTEGER NOT NULL,
        d_sae INTEGER NOT NULL,
        facts TEXT NOT NULL,
        mean BLOB NOT NULL
    );
    CREATE TABLE feature (
        id INTEGER PRIMARY KEY,
        count INTEGER,
        density REAL NOT NULL,
        max REAL NOT NULL,
        label TEXT,
        kind TEXT,
        score REAL,
        evidence INTEGER NOT NULL,
        background BLOB NOT NULL,
        topics BLOB NOT NULL
    );
    CREATE TABLE detail (id INTEGER PRIMARY KEY, form INTEGER NOT NULL, content BLOB NOT NULL);
    CREATE TABLE window (
        id INTEGER PRIMARY KEY,
        corpus TEXT NOT NULL,
        doc INTEGER NOT NULL,
        start INTEGER NOT NULL,
        ids BLOB NOT NULL,
        features BLOB NOT NULL
    );
    CREATE TABLE piece (id INTEGER PRIMARY KEY, content NOT NULL);
    CREATE TABLE seal (digest TEXT NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(
        label, output, promoted, content='', prefix='2 3', tokenize='porter unicode61 remove_diacritics 2'
    );
    CREATE VIRTUAL TABLE context USING fts5(body, content='', tokenize='porter unicode61 remove_diacritics 2');
"""
_EFFECTS = "CREATE TABLE effect (id INTEGER PRIMARY KEY, form INTEGER NOT NULL, content BLOB NOT NULL);"
TABLES = {2: _FIRST_TABLES, 3: f"{_FIRST_TABLES} {_EFFECTS}"}
"""The tables of a file by its schema, which its ``user_version`` says; files of all these are read."""

VERSION = 3
"""The schema of files that are written."""
EFFECTS_SINCE = 3
"""The first schema that holds what features do."""
_MIGRATIONS = {2: _EFFECTS}
FORM, PLAIN_FORM = 2, 3
"""What ``detail.form`` says of its content: what `hooke.atlas.packing` packs, compressed or plain."""
_MOST_OBJECTS = 100

PUT_FACT = "INSERT OR REPLACE INTO fact (key, value) VALUES (?, ?)"
PUT_SAE = "INSERT INTO sae (name, digest, first, d_sae, facts, mean) VALUES (?, ?, ?, ?, ?, ?)"
PUT_FEATURE = """
    INSERT INTO feature (id, count, density, max, label, kind, score, evidence, background, topics) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
PUT_DETAIL = "INSERT INTO detail (id, form, content) VALUES (?, ?, ?)"
PUT_WORDS = "INSERT INTO words (rowid, label, output, promoted) VALUES (?, ?, ?, ?)"
PUT_WINDOW = "INSERT INTO window (id, corpus, doc, start, ids, features) VALUES (?, ?, ?, ?, ?, x'')"
PUT_PIECE = "INSERT OR REPLACE INTO piece (id, content) VALUES (?, ?)"
PUT_CONTEXT = "INSERT INTO context (rowid, body) VALUES (?, ?)"
COVER_WINDOW = "UPDATE window SET ids = ? WHERE id = ?"
SET_WINDOW = "UPDATE window SET features = ? WHERE id = ?"
DROP_WINDOWS_BUT = "DELETE FROM window WHERE id NOT IN (SELECT value FROM json_each(?))"
DROP_PIECE = "DELETE FROM piece WHERE id = ?"
FINISH = ("INSERT INTO words (words) VALUES ('optimize')", "INSERT INTO context (context) VALUES ('optimize')")

PUT_EFFECT = "INSERT INTO effect (id, form, content) VALUES (?, ?, ?)"
DROP_EFFECTS = "DELETE FROM effect WHERE id BETWEEN ? AND ?"
SET_SAE_FACTS = "UPDATE sae SET facts = ? WHERE name = ?"
HAS_PLAIN = "SELECT 1 FROM detail WHERE form = ? LIMIT 1"
DROP_SEAL = "DELETE FROM seal"
PUT_SEAL = "INSERT INTO seal (digest) VALUES (?)"

GET_SEAL = "SELECT digest FROM seal"
HAS_CONTEXTS = "SELECT EXISTS (SELECT 1 FROM context_docsize)"
GET_FACTS = "SELECT key, value FROM fact ORDER BY key"
# What a column is said to hold a file from outside need not hold; a cast makes it so.
_NAMED = "substr(CAST(label AS TEXT), 1, 1000), substr(CAST(kind AS TEXT), 1, 100), CAST(score AS REAL), CAST(evidence AS INTEGER)"
_SIZE = "CAST(density AS REAL), CAST(max AS REAL)"
GET_SAES = (
    "SELECT CAST(name AS TEXT), CAST(digest AS TEXT), CAST(d_sae AS INTEGER), facts, mean, CAST(first AS INTEGER) FROM sae ORDER BY id"
)
GET_TABLE = f"SELECT {_SIZE}, {_NAMED}, background, topics FROM feature WHERE id BETWEEN ? AND ? ORDER BY id"
GET_FEATURE = f"""
    SELECT CAST(feature.count AS INTEGER), {_SIZE}, {_NAMED}, background, topics, form, content
    FROM feature JOIN detail USING (id) WHERE feature.id = ?
"""
GET_SOME_DETAILS = "SELECT id, CAST(form AS INTEGER), content FROM detail WHERE id IN (SELECT value FROM json_each(?))"
GET_EFFECTS = "SELECT id, CAST(form AS INTEGER), content FROM effect WHERE id BETWEEN ? AND ? ORDER BY id"
GET_LABEL_OF = "SELECT id, substr(CAST(label AS TEXT), 1, 1000) FROM feature WHERE id IN (SELECT value FROM json_each(?))"
GET_SOME_WINDOWS = """
    SELECT id, substr(CAST(corpus AS TEXT), 1, 1000), CAST(doc AS INTEGER), CAST(start AS INTEGER), ids
    FROM window WHERE id IN (SELECT value FROM json_each(?))
"""
GET_WINDOWS = "SELECT id, ids FROM window ORDER BY id"
GET_SOME_PIECES = "SELECT id, content FROM piece WHERE id IN (SELECT value FROM json_each(?))"
GET_PIECES = "SELECT id, content FROM piece ORDER BY id"
GET_LABELS = "SELECT DISTINCT substr(CAST(label AS TEXT), 1, 1000) AS said FROM feature WHERE label IS NOT NULL ORDER BY said"

_WHERE = """
    (:most_density IS NULL OR density <= :most_density) AND (:least_density IS NULL OR density >= :least_density)
    AND (:score IS NULL OR score >= :score) AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
"""
_ROW = f"feature.id, {_NAMED}, {_SIZE}"
ORDERS = {
    "score": "score IS NULL, score DESC, evidence DESC, feature.id",
    "dense": "density DESC, feature.id",
    "rare": "density, feature.id",
    "strong": "max DESC, feature.id",
    "index": "feature.id",
}
"""What lists can be sorted by."""
LIST = {
    order: f"SELECT {_ROW} FROM feature WHERE feature.id BETWEEN :low AND :high AND {_WHERE} ORDER BY {by} LIMIT :limit"
    for order, by in ORDERS.items()
}
LIST_AMONG = {
    order: f"SELECT {_ROW} FROM feature WHERE feature.id IN (SELECT value FROM json_each(:among)) AND {_WHERE} ORDER BY {by} LIMIT :limit"
    for order, by in ORDERS.items()
}
"""The same of features that are given by their ids."""
# The search happens inside, so that the index ranks and cuts before any row is looked up; more are taken than are wanted, for filters.
FIND_WORDS = """
    SELECT rowid FROM words WHERE words MATCH :match AND rowid BETWEEN :low AND :high ORDER BY rank LIMIT :limit
"""
FIND_SOME = "SELECT rowid FROM words WHERE words MATCH :match AND rowid BETWEEN :low AND :high LIMIT :limit"
COUNT_SOME = f"SELECT count(*) FROM ({FIND_SOME})"
FIND_WINDOWS = """
    SELECT window.id, features FROM context JOIN window ON window.id = context.rowid WHERE context MATCH :match ORDER BY rank LIMIT :limit
"""


def create(connection: sqlite3.Connection, version: int = VERSION) -> None:
    """Make the tables in an empty file."""
    connection.executescript(f"BEGIN; {TABLES[version]} PRAGMA user_version = {version}; COMMIT;")


def version_of(connection: sqlite3.Connection) -> int:
    """Which schema the file says it has."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables of a file that may be written to those of `VERSION`."""
    for version in range(version_of(connection), VERSION):
        connection.executescript(f"BEGIN; {_MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;")


def check_schema(connection: sqlite3.Connection) -> None:
    """Raise `ValueError` unless the file's tables are, word for word, those of its version, with nothing beside them.

    So a file from outside can bring no view, trigger or table of another make to run.
    """
    version, fresh = version_of(connection), sqlite3.connect(":memory:")
    try:
        create(fresh, version)
        missing = set(_objects(fresh)) ^ set(_objects(connection))
    finally:
        fresh.close()
    if missing:
        raise ValueError(f"its tables are not those of schema {version} ({sorted(missing)[0][1][:80]!r} differs)")


def _objects(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """Kind, name and text of everything in the schema, the inner tables of indexes too: a column more there would be worked out too."""
    for number, (kind, name, table, sql) in enumerate(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")):
        if number >= _MOST_OBJECTS:
            raise ValueError(f"its schema has more than {_MOST_OBJECTS} parts")
        yield kind, name, f"{table}: {' '.join((sql or '').split())}"


def seal(connection: sqlite3.Connection) -> str:
    """Digest of everything in the file but the seal: every row of every table, those inside the indexes too."""
    digest = hashlib.sha256()
    names = [name for kind, name, sql in sorted(_objects(connection)) if kind == "table" and "CREATE VIRTUAL" not in sql and name != "seal"]
    for name in names:
        digest.update(f"\n{name}\n".encode())
        for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2'):
            digest.update(repr(row).encode("utf-8", "replace"))
    return digest.hexdigest()
