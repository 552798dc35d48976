"""Opening an atlas file from outside: read-only, in a SQLite that trusts nothing in it; older schemas are brought up to date in memory."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import zstandard

from hooke.atlas import schema
from hooke.errors import BadFile, Missing

MAX_OLD = 512 << 20
"""Bytes of a file of an older schema, which is copied into memory."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 64 << 20,  # of one value or row
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_CAREFUL = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Whatever a spoilt file makes SQLite or a parser say, as `BadFile`."""
    try:
        yield
    except (
        sqlite3.Error,
        zstandard.ZstdError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise BadFile(f"{path} is not an atlas or is damaged: {str(error)[:300]}.") from error


def open_database(path: Path) -> sqlite3.Connection:
    """A connection for reading the atlas at `path`. Raises `Missing`, or `BadFile` where it is no atlas or of a newer schema."""
    if not path.is_file():
        raise Missing(f"no atlas at {path}.")
    # immutable: a pack's folder may not be writable, and SQLite would otherwise want to put a lock beside the file. It is true: an
    # atlas is only ever replaced whole.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    try:
        with damage(path):
            _restrict(connection)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not 1 <= version <= schema.VERSION:
                raise BadFile(
                    f"{path} has atlas schema {version}; this version of Hooke reads {schema.VERSION} and older. {_advice(version)}"
                )
            schema.check_schema(connection)
            return connection if version == schema.VERSION else _brought_up(connection, path)
    except BaseException:
        connection.close()
        raise


def _advice(version: int) -> str:
    return "Update Hooke: pip install -U hooke." if version > schema.VERSION else "It may be no atlas."


def _restrict(connection: sqlite3.Connection) -> None:
    for category, most in _LIMITS.items():
        connection.setlimit(category, most)
    connection.executescript(_CAREFUL)


def _brought_up(old: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A copy in memory, migrated; the file stays as it is."""
    if path.stat().st_size > MAX_OLD:
        raise BadFile(f"{path} is of an older schema and too large to bring up to date in memory. Build it anew: hooke atlas build.")
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    _restrict(copy)
    old.backup(copy)
    old.close()
    schema.migrate(copy)
    copy.execute("PRAGMA query_only = ON")
    return copy
