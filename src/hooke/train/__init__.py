"""Train: SAEs from a stream of activations. Knows neither models nor corpora; whoever calls it joins them."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadConfig, HookeError, ShapeMismatch
from hooke.names import SaeName, Site
from hooke.sae import Sae
from hooke.train.trainer import SaeTrainer

__all__ = ["Progress", "TrainConfig", "train"]

_REPORT_EVERY = 50


@dataclass(frozen=True)
class TrainConfig:
    """How to train one SAE: BatchTopK with AuxK (arXiv 2412.06410, 2406.04093), exported as JumpReLU."""

    d_sae: int = 4096
    """Number of features."""
    l0: int = 50
    """Active features per token, on average over a batch."""
    steps: int = 1000
    """Batches to train on; the learning rate's schedule is laid out over them."""
    lr: float = 1e-3
    """Adam's learning rate at its height."""
    warmup: float = 0.03
    """Share of the steps over which it rises from 0."""
    decay: float = 0.3
    """Share of the steps over which it falls to 0 at the end."""
    aux_weight: float = 1 / 32
    """Weight of the auxiliary loss, in which features that have not fired for long reconstruct what is left."""
    aux_k: int = 256
    """Dead features used per token there, at most."""
    dead_after: int = 200_000
    """Tokens without firing after which a feature counts as dead."""
    seed: int = 0
    """Of the initial weights."""

    def __post_init__(self) -> None:
        lowest = {"d_sae": 1, "l0": 1, "steps": 1, "lr": 0, "warmup": 0, "decay": 0, "aux_weight": 0, "aux_k": 1, "dead_after": 1}
        for name, low in lowest.items():
            if getattr(self, name) < low or not math.isfinite(getattr(self, name)):
                raise BadConfig(f"{name}={getattr(self, name)!r} must be at least {low}.")
        if self.l0 > self.d_sae:
            raise BadConfig(f"l0={self.l0} cannot exceed d_sae={self.d_sae}.")

    def lr_at(self, step: int) -> float:
        """Learning rate of `step`, counted from 0: linear up, flat, linear down."""
        up = (step + 1) / max(1.0, self.warmup * self.steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, up, down)


@dataclass(frozen=True)
class Progress:
    """How a run is doing; handed to the callback every so often."""

    step: int
    tokens: int
    tokens_per_s: float
    fvu: dict[str, float]
    """Training batch's share of variance unexplained, by SAE name."""
    dead: dict[str, int]
    """Features that have not fired for long, by SAE name."""


def train(
    configs: Mapping[str, TrainConfig],
    stream: Iterable[Mapping[Site, Float[Tensor, "batch d_site"]]],
    sample: Mapping[Site, Float[Tensor, "token d_site"]],
    held_out: Mapping[Site, Float[Tensor, "token d_site"]],
    *,
    model: str,
    context: int,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Sae]:
    """Train all SAEs of `configs` (keyed by name) side by side on one stream; give each back as a JumpReLU SAE on raw activations.

    `sample` sets the normalisation (mean removed, one scale so that a coordinate's mean square is 1); it is folded into the weights at the
    end. `held_out` sets the threshold, so that the mean L0 there is the wanted one, and gives the metrics that the SAE carries.
    """
    trainers = {name: SaeTrainer(name, config, sample[_site(name, sample)]) for name, config in configs.items()}
    steps = max(config.steps for config in configs.values())
    began, tokens, step = time.monotonic(), 0, 0
    for batch in stream:
        for trainer in trainers.values():
            if step < trainer.config.steps:
                trainer.step(batch[trainer.site])
        step += 1
        tokens += len(next(iter(batch.values())))
        if step % _REPORT_EVERY == 0 or step == steps:
            for trainer in trainers.values():
                if not math.isfinite(trainer.fvu):
                    raise HookeError(f"{trainer.name}: the loss is no longer finite at step {step}. Lower lr (now {trainer.config.lr}).")
            speed = tokens / (time.monotonic() - began)
            report(Progress(step, tokens, speed, {n: t.fvu for n, t in trainers.items()}, {n: t.n_dead for n, t in trainers.items()}))
        if step == steps:
            break
    if step < steps:
        raise HookeError(f"the activations ended after {step} of {steps} steps. Ask for fewer steps or give more text.")
    return {name: trainer.finish(held_out[trainer.site], model=model, context=context) for name, trainer in trainers.items()}


def _site(name: str, sample: Mapping[Site, Tensor]) -> Site:
    site = SaeName.parse(name).site
    if site not in sample:
        raise ShapeMismatch(f"{name} reads {site}, which is not among the activations given: {', '.join(map(str, sample))}.")
    return site
