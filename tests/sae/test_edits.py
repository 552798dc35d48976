"""Edits change what chosen features say and nothing else: each against its formula written out on dense codes."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.errors import BadConfig, ShapeMismatch, UnknownName
from hooke.sae import Sae, SaeFacts

FACTS = SaeFacts("tiny/resid_post.1/40", "tiny")
D_IN, D_SAE = 6, 40


def random_sae(seed: int = 0, **facts: object) -> Sae:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((D_IN, D_SAE), (D_SAE,), (D_SAE, D_IN), (D_IN,), (D_SAE,))
    W_enc, b_enc, W_dec, b_dec, threshold = (torch.randn(shape, generator=draw) for shape in shapes)
    made = dataclasses.replace(FACTS, **facts)
    return Sae(W_enc, b_enc, W_dec, b_dec, threshold.abs() if made.activation == "jumprelu" else torch.zeros(D_SAE), made)


def random_acts(seed: int = 1, shape: tuple[int, ...] = (2, 5)) -> torch.Tensor:
    return torch.randn(*shape, D_IN, generator=torch.Generator().manual_seed(seed))


FORMULAS = {
    "ablate": lambda f, _: torch.zeros_like(f),
    "scale": lambda f, amount: amount * f,
    "clamp": lambda f, amount: torch.full_like(f, amount),
    "clamp_active": lambda f, amount: torch.where(f > 0, torch.full_like(f, amount), f),
}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 50),
    st.sampled_from(sorted(FORMULAS)),
    st.lists(st.integers(0, D_SAE - 1), min_size=1, max_size=4, unique=True),
    st.floats(-4, 4),
    st.sampled_from([{}, {"activation": "topk", "k": 7}, {"normalize": "layer_norm"}, {"normalize": "rms"}]),
)
def test_an_edit_is_its_formula(seed, kind, features, amount, facts):
    """x' is the decoding of the changed codes plus what the SAE did not explain: ``decode(f') + (x − decode(f))``."""
    sae, acts = random_sae(seed, **facts), random_acts(seed)
    flat = acts.reshape(-1, D_IN)
    codes = sae.encode(flat)
    changed = codes.dense()
    changed[:, features] = FORMULAS[kind](changed[:, features], amount)
    scale = sae.token_scale(flat)
    expected = flat - (codes.dense() @ sae.W_dec) * scale + (changed @ sae.W_dec) * scale
    made = getattr(sae, kind)(features, *([] if kind == "ablate" else [amount]))
    assert torch.allclose(made(acts).reshape(-1, D_IN), expected, atol=1e-4)


@given(st.integers(0, 50), st.sampled_from([torch.bfloat16, torch.float32]))
def test_what_changes_nothing_gives_back_the_same_bits(seed, dtype):
    sae, acts = random_sae(seed), random_acts(seed).to(dtype)
    everything = torch.arange(D_SAE)  # clamped to its own value, too
    own = sae.activations(acts, everything)
    for same in (sae.scale(everything, 1.0), sae.clamp(everything, own), sae.clamp_active(everything, own), sae.add([3], 0.0)):
        assert torch.equal(same(acts).view(torch.uint8), acts.view(torch.uint8)), same.kind


def test_adding_needs_no_encoder_and_sums_rows():
    sae, acts = random_sae(), random_acts()
    expected = acts + 2 * sae.W_dec[3] - 0.5 * sae.W_dec[9]
    assert torch.allclose(sae.add([3, 9], [2.0, -0.5])(acts), expected, atol=1e-5)


def test_every_text_of_a_batch_may_have_its_own_amount():
    sae, acts = random_sae(), random_acts()
    amounts = torch.tensor([0.0, 3.0])[:, None, None]
    together = sae.clamp([4], amounts)(acts)
    assert torch.equal(together, torch.stack([sae.clamp([4], 0.0)(acts[0]), sae.clamp([4], 3.0)(acts[1])]))


def test_projecting_and_capping_touch_one_direction_only():
    sae, acts = random_sae(), random_acts()
    w = sae.W_dec[5] / sae.W_dec[5].norm()
    others = lambda x: x - (x @ w)[..., None] * w  # noqa: E731
    projected, capped = sae.project(5, 1.5)(acts), sae.cap(5, 0.2)(acts)
    assert torch.allclose(projected @ w, torch.full((2, 5), 1.5), atol=1e-5)
    assert torch.allclose(capped @ w, (acts @ w).clamp_max(0.2), atol=1e-5)
    assert torch.allclose(others(projected), others(acts), atol=1e-5)
    assert torch.equal(capped[acts @ w < 0.19], acts[acts @ w < 0.19])


def test_setting_to_a_mean_makes_features_say_what_they_say_there():
    sae, like = random_sae(), random_acts(7, (30,))
    mean = sae.encode(like).dense().mean(0)
    made = sae.mean_set([1, 2], like)
    assert torch.allclose(made.amount, mean[[1, 2]], atol=1e-6)
    assert torch.allclose(made(random_acts()), sae.clamp([1, 2], mean[[1, 2]].tolist())(random_acts()), atol=1e-6)


def test_a_transcoder_is_read_at_one_site_and_edited_at_another():
    sae = random_sae(reads=["mlp_in.1"], writes=["mlp_out.1"])
    read, written = random_acts(3), random_acts(4)
    f = sae.encode(read.reshape(-1, D_IN)).dense().reshape(2, 5, D_SAE)[..., 8]
    assert torch.allclose(sae.ablate(8).apply(read, written), written - f[..., None] * sae.W_dec[8], atol=1e-5)
    with pytest.raises(BadConfig, match="another site"):
        sae.ablate(8)(read)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda sae: sae.ablate([]), BadConfig, "one feature or several"),
        (lambda sae: sae.ablate([3, 3]), BadConfig, "different"),
        (lambda sae: sae.ablate([40]), UnknownName, "features 0 to 39; asked for is 40"),
        (lambda sae: sae.ablate([-1]), UnknownName, "asked for is -1"),
        (lambda sae: sae.clamp(3, float("nan")), BadConfig, "finite"),
        (lambda sae: sae.clamp(3, 1e9), BadConfig, "at most"),
        (lambda sae: sae.clamp([1, 2, 3], [1.0, 2.0]), ShapeMismatch, "2 amounts for 3 features"),
        (lambda sae: sae.cap([1, 2], 1.0), BadConfig, "one feature at a time"),
        (lambda sae: sae.mean_set(1, torch.zeros(0, D_IN)), BadConfig, "finite"),
        (lambda sae: sae.ablate(1)(torch.zeros(2, 5)), ShapeMismatch, "width 6"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, error, said):
    with pytest.raises(error, match=said):
        make(random_sae())
