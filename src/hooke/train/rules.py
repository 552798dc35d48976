"""Rules: for each architecture, from BatchTopK to gated, which pre-activations become codes and what the loss wants of them.

A rule is a function of the SAE in training, a batch's pre-activations and its target. It decodes what it chose and says how each chosen
entry should move; what needs no rule (encoding, the sparse gradients, Adam, dead features) is the trainer's. Losses are means over tokens
and coordinates; a kernel's `grad_acts` lacks that factor, so penalties are put in its units here (`half`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import BFloat16, Bool, Float
from torch import Tensor

from hooke.kernels import Entries
from hooke.train.state import SaeState

# The smallest positive bfloat16: what is at least this is above zero.
_TINY = 2.0**-133
# The next batch's cut-off is looked for from this many bfloat16 steps below the last one's, about two thirds of its value.
_FLOOR_BELOW = 64
_MULTI, _MULTI_WEIGHT = 4, 1 / 8
_TANH_SCALE = 4.0
_FREQUENT = 0.1


class Pass(NamedTuple):
    """A set of codes through the decoder and back."""

    entries: Entries
    """Codes as the decoder read them; zeros leave it alone."""
    grad_pre: Float[Tensor, " nnz"]
    """Gradient of the loss at each entry's pre-activation."""
    grad_recon: Float[Tensor, "group token d_out"]
    """Gradient of the loss at the reconstruction, for each prefix."""
    frozen: bool = False
    """Whether this reconstruction's decoder is held fixed, bias and skip included: its entries are zeros then."""


class Outcome(NamedTuple):
    """What a rule made of a batch."""

    entries: Entries
    """The codes; where `active` is given, some entries are zero."""
    error: Float[Tensor, "token d_out"]
    """Reconstruction minus target."""
    passes: list[Pass]
    """What the weights learn from."""
    active: Bool[Tensor, " nnz"] | None = None
    """Which entries are active; None is all."""


Rule = Callable[[SaeState, BFloat16[Tensor, "token d_sae"], Float[Tensor, "token d_out"]], Outcome]


def _batchtopk(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    if sae.topk_guess == 1:  # the very first time: a few tokens tell about where the cut-off is
        few = pre[:: max(1, len(pre) // 64)].contiguous()
        sae.topk_guess = max(1, sae.kernels.largest(few, sae.config.l0 * sae.tokens(few))[1] - _FLOOR_BELOW)
    entries, cut = sae.kernels.largest(pre, sae.config.l0 * sae.tokens(pre), sae.topk_guess)
    sae.topk_guess = max(1, cut - _FLOOR_BELOW)
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    return Outcome(entries, error, [Pass(entries, grad_acts, grad_recon)])


def _topk(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    if sae.config.multi:
        return _multi_topk(sae, pre, target)
    entries, sae.topk_guess = sae.kernels.largest_per_token(pre, sae.config.l0, sae.topk_guess)
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    return Outcome(entries, error, [Pass(entries, grad_acts, grad_recon)])


def _multi_topk(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    """``L(l0) + L(4 · l0) / 8`` (arXiv 2406.04093, appendix A)."""
    inner, _ = sae.kernels.largest_per_token(pre, sae.config.l0, sae.topk_guess)
    outer, sae.topk_guess = sae.kernels.largest_per_token(pre, min(_MULTI * sae.config.l0, pre.shape[1]), sae.topk_guess)
    error, grad_recon, grad_acts = sae.kernels.decode(inner, sae.decoder, target, sae.layout)
    _, far_grad_recon, far_grad_acts = sae.kernels.decode(outer, sae.decoder, target, sae.layout)
    return Outcome(
        inner, error, [Pass(inner, grad_acts, grad_recon), Pass(outer, far_grad_acts * _MULTI_WEIGHT, far_grad_recon * _MULTI_WEIGHT)]
    )


def _relu(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    """``‖error‖² + λ Σ f ‖W_dec‖`` with free decoder norms (Anthropic, April 2024)."""
    entries = sae.kernels.above(pre, torch.full_like(sae.b_enc, _TINY))
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    norms, feature = sae.W_dec.norm(dim=1), entries.feature.long()
    sae.add_grad_norms(sae.sparsity * _per_feature(sae, entries, entries.value) / sae.tokens(pre), norms)
    return Outcome(entries, error, [Pass(entries, grad_acts + sae.half * sae.sparsity * norms[feature], grad_recon)])


def _jumprelu(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    """Threshold gradients through a window (arXiv 2407.14435, section 3): ``∂f/∂θ = −(θ/ε) K``, ``∂L0/∂θ = −(1/ε) K``.

    The penalty's weight on L0 is λ (Gemma Scope 1), or ``λ (L0/l0 − 1)`` where a target is held: the derivative of
    ``λ/(2·l0) (L0 − l0)²``, which equals the linear penalty's at twice the target (Gemma Scope 2, equation 5, batch mean).
    """
    entries, active, window = _candidates(sae, pre)
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    theta, n = sae.threshold[entries.feature.long()], sae.tokens(pre)
    weight = torch.full_like(sae.threshold, sae.sparsity)
    if sae.config.architecture == "jumprelu":
        weight *= float(sae.ranks.over_all(active.sum())) / (n * sae.config.l0) - 1
    if sae.config.frequency:
        share = sae.ranks.over_lots(_per_feature(sae, entries, active.float())) / n
        weight += sae.config.frequency * 2 * share / _FREQUENT
    # Summed over entries for each feature: the error's part in the kernels' units, the penalty's in tokens.
    moved = _per_feature(sae, entries, theta * grad_acts * window)
    sae.add_grad("threshold", -(moved / (n * sae.half) + weight * _per_feature(sae, entries, window.float()) / n) / sae.bandwidth)
    return Outcome(entries, error, [Pass(entries.only(active), grad_acts[active], grad_recon)], active)


def _jumprelu_tanh(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    """``‖error‖² + λ Σ tanh(4 f ‖W_dec‖) + λ_P Σ ReLU(θ − z) ‖W_dec‖``; the window's gradient reaches the encoder as well."""
    entries, active, window = _candidates(sae, pre)
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    feature, norms, n = entries.feature.long(), sae.W_dec.norm(dim=1), sae.tokens(pre)
    theta, norm = sae.threshold[feature], norms[feature]
    steep = _TANH_SCALE / torch.cosh((_TANH_SCALE * entries.value * norm).clamp_max(40)).square()
    sae.add_grad_norms(sae.sparsity * _per_feature(sae, entries, steep * entries.value) / n, norms)
    upstream = grad_acts + sae.half * sae.sparsity * steep * norm
    through = theta / sae.bandwidth * window
    sae.add_grad("threshold", -_per_feature(sae, entries, through * upstream) / (n * sae.half))
    # Every entry below its threshold is pulled up alike: all of them in one rank-one step, less those that are active.
    silent = len(pre) - _per_feature(sae, entries, active.float())
    sae.add_grad("threshold", sae.pre_act * norms * silent / n)
    sae.pull_up(sae.pre_act * norms)
    grad_pre = upstream * (active + through) + sae.half * sae.pre_act * norm * active
    return Outcome(entries, error, [Pass(entries, grad_pre, grad_recon)], active)


def _candidates(sae: SaeState, pre: Tensor) -> tuple[Entries, Tensor, Tensor]:
    """Entries that are active or in the window around their threshold: codes, and which are which."""
    found = sae.kernels.above(pre, sae.threshold - sae.bandwidth / 2)
    theta = sae.threshold[found.feature.long()]
    active = found.value > theta
    window = (found.value - theta).abs() < sae.bandwidth / 2
    return Entries(found.indptr, found.feature, found.value * active), active, window


def _gated(sae: SaeState, pre: Tensor, target: Tensor) -> Outcome:
    """``‖error‖² + λ Σ ReLU(π) + ‖error of ReLU(π) through a frozen decoder‖²``; π opens the gate, ``exp(r) u + b_mag`` is the value."""
    opened = sae.kernels.above(pre, torch.full_like(sae.b_enc, _TINY))
    feature, n = opened.feature.long(), sae.tokens(pre)
    u, stretch = opened.value - sae.b_enc[feature], sae.r_mag.exp()[feature]
    magnitude = stretch * u + sae.b_mag[feature]
    positive = magnitude > 0
    entries = Entries(opened.indptr, opened.feature, magnitude * positive)
    error, grad_recon, grad_acts = sae.kernels.decode(entries, sae.decoder, target, sae.layout)
    _, gate_grad_recon, gate_grad_acts = sae.kernels.decode(opened, sae.decoder, target, sae.layout)
    value_grad_pre = grad_acts * positive
    unit = 1 / (n * sae.half)
    sae.add_grad("r_mag", _per_feature(sae, entries, value_grad_pre * stretch * u) * unit)
    sae.add_grad("b_mag", _per_feature(sae, entries, value_grad_pre) * unit)
    sae.add_grad("b_enc", -_per_feature(sae, entries, value_grad_pre * stretch) * unit)  # the value does not see the gate's bias
    gate = Pass(
        Entries(opened.indptr, opened.feature, torch.zeros_like(opened.value)),
        gate_grad_acts + sae.half * sae.sparsity,
        gate_grad_recon,
        frozen=True,
    )
    return Outcome(entries, error, [Pass(entries, value_grad_pre * stretch, grad_recon), gate], positive)


def _per_feature(sae: SaeState, entries: Entries, amount: Float[Tensor, " nnz"]) -> Float[Tensor, " d_sae"]:
    """Sum of `amount` over each feature's entries, in an order that does not change from run to run."""
    if amount.is_cuda:  # where bincount adds up in any order
        return torch.zeros_like(sae.b_enc).index_put_((entries.feature.long(),), amount.float(), accumulate=True)
    return torch.bincount(entries.feature, weights=amount, minlength=len(sae.b_enc)).float()


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "batchtopk": _batchtopk,
        "topk": _topk,
        "jumprelu": _jumprelu,
        "jumprelu-step": _jumprelu,
        "jumprelu-tanh": _jumprelu_tanh,
        "gated": _gated,
        "relu": _relu,
    }
)
"""The rule of each architecture."""
