"""Notes: stars, notes, labels and lists of one's own, in a file apart from every atlas, so that they outlive a rebuild."""

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hooke.atlas import notes_schema as schema
from hooke.atlas.feature import Written
from hooke.atlas.records import SaeEntry
from hooke.errors import BadConfig, BadFile, Busy, HookeError, LimitReached, UnknownName, quoted
from hooke.files import data_dir, write_error
from hooke.text.marks import half_pair, stripped

MAX_NOTE, MAX_LABEL, MAX_LIST, MAX_SAVED = 20_000, 200, 80, 200_000
"""Characters of a note, of a label, of a list's name, and of a text that an address stands for."""
MOST_SAVED = 200
"""Such texts that are kept, the newest."""
_WAIT = 5.0
_FORMAT = "hooke notes"
_KINDS = {str: "text", int: "a whole number", bool: "true or false"}
# Characters of an SAE's name or digest.
_MOST_NAME = 300
_CLOCKS_DIFFER = timedelta(days=1)
"""By how much a note may be newer than this machine's time."""
_IN_LIST = ("list", "digest", "sae", "index", "changed")
# Where a file may be open on two machines at once, which a write-ahead log cannot bear.
_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|ceph|lustre|gpfs|glusterfs|afs|beegfs|fuse\..*|virtiofs")


class Notes:
    """What a person wrote about features, in one file for every SAE; a feature is known by its SAE's digest and its index.

    Several processes may read while one writes. Nothing is made before something is written.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        """The notes at `path`; by default ``notes.sqlite`` in Hooke's own folder."""
        self.path = data_dir() / "notes.sqlite" if path is None else Path(path)
        self._db: sqlite3.Connection | None = None
        self._frozen, self._version = False, 0

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def get(self, sae: SaeEntry, index: int) -> Written:
        """What is written about one feature."""
        return next((written for _, written in self._rows(schema.GET, _key(sae) | {"idx": index})), Written())

    def of(self, sae: SaeEntry) -> dict[int, Written]:
        """Everything written about features of `sae`, by index."""
        return dict(sorted(self._rows(schema.GET_ALL, _key(sae))))

    def _rows(self, statement: str, values: Mapping[str, Any]) -> Iterator[tuple[int, Written]]:
        for index, star, note, label in self._found(statement, values):
            yield index, Written(bool(star), note, label)

    def put(self, sae: SaeEntry, index: int, *, star: bool | None = None, note: str | None = None, label: str | None = None) -> Written:
        """Change what is given and keep the rest; an empty text takes a note or label away. What is then written about the feature."""
        key = _feature_key(sae, index)
        with self._writing() as db:
            row = db.execute(schema.GET, key).fetchone()
            known = Written(bool(row[1]), row[2], row[3]) if row else Written()
            new = Written(
                known.star if star is None else star,
                known.note if note is None else _checked(note.strip(), MAX_NOTE, "note"),
                known.label if label is None else _checked(stripped(label), MAX_LABEL, "label"),
            )
            db.execute(schema.DROP, key)
            if new != Written():
                db.execute(schema.PUT, key | {"star": new.star, "note": new.note, "label": new.label, "changed": _now()})
        return new

    def lists(self, sae: SaeEntry | None = None, index: int = 0) -> list[str]:
        """Names of all lists, or of those that one feature is in. A list is there as long as a feature is in it."""
        statement, values = (schema.LISTS, {}) if sae is None else (schema.LISTS_OF, _key(sae) | {"idx": index})
        return [name for (name,) in self._found(statement, values, schema.WITH_LISTS)]

    def listed(self, name: str, sae: SaeEntry) -> list[int]:
        """The features of `sae` that are in the list called `name`, ascending."""
        return [index for (index,) in self._found(schema.LISTED, _key(sae) | {"list": name}, schema.WITH_LISTS)]

    def enlist(self, name: str, sae: SaeEntry, index: int, *, out: bool = False) -> None:
        """Put a feature into a list, or take it `out`."""
        name = _checked(" ".join(stripped(name).split()), MAX_LIST, "name of a list")
        if not name or "/" in name:
            raise BadConfig(f"a list needs a name without slashes; {name!r} is none.")
        values = _feature_key(sae, index) | {"list": name, "changed": _now()}
        with self._writing() as db:
            db.execute(schema.DELIST if out else schema.ENLIST, values)

    def save(self, text: str) -> str:
        """Keep a text that is too long for an address, and give the short name by which `saved` finds it; the newest `MOST_SAVED` stay."""
        text = _checked(text, MAX_SAVED, "text")
        row = {"id": _short(text), "text": text, "changed": _now()}
        self._keep([row])
        return row["id"]

    def saved(self, name: str) -> str:
        """The text that is kept under `name`. Raises `UnknownName`."""
        if not (rows := self._found(schema.SAVED, {"id": name}, schema.WITH_SAVED)):
            raise UnknownName(f"no text is kept as {quoted(name)}: this address was made on another machine, or long ago.")
        return rows[0][0]

    def _keep(self, rows: Sequence[dict[str, str]]) -> None:
        with self._writing() as db:
            db.executemany(schema.SAVE, rows)
            db.execute(schema.FORGET, {"most": MOST_SAVED})

    def _found(self, statement: str, values: Mapping[str, Any], since: int = 0) -> list[tuple[Any, ...]]:
        """The rows of a statement; none where there is no file yet, or one of an older version than `since`."""
        with self._guard():
            db = self._open(write=False)
            return [] if db is None or self._version < since else db.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The file, made if need be; what is written to it is kept as a whole, or not at all."""
        with self._guard():
            db = self._open(write=True)
            assert db is not None
            with _transaction(db):
                yield db

    def export(self) -> dict[str, Any]:
        """Everything, as one JSON document that `load` reads."""
        names = ("digest", "sae", "index", "star", "note", "label", "changed")
        lists, kept = self._found(schema.EXPORT_LISTS, {}, schema.WITH_LISTS), self._found(schema.EXPORT_SAVED, {}, schema.WITH_SAVED)
        return {
            "format": _FORMAT,
            "version": schema.VERSION,
            "notes": [dict(zip(names, row, strict=True)) | {"star": bool(row[3])} for row in self._found(schema.EXPORT, {})],
            "lists": [dict(zip(_IN_LIST, row, strict=True)) for row in lists],
            "saved": [dict(zip(("id", "text", "changed"), row, strict=True)) for row in kept],
        }

    def load(self, document: Any) -> int:
        """Take in what `export` gave elsewhere; of two notes on one feature the later stays. How many were taken."""
        if not isinstance(document, dict) or document.get("format") != _FORMAT or not isinstance(document.get("notes"), list):
            raise BadFile("this is no document of notes: it should be what `hooke notes --export` wrote.")
        if type(version := document.get("version", 1)) is not int or version not in range(schema.VERSION + 1):
            raise BadFile(f"these notes are of version {quoted(version)}; this version of Hooke reads {schema.VERSION} and older.")
        rows = [_row(row) for row in document["notes"]]
        listed = [_list_row(row) for row in document.get("lists", [])]
        kept = [_saved_row(row) for row in document.get("saved", [])]
        taken = 0
        with self._writing() as db:
            for row in rows:
                known = db.execute(schema.CHANGED, row).fetchone()
                if known is None or known[0] < row["changed"]:
                    db.execute(schema.PUT, row)
                    taken += 1
            db.executemany(schema.ENLIST, listed)
        if kept:
            self._keep(kept)
        return taken

    def _open(self, *, write: bool) -> sqlite3.Connection | None:
        """The file, made where `write` needs it; None while there is none to read."""
        if self._db is not None and not (write and self._frozen):
            return self._db
        if not write and not self.path.is_file():
            return None
        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self.close()
        there = self.path.is_file()
        db, self._frozen = _connect(self.path, write=write)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > schema.VERSION:
                raise BadFile(f"{self.path} has notes of schema {version}; this version of Hooke reads {schema.VERSION}. Update Hooke.")
            if not version and not write:
                db.close()
                return None
            if version < schema.VERSION and write:
                _set_up(db, self.path)
                version = schema.VERSION
        except BaseException:
            db.close()
            if not there and self.path.stat().st_size == 0:  # made just now, and nothing could be put into it
                self.path.unlink(missing_ok=True)
            raise
        self._db, self._version = db, version
        self._frozen |= version < schema.VERSION  # whoever writes has to open it anew
        return db

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, self.path) from error
        except sqlite3.OperationalError as error:
            said = str(error)
            if "locked" in said or "busy" in said:
                raise Busy(f"another process is writing to the notes {self.path}; the same command works once it is done.") from error
            if "full" in said:
                raise LimitReached(f"no room to write the notes {self.path}. Free some space; the notes are as they were.") from error
            if "readonly" in said or "unable to open" in said:
                raise BadConfig(f"cannot write the notes {self.path}: {said}. Set HOOKE_HOME to a folder you may write to.") from error
            raise BadFile(f"the notes {self.path} cannot be used: {said}.") from error
        except sqlite3.Error as error:
            raise BadFile(f"the notes {self.path} are damaged: {error}. Move the file away to begin new ones.") from error


def _connect(path: Path, *, write: bool) -> tuple[sqlite3.Connection, bool]:
    """A connection, and whether it sees the file as it was: so it is in a folder in which SQLite cannot put its log."""
    db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return db, False
    except sqlite3.OperationalError:
        db.close()
        if write:
            raise
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False), True


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _set_up(db: sqlite3.Connection, path: Path) -> None:
    """Journal and tables of a file that is new or of an older version."""
    mode = "DELETE" if on_network(path) else "WAL"
    try:
        db.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    except sqlite3.OperationalError:  # a file system without shared memory or locks of the kind
        db.execute("PRAGMA journal_mode = DELETE").fetchone()
    with _transaction(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()  # another process may have been quicker
        for number, statements in enumerate(schema.MIGRATIONS[version:], version + 1):
            for statement in filter(str.strip, statements.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")


def on_network(path: Path) -> bool:
    """Whether `path` lies on a file system that other machines may have open too, as far as the system tells."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()]
    except OSError:
        return False
    folders = {str(folder) for folder in (path.absolute(), *path.absolute().parents)}
    inside = [(len(place), kind) for place, kind in mounts if place in folders]
    return bool(inside) and _NETWORK.fullmatch(max(inside)[1]) is not None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _key(sae: SaeEntry) -> dict[str, Any]:
    return {"digest": sae.digest, "sae": sae.name}


def _feature_key(sae: SaeEntry, index: int) -> dict[str, Any]:
    if not 0 <= index < sae.d_sae:
        raise BadConfig(f"{sae.name} has no feature {index}; it has {sae.d_sae:,}, counted from 0.")
    return _key(sae) | {"idx": index}


def _checked(text: str, most: int, what: str, kind: type[HookeError] = BadConfig) -> str:
    if len(text) > most:
        raise kind(f"this {what} has {len(text):,} characters; it may have {most:,}.")
    return text.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _fields(found: Any, wanted: Mapping[str, type], what: str) -> None:
    """Raise `BadFile` unless `found` has what a row of a document needs."""
    if not isinstance(found, dict):
        raise BadFile(f"a {what} is spoilt: it needs {', '.join(wanted)}; nothing was taken in.")
    for key, kind in wanted.items():
        if type(found.get(key)) is not kind:
            known = f"is {quoted(found[key], 40)}" if key in found else "is missing"
            raise BadFile(f"the field {key!r} of a {what} {known}; it must be {_KINDS[kind]}; nothing was taken in.")
    if not 0 <= found["index"] < 1 << 40:
        raise BadFile(f"a {what} is on feature {quoted(found['index'])}, which cannot be; nothing was taken in.")
    for key in ("digest", "sae"):
        if len(found[key]) > _MOST_NAME or any(character < " " for character in found[key]):
            raise BadFile(f"the field {key!r} of a {what}, {quoted(found[key], 40)}, names no SAE; nothing was taken in.")
    for key in (key for key, kind in wanted.items() if kind is str):
        if half_pair(found[key]) is not None:
            raise BadFile(f"the field {key!r} of a {what} holds half of a surrogate pair, which is no character; nothing was taken in.")
    if not _is_date(found["changed"]):
        said = "is no date such as 2026-01-31T12:00:00+00:00, or lies ahead"
        raise BadFile(f"the field 'changed' of a {what}, {quoted(found['changed'], 40)}, {said}; nothing was taken in.")


def _is_date(text: Any) -> bool:
    """Whether `text` is written as we write dates, which are compared as texts, and not ahead, where nothing would ever outrank it."""
    if not isinstance(text, str):
        return False
    try:
        date = datetime.fromisoformat(text).astimezone(UTC)
        return date.isoformat(timespec="seconds") == text and date <= datetime.now(UTC) + _CLOCKS_DIFFER
    except (ValueError, OverflowError):
        return False


def _list_row(found: Any) -> dict[str, Any]:
    """One feature of a list of a document, as the file's row."""
    _fields(found, dict(zip(_IN_LIST, (str, str, str, int, str), strict=True)), "list")
    name = _checked(stripped(found["list"]), MAX_LIST, "name of a list", BadFile)
    return {key: found[key] for key in ("digest", "sae", "changed")} | {"idx": found["index"], "list": name}


def _saved_row(found: Any) -> dict[str, str]:
    """One text of a document that addresses stand for, under the name that is its digest's."""
    if not isinstance(found, dict) or not isinstance(found.get("text"), str) or not _is_date(found.get("changed")):
        raise BadFile("a kept text is spoilt: it needs text and changed; nothing was taken in.")
    text = _checked(found["text"], MAX_SAVED, "text", BadFile)
    return {"id": _short(text), "text": text, "changed": found["changed"]}


def _row(found: Any) -> dict[str, Any]:
    """One note of a document, as the file's row."""
    _fields(found, {"digest": str, "sae": str, "index": int, "star": bool, "note": str, "label": str, "changed": str}, "note")
    row = {key: found[key] for key in ("digest", "sae", "star", "changed")} | {"idx": found["index"]}
    note, label = _checked(found["note"], MAX_NOTE, "note", BadFile), _checked(stripped(found["label"]), MAX_LABEL, "label", BadFile)
    return row | {"note": note, "label": label}
