"""Compact: a copy of an atlas that keeps less of each feature, for a file that travels with a pack."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hooke.atlas import schema
from hooke.atlas.effects import read_effects
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import unpack, unpack_numbers
from hooke.atlas.records import Effect, FeatureRecord, SaeEntry, TextWindow
from hooke.atlas.store import AtlasWriter
from hooke.files import parse_json


def compact(source: Path, target: Path, *, examples: int) -> Path:
    """Write at `target` what the atlas at `source` says, with so many examples a feature, as `AtlasWriter` makes a small file."""
    db = open_database(source)
    with damage(source):
        facts = {key: parse_json(value) for key, value in db.execute(schema.GET_FACTS)}
        with AtlasWriter(target, facts, examples=examples, contexts=False) as writer:
            ids = json.dumps([window for window, _ in db.execute(schema.GET_WINDOWS)])
            rows = db.execute(schema.GET_SOME_WINDOWS, (ids,)).fetchall()
            writer.windows(TextWindow(i, corpus, doc, start, unpack_numbers(own)) for i, corpus, doc, start, own in rows)
            writer.pieces(dict(db.execute(schema.GET_PIECES)))
            for name, digest, d_sae, measured, mean, first in db.execute(schema.GET_SAES).fetchall():
                entry = SaeEntry(name, digest, d_sae, parse_json(measured), np.frombuffer(mean, "<f4"))
                effects = read_effects(db, first, d_sae)
                writer.sae(entry, (_record(i, row, effects.get(i)) for i, row in _features(db, first, d_sae)))
            writer.finish()
    db.close()
    return target


def _features(db: Any, first: int, d_sae: int) -> Iterator[tuple[int, Any]]:
    for index in range(d_sae):
        row = db.execute(schema.GET_FEATURE, (first + index,)).fetchone()
        if row is not None:
            yield index, row


def _record(index: int, row: tuple[Any, ...], effect: Effect | None) -> FeatureRecord:
    count, density, largest, *_, background, topics, form, content = row
    counts, affinities = np.frombuffer(background, "<u2"), np.frombuffer(topics, "<f2")
    detail = unpack(content, plain=form == schema.PLAIN_FORM)
    detail |= {"background": counts, "topics": affinities, "effect": effect}
    return FeatureRecord(index=index, count=count, density=density, max=largest, **detail)
