"""Pushed: of each text the word that the model expects next, and the features that push it most."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hooke.analysis.reader import Reader
from hooke.attribute import attribute, likeliest, log_prob

# A gradient needs every layer's activations of a text at once.
_MOST_TOKENS = 1024


@dataclass(frozen=True)
class Push:
    """One feature's push."""

    feature: str
    """Address."""
    title: str | None
    """What it is called; None where no atlas knows it."""
    value: float
    """Its share of the log probability, in nats, by integrated gradients, added up over the text."""


@dataclass(frozen=True)
class Pushed:
    """What comes after a text, and why."""

    token: str
    """The token that the model finds likeliest."""
    probability: float
    """How likely."""
    features: list[Push]
    """The features that push it up or down most."""
    completeness: float | None
    """What all features together make of what they should; far from 1, the numbers are no shares."""
    correlation: float | None
    """Of the largest contributions with the same by taking each out."""


def pushed(reader: Reader, texts: Iterable[str], top: int) -> Iterator[Pushed | None]:
    """For each of `texts`, in order, the `top` features of the reader's first SAE that push what comes next; None for one too long."""
    model, labelled = reader.model, reader.labelled_saes[0]
    for text in texts:
        if len(model.tokenizer.encode([text])[0]) > min(_MOST_TOKENS, model.context) or not text.strip():
            yield None
            continue
        token = likeliest(model, text)
        found = attribute(model, labelled.sae, text, log_prob(token))
        titles = {i: labelled.atlas.feature(f"{found.sae}/{i}").title if labelled.atlas else None for i, _ in found.by_feature()[:top]}
        pushes = [Push(f"{found.sae}/{index}", titles[index], value) for index, value in found.by_feature()[:top]]
        yield Pushed(model.tokenizer.piece(token), math.exp(found.metric), pushes, found.completeness, found.correlation)
