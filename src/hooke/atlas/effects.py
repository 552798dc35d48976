"""Effects in an atlas file: packed for a feature's row, read back with distrust, and added to an atlas that was made before them."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hooke.atlas import schema
from hooke.atlas.open import damage, open_database
from hooke.atlas.packing import MAX_DETAIL, read_float, read_floats, read_ints, refuse_constant, short_number, squeeze, unsqueeze
from hooke.atlas.records import DoseEffect, Effect, Estimate, Moved
from hooke.errors import unknown
from hooke.files import move_into_place, parse_json, sole_file, write_error

_MOST_DOSES, _MOST_TOKENS = 32, 64
_DIGITS = 3


def pack_effect(effect: Effect, *, plain: bool = False) -> bytes:
    """`effect` as a blob; `plain`, so that a whole file of them can be compressed at one go."""
    data = json.dumps([_pack_dose(one) for one in effect.doses], separators=(",", ":"), allow_nan=False).encode()
    return data if plain else squeeze(data)


def unpack_effect(blob: bytes, *, plain: bool = False) -> Effect:
    """What `pack_effect` was given, to three digits; `ValueError`, `TypeError` or `LookupError` where the blob is spoilt."""
    return Effect(tuple(map(_unpack_dose, _rows(blob, plain=plain))))


def _rows(blob: bytes, *, plain: bool) -> list[Any]:
    if plain and len(blob) > MAX_DETAIL:
        raise ValueError(f"a feature's effect has more than {MAX_DETAIL} bytes")
    rows = json.loads(blob if plain else unsqueeze(blob, MAX_DETAIL), parse_constant=refuse_constant)
    if not 0 < len(rows) <= _MOST_DOSES:
        raise ValueError(f"a feature's effect has {len(rows)} doses")
    return rows


def small_effect(effect: Effect) -> Effect:
    """What a small file keeps of `effect`: tokens at its full dose alone."""
    return Effect(tuple(one if one is effect.full else replace(one, raised=(), lowered=()) for one in effect.doses))


def _pack_dose(one: DoseEffect) -> list[Any]:
    shares = [one.kl_p, one.gain_p, *([] if one.frozen is None else [one.frozen])]
    figures = [[*_ends(one.kl), *one.kl_random], [*_ends(one.gain), *one.gain_random], shares]
    numbers = [[short_number(value, _DIGITS) for value in part] for part in figures]
    return [short_number(one.dose), *numbers, _pack_moved(one.raised), _pack_moved(one.lowered)]


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.mean, estimate.low, estimate.high


def _pack_moved(tokens: tuple[Moved, ...]) -> list[Any]:
    rows = [(one.before, one.after, *_ends(one.rise)) for one in tokens]
    return [[int(one.token) for one in tokens], *([short_number(row[i], _DIGITS) for row in rows] for i in range(5))]


def _unpack_dose(row: Any) -> DoseEffect:
    dose, kl, gain, shares, raised, lowered = row
    (*moved, kl_half, kl_most), (*gained, gain_half, gain_most) = read_floats(kl, 5), read_floats(gain, 5)
    kl_p, gain_p, *frozen = read_floats(shares, len(shares))
    return DoseEffect(
        read_float(dose),
        Estimate(*moved),
        (kl_half, kl_most),
        kl_p,
        Estimate(*gained),
        (gain_half, gain_most),
        gain_p,
        frozen[0] if frozen else None,
        _unpack_moved(raised),
        _unpack_moved(lowered),
    )


def _unpack_moved(found: Any) -> tuple[Moved, ...]:
    tokens, *columns = found
    if len(tokens) > _MOST_TOKENS or len(columns) != 5:
        raise ValueError(f"a feature moves {len(tokens)} tokens")
    rows = zip(read_ints(tokens), *(read_floats(column, len(tokens)) for column in columns), strict=True)
    return tuple(Moved(token, before, after, Estimate(*rise)) for token, before, after, *rise in rows)


def tokens_of(effect: Effect) -> Iterator[int]:
    """The tokens that it names."""
    return (moved.token for one in effect.doses for moved in (*one.raised, *one.lowered))


def with_texts(effect: Effect, text: Callable[[int], str]) -> Effect:
    """`effect` with every token's text."""

    def named(tokens: tuple[Moved, ...]) -> tuple[Moved, ...]:
        return tuple(replace(one, text=text(one.token)) for one in tokens)

    return Effect(tuple(replace(one, raised=named(one.raised), lowered=named(one.lowered)) for one in effect.doses))


def read_effects(db: sqlite3.Connection, first: int, count: int, raising: Collection[int] | None = None) -> dict[int, Effect]:
    """The effects of an SAE's `count` features, the first of which is number `first` of the file, by index.

    With `raising` only of those that raise one of these tokens at some dose; the others are not unpacked.
    """
    if schema.version_of(db) < schema.EFFECTS_SINCE:
        return {}
    found, wanted = {}, None if raising is None else set(raising)
    for number, form, content in db.execute(schema.GET_EFFECTS, (first, first + count - 1)):
        rows = _rows(content, plain=form == schema.PLAIN_FORM)
        if wanted is None or any(not wanted.isdisjoint(raised[0]) for *_, raised, _ in rows):
            found[number - first] = Effect(tuple(map(_unpack_dose, rows)))
    return found


def add_effects(
    source: Path, target: Path, sae: str, effects: Mapping[int, Effect], about: Mapping[str, Any], pieces: Mapping[int, str | bytes]
) -> Path:
    """Write at `target`, whole or not at all, the atlas at `source` with `effects` of the features of `sae` in place of any before.

    `about` says how they were measured, and stands under ``effects`` in the SAE's facts; `pieces` is the text of every token that they
    name. The two paths may be one; a file of the schema before is brought to this one. `target`.
    """
    open_database(source).close()  # its tables are those of an atlas, and nothing in it can run
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole_file(part) as handle:
            try:
                shutil.copyfile(source, part)
                _insert(part, source, sae, effects, about, pieces)
                os.fsync(handle)
                move_into_place(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise write_error(error, target) from error
    return target


def _insert(
    part: Path, source: Path, sae: str, effects: Mapping[int, Effect], about: Mapping[str, Any], pieces: Mapping[int, str | bytes]
) -> None:
    db = sqlite3.connect(part, isolation_level=None)
    try:
        with damage(source):
            db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA trusted_schema = OFF;")
            schema.migrate(db)
            db.execute("BEGIN")
            rows = {name: (first, d_sae, facts) for name, _, d_sae, facts, _, first in db.execute(schema.GET_SAES)}
            if sae not in rows:
                raise unknown("SAE", sae, rows, f"These are in the atlas {source}.")
            first, d_sae, facts = rows[sae]
            form = schema.PLAIN_FORM if db.execute(schema.HAS_PLAIN, (schema.PLAIN_FORM,)).fetchone() else schema.FORM
            plain = form == schema.PLAIN_FORM
            kept = {index: small_effect(effect) if plain else effect for index, effect in effects.items()}
            db.execute(schema.DROP_EFFECTS, (first, first + d_sae - 1))
            blobs = ((first + index, form, pack_effect(effect, plain=plain)) for index, effect in sorted(kept.items()))
            db.executemany(schema.PUT_EFFECT, blobs)
            named = {token for effect in kept.values() for token in tokens_of(effect)}
            db.executemany(schema.PUT_PIECE, [(token, pieces[token]) for token in sorted(named)])
            db.execute(schema.SET_SAE_FACTS, (json.dumps(parse_json(facts) | {"effects": dict(about)}, sort_keys=True), sae))
            db.execute("COMMIT")
            db.execute(schema.DROP_SEAL)
            db.execute(schema.PUT_SEAL, (schema.seal(db),))
            db.execute("VACUUM")
    finally:
        db.close()
