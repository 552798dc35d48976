"""SaeState: what one SAE in training is made of. Its rule reads it and adds gradients to it; a checkpoint keeps it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar, cast

import torch
from jaxtyping import BFloat16, Float, Int
from torch import Tensor

from hooke.errors import BadConfig, ShapeMismatch
from hooke.kernels import Layout, Parameter, kernels_for
from hooke.names import SaeName, Site
from hooke.train.config import TrainConfig
from hooke.train.ranks import ALONE, Ranks
from hooke.train.sharded import ShardedKernels

S = TypeVar("S", bound="SaeState")

# Thresholds begin where this many times the wanted number of features is active, alike for every feature.
_START_L0 = 2
# A steered penalty: what it begins at, as published, in our units.
_FIRST_SPARSITY = {"relu": 5.0, "gated": 5.0, "jumprelu-tanh": 10.0, "jumprelu-step": 0.4}
# Weight of what pulls silent features up, in `jumprelu-tanh`, as published.
_PRE_ACT = 3e-6
# A coordinate's variance counts as at least this share of the mean when coordinates are balanced.
_LEAST_VARIANCE = 1e-9


class SaeState:
    """Parameters with their gradients, normalisation, counts and schedule of one SAE in training.

    Inputs and targets are normalised, ``x = (acts − mean) / scale``, so that a coordinate's mean square is 1, on average over the
    coordinates of a site or, with ``balance``, more or less for each of them.
    """

    decoder: BFloat16[Tensor, "d_sae d_out"]
    """The decoder as the kernels read it, all through a step."""
    _mean_input: Float[Tensor, " d_in"]
    _silent: Int[Tensor, " d_sae"]
    _fired: Int[Tensor, " d_sae"]
    _share: Float[Tensor, " d_sae"]
    _start: Float[Tensor, "d_sae d_out"]

    def __init__(self, name: str, config: TrainConfig, sample: Mapping[Site, Float[Tensor, "token d_site"]], ranks: Ranks = ALONE) -> None:
        """Begin with the `config` (resolved), normalised by what `sample` holds of the sites it reads and writes; with the part of the
        features that `ranks` says."""
        self._outline(name, config, ranks)
        for site in (*self.reads, *self.writes):
            if site not in sample:
                raise ShapeMismatch(f"{name} needs {site}, which is not among the activations given: {', '.join(map(str, sample))}.")
            if site not in self.moments:
                self.moments[site] = moments(sample[site].float(), config.balance)
        # Contiguous, as they will be when they come back from a checkpoint: the order of sums depends on it.
        self.parameters = {key: Parameter.of(value.contiguous()) for key, value in self._first_weights(sample).items()}
        self._place()

    def _outline(self, name: str, config: TrainConfig, ranks: Ranks) -> None:
        self.name, self.config, self.ranks = name, config, ranks
        self.reads = tuple(map(Site.parse, config.reads)) or (SaeName.parse(name).site,)
        self.writes = tuple(map(Site.parse, config.writes)) or self.reads
        self.moments: dict[Site, tuple[Tensor, Tensor]] = {}
        self.steps, self.topk_guess = 0, 1
        self.log_sparsity = 0.0
        self.bandwidth = config.bandwidth or 0.0
        self.is_finite = True
        self._tally = {"sse": 0.0, "sst": 0.0, "active": 0.0, "tokens": 0.0, "contrast": 0.0}

    def _place(self) -> None:
        """Everything that follows from the weights' shapes."""
        (own, d_out), m = self.W_dec.shape, self.config.d_sae
        self.half = d_out / 2
        self.pre_act = _PRE_ACT / d_out
        kernels = kernels_for(self.W_dec.device)
        self.kernels = kernels if self.ranks.size == 1 else cast(Any, ShardedKernels(kernels, self.ranks))
        blocks, width = len(self.reads), self.W_enc.shape[1]
        layout = Layout.of(m, self.config.ends)
        if blocks > 1:  # a weakly causal crosscoder: each site's features read it, and write it and what comes after it
            first = (torch.arange(m) // (m // blocks) * width).int()
            layout = replace(layout, reads=first, writes=first)
        here = {key: self.ranks.own(getattr(layout, key)) for key in ("group", "reads", "writes")}
        self.layout = replace(layout, **here).to(self.W_dec.device)
        self._aux_layout = replace(Layout.of(own), reads=here["reads"], writes=here["writes"]).to(self.W_dec.device)
        if self.config.frozen == "soft-decoder":
            self._start = self._first_decoder(d_out, torch.Generator().manual_seed(self.config.seed)).to(self.W_dec.device)
        self._silent = torch.zeros(own, dtype=torch.int64, device=self.W_dec.device)
        self._fired = torch.zeros_like(self._silent)
        self._share = torch.zeros(own, device=self.W_dec.device)
        self.log_sparsity = math.log(_FIRST_SPARSITY.get(self.config.architecture, 1.0) / d_out)

    def __getattr__(self, name: str) -> Any:
        """The current value of a parameter, by its name."""
        parameters = self.__dict__.get("parameters", {})
        if name not in parameters:
            raise AttributeError(name)
        return parameters[name].value

    def _first_weights(self, sample: Mapping[Site, Tensor]) -> dict[str, Tensor]:
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        x = self.normalised(sample, self.reads)
        y = self.normalised(sample, self.writes)
        m, width = len(range(*self.ranks.features(config.d_sae))), x.shape[1] // len(self.reads)
        W_dec = self._first_decoder(y.shape[1], generator)
        if self.writes == self.reads and len(self.reads) == 1:
            W_enc = W_dec.clone()
        else:
            W_enc = torch.nn.functional.normalize(self.ranks.drawn(config.d_sae, width, generator), dim=1)
        if self.free_norms:
            W_dec *= 0.1
        found = {"W_dec": W_dec, "W_enc": W_enc, "b_enc": torch.zeros(m), "b_dec": torch.zeros(y.shape[1])}
        if config.architecture.startswith("jumprelu"):
            found["threshold"] = self._first_thresholds(x, W_enc.to(x.device))
        if config.architecture == "gated":
            found |= {"r_mag": torch.zeros(m), "b_mag": torch.zeros(m)}
        if config.skip:
            found["W_skip"] = torch.linalg.solve(x.T @ x + 1e-3 * len(x) * torch.eye(x.shape[1], device=x.device), x.T @ y)
        return {key: value.to(x.device) for key, value in found.items()}  # drawn on the CPU, so that they are the same on every device

    def _first_decoder(self, d_out: int, generator: torch.Generator) -> Float[Tensor, "d_sae d_out"]:
        """Unit rows in random directions; of a crosscoder's feature, zero at the sites before its own."""
        m, blocks = self.config.d_sae, len(self.reads)
        rows = self.ranks.drawn(m, d_out, generator)
        if blocks > 1:
            rows *= torch.arange(d_out) >= torch.arange(m)[:, None] // (m // blocks) * (d_out // blocks)
        return torch.nn.functional.normalize(rows, dim=1)

    def _first_thresholds(self, x: Tensor, W_enc: Tensor) -> Tensor:
        """The value that each feature exceeds on the same share of tokens."""
        x, width = x[:4096], W_enc.shape[1]
        rank = max(1, round(len(x) * min(0.5, _START_L0 * self.config.l0 / self.config.d_sae)))
        step = len(W_enc) // len(self.reads)
        parts = [x[:, i * width : (i + 1) * width] @ W_enc[i * step : (i + 1) * step].T for i in range(len(self.reads))]
        return torch.cat([part.topk(rank, dim=0).values[-1] for part in parts]).clamp_min(1e-3)

    @property
    def free_norms(self) -> bool:
        """Whether the penalty weighs decoder norms, which are then not held at 1."""
        return self.config.architecture in ("relu", "jumprelu-tanh")

    @property
    def n_dead(self) -> int:
        """Features that have not fired for ``dead_after`` tokens."""
        return int(self.ranks.total(int((self._silent >= self._dead_after).sum()), self._silent.device))

    @property
    def _dead_after(self) -> int:
        assert self.config.dead_after is not None, "resolve the config first"
        return self.config.dead_after

    @property
    def sparsity(self) -> float:
        """The penalty's weight at this step."""
        full = math.exp(self.log_sparsity) if self.config.sparsity is None else self.config.sparsity
        return full * min(1.0, (self.steps + 1) / max(1.0, self.config.sparsity_warmup * self.config.steps))

    def normalised(self, acts: Mapping[Site, Tensor], sites: tuple[Site, ...]) -> Float[Tensor, "token d_in"]:
        """The activations of `sites` side by side, each moved and scaled as its sample asks."""
        parts = []
        for site in sites:
            mean, scale = self.moments[site]
            if acts[site].shape[-1] != len(mean):
                raise ShapeMismatch(f"{self.name}: {site} has width {acts[site].shape[-1]}; training began with {len(mean)}.")
            parts.append((acts[site].float() - mean) / scale)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def tokens(self, rows: Float[Tensor, "token d"] | BFloat16[Tensor, "token d"]) -> int:
        """How many tokens the batch has that `rows` are of: theirs, and as many on each process that has others."""
        return len(rows) * self.ranks.lots

    def add_grad(self, name: str, gradient: Tensor) -> None:
        """Add to the gradient of the parameter `name`."""
        self.parameters[name].gradient.add_(gradient)

    def add_grad_norms(self, amount: Float[Tensor, " d_sae"], norms: Float[Tensor, " d_sae"]) -> None:
        """Add a gradient of `amount` at the decoder rows' lengths `norms`."""
        self.add_grad("W_dec", (amount / norms.clamp_min(1e-12))[:, None] * self.W_dec)

    def pull_up(self, amount: Float[Tensor, " d_sae"]) -> None:
        """Add a gradient of ``−amount`` at every pre-activation of the batch, averaged over tokens: one product of vectors."""
        width, amount = self.W_enc.shape[1], amount / self.ranks.lots  # each of them adds it
        means = torch.stack([self._mean_input[i * width : (i + 1) * width] for i in range(len(self.reads))])
        self.add_grad("W_enc", -amount[:, None] * means.repeat_interleave(len(amount) // len(means), dim=0))
        self.add_grad("b_enc", -amount)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on: tensors, and numbers that JSON can hold exactly."""
        tensors = {"silent": self._silent, "fired": self._fired, "share": self._share}
        for name, parameter in self.parameters.items():
            tensors |= {name: parameter.value, f"{name}.first": parameter.first, f"{name}.second": parameter.second}
        numbers: dict[str, Any] = {
            "config": asdict(self.config),
            "steps": self.steps,
            "topk_guess": self.topk_guess,
            "log_sparsity": self.log_sparsity,
            "tally": self._tally,
        }
        for site, (mean, scale) in self.moments.items():
            tensors |= {f"mean.{site}": mean, f"scale.{site}": scale}
        return tensors, numbers

    @classmethod
    def restore(cls: type[S], name: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], ranks: Ranks = ALONE) -> S:
        """The SAE in training whose `state` was kept; `tensors` are those of the features that `ranks` says."""
        self = cls.__new__(cls)
        try:
            self._outline(name, TrainConfig.parse(numbers["config"]), ranks)
            for site in (*self.reads, *self.writes):
                self.moments[site] = tensors[f"mean.{site}"], tensors[f"scale.{site}"]
            names = [key for key in tensors if f"{key}.first" in tensors]
            self.parameters = {
                key: Parameter(tensors[key], torch.zeros_like(tensors[f"{key}.first"]), tensors[f"{key}.first"], tensors[f"{key}.second"])
                for key in names
            }
            self._place()
            self._silent, self._fired, self._share = tensors["silent"], tensors["fired"], tensors["share"]
            self.steps, self.topk_guess, self.log_sparsity = (
                int(numbers["steps"]),
                int(numbers["topk_guess"]),
                float(numbers["log_sparsity"]),
            )
            self._tally = {key: float(numbers["tally"][key]) for key in self._tally}
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise BadConfig(
                f"the checkpoint holds no whole state of {name}: {error} is missing. Was it made by another version?"
            ) from error
        return self


def moments(x: Float[Tensor, "token d_site"], balance: float) -> tuple[Float[Tensor, " d_site"], Float[Tensor, " d_site"]]:
    """Mean and scale of each coordinate: scales go with the power `balance` of its spread, and bring the mean square to 1."""
    mean = x.mean(0)
    variance = (x - mean).square().mean(0)
    # A coordinate that hardly varies is not blown up.
    scale = variance.clamp_min(_LEAST_VARIANCE * variance.mean()).sqrt() ** balance
    return mean, scale * (variance / scale.square()).mean().sqrt()
