"""Opening an atlas file from outside: read-only, in a SQLite that trusts nothing in it."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import zstandard

from hooke.atlas import schema
from hooke.errors import BadFile, Missing

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
# Steps of SQLite's machine between two looks at the clock; seconds that a statement may take, and bytes of the file for one more.
_STEPS, _PATIENCE, _BYTES_A_SECOND = 1000, 20, 10 << 20
_PAUSE = 0.1
_CAREFUL = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"


class _Patient(sqlite3.Connection):
    """A connection that breaks off a statement on which SQLite works longer than any atlas of its size needs, and hears Ctrl-C."""

    broken_off: ClassVar[bool] = False
    """Whether the statement that was interrupted had taken too long; if not, it was Ctrl-C."""

    def allow(self, seconds: float) -> None:
        """Allow each statement so many seconds of SQLite's own work."""
        self._worked = self._last = 0.0

        def look() -> bool:
            now = time.monotonic()
            if now - self._last < _PAUSE:  # else somebody worked on what the last step gave
                self._worked += now - self._last
            self._last = now
            _Patient.broken_off = self._worked > seconds
            return _Patient.broken_off

        self.set_progress_handler(look, _STEPS)

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._worked, _Patient.broken_off = 0.0, False
        return super().execute(*arguments)


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Whatever a spoilt file makes SQLite or a parser say, as `BadFile`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted" and not _Patient.broken_off:
            raise KeyboardInterrupt from error
        said = "reading it takes longer than any atlas of its size" if _Patient.broken_off else str(error)[:300]
        raise BadFile(f"{path} is not an atlas or is damaged: {said}.") from error
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
    """A connection for reading the atlas at `path`. Raises `Missing`, or `BadFile` where it is no atlas or of another schema."""
    if not path.is_file():
        raise Missing(f"no atlas at {path}.")
    # immutable: a pack's folder may not be writable, and SQLite would otherwise want to put a lock beside the file. It is true: an
    # atlas is only ever replaced whole.
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False, factory=_Patient)
    try:
        with damage(path):
            _restrict(connection)
            connection.allow(_PATIENCE + path.stat().st_size / _BYTES_A_SECOND)
            version = schema.version_of(connection)
            if version not in schema.TABLES:
                known = f"{min(schema.TABLES)} to {schema.VERSION}"
                raise BadFile(f"{path} has atlas schema {version}; this version of Hooke reads schema {known}. {_advice(version)}")
            schema.check_schema(connection)
            return connection
    except BaseException:
        connection.close()
        raise


def _advice(version: int) -> str:
    if version > schema.VERSION:
        return "Update Hooke: pip install -U hooke."
    return "Build it anew: hooke atlas build." if version > 0 else "It may be no atlas."


def _restrict(connection: sqlite3.Connection) -> None:
    for category, most in _LIMITS.items():
        connection.setlimit(category, most)
    connection.executescript(_CAREFUL)
