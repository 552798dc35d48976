"""Effects in an atlas: added to files of this schema and the one before, read back as they were, and never half-written."""

import dataclasses
import json
import sqlite3

import handmade
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooke.atlas import Atlas, schema
from hooke.atlas.check import problems
from hooke.atlas.compact import compact
from hooke.atlas.effects import add_effects, pack_effect, unpack_effect
from hooke.atlas.records import DoseEffect, Effect, Estimate, Moved
from hooke.errors import BadFile, UnknownName

TOKENS = [handmade.token("rocket"), handmade.token("space")]
PIECES = {**handmade.PIECES, 500: " orbit"}


def effect(p: float = 0.02, doses=(0.5, 1.0, 2.0)) -> Effect:
    raised = tuple(Moved(token, 0.001, 0.25, Estimate(5.5, 4.25, 6.75)) for token in (*TOKENS, 500))
    gain = Estimate(0.25, 0.125, 0.5), (0.0, 0.03), p
    kl = [(Estimate(dose, dose / 2, 2 * dose), (0.01, 0.02), p) for dose in doses]
    return Effect(tuple(DoseEffect(dose, *own, *gain, None, raised, raised[:1]) for dose, own in zip(doses, kl, strict=True)))


def plain(one: Effect) -> Effect:
    def bare(tokens):
        return tuple(dataclasses.replace(moved, text="") for moved in tokens)

    return Effect(tuple(dataclasses.replace(d, raised=bare(d.raised), lowered=bare(d.lowered)) for d in one.doses))


def older(path):
    """An atlas as the version before wrote it."""
    handmade.write(path)
    with sqlite3.connect(path) as db:
        db.executescript("DROP TABLE effect; PRAGMA user_version = 2; DELETE FROM seal;")
        db.execute(schema.PUT_SEAL, (schema.seal(db),))
    db.close()
    return path


def test_a_curve_turns_where_less_goes_over_with_intervals_apart():
    def turns(*gains: tuple[float, float, float]) -> float | None:
        doses = effect(doses=(0.5, 1.0, 2.0)).doses
        return Effect(tuple(dataclasses.replace(d, gain=Estimate(*own)) for d, own in zip(doses, gains, strict=True))).turns

    assert turns((0.1, 0.05, 0.15), (0.3, 0.2, 0.4), (0.1, 0.0, 0.15)) == 1.0
    assert turns((0.1, 0.05, 0.15), (0.3, 0.2, 0.4), (0.1, 0.0, 0.25)) is None  # may be chance
    assert turns((0.1, 0.05, 0.15), (0.3, 0.2, 0.4), (0.5, 0.4, 0.6)) is None


def test_a_token_is_held_where_logarithms_and_probabilities_say_the_same():
    up, mixed = Moved(1, 0.1, 0.2, Estimate(1.0, 0.5, 1.5)), Moved(2, 0.2, 0.1, Estimate(1.0, 0.5, 1.5))
    down, unsure = Moved(3, 0.2, 0.1, Estimate(-1.0, -1.5, -0.5)), Moved(4, 0.2, 0.1, Estimate(-1.0, -1.5, 0.5))
    one = dataclasses.replace(effect().full, raised=(up, mixed), lowered=(down, unsure))
    assert one.held == ([up], [down])


@pytest.mark.parametrize("make", [handmade.write, older])
def test_effects_come_back_as_they_were_added(tmp_path, make):
    source = make(tmp_path / "a.sqlite")
    before = Atlas(source)
    assert before.feature(f"{handmade.FIRST}/1").effect is None
    assert before.effects(handmade.FIRST) == {}
    target = add_effects(source, tmp_path / "b.sqlite", handmade.FIRST, {1: effect(), 3: effect(0.5)}, {"contexts": 32}, PIECES)
    found = Atlas(target)
    one = found.feature(f"{handmade.FIRST}/1")
    assert plain(one.effect) == effect()
    assert [moved.text for moved in one.effect.full.raised] == [" rocket", " space", " orbit"]
    assert one.effect.full.dose == 1
    assert found.saes[handmade.FIRST].facts["effects"] == {"contexts": 32}
    assert {index: plain(own) for index, own in found.effects(handmade.FIRST).items()} == {1: effect(), 3: effect(0.5)}
    assert found.effects(handmade.SECOND) == {}
    assert list(found.effects(handmade.FIRST, [500])) == [1, 3]
    assert found.effects(handmade.FIRST, [501]) == {}
    assert problems(target) == []
    kept = dataclasses.replace(before.feature(f"{handmade.FIRST}/1"), effect=one.effect)
    assert kept == one  # nothing else changed
    assert problems(source) == []


def test_words_that_only_the_choosing_contexts_move_are_not_shown():
    sure, unsure = Moved(1, 0.1, 0.2, Estimate(0.5, 0.1, 0.9)), Moved(2, 0.1, 0.1, Estimate(0.1, -0.1, 0.3))
    down = Moved(3, 0.2, 0.1, Estimate(-0.5, -0.9, -0.1))
    one = dataclasses.replace(effect().full, raised=(sure, unsure), lowered=(unsure, down))
    assert one.held == ([sure], [down])


def test_added_again_they_replace_those_that_were_there(tmp_path):
    path = handmade.write(tmp_path / "a.sqlite")
    add_effects(path, path, handmade.FIRST, {1: effect(), 2: effect()}, {}, PIECES)
    add_effects(path, path, handmade.SECOND, {0: effect()}, {}, PIECES)
    add_effects(path, path, handmade.FIRST, {3: effect()}, {}, PIECES)
    found = Atlas(path)
    assert list(found.effects(handmade.FIRST)) == [3]
    assert list(found.effects(handmade.SECOND)) == [0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_small_file_keeps_the_tokens_of_the_full_dose(tmp_path):
    source = handmade.write(tmp_path / "a.sqlite")
    add_effects(source, source, handmade.FIRST, {1: effect()}, {"contexts": 32}, PIECES)
    small = Atlas(compact([source], tmp_path / "small.sqlite", examples=1))
    half, full, twice = small.effects(handmade.FIRST)[1].doses
    assert [len(one.raised) for one in (half, full, twice)] == [0, 3, 0]
    assert half.kl == effect().doses[0].kl
    again = add_effects(small.path, tmp_path / "c.sqlite", handmade.FIRST, {1: effect()}, {}, PIECES)
    assert Atlas(again).effects(handmade.FIRST)[1] == small.effects(handmade.FIRST)[1]


def test_what_goes_wrong_leaves_the_atlas_that_was(tmp_path):
    path = handmade.write(tmp_path / "a.sqlite")
    before = path.read_bytes()
    with pytest.raises(UnknownName, match="unknown SAE"):
        add_effects(path, path, "tiny/resid_post.9/8", {1: effect()}, {}, PIECES)
    with pytest.raises(BadFile):
        add_effects(path, path, handmade.FIRST, {1: effect()}, {}, handmade.PIECES)  # no text for a token
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.sqlite"]


SHORT = "[[1,[1,2],[1,2,3,4,5],[0,0],[[],[],[],[],[],[]],[[],[],[],[],[],[]]]]"


@pytest.mark.parametrize("row", ["[]", "[[]]", SHORT, "[[NaN]]", "{}", '"x"'])
def test_a_spoilt_effect_is_refused(row):
    with pytest.raises((ValueError, TypeError, LookupError)):
        unpack_effect(row.encode(), plain=True)


finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: float(f"{value:.3g}"))


@given(st.lists(finite, min_size=12, max_size=12), st.booleans(), st.one_of(st.none(), st.floats(0, 1).map(lambda v: float(f"{v:.3g}"))))
def test_packing_keeps_three_digits(values, as_plain, frozen):
    a, b, c, d, e, f, g, h, i, j, k, dose = values
    own = DoseEffect(dose, Estimate(a, b, c), (d, e), f, Estimate(g, h, i), (j, k), a, frozen, (Moved(7, a, b, Estimate(c, d, e)),), ())
    assert unpack_effect(pack_effect(Effect((own,)), plain=as_plain), plain=as_plain) == Effect((own,))


@pytest.mark.parametrize(("score", "p", "kind"), [(0.9, 0.02, "both"), (0.9, 0.5, "reads"), (0.6, 0.02, "writes"), (0.6, 0.5, "unclear")])
def test_kinds_follow_from_the_name_and_the_effect(tmp_path, score, p, kind):
    feature = Atlas(handmade.write(tmp_path / "a.sqlite")).feature(f"{handmade.FIRST}/1")
    assert feature.kind is None
    assert json.loads(json.dumps(feature.to_json()))["effect"] is None
    token = dataclasses.replace(feature.label.token, value=score)
    judged = dataclasses.replace(feature, label=dataclasses.replace(feature.label, token=token), effect=effect(p))
    assert judged.kind == kind
    assert judged.to_json()["kind"] == kind
    assert np.isclose(judged.to_json()["effect"]["doses"][1]["kl"]["mean"], 1.0)
