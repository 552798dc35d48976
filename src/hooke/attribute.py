"""Attribute: which features at a site push what a model expects next, by gradients along their directions or by taking each out.

    M          a scalar of the logits after the last token: the log probability of a token, or how far its logit stands above another's
    gradient   a_i = (f_i − f̃_i) · (W_dec_i · ∂M/∂x)            at f: gradient x activation where f̃ is 0, else attribution patching
    integrated a_i = (f_i − f̃_i) · Σ_k w_k W_dec_i · ∂M/∂x      at f + s_k (f̃ − f); s, w: Gauss and Legendre's N places and weights
    exact      a_i = M(f) − M(f with f_i ← f̃_i)                  one pass for each feature and token

(methods: 5.4.) Positive: the feature, being what it is and not what it is in the baseline, pushes M up. What the SAE does not explain of
the activations stays as it is throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.sae import Sae

__all__ = ["Attribution", "Contribution", "Method", "attribute", "log_prob", "logit_difference"]

Method = Literal["gradient", "integrated", "exact"]
Metric = Callable[[Float[Tensor, "row vocab"]], Float[Tensor, " row"]]
"""A scalar of the logits after the last token."""
# Rows of one exact pass.
_BATCH = 16


def log_prob(token: int) -> Metric:
    """The log probability of `token`."""
    return lambda logits: logits.log_softmax(-1)[:, token]


def logit_difference(token: int, other: int) -> Metric:
    """How far the logit of `token` stands above that of `other`."""
    return lambda logits: logits[:, token] - logits[:, other]


@dataclass(frozen=True)
class Contribution:
    """What one feature does on one token."""

    feature: int
    """Which feature of the SAE."""
    position: int
    """On which of the text's tokens."""
    act: float
    """How active it is there."""
    value: float
    """By how much it pushes M up."""
    exact: float | None = None
    """The same by taking it out alone; None where that was not tried."""


@dataclass(frozen=True)
class Attribution:
    """What pushes one scalar, feature by feature."""

    text: str
    tokens: list[str]
    """What each token adds to the text, the one that begins it as an empty text."""
    sae: str
    model: str
    method: Method
    metric: float
    """M as it is."""
    baseline: float
    """M once every feature is what it is in the baseline."""
    contributions: list[Contribution]
    """Those that are not 0, the largest first."""
    error: float
    """Gradient of M along what the SAE does not explain of the activations: what no feature can account for, to first order."""
    correlation: float | None
    """Pearson correlation of `value` with `exact` where both are known; None for fewer than three."""

    @property
    def total(self) -> float:
        """Sum of all contributions."""
        return sum(one.value for one in self.contributions)

    @property
    def completeness(self) -> float | None:
        """That sum over what it should be, M − M of the baseline; None where that is nothing. 1 is complete."""
        whole = self.metric - self.baseline
        return self.total / whole if abs(whole) > 1e-6 else None

    def by_feature(self) -> list[tuple[int, float]]:
        """Each feature's contributions added up over the tokens, the largest first."""
        found: dict[int, float] = {}
        for one in self.contributions:
            found[one.feature] = found.get(one.feature, 0.0) + one.value
        return sorted(found.items(), key=lambda item: -abs(item[1]))


def attribute(
    model: Model,
    sae: Sae,
    text: str,
    metric: Metric,
    *,
    method: Method = "integrated",
    baseline: str | None = None,
    steps: int = 10,
    check: int = 20,
) -> Attribution:
    """Which features of `sae` push `metric` after the last token of `text`.

    A feature's baseline is to be silent, or what it is in the text `baseline`, which must have as many tokens. ``integrated`` takes
    `steps` gradients. The `check` largest contributions are compared with exact ones. Special tokens and attention sinks
    are left out. Raises `BadConfig` for
    texts that cannot be compared, or an SAE that writes several sites, `LimitReached` for a text longer than the model's context.
    """
    if len(sae.facts.output_sites) > 1:
        raise BadConfig(f"{sae.name} writes several sites; only features that write one can be attributed to.")
    if not 1 <= steps <= 1000 or not 0 <= check <= 10_000:
        raise BadConfig(f"steps must be 1 to 1,000 and checks 0 to 10,000; given are {steps} and {check}.")
    place = _Place.read(model, sae, text, baseline)
    with torch.enable_grad():
        slope = place.gradient(metric, 0.0)
        mean = slope if method != "integrated" else place.integrated(metric, steps)
    moved = place.acts - place.other
    along = torch.einsum("pd,fd->pf", mean * place.scale, place.rows)
    values = moved * along
    where = (moved != 0).nonzero()
    order = values[moved != 0].abs().argsort(descending=True)
    largest = where[order]
    tried = largest if method == "exact" else largest[:check]
    value = float(place.measured(metric, torch.zeros_like(place.written)[None])[0])
    exact = place.without(metric, tried, value)
    if method == "exact":
        values = values.index_put((tried[:, 0], tried[:, 1]), torch.tensor(exact, dtype=values.dtype))
    found = [
        Contribution(int(place.features[f]), int(p), float(place.acts[p, f]), float(values[p, f]), exact[i] if i < len(exact) else None)
        for i, (p, f) in enumerate(largest.tolist())
    ]
    own = np.array([[one.value, one.exact] for one in found if one.exact is not None], float).reshape(-1, 2)
    return Attribution(
        text,
        ["" if i in model.tokenizer.special else piece for i, piece in zip(place.ids[0].tolist(), _pieces(model, place.ids), strict=True)],
        sae.name,
        model.name,
        method,
        value,
        float(place.measured(metric, place.shift(1.0)[None])[0]),
        sorted(found, key=lambda one: -abs(one.value)),
        float((slope * place.error).sum()),
        float(np.corrcoef(own.T)[0, 1]) if len(own) > 2 and own.std(0).min() > 0 else None,
    )


def _pieces(model: Model, ids: Int[Tensor, "1 pos"]) -> list[str]:
    return model.tokenizer.pieces(ids[0].tolist())


@dataclass(frozen=True)
class _Place:
    """A text at an SAE's site: activations, features active there or in the baseline, and passes that go on from changes of these."""

    model: Model
    sae: Sae
    ids: Int[Tensor, "1 pos"]
    written: Float[Tensor, "pos d_out"]
    """What stands at the site."""
    features: Int[Tensor, " feature"]
    acts: Float[Tensor, "pos feature"]
    other: Float[Tensor, "pos feature"]
    """What they are in the baseline."""
    rows: Float[Tensor, "feature d_out"]
    scale: Float[Tensor, "pos 1"]
    """What a decoder row is multiplied by on each token."""
    error: Float[Tensor, "pos d_out"]
    """What the SAE does not explain."""

    @classmethod
    @torch.no_grad()
    def read(cls, model: Model, sae: Sae, text: str, baseline: str | None) -> "_Place":
        ids, counted = model.one_text(text)
        read, written, calm = _acts(model, sae, ids)
        codes = sae.encode(read)
        elsewhere = None
        if baseline is not None:
            against = torch.tensor(model.tokenizer.encode([baseline]))
            if against.shape != ids.shape:
                sizes = f"the baseline has {against.shape[1]} tokens and the text {ids.shape[1]}"
                raise BadConfig(f"{sizes}; they must be as long, to be compared token by token.")
            there, _, calm_there = _acts(model, sae, against)
            elsewhere, calm = sae.encode(there), calm & calm_there
        counted = counted & calm
        features = torch.cat([each.feature.long() for each in (codes, elsewhere) if each is not None]).unique()
        acts = codes.dense()[:, features] * counted[:, None]
        other = torch.zeros_like(acts) if elsewhere is None else elsewhere.dense()[:, features] * counted[:, None]
        error = (written - sae.decode(codes, read)) * counted[:, None]
        return cls(model, sae, ids, written, features, acts, other, sae.W_dec[features].float(), sae.token_scale(read), error)

    def shift(self, share: float) -> Float[Tensor, "pos d_out"]:
        """What is added to the activations when every feature has gone so far of the way to its baseline."""
        return share * ((self.other - self.acts) @ self.rows) * self.scale

    def gradient(self, metric: Metric, share: float) -> Float[Tensor, "pos d_out"]:
        """Of the metric by the activations, `share` of the way to the baseline."""
        leaf = (self.written + self.shift(share)).detach().requires_grad_()
        (found,) = torch.autograd.grad(self._metric(metric, lambda acts: leaf[None].to(acts)).sum(), leaf)
        return found

    def integrated(self, metric: Metric, steps: int) -> Float[Tensor, "pos d_out"]:
        """The mean gradient on the way to the baseline, most often looked at near its ends, where norms of small activations turn fast."""
        at, weight = np.polynomial.legendre.leggauss(steps)
        found = [float(w) / 2 * self.gradient(metric, (float(s) + 1) / 2) for s, w in zip(at, weight, strict=True)]
        return torch.stack(found).sum(0)

    @torch.no_grad()
    def measured(self, metric: Metric, shifts: Float[Tensor, "row pos d_out"]) -> Float[Tensor, " row"]:
        """The metric with each of `shifts` added to the activations."""
        return self._metric(metric, lambda acts: acts + shifts.to(acts), len(shifts))

    def without(self, metric: Metric, places: Int[Tensor, "pair 2"], value: float) -> list[float]:
        """By how much the metric falls when each feature, on its token alone, is what it is in the baseline."""
        out: list[float] = []
        for some in places.split(_BATCH) if len(places) else ():
            shifts = torch.zeros(len(some), *self.written.shape)
            for row, (p, f) in enumerate(some.tolist()):
                shifts[row, p] = (self.other[p, f] - self.acts[p, f]) * self.rows[f] * self.scale[p]
            out += (value - self.measured(metric, shifts)).tolist()
        return out

    def _metric(self, metric: Metric, fn: Callable[[Tensor], Tensor], rows: int = 1) -> Float[Tensor, " row"]:
        with self.model.edit(self.sae.facts.output_sites[0], fn):
            hidden = self.model.hidden(self.ids.repeat(rows, 1))
        return metric(self.model.head.logits(hidden[:, -1]))


def _acts(
    model: Model, sae: Sae, ids: Int[Tensor, "1 pos"]
) -> tuple[Float[Tensor, "pos d_in"], Float[Tensor, "pos d_out"], Bool[Tensor, " pos"]]:
    """What `sae` reads, what stands where it writes, in float32, and which positions are neither special tokens nor attention sinks."""
    reads, (write,) = sae.facts.input_sites, sae.facts.output_sites
    found = model.capture(ids, list(dict.fromkeys([*reads, write])))
    calm = not_sinks([found[site] for site in reads], found.keep.to(found[write].device))[0]
    return concat_sites(found, reads)[0].float().clone(), found[write][0].float().clone(), calm


def one_token(model: Model, text: str) -> int:
    """The token that `text` is, or is with a space in front. Raises `BadConfig` where it is several."""
    begins = int(model.tokenizer.bos is not None)
    for form in (text, f" {text}"):
        if len(ids := model.tokenizer.encode([form])[0][begins:]) == 1:
            return ids[0]
    pieces = ", ".join(f"“{piece}”" for piece in _pieces(model, torch.tensor(model.tokenizer.encode([text])))[begins:])
    raise BadConfig(f"{text!r} is no single token of {model.name} but {pieces or 'nothing'}. Give one of these.")


def likeliest(model: Model, text: str) -> int:
    """The token that `model` finds likeliest after `text`."""
    with torch.no_grad():
        return int(model.head.logits(model.hidden(torch.tensor(model.tokenizer.encode([text])))[:, -1]).argmax())
