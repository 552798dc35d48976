"""Sanity: whether an SAE does on a model's activations what its header promises, and if not, what is wrong with it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import ShapeMismatch
from hooke.harvest import not_finite
from hooke.metrics import concat_sites, not_sinks
from hooke.model import Model
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.fits import other_model

# An SAE has to explain this share of what its card says, or, where no card says anything, of the variance; and to activate as many
# features as its card says, within this factor.
_OF_CARD, _FLOOR, _L0_FACTOR = 0.5, 0.2, 4.0
# What a guess at the fault has to reach before it is told.
_SURE_OF_CARD, _SURE_FLOOR, _SURE_L0_FACTOR = 0.8, 0.5, 2.0
# And this in any case: an SAE that learnt little comes near its own card in many ways.
_SURE_LEAST = 0.4
# Below this share of its own held-out text an SAE learnt little, and its card says so.
_LITTLE = 0.5
# Multiply-adds for one guess at what is wrong: bounds a diagnosis at minutes for the widest SAEs.
_WORK, _FEWEST = 1 << 34, 32

Activations = Callable[[Sequence[Site]], Mapping[Site, Float[Tensor, "token d_site"]]]
"""Gives activations at sites, on the same tokens each time."""


@dataclass(frozen=True)
class Fit:
    """How an SAE does on some tokens."""

    explained: float
    """Share of the variance around the mean that it rebuilds; below 0 where the mean does better."""
    l0: float
    """Active features a token."""
    expected: float | None
    """Share explained on its own held-out text, from its card."""
    expected_l0: float | None
    """Active features a token, from its card or name."""

    @property
    def good(self) -> bool:
        """Whether the SAE does what it promises, leaving room for text unlike its own."""
        return self._reaches(_OF_CARD, _FLOOR, _L0_FACTOR)

    @property
    def sure(self) -> bool:
        """Whether it does so well that it is no coincidence."""
        return self.explained >= _SURE_LEAST and self._reaches(_SURE_OF_CARD, _SURE_FLOOR, _SURE_L0_FACTOR)

    def _reaches(self, of_card: float, floor: float, factor: float) -> bool:
        enough = self.explained >= (floor if self.expected is None else of_card * self.expected)
        return enough and (self.expected_l0 is None or self.expected_l0 / factor <= self.l0 <= self.expected_l0 * factor)

    def __str__(self) -> str:
        card = "" if self.expected is None else f" (on its card {self.expected:.0%})"
        usual = "" if self.expected_l0 is None else f" (said to be {self.expected_l0:,.0f})"
        return f"explains {max(self.explained, 0):.0%}{card} with {self.l0:,.0f} features a token{usual}"


@dataclass(frozen=True)
class Fault:
    """That an SAE does not do on ordinary text what it promises."""

    said: str
    """What it does, and what is wrong with it."""
    known: bool
    """Whether its weights do as promised once the fault is mended. If not, they may be other weights, or those of a poor SAE."""

    def refuse(self, other: str = "") -> None:
        """Raise `ShapeMismatch` where it is known what is wrong, or the file names another model (`other`: what `other_model` says)."""
        if self.known:
            raise ShapeMismatch(f"{self.said} {other}".rstrip())
        if other:
            raise ShapeMismatch(f"{self.said} {other} If this model is meant, let its file say so: hooke convert SAE FILE --model NAME")


def measure(sae: Sae, acts: Activations) -> Fit:
    """How `sae` does on the tokens that `acts` gives."""
    return _measure(sae, *_in_and_out(sae, acts))


def check(sae: Sae, acts: Activations, sites: Sequence[Site] = (), progress: Callable[[str], None] = lambda _: None) -> None:
    """Raise `ShapeMismatch` with what is wrong with `sae` unless it does what it should on the tokens that `acts` gives; see `fault`."""
    if (found := fault(sae, acts, sites, progress)) is not None:
        raise ShapeMismatch(found.said)


def doubts(model: Model, saes: Sequence[Sae], progress: Callable[[str], None] = lambda _: None) -> list[str]:
    """What is to be doubted of `saes` after they were tried on ordinary text; raises `ShapeMismatch` where their fault is known.

    A poor one is let through, for it is what it is; one that was read wrongly is not, nor a poor one whose file names another model.
    """
    neutral = Neutral(model)
    found = [fault(sae, neutral.acts, neutral.alternatives(sae), progress) for sae in saes]
    others = [other_model(sae, model.name) for sae in saes]
    for one, other in zip(found, others, strict=True):
        if one is not None:
            one.refuse(other)
    return [*filter(None, others), *(one.said for one in found if one is not None)]


def strangers(model: Model, saes: Sequence[Sae]) -> list[str]:
    """`doubts` of those of `saes` whose files name another model than `model`; the others are not tried."""
    others = [sae for sae in saes if other_model(sae, model.name)]
    return doubts(model, others) if others else []


def fault(sae: Sae, acts: Activations, sites: Sequence[Site] = (), progress: Callable[[str], None] = lambda _: None) -> Fault | None:
    """What is wrong with `sae`, judged by the tokens that `acts` gives; None if it does what it should.

    `sites` are where else its weights might belong: they are tried, as are other scales and orientations. One layer's share of a
    crosscoder or cross-layer transcoder rebuilds nothing alone, so that nothing can be said of it.
    """
    if len(sae.facts.input_sites) < len(sae.facts.output_sites):
        return None
    fit = measure(sae, acts)
    if fit.good:
        return None
    progress(f"{sae.name} does not fit; looking for what is wrong")
    said = f"{sae.name} {fit} at {_places(sae)} on ordinary text."
    likely = [guess for guess in _guesses(sae, acts, sites) if guess[1].sure]
    if not likely:
        return Fault(f"{said} No other layer, site, scale or orientation makes it fit: {_why(fit)}.", known=False)
    best = max(likely, key=lambda guess: _rank(guess[1]))  # the first of equals: the simplest to put right
    return Fault(f"{said} {best[0]} it {best[1]}.", known=True)


def _why(fit: Fit) -> str:
    """What a poor fit that nothing mends may come from."""
    if fit.expected is None:
        return "it may have learnt little"
    if fit.expected < _LITTLE:
        return "it learnt little, as its card says"
    return "its own text is unlike this, or its weights are damaged (`hooke eval` with --corpus, its own text, tells which)"


def _places(sae: Sae) -> str:
    return " and ".join(dict.fromkeys(map(str, (*sae.facts.input_sites[:1], *sae.facts.output_sites[:1]))))


def _in_and_out(sae: Sae, acts: Activations) -> tuple[Float[Tensor, "token d_in"], Float[Tensor, "token d_out"]]:
    """What `sae` reads and what it should give, attention sinks left out."""
    reads, writes = sae.facts.input_sites, sae.facts.output_sites
    found = acts(list(dict.fromkeys([*reads, *writes])))
    inputs, outputs = (concat_sites(found, sites) for sites in (reads, writes))
    keep = _calm(inputs, outputs)
    return inputs[keep], outputs[keep]


def _calm(*acts: Float[Tensor, "token d"]) -> Bool[Tensor, " token"]:
    """Which tokens are no attention sinks, all of them held against each other."""
    return not_sinks([own[None] for own in acts], torch.ones(1, len(acts[0]), dtype=torch.bool))[0]


def _measure(sae: Sae, inputs: Float[Tensor, "token d_in"], outputs: Float[Tensor, "token d_out"], scale: float = 1.0) -> Fit:
    """As if the activations came multiplied by `scale`, and the reconstruction were divided by it."""
    codes = sae.encode(inputs * scale)
    error = (outputs - sae.decode(codes, inputs * scale) / scale).double().square().sum()
    variance = (outputs - outputs.mean(0)).double().square().sum()
    metrics = sae.facts.metrics
    expected = 1 - metrics["fvu"] if "fvu" in metrics else None
    explained = 1 - float(error / variance) if variance > 0 else 0.0
    return Fit(explained, len(codes.value) / max(1, len(inputs)), expected, metrics.get("l0"))


def _guesses(sae: Sae, acts: Activations, sites: Sequence[Site]) -> Iterator[tuple[str, Fit]]:
    """What might be wrong, in words that go before "it explains ...", and how the SAE would do if it were so."""
    inputs, outputs = _in_and_out(sae, acts)
    few = max(_FEWEST, _WORK // (sae.d_in * sae.d_sae))
    inputs, outputs = inputs[:few], outputs[:few]
    for words, other in _turned(sae):
        yield words, _measure(other, inputs, outputs)
    yield from _scaled(sae, inputs, outputs)
    if sae.facts.input_sites == sae.facts.output_sites and len(sae.facts.input_sites) == 1:
        elsewhere = [site for site in sites if site != sae.site]
        for site, found in acts(elsewhere).items() if elsewhere else ():
            if found.shape[1] == sae.d_in:
                there = found.float()[_calm(found)][:few]
                what = "layer" if site.kind == sae.site.kind else "site"
                yield f"Its weights belong to another {what} than its header says: at {site}", _measure(sae, there, there)


def _turned(sae: Sae) -> Iterator[tuple[str, Sae]]:
    """`sae` with its matrices the other way round, and with what readers forget."""
    d_in, d_sae, d_out = sae.d_in, sae.d_sae, len(sae.b_dec)
    if d_in == d_sae:
        yield "Its encoder is transposed: turned", replace(sae, W_enc=sae.W_enc.T.contiguous())
    if d_sae == d_out:
        yield "Its decoder is transposed: turned", replace(sae, W_dec=sae.W_dec.T.contiguous())
    if d_in == d_sae == d_out:
        both = replace(sae, W_enc=sae.W_enc.T.contiguous(), W_dec=sae.W_dec.T.contiguous())
        yield "Its encoder and decoder are transposed: turned", both
    if d_in == d_out:
        swapped = replace(sae, W_enc=sae.W_dec.T.contiguous(), W_dec=sae.W_enc.T.contiguous())
        yield "Its encoder and decoder are swapped: changed back", swapped
        without = replace(sae, b_enc=sae.b_enc - sae.b_dec @ sae.W_enc)
        yield "Its encoder expects its decoder bias to be taken off what it reads: then", without
    yield "Its encoder bias and its thresholds are swapped: changed back", replace(sae, b_enc=sae.threshold, threshold=sae.b_enc)


def _scaled(sae: Sae, inputs: Float[Tensor, "token d_in"], outputs: Float[Tensor, "token d_out"]) -> Iterator[tuple[str, Fit]]:
    """The best of many fixed scales, then what is computed from each token."""
    words = "The normalisation of its training is not folded into its weights: on activations"
    coarse = {2.0**power: _measure(sae, inputs, outputs, 2.0**power) for power in sorted(range(-12, 13), key=abs) if power}
    start = max(coarse, key=lambda scale: _rank(coarse[scale]))
    steps = (start * 2 ** (step / 6) for step in sorted(range(-5, 6), key=abs))
    fine = {scale: _measure(sae, inputs, outputs, scale) for scale in steps}
    best = max(fine, key=lambda scale: _rank(fine[scale]))
    yield f"{words} multiplied by about {best:.3g}", fine[best]
    if sae.facts.normalize == "none" and sae.facts.input_sites == sae.facts.output_sites:
        for normalize, how in (("layer_norm", "brought to mean 0 and variance 1"), ("rms", "divided by their root mean square")):
            yield f"{words} {how}", _measure(replace(sae, facts=replace(sae.facts, normalize=normalize)), inputs, outputs)


def _rank(fit: Fit) -> tuple[bool, int, int]:
    """Sorts guesses: what fits at all, then as many features as there should be (in half octaves), then what is explained (in 5 %)."""
    off = abs(math.log2(max(fit.l0, 1e-9) / fit.expected_l0)) if fit.expected_l0 else 0.0
    return fit.sure, -round(2 * off), round(20 * fit.explained)


class Neutral:
    """Short sentences of ordinary text as `model` reads them: a yardstick for SAEs that no atlas knows."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._ids, self._keep = model.padded(model.tokenizer.encode(_sentences()))
        self.texts = len(self._ids)
        """How many sentences."""

    @property
    def sentence(self) -> Int[Tensor, " token"]:
        """Which sentence each token belongs to, ascending."""
        return torch.repeat_interleave(torch.arange(self.texts), self._keep.sum(1))

    def acts(self, sites: Sequence[Site]) -> dict[Site, Float[Tensor, "token d_site"]]:
        """Activations at `sites`, special tokens left out. Raises where they are not finite: that is no fault of an SAE."""
        captured = self._model.capture(self._ids, sites)
        acts = {site: captured[site][self._keep].float() for site in sites}
        if spoilt := next((site for site in sites if not acts[site].isfinite().all()), None):
            raise not_finite(self._model, spoilt, "ordinary text")
        return acts

    def alternatives(self, sae: Sae) -> list[Site]:
        """Where else the weights of `sae` might belong: the same place in other layers, other places in its layer."""
        near = [site for site in self._model.sites() if (site.kind == sae.site.kind) != (site.layer == sae.site.layer)]
        return [site for site in near if self._model.width(site) == sae.d_in]


@cache
def _sentences() -> list[str]:
    return (files("hooke") / "neutral.txt").read_text("utf-8").splitlines()
