"""Lens: what every layer of a model makes of every token of one text: the words it would say next, and the features that it holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hooke.codes import Codes
from hooke.errors import BadConfig, LimitReached
from hooke.metrics import not_sinks
from hooke.model import Model
from hooke.model.head import final_norm
from hooke.names import Site
from hooke.sae import Sae

__all__ = [
    "CARRIED",
    "MOST_TOKENS",
    "FeatureAt",
    "LayerReading",
    "Lens",
    "LensSae",
    "LensText",
    "SaeReading",
    "in_order",
    "read_lens",
    "shares",
]

MOST_TOKENS, MOST_WORDS = 128, 20
"""Tokens of a text, and words of a cell, at most: each cell is a row of logits."""
CARRIED = 0.5
"""From this cosine of two decoder rows on, a feature of one layer is taken to be carried on by a feature of the next."""
_EVERYWHERE = 0.1


@dataclass(frozen=True)
class LayerReading:
    """One layer: for each token of the text what the model would say next, if nothing came after this layer."""

    layer: int
    """The block after which the residual stream is read."""
    words: list[list[str]]
    """The likeliest next tokens, the likeliest first."""
    probabilities: list[list[float]]
    """How likely each of them is."""
    kl: list[float]
    """KL(p ‖ q) in nats, p what the model expects at the end, q what this layer would: 0 where all is settled."""
    rank: list[int]
    """Place of the model's own likeliest token among the layer's; 1 is first."""


@dataclass(frozen=True)
class FeatureAt:
    """A feature at one token."""

    feature: str
    """Its address."""
    activation: float
    """How active it is."""
    relative: float
    """The same as a share of its largest activation in ordinary text."""


@dataclass(frozen=True)
class SaeReading:
    """The features that one SAE finds at each token, and what became of those of the SAE below."""

    sae: str
    """Its address."""
    layer: int
    """Where it reads."""
    top: list[FeatureAt | None]
    """The feature most active, as a share of its own maximum, among those that do not fire nearly everywhere; None where there is none."""
    active: list[int]
    """How many are active."""
    born: list[int] | None = None
    """Of these, how many continue no active feature of the SAE below; None for the lowest."""
    carried: list[int] | None = None
    """How many do."""
    dropped: list[int] | None = None
    """How many active ones of the SAE below are continued by none."""
    newest: list[FeatureAt | None] | None = None
    """As `top`, among those born here."""
    by_chance: list[float] | None = None
    """How many of `active` would be `carried` had they met the features below of another token of the text: the mean over all others."""


@dataclass(frozen=True)
class Lens:
    """A text through all layers."""

    text: str
    model: str
    tokens: list[str]
    """What each token adds to the text; special ones left out."""
    layers: list[LayerReading]
    """From the lowest to the last."""
    saes: list[SaeReading] = field(default_factory=list)
    """From the lowest up."""

    @property
    def settled(self) -> list[int]:
        """For each token the layer from which on the model's own likeliest token stays first."""
        found = []
        for pos in range(len(self.tokens)):
            later = [layer.layer for layer in self.layers if layer.rank[pos] != 1]
            found.append(max(later) + 1 if later else self.layers[0].layer)
        return found


@dataclass(frozen=True)
class LensSae:
    """An SAE of the residual stream, and what its atlas knows of its features."""

    sae: Sae
    """The SAE."""
    maxima: np.ndarray
    """``[d_sae]`` each feature's largest activation in ordinary text."""
    density: np.ndarray
    """``[d_sae]`` how often each fires there."""

    @property
    def layer(self) -> int:
        """Where it reads."""
        return self.sae.site.layer


class LensText:
    """A text that was read once, all layers of it kept."""

    def __init__(self, model: Model, text: str) -> None:
        """One forward pass. Raises `BadConfig` for a text without a token, `LimitReached` for one of more than `MOST_TOKENS`."""
        ids = torch.tensor(model.tokenizer.encode([text]))
        shown = ~model.is_special(ids[0])
        if not bool(shown.any()):
            raise BadConfig("there is nothing to read: the text has no token.")
        if int(shown.sum()) > MOST_TOKENS:
            raise LimitReached(
                f"the text has {int(shown.sum()):,} tokens; a lens reads at most {MOST_TOKENS}, every layer of each. Cut it."
            )
        self.model, self.text = model, text
        self.tokens = model.tokenizer.pieces(ids[0, shown].tolist(), begins=True)
        """What each token adds to the text."""
        self._shown = shown
        self._acts = model.capture(ids, [Site(layer, "resid_post") for layer in range(model.n_layers)])
        self._norm = final_norm(model.hf, model.architecture)
        self._encoded: dict[str, Codes] = {}  # by SAE: each is asked for as itself, and as the one below the next
        last = torch.cat([log_p for _, log_p in model.head.log_probs(self.before_head(model.n_layers - 1))])
        self._final, self._expected = last, last.argmax(1)

    def hidden(self, layer: int) -> Float[Tensor, "token d_model"]:
        """The residual stream after a layer, special tokens left out."""
        return self._acts[Site(layer, "resid_post")][0, self._shown]

    def before_head(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What the LM head would read, were this layer the last."""
        with torch.no_grad():
            return self._norm(self.hidden(layer))

    def layer(self, layer: int, top: int = 5) -> LayerReading:
        """The logit lens after one layer: ``softmax(W_U · norm(h))``, the final norm in front of the LM head."""
        if not 1 <= top <= MOST_WORDS:
            raise BadConfig(f"{top} words of each cell; from 1 to {MOST_WORDS} are shown.")
        kl, rank, best = [], [], []
        for rows, q in self.model.head.log_probs(self.before_head(layer)):
            p, own = self._final[rows], q.gather(1, self._expected[rows, None])
            kl += (p.exp() * (p - q)).sum(1).clamp_min(0).tolist()
            rank += ((q > own).sum(1) + 1).tolist()
            found = q.topk(top)
            best += zip(found.indices.tolist(), found.values.exp().tolist(), strict=True)
        pieces = self.model.tokenizer.pieces
        words = [[pieces([token])[0] for token in tokens] for tokens, _ in best]
        return LayerReading(layer, words, [[round(p, 5) for p in own] for _, own in best], [round(value, 4) for value in kl], rank)

    def features(self, own: LensSae, below: LensSae | None = None) -> SaeReading:
        """What an SAE finds at each token; with the SAE `below`, what of it was carried here.

        A feature continues one of the SAE below where both are active on the token and their decoder rows point the same way: where the
        cosine is `CARRIED` or more. It says nothing of causes.
        """
        codes = self.codes(own)
        top = self._strongest(own, codes, np.ones(len(codes.feature), bool))
        active = torch.bincount(codes.row, minlength=len(self.tokens)).tolist()
        if below is None:
            return SaeReading(own.sae.name, own.layer, top, active)
        before = self.codes(below)
        alike = _directions(own, codes) @ _directions(below, before).T >= CARRIED
        # For each active feature and each token of the text, whether a feature active on that token below points its way.
        met = torch.stack([alike[:, before.row == pos].any(1) for pos in range(len(self.tokens))], 1)
        own_token = codes.row[:, None] == torch.arange(len(self.tokens))
        born, dropped = ~met[own_token], ~(alike & (codes.row[:, None] == before.row[None])).any(0)
        elsewhere = (met & ~own_token).sum(1) / max(1, len(self.tokens) - 1)
        by_chance = torch.zeros(len(self.tokens)).index_add_(0, codes.row, elsewhere)
        count = lambda places: torch.bincount(places, minlength=len(self.tokens)).tolist()  # noqa: E731
        newest = self._strongest(own, codes, born.numpy())
        return SaeReading(
            own.sae.name,
            own.layer,
            top,
            active,
            count(codes.row[born]),
            count(codes.row[~born]),
            count(before.row[dropped]),
            newest,
            [round(value, 3) for value in by_chance.tolist()] if len(self.tokens) > 1 else None,
        )

    def codes(self, own: LensSae) -> Codes:
        """What an SAE finds at each token; nothing at attention sinks."""
        if own.sae.name not in self._encoded:
            acts = self.hidden(own.layer)
            calm = not_sinks([acts[None]], torch.ones(1, len(acts), dtype=torch.bool, device=acts.device))[0]
            self._encoded[own.sae.name] = own.sae.encode(acts.float()).silenced(~calm)
        return self._encoded[own.sae.name]

    def _strongest(self, own: LensSae, codes: Codes, among: np.ndarray) -> list[FeatureAt | None]:
        best: list[FeatureAt | None] = [None] * len(self.tokens)
        row, feature, value = codes.row.numpy(), codes.feature.numpy(), codes.value.float().numpy()
        share = np.where(among, shares(own, codes), 0)
        for at in np.argsort(share, kind="stable"):
            if share[at] > 0:
                name = f"{own.sae.name}/{feature[at]}"
                best[row[at]] = FeatureAt(name, round(float(value[at]), 3), round(float(share[at]), 4))
        return best


def shares(own: LensSae, codes: Codes) -> Float[np.ndarray, " nnz"]:
    """How active each entry is as a share of its feature's largest activation in ordinary text; 0 for those that fire nearly everywhere."""
    feature, value = codes.feature.numpy(), codes.value.double().numpy()
    known = (own.density[feature] <= _EVERYWHERE) & (own.maxima[feature] > 0)
    return np.where(known, value / np.maximum(own.maxima[feature], 1e-9), 0)


def _directions(own: LensSae, codes: Codes) -> Float[Tensor, "nnz d_out"]:
    """The decoder row of every active feature, at length 1."""
    return torch.nn.functional.normalize(own.sae.W_dec.float()[codes.feature], dim=1)


def read_lens(model: Model, text: str, saes: Sequence[LensSae] = (), *, top: int = 5) -> Lens:
    """A text through every layer: the `top` words that each would say after each token, and what `saes` at different layers find there."""
    read = LensText(model, text)
    layers = [read.layer(layer, top) for layer in range(model.n_layers)]
    ordered = in_order(saes)
    found = [read.features(one, below) for one, below in zip(ordered, [None, *ordered], strict=False)]
    return Lens(text, model.name, read.tokens, layers, found)


def in_order(saes: Sequence[LensSae]) -> list[LensSae]:
    """From the lowest layer up. Raises `BadConfig` for two at one layer, and for SAEs of anything but the residual stream after a layer."""
    ordered = sorted(saes, key=lambda one: one.layer)
    for one in ordered:
        if [site.kind for site in one.sae.facts.input_sites] != ["resid_post"]:
            raise BadConfig(
                f"{one.sae.name} reads another place than the residual stream after a layer; a lens shows those that read there."
            )
    if len({one.layer for one in ordered}) < len(ordered):
        raise BadConfig(f"two of these SAEs read one layer: {', '.join(one.sae.name for one in ordered)}. Give one a layer.")
    return ordered
