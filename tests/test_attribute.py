"""Attribution on a planted model: equal to exact where the model is linear, complete, and each figure its definition."""

import pytest
import torch

from hooke import tiny
from hooke.attribute import attribute, likeliest, log_prob, logit_difference, one_token
from hooke.errors import BadConfig, LimitReached
from hooke.intervene import intervene

SPORT = list(tiny.concepts).index("sport")
TEXT = "the striker and the coach"


@pytest.fixture(scope="module")
def goal(model):
    return one_token(model, "goal")


def naive(model, sae, token, position, feature):
    """log p with and without a feature on one token, by whole passes."""
    ids = torch.tensor(model.tokenizer.encode([TEXT]))
    mask = (torch.arange(ids.shape[1]) == position)[None]
    with intervene(model, sae.ablate([feature]), where=mask):
        without = model.logits(ids)[0, -1].log_softmax(-1)[token]
    return float(model.logits(ids)[0, -1].log_softmax(-1)[token] - without)


def test_exact_is_a_whole_pass_without_the_feature(model, sae, goal):
    found = attribute(model, sae, TEXT, log_prob(goal), method="exact")
    assert found.contributions
    for one in found.contributions[:6]:
        assert one.value == one.exact == pytest.approx(naive(model, sae, goal, one.position, one.feature), abs=1e-4)
    assert found.correlation == pytest.approx(1)
    (feature, _), *_ = found.by_feature()
    assert feature == SPORT


def test_gradient_times_activation_is_its_definition(model, sae, goal):
    found = attribute(model, sae, TEXT, log_prob(goal), method="gradient")
    ids = torch.tensor(model.tokenizer.encode([TEXT]))
    acts = model.capture(ids, sae.site)[sae.site].clone()
    leaf = acts.requires_grad_()
    with model.edit(sae.site, lambda _: leaf):
        (slope,) = torch.autograd.grad(model.head.logits(model.hidden(ids)[:, -1]).log_softmax(-1)[0, goal], leaf)
    codes = sae.encode(acts.detach()[0]).dense()
    expected = codes * (slope[0] @ sae.W_dec.T)
    for one in found.contributions:
        assert one.value == pytest.approx(float(expected[one.position, one.feature]), abs=1e-4)
    assert len(found.contributions) == int((codes[1:] != 0).sum())
    acts = acts.detach()[0]
    assert found.error == pytest.approx(float((slope[0] * (acts - sae.decode(sae.encode(acts), acts)))[1:].sum()), abs=1e-4)


def test_integrated_gradients_are_complete_and_nearer_to_it_than_one_gradient(model, sae, goal):
    one = attribute(model, sae, TEXT, log_prob(goal), method="gradient")
    many = attribute(model, sae, TEXT, log_prob(goal), method="integrated", steps=60)
    assert many.completeness == pytest.approx(1, abs=0.05)
    assert abs(many.completeness - 1) <= abs(one.completeness - 1) + 0.01
    assert many.metric == one.metric
    assert many.baseline == one.baseline
    with intervene(model, sae.ablate(range(sae.d_sae))):
        without = model.logits(torch.tensor(model.tokenizer.encode([TEXT])))[0, -1].log_softmax(-1)[goal]
    assert one.baseline == pytest.approx(float(without), abs=1e-4)


def test_gradients_agree_with_exact(model, sae, goal):
    found = attribute(model, sae, TEXT, logit_difference(goal, one_token(model, "opera")), method="gradient")
    assert found.correlation > 0.8
    (feature, value), *_ = found.by_feature()
    assert feature == SPORT
    assert value > 0


def test_a_text_can_be_the_baseline(model, sae, goal):
    other = "the singer and the coach"
    found = attribute(model, sae, TEXT, log_prob(goal), method="integrated", baseline=other, steps=100)
    assert {one.position for one in found.contributions} <= {2, 3, 4, 5}
    assert found.completeness == pytest.approx(1, abs=0.1)
    music = list(tiny.concepts).index("music")
    assert {SPORT, music} <= {one.feature for one in found.contributions if one.position == 2}
    assert attribute(model, sae, TEXT, log_prob(goal), baseline=TEXT, steps=2).contributions == []


def test_tokens_are_found_with_a_space_or_without(model):
    assert model.tokenizer.piece(one_token(model, " goal")) == " goal"
    assert one_token(model, "goal") in model.tokenizer.encode(["goal", " goal"])[0] + model.tokenizer.encode([" goal"])[0]
    assert 0 <= likeliest(model, TEXT) < len(model.tokenizer)
    with pytest.raises(BadConfig, match="no single token"):
        one_token(model, "goal match")


@pytest.mark.parametrize(
    ("text", "options", "error", "said"),
    [
        ("", {}, BadConfig, "no token"),
        ("the team " * 100, {}, LimitReached, "reads at most 128"),
        (TEXT, {"baseline": "the"}, BadConfig, "token by token"),
        (TEXT, {"steps": 0}, BadConfig, "steps must be"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(model, sae, goal, text, options, error, said):
    with pytest.raises(error, match=said):
        attribute(model, sae, text, log_prob(goal), **options)
