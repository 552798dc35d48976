"""Compact: atlases put together in one that keeps less of each feature, for a file that travels with a pack."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hooke.atlas import schema
from hooke.atlas.effects import read_effects
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import unpack, unpack_numbers
from hooke.atlas.records import Effect, Example, FeatureRecord, SaeEntry, TextWindow
from hooke.atlas.store import AtlasWriter
from hooke.files import parse_json

_WHOLE = 1 << 30


def compact(
    sources: Sequence[Path],
    target: Path,
    *,
    examples: int,
    saes: Collection[str] | None = None,
    shown: Collection[str] | None = None,
    around: int = _WHOLE,
    contexts: bool = False,
) -> Path:
    """Write at `target` what the atlases at `sources` say, with so many examples a feature, as `AtlasWriter` makes a small file.

    The first source gives the facts of the whole; of an SAE that several know, the first that does is believed, and only those named in
    `saes` (None: all) are kept. Examples come from the
    corpora named in `shown` (None: from all), with at most `around` tokens on either side of their peak. With `contexts` their text can
    be searched.
    """
    opened = [(path, open_database(path)) for path in sources]
    try:
        with damage(sources[0]):
            facts = {key: parse_json(value) for key, value in opened[0][1].execute(schema.GET_FACTS)}
        with AtlasWriter(target, facts, examples=examples, contexts=contexts) as writer:
            for path, db in reversed(opened):
                with damage(path):
                    writer.pieces(dict(db.execute(schema.GET_PIECES)))
            known, first_window = set[str](), 0
            for path, db in opened:
                with damage(path):
                    excerpts = _Excerpts(db, first_window, shown, around)
                    for name, digest, d_sae, measured, mean, first in db.execute(schema.GET_SAES).fetchall():
                        if name not in known and (saes is None or name in saes):
                            entry = SaeEntry(name, digest, d_sae, parse_json(measured), np.frombuffer(mean, "<f4"))
                            writer.sae(entry, _records(db, first, d_sae, excerpts, examples))
                            known.add(name)
                    writer.windows(excerpts.windows())
                    first_window += len(excerpts)
            writer.finish()
    finally:
        for _, db in opened:
            db.close()
    return target


class _Excerpts:
    """The stretches of an atlas' text that its examples show, numbered from `first` on."""

    def __init__(self, db: Any, first: int, shown: Collection[str] | None, around: int) -> None:
        self._first, self._around = first, around
        ids = json.dumps([window for window, _ in db.execute(schema.GET_WINDOWS)])
        rows = db.execute(schema.GET_SOME_WINDOWS, (ids,)).fetchall()
        rows = [row for row in rows if shown is None or row[1] in shown]
        self._text = {i: TextWindow(i, corpus, doc, start, unpack_numbers(own)) for i, corpus, doc, start, own in rows}
        self._number: dict[tuple[int, int, int], int] = {}

    def __len__(self) -> int:
        return len(self._number)

    def of(self, examples: Sequence[Example], most: int) -> list[Example]:
        """The first of `examples` that may be shown, each in its own stretch of text."""
        found = []
        for example in examples:
            if (text := self._text.get(example.window)) is None:
                continue
            low, high = max(0, example.peak - self._around), min(len(text.ids), example.peak + self._around + 1)
            number = self._number.setdefault((example.window, low, high), self._first + len(self._number))
            inside = (example.at >= low) & (example.at < high)
            found.append(Example(number, example.peak - low, example.at[inside] - low, example.values[inside]))
            if len(found) == most:
                break
        return found

    def windows(self) -> Iterator[TextWindow]:
        """The stretches that `of` has shown."""
        for (window, low, high), number in self._number.items():
            text = self._text[window]
            yield replace(text, id=number, start=text.start + low, ids=text.ids[low:high])


def _records(db: Any, first: int, d_sae: int, excerpts: _Excerpts, examples: int) -> Iterator[FeatureRecord]:
    effects = read_effects(db, first, d_sae)
    for index in range(d_sae):
        row = db.execute(schema.GET_FEATURE, (first + index,)).fetchone()
        if row is not None:
            record = _record(index, row, effects.get(index))
            further = [example for part in reversed(record.intervals) for example in part]
            yield replace(record, top=excerpts.of([*record.top, *further], examples), intervals=[], misses=[])


def _record(index: int, row: tuple[Any, ...], effect: Effect | None) -> FeatureRecord:
    count, density, largest, *_, background, topics, form, content = row
    counts, affinities = np.frombuffer(background, "<u2"), np.frombuffer(topics, "<f2")
    detail = unpack(content, plain=form == schema.PLAIN_FORM)
    detail |= {"background": counts, "topics": affinities, "effect": effect}
    return FeatureRecord(index=index, count=count, density=density, max=largest, **detail)
