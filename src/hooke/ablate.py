"""Ablate: what a model predicts worse, token by token, once features are silent, beside as large a change in a random direction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import BadConfig
from hooke.features.effects import random_directions
from hooke.intervene import intervene
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.model.partial import losses
from hooke.sae import Sae

__all__ = ["Ablation", "Pair", "Silenced", "ablate"]

_MOST, _MOST_PAIRED = 32, 10
_CONTROLS = 4


@dataclass(frozen=True)
class Silenced:
    """One text read with features silent. Lists have a number a token, of the prediction of that token from those before it."""

    features: list[str]
    """Addresses of what was silent."""
    acts: list[float]
    """How active they are on the token itself, summed."""
    loss: list[float | None]
    """Cross-entropy in nats; None for a token with nothing before it."""
    kl: list[float | None]
    """KL(p ‖ p̂) in nats, p what the model by itself expects, p̂ what it expects without the features."""
    loss_control: list[float | None]
    """Cross-entropy once as much is taken away at the same places in random directions: the mean of four draws."""

    def rise(self, clean: Sequence[float | None], control: bool = False) -> list[float]:
        """By how much each token is predicted worse than `clean`; 0 where nothing is predicted."""
        own = self.loss_control if control else self.loss
        return [0.0 if a is None or b is None else a - b for a, b in zip(own, clean, strict=True)]


@dataclass(frozen=True)
class Pair:
    """Two features silent together beside each alone. Numbers are rises of the loss over the whole text, in nats."""

    features: tuple[str, str]
    """Their addresses."""
    alone: tuple[float, float]
    """Without the one, and without the other."""
    joint: float
    """Without both."""
    interaction: float
    """`joint` less the sum of `alone`: above 0 they stand in for each other, below 0 they need each other."""


@dataclass(frozen=True)
class Ablation:
    """What one text needs features for."""

    text: str
    model: str
    tokens: list[str]
    """What each token adds to the text; special ones left out."""
    loss: list[float | None]
    """Cross-entropy of each token under the model by itself, in nats; None for one with nothing before it."""
    silenced: list[Silenced]
    """Each feature by itself; of several, all of them together last."""
    pairs: list[Pair] = field(default_factory=list)
    """Every two of them, where that was asked for."""

    @property
    def note(self) -> str:
        """The sentence that goes with every figure of it."""
        return f"Read by {self.model} with features silenced: losses without them are not what the model says by itself."


def ablate(model: Model, features: Sequence[tuple[Sae, int]], text: str, *, pairs: bool = False, seed: int = 0) -> Ablation:
    """What `model` predicts worse in `text` without each of `features`, and without all of them; with `pairs`, without every two.

        x' = x − f_i W_dec_i       at every token but special ones and attention sinks; the SAE's error stays (methods: 5.1)

    Controls take as much away at the same tokens, f_i ‖W_dec_i‖, along random sums of the SAE's own directions. Raises `BadConfig` for
    no feature, one given twice or a text without a token, `LimitReached` for a text longer than the model's context.
    """
    names = [f"{sae.name}/{index}" for sae, index in features]
    if not 1 <= len(names) <= _MOST or len(set(names)) < len(names):
        raise BadConfig(f"ablation takes 1 to {_MOST} different features; these are {', '.join(names) or 'none'}.")
    if pairs and not 2 <= len(names) <= _MOST_PAIRED:
        raise BadConfig(f"pairs are taken of 2 to {_MOST_PAIRED} features; these are {len(names)}.")
    ids, shown = model.one_text(text)
    draw = torch.Generator().manual_seed(seed)
    groups = [[one] for one in features] + ([list(features)] if len(features) > 1 else [])
    acts = _active(model, features, ids)
    clean = _hidden(model, ids)
    arms = [[group, *([_turned(*one, draw) for one in group] for _ in range(_CONTROLS))] for group in groups]
    read = [_silent(model, arm, ids) for own in arms for arm in own]
    each, twos = range(0, len(read), 1 + _CONTROLS), list(combinations(features, 2)) if pairs else []
    found = losses(model, clean, read + [_silent(model, two, ids) for two in twos], ids[0, 1:].to(clean.device))
    rises = [round(float((own - found.clean).sum()), 6) for own in found.cross_entropy]
    alone = dict(zip(names, (rises[i] for i in each), strict=False))
    row = lambda values: _row(values, shown)  # noqa: E731
    silenced = [
        Silenced(
            [f"{sae.name}/{index}" for sae, index in group],
            torch.stack([acts[f"{sae.name}/{index}"] for sae, index in group]).sum(0)[shown].tolist(),
            row(found.cross_entropy[i]),
            row(found.kl[i].clamp_min(0)),
            row(torch.stack(found.cross_entropy[i + 1 : i + 1 + _CONTROLS]).mean(0)),
        )
        for i, group in zip(each, groups, strict=True)
    ]
    paired = [_pair(two, alone, joint) for two, joint in zip(combinations(names, 2), rises[len(read) :], strict=False)]
    return Ablation(text, model.name, model.tokenizer.pieces(ids[0, shown].tolist(), begins=True), row(found.clean), silenced, paired)


def _pair(names: tuple[str, str], alone: Mapping[str, float], joint: float) -> Pair:
    one, other = (alone[name] for name in names)
    return Pair(names, (one, other), joint, round(joint - one - other, 6))


def _hidden(model: Model, ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "token d_model"]:
    """What the LM head reads before each token but the first."""
    with torch.no_grad():
        return model.hidden(ids)[0, :-1]


def _silent(model: Model, group: Sequence[tuple[Sae, int]], ids: Int[Tensor, "1 pos"]) -> Float[Tensor, "token d_model"]:
    with intervene(model, *(sae.ablate([index]) for sae, index in group), variant=True):
        return _hidden(model, ids)


def _turned(sae: Sae, index: int, draw: torch.Generator) -> tuple[Sae, int]:
    """The feature with a random direction of the same length in place of its own: active where it is, and writing something else."""
    rows = sae.W_dec.clone()
    rows[index] = random_directions(sae, 1, draw)[0].to(rows) * rows[index].norm()
    return replace(sae, W_dec=rows), index


def _active(model: Model, features: Sequence[tuple[Sae, int]], ids: Int[Tensor, "1 pos"]) -> dict[str, Float[Tensor, " pos"]]:
    """How active each feature is on every token."""
    sites = list(dict.fromkeys(site for sae, _ in features for site in sae.facts.input_sites))
    found = model.capture(ids, sites)
    out = {}
    for sae, index in features:
        read = concat_sites(found, sae.facts.input_sites)[0].float()
        calm = not_sinks([found[site] for site in sae.facts.input_sites], found.keep.to(read.device))[0]
        out[f"{sae.name}/{index}"] = (sae.activations(read, torch.tensor([index], device=read.device))[:, 0] * calm).cpu()
    return out


def _row(values: Float[Tensor, " token"], shown: Tensor) -> list[float | None]:
    """`values` of every token but the first, as a list of the tokens that are `shown`."""
    whole: list[float | None] = [None, *(round(value, 6) for value in values.tolist())]
    return [value for value, own in zip(whole, shown.tolist(), strict=True) if own]
