"""Baselines: what an SAE has to beat at its own site, fitted on text that is not evaluated: ablations, PCA, a random dictionary, noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import HookeError
from hooke.evals.randomised import random_dictionary
from hooke.sae import Sae


@dataclass(frozen=True)
class Rebuilt:
    """What stands in for activations."""

    acts: Float[Tensor, "token d"]
    """The stand-ins."""
    l0: Int[Tensor, " token"]
    """Numbers that each was made from."""


Baseline = Callable[[Float[Tensor, "token d"], Float[Tensor, "token d"]], Rebuilt]
"""From activations, and from what the SAE makes of them, to what stands in for them."""


@dataclass(frozen=True)
class Calibration:
    """What baselines know of a site: moments of its activations."""

    mean: Float[Tensor, " d"]
    """Mean activation, float64."""
    directions: Float[Tensor, "d d"]
    """Principal directions as columns, of largest variance first, float64."""
    sample: Float[Tensor, "token d"]
    """Some of the activations, float32."""

    @classmethod
    def of(cls, acts: Float[Tensor, "token d"]) -> "Calibration":
        """From activations; raises `HookeError` if they are not finite."""
        if not bool(acts.isfinite().all()):
            raise HookeError("activations are not finite: the model overflows. Load it in bfloat16 or float32.")
        x = acts.double()
        mean = x.mean(0)
        centred = x - mean
        return cls(mean, torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1), acts.float())


def constant(mean: Float[Tensor, " d"]) -> Baseline:
    """Every activation replaced by `mean`: the ablations."""
    return lambda x, _: Rebuilt(mean.to(x).expand_as(x), x.new_zeros(len(x), dtype=torch.int64))


def identity(x: Float[Tensor, "token d"], _: Float[Tensor, "token d"]) -> Rebuilt:
    """Every activation replaced by itself: must cost nothing."""
    return Rebuilt(x, torch.full((len(x),), x.shape[1], device=x.device))


def pca(calibration: Calibration, k: int) -> Baseline:
    """Projection on the `k` directions of largest variance around the mean."""
    k = min(k, len(calibration.mean))
    mean, directions = calibration.mean.float(), calibration.directions[:, :k].float()

    def rebuild(x: Tensor, _: Tensor) -> Rebuilt:
        centre, basis = mean.to(x), directions.to(x)
        return Rebuilt(centre + (x - centre) @ basis @ basis.T, torch.full((len(x),), k, device=x.device))

    return rebuild


def noise(seed: int) -> Baseline:
    """A random vector as far from the activation as the SAE's reconstruction is: what an error of that size costs where it has no aim."""

    def rebuild(x: Tensor, reconstruction: Tensor) -> Rebuilt:
        # The same numbers for every batch, so that a run that was broken off goes on as it would have.
        aim = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
        distance = (x - reconstruction).norm(dim=1, keepdim=True)
        return Rebuilt(x + distance * aim / aim.norm(dim=1, keepdim=True), torch.full((len(x),), x.shape[1], device=x.device))

    return rebuild


def sparse_noise(calibration: Calibration, sae: Sae, l0: float, seed: int) -> Baseline:
    """A random dictionary as wide and as sparse as `sae`, its output scaled by what makes the squared error least."""
    plain = random_dictionary(calibration.sample, sae, l0=l0, seed=seed)
    built, wanted = ((acts - plain.b_dec).double() for acts in (plain.reconstruct(calibration.sample), calibration.sample))
    scale = float((built * wanted).sum() / built.square().sum().clamp_min(1e-30))

    def rebuild(x: Tensor, _: Tensor) -> Rebuilt:
        here = plain.to(x.device)
        codes = here.encode(x)
        return Rebuilt(here.b_dec + scale * (here.decode(codes) - here.b_dec), codes.l0)

    return rebuild


def mean_l0(sae: Sae, acts: Float[Tensor, "token d_in"], block: int = 4096) -> float:
    """Active features per token, on average."""
    return sum(len(sae.encode(part).feature) for part in acts.split(block)) / max(1, len(acts))


def baselines_for(calibration: Calibration, sae: Sae, l0: float, seed: int) -> dict[str, Baseline]:
    """The baselines of an SAE that has `l0` active features, by name."""
    return {
        "identity": identity,
        "mean": constant(calibration.mean),
        "zero": constant(torch.zeros_like(calibration.mean)),
        "pca": pca(calibration, round(l0)),
        "random": sparse_noise(calibration, sae, l0, seed),
        "noise": noise(seed),
    }
