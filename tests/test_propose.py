"""Features proposed for words on a planted model: the concept's own feature is found, by figures that are their definitions."""

import handmade
import numpy as np
import pytest
import torch

from hooke import tiny
from hooke.atlas import Atlas
from hooke.atlas.effects import add_effects
from hooke.atlas.records import DoseEffect, Effect, Estimate, Moved
from hooke.errors import BadConfig
from hooke.features.effects import EffectSettings, neutral_contexts
from hooke.propose import candidates, known, propose, tokens_for, words_of

SPORT = list(tiny.concepts).index("sport")


@pytest.fixture(scope="module")
def maximum(sae):
    out = np.full(sae.d_sae, 3.0, np.float32)
    out[:8], out[55:] = 8.0, 0.0
    return out


def test_the_concept_of_the_words_is_proposed_first(model, sae, maximum):
    tokens = tokens_for(model, ["goal", "match"])
    assert {model.tokenizer.piece(token).strip().lower() for token in tokens} == {"goal", "match"}
    assert candidates(model, sae, maximum, tokens, 3)[0] == SPORT
    found = propose(model, sae, maximum, tokens, [*range(12), SPORT, 60])
    assert found[0].feature == SPORT
    assert sorted(one.feature for one in found) == list(range(12))  # each once, none that never fired
    assert found[0].rise.low > 0
    assert found[0].p == 1 / 20
    assert found[0].probability[1] > found[0].probability[0]


def test_the_figures_are_their_definitions(model, sae, maximum):
    tokens = tokens_for(model, ["goal"])
    (found,) = propose(model, sae, maximum, tokens, [SPORT])
    ids = neutral_contexts(model, sae, EffectSettings(contexts=16)).ids
    p = model.logits(ids)[:, -1].softmax(-1)
    with model.edit(sae.site, lambda acts: torch.cat([acts[:, :-1], acts[:, -1:] + 8 * sae.W_dec[SPORT]], 1)):
        q = model.logits(ids)[:, -1].softmax(-1)
    inside, after = p[:, tokens].sum(1), q[:, tokens].sum(1)
    rise = (after / (1 - after)).log() - (inside / (1 - inside)).log()
    assert found.rise.mean == pytest.approx(float(rise.mean()), abs=1e-3)
    assert found.probability == pytest.approx((float(inside.mean()), float(after.mean())), abs=1e-5)
    assert found.kl.mean == pytest.approx(float((p * (p.log() - q.log())).sum(1).mean()), abs=1e-3)


def test_words_that_are_no_token_are_refused(model):
    with pytest.raises(BadConfig, match="'zzzz' is no single token"):
        tokens_for(model, ["goal", "zzzz"])


def test_what_an_atlas_knows_is_what_its_effects_say(tmp_path):
    goal, rain, say = 501, 502, 503
    texts = {**handmade.PIECES, goal: " goal", rain: " rain", say: " says"}
    measured = Estimate(0.25, 0.125, 0.5), (0.0, 0.03), 0.02

    def effect(*raised: tuple[int, float, float]) -> Effect:
        moved = tuple(Moved(token, before, after, Estimate(1.0, 0.5, 1.5)) for token, before, after in raised)
        return Effect((DoseEffect(1.0, *measured, *measured, None, moved, ()),))

    every = {
        0: effect((goal, 0.125, 0.25)),
        1: effect((rain, 0.125, 0.1875), (say, 0.0, 0.75)),
        2: effect((goal, 0.125, 0.375), (rain, 0.25, 0.375)),
        3: effect((goal, 0.25, 0.125)),
    }
    source = handmade.write(tmp_path / "a.sqlite")
    atlas = Atlas(add_effects(source, tmp_path / "b.sqlite", handmade.FIRST, every, {}, texts))
    found = known(atlas, handmade.FIRST, [goal, rain])
    assert list(found) == [2, 0, 1]  # by what the words gain: other words do not count, and the last takes away
    assert found[2] == (pytest.approx(0.375, rel=0.01), pytest.approx(0.75, rel=0.01))
    assert list(known(atlas, handmade.FIRST, [say])) == [1]
    assert known(atlas, handmade.SECOND, [goal]) == {}


def test_words_are_parted_by_commas_and_spaces():
    assert words_of("goal, match  striker,") == ["goal", "match", "striker"]
    for none_or_many in (" , ", "a " * 21):
        with pytest.raises(BadConfig, match="1 to 20 words"):
            words_of(none_or_many)
