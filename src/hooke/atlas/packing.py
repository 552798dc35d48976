"""Packing: a feature's detail and a window's numbers as small blobs, and back, with distrust."""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zstandard

from hooke.atlas.records import HISTOGRAM_BINS, INTERVALS, QUANTILES, Example, FeatureRecord, Label, Score, TokenCount

MAX_DETAIL = 1 << 20
"""Bytes that one feature's detail may unpack to."""
MAX_NUMBERS = 1 << 24
"""Bytes that a list of numbers may unpack to."""
MAX_EXAMPLES = 5000
"""Examples that a feature may have of each kind."""
_MAX_LABEL = 1000
_LEVEL = 9
# What a small file keeps of each feature: tokens, and of each kind of relatives; activations so far from an example's peak; digits.
_FEW_TOKENS, _FEW_PAIRS, _FEW_AROUND, _FEW_DIGITS = 4, 3, 6, 3
# Rules of points are lists of a hundred words: their wording and scores stay, they themselves are in the whole atlas.
_LONG = "points"
_OWN = threading.local()  # to make a decompressor takes longer than most of these blobs take it


def squeeze(data: bytes) -> bytes:
    """`data` compressed, with a checksum; the same bytes give the same."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True).compress(data)


def unsqueeze(blob: bytes, most: int) -> bytes:
    """What `squeeze` was given; `ValueError` where that would be more than `most` bytes."""
    # A frame says how large it will be, and the library believes it, whatever limit it is given.
    if not 0 <= zstandard.frame_content_size(blob) <= most:
        raise ValueError(f"a compressed part does not say that it unpacks to {most} bytes or fewer")
    if not hasattr(_OWN, "reader"):
        _OWN.reader = zstandard.ZstdDecompressor()
    return _OWN.reader.decompress(blob, max_output_size=most)


def pack_numbers(numbers: np.ndarray) -> bytes:
    """Whole numbers from 0 to 2³² − 1, first all their low bytes, then the next, then the next: what is alike stands together."""
    planes = np.ascontiguousarray(numbers, "<u4").view(np.uint8).reshape(-1, 4).T
    return squeeze(np.ascontiguousarray(planes).tobytes())


def unpack_numbers(blob: bytes) -> np.ndarray:
    """What `pack_numbers` was given."""
    planes = np.frombuffer(unsqueeze(blob, MAX_NUMBERS), np.uint8)
    return np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4")[:, 0]


def pack(record: FeatureRecord, *, plain: bool = False) -> bytes:
    """The part of `record` that lists and filters do not need; `plain`, so that a whole file of them can be compressed at one go."""
    content = {
        "mean": short_number(record.mean, 7),
        "quantiles": [short_number(value, 7) for value in record.quantiles],
        "histogram": [int(n) for n in record.histogram],
        "documents": int(record.documents),
        "spread": [short_number(value) for value in (record.persistence, record.commonest, *record.purity)],
        "tokens": _columns([(t.token, t.count, short_number(t.share), short_number(t.enrichment)) for t in record.tokens], 4),
        "top": _pack_examples(record.top),
        "intervals": [_pack_examples(examples) for examples in record.intervals],
        "misses": _pack_examples(record.misses),
        "promoted": _pairs(record.promoted),
        "suppressed": _pairs(record.suppressed),
        "neighbours": _pairs(record.neighbours),
        "together": _pairs(record.together),
        "label": _pack_label(record.label),
        "writes": None if record.output is None else _pack_label(record.output),
    }
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")
    return data if plain else squeeze(data)


def small(record: FeatureRecord, most: int) -> FeatureRecord:
    """What a small file keeps of `record`: at most so many of its strongest examples and no others, less of everything else, and no rule
    that is long or of the output side."""
    tokens = [replace(t, share=_short(t.share), enrichment=_short(t.enrichment)) for t in record.tokens[:_FEW_TOKENS]]
    pairs = {key: [(i, _short(value)) for i, value in getattr(record, key)[:_FEW_PAIRS]] for key in _PAIRS}
    top = [_around_peak(example) for example in record.top[:most]]
    label = replace(record.label, rule={}) if record.label.kind == _LONG else record.label
    output = record.output and replace(record.output, rule={})
    return replace(record, tokens=tokens, top=top, intervals=[], misses=[], label=label, output=output, **pairs)


def _around_peak(example: Example) -> Example:
    near = np.abs(example.at - example.peak) <= _FEW_AROUND
    return Example(example.window, example.peak, example.at[near], np.array([_short(value) for value in example.values[near]]))


def _short(value: float) -> float:
    return float(short_number(value, _FEW_DIGITS))


def unpack(blob: bytes, *, plain: bool = False) -> dict[str, Any]:
    """The fields of `FeatureRecord` that `pack` kept; `ValueError`, `TypeError` or `KeyError` where the blob is spoilt."""
    found = _loaded(blob, plain)
    persistence, commonest, *purity = read_floats(found["spread"], 5)
    tokens, counts, shares, enrichments = found["tokens"]
    columns = read_ints(tokens), read_ints(counts), read_floats(shares, len(tokens)), read_floats(enrichments, len(tokens))
    return {
        "mean": read_float(found["mean"]),
        "quantiles": np.array(read_floats(found["quantiles"], len(QUANTILES))),
        "histogram": np.array(read_ints(found["histogram"], HISTOGRAM_BINS), np.int64),
        "documents": _int(found["documents"]),
        "persistence": persistence,
        "commonest": commonest,
        "purity": tuple(purity),
        "tokens": [TokenCount(*row) for row in zip(*columns, strict=True)],
        "top": _unpack_examples(found["top"]),
        "intervals": [_unpack_examples(examples) for examples in found["intervals"][:INTERVALS]],
        "misses": _unpack_examples(found["misses"]),
        **{key: list(zip(read_ints(ids), read_floats(values, len(ids)), strict=True)) for key in _PAIRS for ids, values in [found[key]]},
        "label": _unpack_label(found["label"]),
        "output": None if found["writes"] is None else _unpack_label(found["writes"]),
    }


def unpack_top(blob: bytes, *, plain: bool = False) -> list[Example]:
    """``top`` of what `unpack` gives, without looking at the rest."""
    return _unpack_examples(_loaded(blob, plain)["top"])


def unpack_misses(blob: bytes, *, plain: bool = False) -> list[Example]:
    """``misses`` of what `unpack` gives, without looking at the rest."""
    return _unpack_examples(_loaded(blob, plain)["misses"])


def _loaded(blob: bytes, plain: bool) -> Any:
    if plain and len(blob) > MAX_DETAIL:
        raise ValueError(f"a feature's detail has more than {MAX_DETAIL} bytes")
    return json.loads(blob if plain else unsqueeze(blob, MAX_DETAIL), parse_constant=refuse_constant)


_PAIRS = ("promoted", "suppressed", "neighbours", "together")


def _pack_examples(examples: Sequence[Example]) -> list[Any]:
    """Columns: windows, peaks, how many tokens each kept, then all their distances from the peak, then all their activations."""
    return [
        [int(e.window) for e in examples],
        [int(e.peak) for e in examples],
        [len(e.at) for e in examples],
        [int(at) - int(e.peak) for e in examples for at in e.at],
        [short_number(value) for e in examples for value in e.values],
    ]


def _unpack_examples(columns: Any) -> list[Example]:
    windows, peaks, lengths, distances, values = columns
    if len(windows) > MAX_EXAMPLES:
        raise ValueError(f"a feature has more than {MAX_EXAMPLES:,} examples of a kind")
    lengths = read_ints(lengths, len(windows))
    at, value = np.array(read_ints(distances, sum(lengths)), np.int64), np.array(read_floats(values, sum(lengths)))
    out, low = [], 0
    for window, peak, length in zip(read_ints(windows), read_ints(peaks, len(windows)), lengths, strict=True):
        if length < 0:
            raise ValueError("an example has a negative number of tokens")
        out.append(Example(window, peak, at[low : low + length] + peak, value[low : low + length]))
        low += length
    return out


def _pack_label(label: Label) -> list[Any]:
    scores = [
        None if s is None else [*map(short_number, (s.value, s.low, s.high)), s.positives, s.negatives]
        for s in (label.token, label.document)
    ]
    others = [None if value is None else short_number(value) for value in (label.near, label.control, label.strong)]
    return [label.text, label.kind, label.rule, *scores, *others]


def _unpack_label(found: Any) -> Label:
    text, kind, rule, token, document, *others = found
    if not isinstance(text, str) or not isinstance(kind, str) or not isinstance(rule, dict):
        raise TypeError("a label is not made of texts")
    if len(text) > _MAX_LABEL:
        raise ValueError(f"a label has more than {_MAX_LABEL:,} characters")
    known = [None if value is None else read_float(value) for value in others[:3]]
    return Label(text, kind, rule, _unpack_score(token), _unpack_score(document), *known)


def _unpack_score(found: Any) -> Score | None:
    if found is None:
        return None
    value, low, high, positives, negatives = found
    return Score(read_float(value), read_float(low), read_float(high), _int(positives), _int(negatives))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]


def _pairs(pairs: Sequence[tuple[int, float]]) -> list[list[Any]]:
    return _columns([(int(i), short_number(value)) for i, value in pairs], 2)


def short_number(value: Any, digits: int = 4) -> float | int:
    """`value` to so many significant digits; without a fraction as a whole number, which is written shorter."""
    rounded = float(f"{float(value):.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e9 else rounded


def refuse_constant(name: str) -> float:
    """For ``json.loads(parse_constant=)``: an atlas holds no NaN and nothing infinite."""
    raise ValueError(f"{name} is no number that an atlas holds")


def read_float(value: Any) -> float:
    """A finite number; `TypeError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("a number is not one")
    return float(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 62:
        raise TypeError("a whole number is not one")
    return value


def read_floats(values: Any, length: int) -> list[float]:
    """So many finite numbers; `ValueError` or `TypeError` for anything else."""
    found = _array(values, "if", length).astype(float)
    if not np.isfinite(found).all():
        raise ValueError("a number is not finite")
    return found.tolist()


def read_ints(values: Any, length: int | None = None) -> list[int]:
    """Whole numbers, so many where `length` is given; `ValueError` or `TypeError` for anything else."""
    return _array(values, "i", length).tolist()


def _array(values: Any, kinds: str, length: int | None) -> np.ndarray:
    found = np.asarray(values)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in kinds):
        raise TypeError("a list of numbers is not one")
    if length is not None and len(found) != length:
        raise ValueError("a list of numbers has another length than it should")
    return found
