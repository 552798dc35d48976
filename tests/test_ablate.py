"""Ablation on a planted model: each figure is its definition, a silent feature changes nothing, a needed one is missed."""

import pytest
import torch

from hooke import tiny
from hooke.ablate import ablate
from hooke.errors import BadConfig, LimitReached

SPORT, MUSIC = (list(tiny.concepts).index(name) for name in ("sport", "music"))
QUIET = 60
"""A feature that fires on nothing here."""
TEXT = "the striker and the coach of the team"


def test_loss_with_and_without_are_those_of_whole_passes(model, sae):
    found = ablate(model, [(sae, SPORT)], TEXT)
    ids = torch.tensor(model.tokenizer.encode([TEXT]))
    assert "".join(found.tokens) == TEXT
    assert torch.allclose(torch.tensor(found.loss), model.loss(ids)[0], atol=1e-4)
    p = model.logits(ids)[0, :-1].log_softmax(-1)
    acts = model.capture(ids, sae.site)[sae.site]
    active = sae.encode(acts[0]).dense()[:, SPORT]
    active[0] = 0  # <bos> is left alone
    with model.edit(sae.site, lambda x: x - active[None, :, None] * sae.W_dec[SPORT]):
        q = model.logits(ids)[0, :-1].log_softmax(-1)
        without = model.loss(ids)[0]
    (arm,) = found.silenced
    assert torch.allclose(torch.tensor(arm.loss), without, atol=1e-4)
    assert torch.allclose(torch.tensor(arm.kl), (p.exp() * (p - q)).sum(1), atol=1e-4)
    assert torch.allclose(torch.tensor(arm.acts), active[1:], atol=1e-4)
    assert "silenced" in found.note


def test_a_concept_is_missed_where_its_words_follow_each_other(model, sae):
    found = ablate(model, [(sae, SPORT)], "striker coach team goal match")
    (arm,) = found.silenced
    assert sum(arm.rise(found.loss)[1:]) > max(0.05, 3 * abs(sum(arm.rise(found.loss, control=True)[1:])))


def test_what_is_not_active_changes_not_a_bit(model, sae):
    found = ablate(model, [(sae, MUSIC)], TEXT)
    (arm,) = found.silenced
    assert arm.loss == arm.loss_control == found.loss
    assert not any(arm.acts)
    assert not any(arm.kl)


def test_several_are_silent_one_by_one_and_together(model, sae):
    text = "the striker sings with the orchestra and the singer"
    found = ablate(model, [(sae, SPORT), (sae, MUSIC)], text)
    one, other, both = found.silenced
    assert both.features == [*one.features, *other.features]
    alone = [ablate(model, [(sae, index)], text).silenced[0].loss for index in (SPORT, MUSIC)]
    assert alone == [one.loss, other.loss]
    assert both.acts == pytest.approx([a + b for a, b in zip(one.acts, other.acts, strict=True)])
    assert both.loss not in alone


def test_two_at_a_time_are_beside_each_alone(model, sae):
    """Two are what an ablation of both gives; what is silent anyway has no part in anything."""
    text = "the striker sings with the orchestra and the singer"
    three = [(sae, SPORT), (sae, MUSIC), (sae, QUIET)]
    found = ablate(model, three, text, pairs=True)
    both = ablate(model, three[:2], text).silenced[-1]
    named = {pair.features: pair for pair in found.pairs}
    address = [f"{sae.name}/{index}" for index in (SPORT, MUSIC, QUIET)]
    assert list(named) == [(address[0], address[1]), (address[0], address[2]), (address[1], address[2])]
    pair = named[address[0], address[1]]
    assert pair.joint == pytest.approx(sum(both.rise(found.loss)), abs=1e-4)
    assert pair.alone == pytest.approx([sum(arm.rise(found.loss)) for arm in found.silenced[:2]], abs=1e-4)
    assert pair.interaction == pytest.approx(pair.joint - sum(pair.alone), abs=1e-5)
    assert named[address[0], address[2]].interaction == 0
    with pytest.raises(BadConfig, match="2 to 10 features; these are 1"):
        ablate(model, three[:1], text, pairs=True)


@pytest.mark.parametrize(
    ("features", "text", "error", "said"),
    [([], "x", BadConfig, "none"), ([1, 1], "x", BadConfig, "different features"), ([1], "", BadConfig, "no token")],
)
def test_what_cannot_be_is_refused_in_a_sentence(model, sae, features, text, error, said):
    with pytest.raises(error, match=said):
        ablate(model, [(sae, index) for index in features], text)


def test_a_text_longer_than_the_context_is_refused(model, sae):
    with pytest.raises(LimitReached, match="reads at most 128"):
        ablate(model, [(sae, 1)], "the team " * 100)
