"""AtlasWriter: an atlas file, filled in pieces and put in place whole."""

import codecs
import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hooke.atlas import schema
from hooke.atlas.effects import pack_effect, small_effect, tokens_of
from hooke.atlas.packing import pack, pack_numbers, small, unpack_numbers
from hooke.atlas.records import BACKGROUND_STEPS, FeatureRecord, SaeEntry, TextWindow
from hooke.errors import BadConfig
from hooke.files import move_into_place, sole_file, write_error
from hooke.text.private import COVER, hidden

MAX_PIECE = 1024
"""Characters, or bytes, of a token's text that an atlas holds."""
_MOST_COUNTED = 65535


class AtlasWriter:
    """Writes an atlas: the windows and pieces of text, then one SAE after another, then `finish`.

    Everything goes to a hidden file beside the target, which takes the target's name when all is there: a reader sees the atlas that
    was, or the new one. Leaving the ``with`` block without `finish` leaves the old one. The same input gives the same bytes.
    """

    def __init__(self, path: Path | str, facts: Mapping[str, Any], *, examples: int | None = None, contexts: bool = True) -> None:
        """`facts` are of the whole atlas: ``model``, ``topics``, ``tokens``, ``corpora`` ...

        For a file that is small once it is compressed: `examples` keeps so many of each feature's strongest examples and no others, fewer
        tokens and relatives, and fewer digits, and leaves them uncompressed; without `contexts` the text around the examples cannot be
        searched. Raises `Busy` if another process is writing this atlas.
        """
        self.path = Path(path)
        self._most, self._contexts = examples, contexts
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._held = contextlib.ExitStack()
        with self._writing():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._held.enter_context(sole_file(self._part))
            self._db = sqlite3.connect(self._part, isolation_level=None)
            # Nobody reads it before it is done, and a killed writer starts again: it needs no journal.
            # A detail takes two or three kilobytes; a page holds whole ones, and small pages would stay half empty.
            self._db.executescript("PRAGMA page_size = 32768; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
            schema.create(self._db)
            self._db.execute("BEGIN")
            self._db.executemany(schema.PUT_FACT, [(key, _json(value)) for key, value in sorted(facts.items())])
        self._next, self._topics = 1, len(facts.get("topics", ()))
        self._tokens: set[int] = set()
        self._seen: list[np.ndarray] = []  # rows of (window, feature), one array a feature

    def __enter__(self) -> "AtlasWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()
        with self._held, contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._handle), os.stat(self._part)):
                os.unlink(self._part)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, self.path) from error
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "I/O" in str(error):
                raise write_error(OSError(28, str(error)), self.path) from error
            raise

    def windows(self, windows: Iterable[TextWindow]) -> None:
        """The text that examples point to; windows that none does are left out of the file."""
        with self._writing():
            self._db.executemany(schema.PUT_WINDOW, ((w.id, w.corpus, w.doc, w.start, pack_numbers(w.ids)) for w in windows))

    def pieces(self, pieces: Mapping[int, str | bytes]) -> None:
        """The text of each token id, or its bytes where they are no text on their own; those that nothing uses are left out."""
        with self._writing():
            rows = ((int(i), (_text(piece) if isinstance(piece, str) else piece)[:MAX_PIECE]) for i, piece in sorted(pieces.items()))
            self._db.executemany(schema.PUT_PIECE, rows)

    def sae(self, entry: SaeEntry, records: Iterable[FeatureRecord]) -> None:
        """One SAE and its features in ascending order; a feature that is not among them reads as unknown."""
        with self._writing():
            identity = (entry.name, entry.digest, self._next, entry.d_sae, _json(entry.facts), entry.mean.astype("<f4").tobytes())
            self._db.execute(schema.PUT_SAE, identity)
            texts = dict(self._db.execute(schema.GET_PIECES))
            last = -1
            for record in records:
                if not last < record.index < entry.d_sae:
                    raise BadConfig(f"feature {record.index} of {entry.name} comes after {last}, of {entry.d_sae} in ascending order.")
                last = record.index
                self._feature(self._next + record.index, record, texts)
            self._next += entry.d_sae

    def _feature(self, feature: int, record: FeatureRecord, texts: Mapping[int, str | bytes]) -> None:
        kept, form = (record, schema.FORM) if self._most is None else (small(record, self._most), schema.PLAIN_FORM)
        background = np.minimum(record.background, _MOST_COUNTED).astype("<u2")
        topics = np.asarray(record.topics).astype("<f2")
        if background.shape != (BACKGROUND_STEPS,) or topics.shape != (self._topics,):
            raise BadConfig(f"feature {record.index}: background has shape {background.shape}, topics {topics.shape}.")
        label, output = record.label, record.output
        text, kind = (_text(label.text), label.kind) if label.text else (None, None)
        score, evidence = (label.score.value, label.score.positives) if label.score else (None, 0)
        numbers = (feature, int(record.count), float(record.density), float(record.max), text, kind, score, int(evidence))
        self._db.execute(schema.PUT_FEATURE, (*numbers, background.tobytes(), topics.tobytes()))
        try:
            detail = pack(kept, plain=form == schema.PLAIN_FORM)
        except ValueError as error:  # of json: there is no such number in it
            raise BadConfig(f"feature {record.index} has a number that is not finite.") from error
        self._db.execute(schema.PUT_DETAIL, (feature, form, detail))
        if record.effect is not None:
            effect = record.effect if form == schema.FORM else small_effect(record.effect)
            self._db.execute(schema.PUT_EFFECT, (feature, form, pack_effect(effect, plain=form == schema.PLAIN_FORM)))
            self._tokens.update(tokens_of(effect))
        promoted = " ".join(piece for token, _ in kept.promoted if isinstance(piece := texts.get(token), str))
        self._db.execute(schema.PUT_WORDS, (feature, text, output and _text(output.text), promoted))
        self._tokens.update(int(t.token) for t in kept.tokens)
        self._tokens.update(int(token) for pairs in (kept.promoted, kept.suppressed) for token, _ in pairs)
        own, near = [*kept.top, *(e for part in kept.intervals for e in part)], kept.misses
        if own or near:
            pairs = np.array([[e.window for e in (*own, *near)], [feature] * len(own) + [0] * len(near)], np.int64)
            self._seen.append(np.unique(pairs, axis=1).astype(np.uint32))

    def finish(self) -> Path:
        """Put the atlas in place, whole and durable; its path."""
        with self._writing():
            self._join()
            for statement in schema.FINISH:
                self._db.execute(statement)
            self._db.execute("COMMIT")
            self._db.execute(schema.PUT_SEAL, (schema.seal(self._db),))
            self._db.execute("VACUUM")
            self._db.close()
            os.fsync(self._handle)
            move_into_place(self._part, self.path)
        return self.path

    def _join(self) -> None:
        """Give every window the features seen in it, cover what is private, and drop what no feature was seen in and no page shows."""
        window, feature = np.concatenate(self._seen, axis=1) if self._seen else np.zeros((2, 0), np.uint32)
        order = np.lexsort((feature, window))
        found, starts = np.unique(window[order], return_index=True)
        features = dict(zip(found.tolist(), np.split(feature[order], starts[1:]), strict=True)) if len(found) else {}
        there = dict(self._db.execute(schema.GET_WINDOWS))
        if missing := sorted(set(features) - set(there)):
            raise BadConfig(f"an example points to window {missing[0]}, which the atlas was not given.")
        self._db.execute(schema.DROP_WINDOWS_BUT, (json.dumps(sorted(features)),))
        pieces = dict(self._db.execute(schema.GET_PIECES))
        cover = next((token for token, piece in pieces.items() if piece == COVER), max(pieces, default=0) + 1)
        self.pieces({cover: COVER})
        pieces[cover] = COVER
        for window, own in sorted(features.items()):
            ids = unpack_numbers(there[window]).tolist()
            if missing := sorted({token for token in ids if token not in pieces}):
                raise BadConfig(f"token {missing[0]} is used and the atlas was given no text for it.")
            if private := hidden(join_pieces(pieces[i] for i in ids)):
                hiding = set(private)
                ids = [cover if n in hiding else token for n, token in enumerate(ids)]
                self._db.execute(schema.COVER_WINDOW, (pack_numbers(np.array(ids)), window))
            self._tokens.update(ids)
            if self._contexts:
                self._db.execute(schema.SET_WINDOW, (pack_numbers(own[own > 0]), window))
                self._db.execute(schema.PUT_CONTEXT, (window, "".join(join_pieces(pieces[i] for i in ids))))
        if missing := sorted(self._tokens - pieces.keys()):
            raise BadConfig(f"token {missing[0]} is used and the atlas was given no text for it.")
        self._db.executemany(schema.DROP_PIECE, [(i,) for i in sorted(pieces.keys() - self._tokens)])


def join_pieces(pieces: Iterable[str | bytes]) -> list[str]:
    """What each token adds to the text; bytes that are no text on their own are put together, U+FFFD where they make none.

    >>> join_pieces(["a", b"\\xc3", b"\\xa9"])
    ['a', '', 'é']
    """
    reader = codecs.getincrementaldecoder("utf-8")(errors="replace")
    out = [reader.decode(piece.encode("utf-8", "replace") if isinstance(piece, str) else piece) for piece in pieces]
    if out:
        out[-1] += reader.decode(b"", final=True)
    return out


def piece_of(spelling: bytes) -> str | bytes:
    """What an atlas holds for a token that is spelt so: its text, or its bytes where they are no text on their own."""
    try:
        return spelling.decode()
    except UnicodeDecodeError:
        return spelling


def _text(text: str) -> str:
    """`text` as a file can hold it: without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
