"""The kernel for JumpReLU codes against float64 products: the same features but within rounding of a threshold, the same values."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke.kernels import active
from hooke.kernels.active import JumpReluEncoder
from hooke.sae import Sae, SaeFacts

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = ("plain", "eight_bits", "columns_of_all_sizes", "one_huge_input")


def drawn(kind: str, seed: int, tokens: int, d_in: int, d_sae: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Activations with a few large coordinates, as models have them; weights; thresholds that a few percent of the products exceed."""
    generator = torch.Generator().manual_seed(seed)
    acts, weights = torch.randn(tokens, d_in, generator=generator), torch.randn(d_in, d_sae, generator=generator)
    acts[:, 0] *= 300
    if kind == "eight_bits":
        step = weights.abs().amax(0) / 127
        weights = (weights / step).round() * step
    if kind == "columns_of_all_sizes":
        weights *= torch.logspace(-30, 6, d_sae)
        weights[:, 0] = 0
    if kind == "one_huge_input":
        acts[tokens // 2] *= 1e12
    acts = acts.to(dtype)
    bias = weights[0] * -100
    pre = (acts.double() @ weights.double() + bias).float()
    return acts, weights, bias, pre.quantile(0.97, dim=0).clamp_min(0)


def check(found: tuple[torch.Tensor, ...] | None, acts, weights, bias, threshold) -> None:
    """As products in float64 say it; what float32 cannot tell from a threshold may be either."""
    assert found is not None
    indptr, feature, value = found
    products = acts.double()[:, :, None] * weights.double()[None]
    pre = products.sum(1) + bias
    unsure = 2.0**-20 * (products.abs().sum(1) + bias.abs())
    row = torch.repeat_interleave(torch.arange(len(acts)), indptr.diff())
    on = torch.zeros_like(pre, dtype=torch.bool)
    on[row, feature] = True
    assert int(on.sum()) == len(feature) == len(value) == int(indptr[-1])
    assert (feature.diff()[row.diff() == 0] > 0).all()
    assert on[pre > threshold + unsure].all()
    assert not on[pre <= threshold - unsure].any()
    assert ((value - pre[row, feature]).abs() <= unsure[row, feature] + 1e-5 * pre[row, feature].abs()).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WEIGHTS), st.integers(0, 999), st.integers(1, 40), st.integers(1, 70), st.integers(1, 90),
    st.sampled_from([torch.float32, torch.bfloat16]), st.integers(1, 3),
)  # fmt: skip
def test_codes_are_what_exact_products_say(kind, seed, tokens, d_in, d_sae, dtype, threads):
    acts, *weights = drawn(kind, seed, tokens, d_in, d_sae, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(active, "_SHARE", 1.0)
        patch.setattr(active, "_ROUGH_VALUES", 7 * d_sae)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        check(JumpReluEncoder.of(*weights).codes(acts), acts, *weights)


def test_a_feature_at_its_very_threshold_is_off():
    ones, edge = torch.ones(1, 64), torch.tensor(1.0078125)
    acts = torch.stack([edge.nextafter(torch.tensor(0.0)), edge, edge.nextafter(torch.tensor(2.0))])[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(active, "_SHARE", 1.0)
        indptr, _, value = JumpReluEncoder.of(ones, torch.zeros(64), edge.repeat(64)).codes(acts)
    assert indptr.tolist() == [0, 0, 0, 64]
    assert torch.equal(value, acts[2].repeat(64))


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), 3e38])
def test_numbers_that_have_no_length_are_left_to_the_dense_product(spoilt):
    acts, *weights = drawn("plain", 0, 8, 16, 32, torch.float32)
    acts[3, 5] = spoilt
    assert JumpReluEncoder.of(*weights).codes(acts) is None


def test_features_without_weights_and_activations_without_size():
    """Neither is a reason to look at more than is active."""
    acts, weights, bias, threshold = drawn("plain", 0, 8, 16, 64, torch.float32)
    weights[:, 3:] = 0
    bias[:], threshold[:], threshold[3] = 0, 1.0, -1.0
    indptr, feature, value = JumpReluEncoder.of(weights, bias, threshold).codes(acts * 1e-30)
    assert (indptr.tolist(), feature.tolist(), value.tolist()) == ([*range(9)], [3] * 8, [0.0] * 8)


def test_codes_that_are_not_sparse_are_left_to_the_dense_product():
    acts, weights, bias, _ = drawn("plain", 0, 8, 16, 32, torch.float32)
    assert JumpReluEncoder.of(weights, bias, torch.zeros(32)).codes(acts) is None


# In an SAE


def sae(seed: int = 0, **changed) -> tuple[Sae, torch.Tensor]:
    acts, weights, bias, threshold = drawn("plain", seed, 30, 24, 64, torch.bfloat16)
    facts = dataclasses.replace(SaeFacts("tiny/resid_post.1/64", "tiny"), **changed)
    return Sae(weights, bias, torch.randn(64, 24), torch.zeros(24), threshold, facts), acts


@pytest.fixture
def few_are_many(monkeypatch):
    """The kernel is used from the first token on, whatever the processor; how often it was asked."""
    asked = []
    monkeypatch.setattr("hooke.sae.autoencoder._MANY_TOKENS", 1)
    monkeypatch.setattr("hooke.sae.autoencoder.multiplies_bfloat16", lambda device: True)
    monkeypatch.setattr(active, "_SHARE", 1.0)
    original = JumpReluEncoder.codes
    monkeypatch.setattr(JumpReluEncoder, "codes", lambda self, acts: asked.append(len(acts)) or original(self, acts))
    return asked


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "rms", "centre"])
def test_an_sae_gives_the_same_either_way(normalize, few_are_many, monkeypatch):
    own, acts = sae(normalize=normalize)
    own = dataclasses.replace(own, threshold=own.threshold / (1 if normalize == "none" else 300))
    fast = own.encode(acts)
    monkeypatch.setattr("hooke.sae.autoencoder._MANY_TOKENS", 10**9)
    dense = own.encode(acts)
    assert few_are_many == [30]
    assert torch.equal(fast.indptr, dense.indptr)
    assert torch.equal(fast.feature, dense.feature)
    np.testing.assert_allclose(fast.value, dense.value, rtol=1e-5, atol=1e-2)
    assert len(dense.feature) > 0


def test_weights_changed_in_place_are_read_anew(few_are_many):
    own, acts = sae()
    before = len(own.encode(acts).feature)
    own.threshold.fill_(1e9)
    assert before > 0 == len(own.encode(acts).feature)
    with torch.inference_mode():
        frozen = Sae(*(getattr(own, name).clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")), own.facts)
        assert len(frozen.encode(acts).feature) == 0


def test_where_the_kernel_is_not_used(few_are_many):
    own, acts = sae()
    own.W_enc.requires_grad_()
    assert own.encode(acts).value.requires_grad
    topk, _ = sae(activation="topk", k=3)
    topk.encode(acts)
    assert few_are_many == []
    with torch.no_grad():
        own.encode(acts)
    assert few_are_many == [30]
