"""Export: a trained SAE for raw activations, with a threshold for each feature that holds the L0 asked for on held-out text."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.metrics import VarianceSum, concat_sites
from hooke.names import Site
from hooke.sae import Sae, SaeFacts

if TYPE_CHECKING:
    from hooke.train.trainer import SaeTrainer

_BLOCK = 4096
# Penalties that were given a weight keep the L0 it led to; all else is held to the L0 that was asked for.
_WEIGHED = ("jumprelu-step", "jumprelu-tanh", "gated", "relu")


def export(trainer: "SaeTrainer", held_out: Mapping[Site, Float[Tensor, "token d_site"]], *, model: str, context: int) -> Sae:
    """The trained SAE at inference: a threshold for each feature, or, of a TopK SAE, its own rule.

    Half of `held_out` sets the thresholds so that the mean L0 there is the wanted one; the other half gives the metrics it carries.
    """
    sae, units = _folded(trainer, model=model, context=context)
    acts = concat_sites(held_out, trainer.reads).cpu()
    target = concat_sites(held_out, trainer.writes).cpu()
    middle = len(acts) // 2
    if sae.facts.activation == "jumprelu" and (trainer.config.sparsity is None or trainer.config.architecture not in _WEIGHED):
        offset = _offset(sae, units, acts[:middle], trainer.config.l0)
        sae = replace(sae, threshold=(sae.threshold + offset * units).clamp_min(0))
    sae.facts.metrics.update(measure(sae, acts[middle:], target[middle:]))
    return sae


def _folded(trainer: "SaeTrainer", *, model: str, context: int) -> tuple[Sae, Float[Tensor, " d_sae"]]:
    """Normalisation and free decoder norms folded into the weights (methods: 1.3, 1.7, 1.12); and each feature's unit, ``n``.

    With ``x = (a − μ)/s`` and ``y = (b − ν)/t``, coordinate by coordinate: rows ``t·W_dec`` are brought to length 1 (of TopK: to a
    common scale), their lengths ``n`` taken over by what comes before: ``W_enc' = n W_enc/s``, ``b_enc' = n (b_enc − (μ/s) W_enc)``,
    ``θ' = n θ``; ``W_skip' = W_skip t/s``, ``b_dec' = t b_dec + ν − μ W_skip'``. A gated SAE is a JumpReLU one: ``n exp(r)`` in the
    place of ``n``, its threshold where its gate opens.
    """
    config, m = trainer.config, trainer.config.d_sae
    weights = SimpleNamespace(**{name: parameter.value.cpu() for name, parameter in trainer.parameters.items()})
    mean_in, scale_in = _moments(trainer, trainer.reads)
    mean_out, scale_out = _moments(trainer, trainer.writes)
    width = weights.W_enc.shape[1]
    W_enc = torch.zeros(len(mean_in), m)
    for i in range(len(trainer.reads)):
        own, rows = slice(i * width, (i + 1) * width), slice(i * m // len(trainer.reads), (i + 1) * m // len(trainer.reads))
        W_enc[own, rows] = weights.W_enc[rows].T
    W_enc /= scale_in[:, None]
    b_enc, threshold = weights.b_enc.clone(), getattr(weights, "threshold", torch.zeros(m))
    stretch = torch.ones(m)
    if config.architecture == "gated":
        stretch = weights.r_mag.exp()
        threshold = (weights.b_mag - stretch * weights.b_enc).clamp_min(0)
        b_enc = weights.b_mag / stretch
    W_dec = weights.W_dec * scale_out
    norms = W_dec.norm(dim=1).clamp_min(1e-12)
    if config.architecture == "topk":  # its features are chosen by comparing their values, which must keep their proportions
        norms = norms.square().mean().sqrt().expand(m)
    skip = weights.W_skip * scale_out / scale_in[:, None] if config.skip else None
    facts = SaeFacts(
        trainer.name,
        model,
        # One threshold for all tokens would undo what TopK learnt (docs/decisions/0007).
        "topk" if config.architecture == "topk" else "jumprelu",
        config.l0 if config.architecture == "topk" else None,
        context=context,
        reads=list(config.reads),
        writes=list(config.writes),
        groups=config.groups,
        training={"recipe": config.architecture, **{key: value for key, value in asdict(config).items() if value not in (None, ())}},
    )
    sae = Sae(
        W_enc * (norms * stretch),
        norms * stretch * (b_enc - mean_in @ W_enc),
        W_dec / norms[:, None],
        scale_out * weights.b_dec + mean_out - (0 if skip is None else mean_in @ skip),
        norms * threshold,
        facts,
        skip,
    )
    return sae, norms


def _moments(trainer: "SaeTrainer", sites: tuple[Site, ...]) -> tuple[Tensor, Tensor]:
    """Mean and scale of every coordinate of `sites`, side by side."""
    mean, scale = zip(*(trainer.moments[site] for site in sites), strict=True)
    return torch.cat(mean).cpu(), torch.cat(scale).cpu()


def _offset(sae: Sae, units: Float[Tensor, " d_sae"], acts: Float[Tensor, "token d_in"], l0: int) -> float:
    """How many `units` to add to all thresholds so that exactly ``l0`` pre-activations per token exceed theirs, on average."""
    values = []
    for block in acts.split(_BLOCK):
        over = (torch.addmm(sae.b_enc, block.float(), sae.W_enc) - sae.threshold) / units
        # Each token's largest 8 · l0 are enough: the mean is l0, and hardly a token comes near that many.
        values.append(over.topk(min(8 * l0, sae.d_sae), dim=-1).values.flatten())
    ranked = torch.cat(values).sort(descending=True).values
    return float(ranked[min(l0 * len(acts), len(ranked) - 1)])


def measure(sae: Sae, acts: Float[Tensor, "token d_in"], target: Float[Tensor, "token d_out"] | None = None) -> dict[str, float]:
    """``tokens``, ``l0``, ``fvu`` and ``dead`` (share of features that never fire) of `sae` on `acts`, rebuilding `target` (or `acts`)."""
    sums, fired, active = VarianceSum(), torch.zeros(sae.d_sae, dtype=torch.bool), 0
    for block, wanted in zip(acts.split(_BLOCK), (acts if target is None else target).split(_BLOCK), strict=True):
        codes = sae.encode(block)
        sums.add(wanted, sae.decode(codes, block))
        fired[codes.feature] = True
        active += len(codes.feature)
    return {"tokens": float(len(acts)), "l0": active / len(acts), "fvu": sums.fvu, "dead": 1 - float(fired.float().mean())}
