"""SaeTrainer: the state of one SAE in training, one step, and its export for inference."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke import kernels
from hooke.metrics import VarianceSum
from hooke.names import SaeName
from hooke.sae import Sae, SaeFacts

if TYPE_CHECKING:
    from hooke.train import TrainConfig

_BETAS, _EPS = (0.9, 0.999), 1e-8
# One batch row in this many feeds the auxiliary loss: dead features need some signal, not all of it.
_AUX_STRIDE = 4
# The next batch's cut-off is looked for from this many bfloat16 steps below the last one's, about half its value.
_FLOOR_BELOW = 128


class SaeTrainer:
    """One SAE in training.

    Works on ``x = (acts − mean) / scale``. A step:

    1. ``pre = x W_enc + b_enc`` (the one dense product, in bfloat16); keep the ``l0 · batch`` largest positive entries of the batch.
    2. ``error = codes W_dec + b_dec − x``; loss ``mean ‖error‖² / d``.
    3. AuxK: the dead features' largest pre-activations reconstruct ``−error``; that loss, weighted, trains their encoder and decoder.
    4. Sparse gradients of encoder and decoder; Adam, decoder rows kept at length 1.
    """

    def __init__(self, name: str, config: "TrainConfig", sample: Float[Tensor, "token d_in"]) -> None:
        self.name, self.config, self.site = name, config, SaeName.parse(name).site
        x = sample.float()
        self.mean = x.mean(0)
        self.scale = float((x - self.mean).square().mean().sqrt())
        d, m = x.shape[1], config.d_sae
        generator = torch.Generator().manual_seed(config.seed)
        rows = torch.nn.functional.normalize(torch.randn(m, d, generator=generator), dim=1)
        self.W_dec = rows.numpy().copy()
        self.W_enc = rows.numpy().copy()
        self.b_enc = np.zeros(m, np.float32)
        self.b_dec = np.zeros(d, np.float32)
        self._state = {key: np.zeros_like(value) for name in ("W_dec", "W_enc", "b_enc", "b_dec") for key, value in self._slots(name)}
        self._silent = np.zeros(m, np.int64)
        self._steps = 0
        self._floor = 1
        self.fvu = float("nan")

    def _slots(self, name: str) -> list[tuple[str, np.ndarray]]:
        value = getattr(self, name)
        return [(f"{name}.{part}", value) for part in ("gradient", "first", "second")]

    @property
    def n_dead(self) -> int:
        """Features that have not fired for ``dead_after`` tokens."""
        return int((self._silent >= self.config.dead_after).sum())

    def step(self, acts: Float[Tensor, "batch d_in"]) -> None:
        """Learn from one batch."""
        x = (acts.float() - self.mean) / self.scale
        pre = self._pre(x)
        x = x.numpy()
        n, d = x.shape
        indptr, feature, value, cut = kernels.batch_topk(pre, self.config.l0 * n, self._floor)
        self._floor = max(1, cut - _FLOOR_BELOW)
        error, g = np.empty_like(x), np.empty_like(value)
        kernels.decode_error(indptr, feature, value, self.W_dec, x - self.b_dec, error, g)
        state = self._state
        gradients = (state["W_dec.gradient"], state["W_enc.gradient"], state["b_enc.gradient"])
        kernels.add_gradients(
            *kernels.by_feature(indptr, feature, self.config.d_sae), value, g, x, error, np.float32(2 / (n * d)), *gradients
        )
        state["b_dec.gradient"] += error.sum(0) * (2 / (n * d))
        fired = np.bincount(feature, minlength=self.config.d_sae) > 0
        self._revive(pre, x, error)
        self._silent = np.where(fired, 0, self._silent + n)
        self.fvu = float(np.square(error, dtype=np.float64).sum() / np.square(x - x.mean(0), dtype=np.float64).sum())
        self._update()

    def _pre(self, x: Float[Tensor, "batch d_in"]) -> np.ndarray:
        """Bit patterns of the bfloat16 pre-activations."""
        weights, bias = torch.from_numpy(self.W_enc).bfloat16(), torch.from_numpy(self.b_enc).bfloat16()
        return torch.nn.functional.linear(x.bfloat16(), weights, bias).view(torch.int16).numpy()

    def _revive(self, pre: np.ndarray, x: np.ndarray, error: np.ndarray) -> None:
        """AuxK: ``‖codes_dead W_dec − (−error)‖²``, for dead features' largest positive pre-activations."""
        dead = np.flatnonzero(self._silent >= self.config.dead_after)
        if len(dead) == 0 or self.config.aux_weight == 0:
            return
        rows = slice(self._steps % _AUX_STRIDE, None, _AUX_STRIDE)
        k = min(self.config.aux_k, len(dead))
        x, left = np.ascontiguousarray(x[rows]), np.ascontiguousarray(-error[rows])
        indptr, column, value, _ = kernels.batch_topk(np.ascontiguousarray(pre[rows][:, dead]), k * len(x))
        feature = dead[column].astype(np.int32)
        aux_error, g = np.empty_like(x), np.empty_like(value)
        kernels.decode_error(indptr, feature, value, self.W_dec, left, aux_error, g)
        weight = np.float32(self.config.aux_weight * k / self.config.aux_k * 2 / x.size)
        state = self._state
        gradients = (state["W_dec.gradient"], state["W_enc.gradient"], state["b_enc.gradient"])
        kernels.add_gradients(*kernels.by_feature(indptr, feature, self.config.d_sae), value, g, x, aux_error, weight, *gradients)

    def _update(self) -> None:
        lr = self.config.lr_at(self._steps)
        self._steps += 1
        for name in ("W_dec", "W_enc", "b_enc", "b_dec"):
            state = (self._state[key] for key, _ in self._slots(name))
            weights, gradient, first, second = (np.atleast_2d(array) for array in (getattr(self, name), *state))
            kernels.adam_rows(weights, gradient, first, second, lr, *_BETAS, _EPS, self._steps, name == "W_dec")

    def finish(self, held_out: Float[Tensor, "token d_in"], *, model: str, context: int) -> Sae:
        """The trained SAE for raw activations.

        Folding ``x = (acts − μ)/s`` (methods: 1.3):  ``b_enc' = s·b_enc − μ W_enc``,  ``b_dec' = s·b_dec + μ``,  codes scale by ``s``.
        One threshold for all features: the value that the wanted number of pre-activations exceeds on `held_out`.
        """
        W_enc = torch.from_numpy(self.W_enc).T.contiguous()
        training = {"recipe": "batchtopk+auxk", **asdict(self.config)}
        facts = SaeFacts(self.name, model, context=context, training=training)
        open_sae = Sae(
            W_enc,
            self.scale * torch.from_numpy(self.b_enc) - self.mean @ W_enc,
            torch.from_numpy(self.W_dec).clone(),
            self.scale * torch.from_numpy(self.b_dec) + self.mean,
            torch.zeros(self.config.d_sae),
            facts,
        )
        threshold = _threshold(open_sae, held_out, self.config.l0)
        sae = Sae(open_sae.W_enc, open_sae.b_enc, open_sae.W_dec, open_sae.b_dec, torch.full((self.config.d_sae,), threshold), facts)
        facts.metrics.update(measure(sae, held_out))
        return sae


def _threshold(sae: Sae, held_out: Float[Tensor, "token d_in"], l0: int) -> float:
    """The value that exactly ``l0`` pre-activations per token exceed, on average."""
    values = []
    for block in held_out.split(4096):
        pre = torch.addmm(sae.b_enc, block.float(), sae.W_enc)
        # Each token's largest 8 · l0 are enough: the mean is l0, and no token comes near that many.
        values.append(pre.topk(min(8 * l0, sae.d_sae), dim=-1).values.flatten())
    ranked = torch.cat(values)
    keep = min(l0 * len(held_out), len(ranked) - 1)
    return max(float(ranked.sort(descending=True).values[keep]), 0.0)


def measure(sae: Sae, held_out: Float[Tensor, "token d_in"]) -> dict[str, float]:
    """``tokens``, ``l0``, ``fvu`` and ``dead`` (share of features that never fire) of `sae` on `held_out`."""
    sums, fired, active = VarianceSum(), torch.zeros(sae.d_sae, dtype=torch.bool), 0
    for block in held_out.split(4096):
        codes = sae.encode(block)
        sums.add(block, sae.decode(codes))
        fired[codes.feature] = True
        active += len(codes.feature)
    n = len(held_out)
    return {"tokens": float(n), "l0": active / n, "fvu": sums.fvu, "dead": 1 - float(fired.float().mean())}
