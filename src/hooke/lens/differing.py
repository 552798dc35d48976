"""Two texts through every layer, held against each other: from which layer on the model expects other words, and which features differ."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hooke.lens import LensSae, LensText, in_order, shares
from hooke.model import Model

__all__ = ["FeatureDifference", "LayerDifference", "LensDifference", "SaeDifference", "TwoTexts", "paired", "read_difference"]


@dataclass(frozen=True)
class LayerDifference:
    """One layer: after each pair of tokens what would come next in either text, and how far apart that is."""

    layer: int
    """The block after which the residual stream is read."""
    words: list[tuple[str, str]]
    """The likeliest next token in the first text, and in the second."""
    apart: list[float]
    """Jensen-Shannon divergence of what either would expect, in bits: 0 the same, 1 nothing in common."""


@dataclass(frozen=True)
class FeatureDifference:
    """A feature at one pair of tokens."""

    feature: str
    """Its address."""
    first: float
    """How active it is in the first text, as a share of its largest activation in ordinary text."""
    second: float
    """The same in the second."""


@dataclass(frozen=True)
class SaeDifference:
    """What one SAE finds to differ."""

    sae: str
    """Its address."""
    layer: int
    """Where it reads."""
    most: list[FeatureDifference | None]
    """At each pair the feature that differs most, of those that do not fire nearly everywhere; None where none does."""


@dataclass(frozen=True)
class LensDifference:
    """Two texts through all layers."""

    texts: tuple[str, str]
    model: str
    tokens: list[tuple[str, str]]
    """The tokens that stand for each other, see `paired`."""
    left_out: int
    """Tokens of either text that stand for none of the other."""
    layers: list[LayerDifference]
    """From the lowest to the last."""
    saes: list[SaeDifference] = field(default_factory=list)
    """From the lowest up."""


def paired(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Which tokens of two texts stand for each other: those that are the same, and of a passage put in place of another the last ones.

    The last, as there the model has read all of it.

    >>> paired(["The", " Eiffel", " Tower", " is"], ["The", " Col", "osse", "um", " is"])
    [(0, 0), (1, 2), (2, 3), (3, 4)]
    """
    found: list[tuple[int, int]] = []
    for _, a, end_a, b, end_b in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        both = min(end_a - a, end_b - b)
        found += zip(range(end_a - both, end_a), range(end_b - both, end_b), strict=True)
    return found


class TwoTexts:
    """Two texts that were read once each."""

    def __init__(self, model: Model, first: str, second: str) -> None:
        """One forward pass each; see `LensText` for what is raised."""
        self.first, self.second = LensText(model, first), LensText(model, second)
        self.pairs = paired(self.first.tokens, self.second.tokens)
        """Places of the tokens that stand for each other."""
        self._at = tuple(torch.tensor(places, dtype=torch.long) for places in zip(*self.pairs, strict=True)) or (torch.zeros(0).long(),) * 2

    @property
    def tokens(self) -> list[tuple[str, str]]:
        """The tokens that stand for each other."""
        return [(self.first.tokens[a], self.second.tokens[b]) for a, b in self.pairs]

    @property
    def left_out(self) -> int:
        """Tokens of either text that stand for none of the other."""
        return len(self.first.tokens) + len(self.second.tokens) - 2 * len(self.pairs)

    def layer(self, layer: int) -> LayerDifference:
        """What either text would go on with after one layer (logit lens), and JSD(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½ (p + q)."""
        head, pieces = self.first.model.head, self.first.model.tokenizer.pieces
        words: list[tuple[str, str]] = []
        apart: list[float] = []
        read = [text.before_head(layer)[at] for text, at in zip((self.first, self.second), self._at, strict=True)]
        for (_, p), (_, q) in zip(head.log_probs(read[0]), head.log_probs(read[1]), strict=True):
            middle = torch.logaddexp(p, q) - math.log(2)
            nats = ((p.exp() * (p - middle)).sum(1) + (q.exp() * (q - middle)).sum(1)) / 2
            apart += [round(value, 4) for value in (nats / math.log(2)).clamp(0, 1).tolist()]
            words += [(pieces([a])[0], pieces([b])[0]) for a, b in zip(p.argmax(1).tolist(), q.argmax(1).tolist(), strict=True)]
        return LayerDifference(layer, words, apart)

    def features(self, own: LensSae) -> SaeDifference:
        """What an SAE finds more of in one text than in the other."""
        first, second = (_by_token(text, own) for text in (self.first, self.second))
        most: list[FeatureDifference | None] = []
        for a, b in self.pairs:
            one, other = first[a], second[b]
            apart = {feature: abs(one.get(feature, 0.0) - other.get(feature, 0.0)) for feature in sorted({*one, *other})}
            best = max(apart, key=lambda feature: apart[feature], default=None)
            if best is None or not apart[best] > 0:
                most.append(None)
            else:
                most.append(FeatureDifference(f"{own.sae.name}/{best}", round(one.get(best, 0.0), 4), round(other.get(best, 0.0), 4)))
        return SaeDifference(own.sae.name, own.layer, most)


def _by_token(text: LensText, own: LensSae) -> list[dict[int, float]]:
    """For each token its active features with their `shares`, where these are above 0."""
    found: list[dict[int, float]] = [{} for _ in text.tokens]
    codes = text.codes(own)
    for row, feature, share in zip(codes.row.tolist(), codes.feature.tolist(), shares(own, codes).tolist(), strict=True):
        if share > 0:
            found[row][feature] = share
    return found


def read_difference(model: Model, first: str, second: str, saes: Sequence[LensSae] = ()) -> LensDifference:
    """Two texts through every layer, with what `saes` at different layers find to differ."""
    both = TwoTexts(model, first, second)
    layers = [both.layer(layer) for layer in range(model.n_layers)]
    return LensDifference((first, second), model.name, both.tokens, both.left_out, layers, [both.features(own) for own in in_order(saes)])
