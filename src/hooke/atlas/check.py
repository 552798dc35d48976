"""Check: everything in an atlas file read once, and what is wrong with it in words."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from hooke.atlas import Atlas, schema
from hooke.atlas.open import damage, open_database
from hooke.errors import BadFile

_MOST = 20


def problems(path: Path, progress: Callable[[str], None] = lambda _: None) -> list[str]:
    """What is wrong with the atlas at `path`, at most a few lines of each kind; none where it is whole.

    SQLite checks its own structure, the seal that the writer put on the contents is made anew, and every feature, window and example is
    read as a page would read it. Raises `Missing` where there is no file, and `BadFile` where it cannot even be opened.
    """
    found: list[str] = []
    connection = open_database(path)
    try:
        for about, check in (("structure", _structure), ("contents", _seal)):
            progress(f"Checking the {about}")
            with damage(path):
                found += check(connection)
    except BadFile as error:
        found.append(str(error))
    finally:
        connection.close()
    try:
        found += _features(Atlas(path), progress)
    except BadFile as error:
        found.append(str(error))
    return found


def _structure(connection: sqlite3.Connection) -> list[str]:
    said = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST})")]
    return [] if said == ["ok"] else [f"the file's structure is spoilt: {line}" for line in said]


def _seal(connection: sqlite3.Connection) -> list[str]:
    kept = [row[0] for row in connection.execute(schema.GET_SEAL)]
    return [] if kept == [schema.seal(connection)] else ["its contents are not those that were written: the seal is broken"]


def _features(atlas: Atlas, progress: Callable[[str], None]) -> Iterator[str]:
    told = 0
    for name, entry in atlas.saes.items():
        progress(f"Reading {entry.d_sae:,} features of {name}")
        if len(atlas.table(name).density) != entry.d_sae:
            yield f"{name} should have {entry.d_sae:,} features and has {len(atlas.table(name).density):,}"
            continue
        for index in range(entry.d_sae):
            try:
                feature = atlas.feature(f"{name}/{index}")
            except BadFile as error:
                yield f"feature {name}/{index}: {error}"
                told += 1
            else:
                if feature.count is not None and sum(feature.histogram) != feature.count:
                    yield f"feature {name}/{index}: its histogram counts {sum(feature.histogram):,} of {feature.count:,} activations"
                    told += 1
            if told >= _MOST:
                yield "and perhaps more: nothing was looked at after these"
                return
