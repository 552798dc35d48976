"""SaeTrainer: one SAE in training, and one step."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor

from hooke.kernels import Entries, Gradients, Layout
from hooke.kernels.contrast import contrast
from hooke.kernels.products import linear
from hooke.names import Site
from hooke.train.rules import RULES, Pass
from hooke.train.state import SaeState

_BETAS, _EPS = (0.9, 0.99), 1e-8
# One batch row in this many feeds the auxiliary loss: dead features need some signal, not all of it.
_AUX_STRIDE = 4
# How far the logarithm of a steered penalty can move over a whole run.
_STEER = 20.0
# By how much a dead feature's threshold comes down at each step: a share of it, or, of a gate's, an amount.
_SINK = 0.01
# What a feature's bias falls by at each step for every time over that its share of tokens exceeds what is allowed, and how far back that
# share looks.
_THIN, _MEMORY_TOKENS = 0.01, 100_000
# How far, as a cosine, a decoder row may turn from where it began, in the control that is frozen softly.
_SOFT = 0.8
# Features that fire on more than this share of tokens are counted as dense.
_DENSE = 0.1


class SaeTrainer(SaeState):
    """One SAE in training. A step:

    1. ``pre = x W_enc + b_enc``, the one dense product, in bfloat16;
    2. the architecture's rule (`rules`) makes codes of it, decodes them, and says how each entry should move;
    3. temporal SAEs: the group ``about`` should tell both tokens of a pair from the batch's others; row ``i`` of the batch and row
       ``i + half`` are a pair;
    4. AuxK: the dead features' largest pre-activations reconstruct what is left; that loss, weighted, trains their encoder and decoder;
    5. sparse gradients of encoder and decoder; Adam; decoder rows kept at length 1, except where their norms are free.
    """

    def step(self, acts: Mapping[Site, Float[Tensor, "token d_site"]]) -> None:
        """Learn from one batch."""
        x = self.normalised(acts, self.reads)
        y = x if self.writes == self.reads else self.normalised(acts, self.writes)
        n, varied = len(x), _sum_of_squares(y - y.mean(0))
        self._mean_input = x.mean(0)
        x, y = self.ranks.rows(x), self.ranks.rows(y)
        self.decoder = self.W_dec.bfloat16()  # as the kernels read it, all through this step
        rounded = x.bfloat16()
        pre = self._pre(rounded)
        target = y - self.b_dec
        if self.config.skip:
            target -= x @ self.W_skip
        entries, error, passes, active = RULES[self.config.architecture](self, pre, target)
        if self.config.contrasted:
            passes[0] = self._contrasted(passes[0], n)
        scale = 1 / (n * self.half)
        for one in passes:
            self._learn(one, rounded, scale)
        # What is in every prefix learns from the first gradient, which holds them all.
        moving = [one.grad_recon[0] for one in passes if not one.frozen]
        moved = moving[0] if len(moving) == 1 else torch.stack(moving).sum(0)
        self.add_grad("b_dec", moved.sum(0) * scale)
        if self.config.skip:
            self.add_grad("W_skip", x.T @ moved * scale)
        fired = torch.bincount(entries.feature if active is None else entries.feature[active], minlength=len(self.b_enc))
        fired = self.ranks.over_lots(fired)
        self._aux_loss(pre, rounded, error)
        self._silent = torch.where(fired > 0, 0, self._silent + n)
        self._share += min(1.0, n / _MEMORY_TOKENS) * (fired / n - self._share)
        active_n = self.ranks.total(int(fired.sum()), fired.device)
        self._fired += fired
        self._count(n, varied, error, active_n)
        self._steer(active_n / n)
        self._update()

    def _pre(self, x: BFloat16[Tensor, "token d_in"]) -> BFloat16[Tensor, "token d_sae"]:
        weights, bias, width = self.W_enc.bfloat16(), self.b_enc.bfloat16(), self.W_enc.shape[1]
        if len(self.reads) == 1:
            return linear(x, weights, bias)
        step = len(weights) // len(self.reads)
        blocks = ((slice(i * width, (i + 1) * width), slice(i * step, (i + 1) * step)) for i in range(len(self.reads)))
        return torch.cat([linear(x[:, own], weights[rows], bias[rows]) for own, rows in blocks], dim=1)

    def _learn(self, one: Pass, x: BFloat16[Tensor, "token d_in"], scale: float, layout: Layout | None = None) -> None:
        into = Gradients(*(self.parameters[name].gradient for name in ("W_dec", "W_enc", "b_enc")))
        self.kernels.add_gradients(one.entries, one.grad_pre, x, one.grad_recon.bfloat16(), layout or self.layout, scale, into)

    def _contrasted(self, first: Pass, n: int) -> Pass:
        """With the gradient of the contrast added to each entry's."""
        config = self.config
        loss, gradient = contrast(first.entries, config.about_size, cosine=config.cosine, temperature=config.temperature)
        self._tally["contrast"] += loss * n
        return first._replace(grad_pre=first.grad_pre + config.contrast * n * self.half * gradient)

    def _aux_loss(self, pre: Tensor, x: BFloat16[Tensor, "token d_in"], error: Tensor) -> None:
        """AuxK (arXiv 2406.04093, appendix A): ``‖codes_dead W_dec − (−error)‖²``, for dead features' largest positive pre-activations."""
        dead, count = (self._silent >= self._dead_after).nonzero().flatten(), self.n_dead
        if count == 0 or not self.config.aux_weight:
            return
        rows = slice(self.steps % _AUX_STRIDE, None, _AUX_STRIDE)
        k = min(self.config.aux_k, count)
        x, left = x[rows].contiguous(), -error[rows]
        found, _ = self.kernels.largest(pre[rows][:, dead].contiguous(), k * self.tokens(x))
        entries = Entries(found.indptr, dead[found.feature.long()].int(), found.value)
        _, grad_recon, grad_acts = self.kernels.decode(entries, self.decoder, left.contiguous(), self._aux_layout)
        weight = self.config.aux_weight * k / self.config.aux_k / (self.tokens(x) * self.half)
        self._learn(Pass(entries, grad_acts, grad_recon), x, weight, self._aux_layout)

    def _count(self, tokens: int, varied: float, error: Tensor, active: int) -> None:
        tally, sse = self._tally, _sum_of_squares(error)
        if self.ranks.lots > 1:
            sse = float(self.ranks.over_lots(torch.tensor(sse, dtype=torch.float64, device=error.device)))
        self.is_finite = math.isfinite(sse)
        tally["sse"] += sse
        tally["sst"] += varied
        tally["active"] += active
        tally["tokens"] += tokens

    def _steer(self, l0: float) -> None:
        """Move a penalty without a weight of its own towards the L0 that is wanted."""
        if self.config.sparsity is None:
            off = l0 / self.config.l0 - 1
            self.log_sparsity += _STEER / self.config.steps * max(-1.0, min(1.0, off))

    def _update(self) -> None:
        lr = self.config.lr_at(self.steps)
        self.steps += 1
        for name, parameter in self.parameters.items():
            if name == {"decoder": "W_dec", "encoder": "W_enc"}.get(self.config.frozen or ""):
                parameter.gradient.zero_()
                continue
            self.ranks.over_lots(parameter.gradient)
            self.kernels.adam(parameter, self.steps, lr, _BETAS, _EPS, unit_rows=name == "W_dec" and not self.free_norms)
        # A threshold that nothing reaches gets no gradient, nor a gate that never opens: they come down until something passes.
        dead = self._silent >= self._dead_after
        if "threshold" in self.parameters:
            self.threshold.mul_(torch.where(dead, 1 - _SINK, 1.0)).clamp_min_(1e-6)
        elif self.config.architecture in ("gated", "relu"):
            self.b_enc.add_(dead, alpha=_SINK)
        if self.config.frozen == "soft-decoder":
            self._hold_back()
        if self.config.densest < 1:
            self.b_enc.sub_(_THIN * (self._share / self.config.densest - 1).clamp_min(0))

    def _hold_back(self) -> None:
        """Bring decoder rows that have turned too far back to the nearest direction allowed."""
        start, rows = self._start, self.W_dec
        along = (rows * start).sum(1, keepdim=True)
        across = torch.nn.functional.normalize(rows - along * start, dim=1)
        near = rows.norm(dim=1, keepdim=True) * (_SOFT * start + math.sqrt(1 - _SOFT**2) * across)
        rows.copy_(torch.where(along < _SOFT * rows.norm(dim=1, keepdim=True), near, rows))

    def report(self) -> dict[str, float]:
        """How the SAE has done since it was last asked: error, L0, dead and dense features; the learning rate it stands at."""
        tally, tokens = self._tally, max(1.0, self._tally["tokens"])
        row = {
            "fvu": tally["sse"] / max(tally["sst"], 1e-30),
            "l0": tally["active"] / tokens,
            "dead": self.n_dead,
            "dense": int(self.ranks.total(int((self._fired > _DENSE * tokens).sum()), self._fired.device)),
            "loss": tally["sse"] / tokens / (2 * self.half),
            "lr": self.config.lr_at(min(self.steps, self.config.steps - 1)),
        }
        if self.config.contrasted:
            row["contrast"] = tally["contrast"] / tokens
        self._tally = dict.fromkeys(tally, 0.0)
        self._fired.zero_()
        return row


def _sum_of_squares(x: Float[Tensor, "token d_out"]) -> float:
    return float(x.square().sum(1).sum(dtype=torch.float64))
