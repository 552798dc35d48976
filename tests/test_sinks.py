"""Attention sinks: the first token of every text is a thousand times longer than the rest; every command leaves it out and counts it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from evals import reading
from hypothesis import given
from hypothesis import strategies as st

from hooke import tiny
from hooke.ablate import ablate
from hooke.analysis import Options, Reader
from hooke.attribute import attribute, likeliest, log_prob
from hooke.builder.cache import Portions, read_codes
from hooke.evals import EvalConfig, evaluate
from hooke.features.cache import ActivationCache
from hooke.finetune import TextBatch, backward
from hooke.intervene import intervene
from hooke.lens import LensSae, LensText
from hooke.metrics import not_sinks
from hooke.model import Model, pad
from hooke.sae import Sae
from hooke.sanity import Neutral, measure
from hooke.text.corpus import Window

SITE = "resid_post.0"
TEXTS = ["the storm hit the bank", "judge and jury on trial after the vote", "the match and the goal"]


@pytest.fixture(scope="module")
def calm() -> Model:
    return tiny.model()


@pytest.fixture
def model(calm: Model) -> Iterator[Model]:
    """The planted model, the place after the beginning-of-sequence token being a sink."""

    def spike(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[:, 1] *= 1000
        return acts

    with calm.edit(SITE, spike):
        yield calm


@pytest.fixture(scope="module")
def sae() -> Sae:
    found = tiny.sae()
    assert str(found.site) == SITE
    return found


def windows(model: Model) -> list[Window]:
    return [Window("stories", number, row) for number, row in enumerate(model.tokenizer.encode(TEXTS))]


@given(st.lists(st.lists(st.floats(0.5, 2), min_size=2, max_size=9), min_size=1, max_size=4), st.integers(0, 99))
def test_a_text_is_held_against_itself_alone(texts: list[list[float]], where: int) -> None:
    ids, real = pad([[round(1000 * value) for value in text] for text in texts])
    acts = ids[..., None].float()
    assert torch.equal(not_sinks([acts], real), real)
    rows = [where % len(text) for text in texts]
    acts[range(len(texts)), rows] *= 100
    good = not_sinks([acts, torch.ones_like(acts)], real)
    for text, row, own in zip(texts, rows, good, strict=True):
        assert own.tolist() == [at != row and at < len(text) for at in range(len(own))]


def test_analysis_keeps_its_text_and_says_nothing_of_it(model: Model, sae: Sae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda _: None)
    found = list(Reader(model, [sae], Options(top=50)).read(TEXTS))
    for text, result in zip(TEXTS, found, strict=True):
        assert "".join(result.tokens).strip() == text
        assert result.sinks == 1
        assert result.explained is not None
        assert result.explained > 0.9
        assert all(hit.pos > 0 for hit in result.features)


def test_evaluation_neither_replaces_nor_counts_it(calm: Model, sae: Sae) -> None:
    config = EvalConfig(tokens=300, suites=("core", "uniformity"), calibration_tokens=150, batch_tokens=128, uniformity_tokens=20)
    text = [window for window in reading.windows(calm, 80) if len(window.ids) > 3]
    before = evaluate(calm, [sae], text, config).result

    def spike(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[:, 1] *= 1000
        return acts

    with calm.edit(SITE, spike):
        after = evaluate(calm, [sae], text, config).result
    assert (before["sinks"], after["sinks"]) == (0, after["windows"])
    assert after["tokens"] == before["tokens"] - after["windows"]
    fvu = [found["saes"][0]["core"]["fvu"]["value"] for found in (before, after)]
    assert fvu[1] == pytest.approx(fvu[0], abs=0.02)


def test_an_atlas_keeps_the_text_and_no_feature_there(model: Model, sae: Sae, tmp_path) -> None:
    spool = ActivationCache(tmp_path, {}, {sae.name: sae.d_sae}, ["stories"])
    read_codes(model, [sae], windows(model), spool, Portions(10_000), lambda _: None)
    text = spool.text()
    assert len(text.ids) == sum(len(window.ids) - 1 for window in windows(model))
    first = np.cumsum([0, *(len(window.ids) - 1 for window in windows(model))])[:-1]
    codes = spool.codes(sae.name, np.ones(len(text.ids), bool))
    assert codes.l0[torch.from_numpy(first)].tolist() == [0, 0, 0]
    assert int(codes.l0.sum()) > 10
    assert spool.left_out == {"sinks": 3, "special": 3}


def test_the_fit_is_measured_without(model: Model, sae: Sae) -> None:
    facts = replace(sae.facts, metrics={"fvu": 0.05})
    assert measure(replace(sae, facts=facts), Neutral(model).acts).explained > 0.9


def test_a_splice_and_a_fine_tuning_leave_it_as_it_is(model: Model, sae: Sae) -> None:
    ids, real = pad(model.tokenizer.encode(TEXTS))
    clean = model.capture(ids, [SITE])[SITE]
    with model.splice(sae) as counts:
        spliced = model.capture(ids, [SITE])[SITE]
    special = int((ids == model.tokenizer.bos).sum() + (~real).sum())
    assert (counts.sinks, counts.special, counts.tokens) == (len(TEXTS), special, ids.numel() - special - len(TEXTS))
    assert torch.equal(spliced[:, :2], clean[:, :2])
    assert not torch.equal(spliced[:, 2], clean[:, 2])
    live = replace(sae, W_enc=sae.W_enc.clone().requires_grad_())
    mse, _ = backward(live, model, TextBatch(ids, real & (ids != model.tokenizer.bos)), 1.0)
    assert mse < np.square(clean[:, 2:].numpy()).mean()


def test_no_feature_is_seen_turned_or_silenced_there(model: Model, sae: Sae) -> None:
    """What is first in the text fires a feature strongly where it is no sink, so that there is something to leave out."""
    text = "striker and coach of the team"
    ids = torch.tensor(model.tokenizer.encode([text]))
    clean = model.capture(ids, [SITE])[SITE]
    index = int(sae.encode(clean[0, 1:2]).dense()[0].argmax())
    with intervene(model, sae.ablate([index]), sae.clamp([index + 1], 9.0)):
        turned = model.capture(ids, [SITE])[SITE]
    assert torch.equal(turned[:, :2], clean[:, :2])
    assert bool((turned[0, 2:] != clean[0, 2:]).any(1).all())
    assert ablate(model, [(sae, index)], text).silenced[0].acts[0] == 0
    found = attribute(model, sae, text, log_prob(likeliest(model, text)))
    assert found.contributions
    assert all(one.position > 1 for one in found.contributions)
    read = LensText(model, text).features(LensSae(sae, np.ones(sae.d_sae), np.zeros(sae.d_sae)))
    assert (read.active[0], read.top[0]) == (0, None)
    assert sum(read.active) > 0
