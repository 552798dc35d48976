"""Control: a sample of features labelled without an atlas, those of SAEs, or of what learnt nothing on a model of random weights."""

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hooke.atlas.events import Events
from hooke.atlas.examples import choose
from hooke.atlas.misses import NearMisses
from hooke.atlas.records import Label, Score
from hooke.atlas.spool import Spool
from hooke.atlas.statistics import statistics
from hooke.errors import BadConfig
from hooke.evals.randomised import random_dictionary, randomised_model
from hooke.evals.run import check
from hooke.explain.label import Labeller, label_features
from hooke.explain.reading import Reading
from hooke.explain.spooling import Portions, read_codes, side_by_side, sites_of
from hooke.harvest import harvest
from hooke.model import Model
from hooke.sae import Sae
from hooke.text.corpus import Corpus, windows

_CONTEXT = 128
_CALIBRATED = 64
"""Windows on which random dictionaries are made as sparse as SAEs."""
_EXAMPLES, _MISSES = 20, 32  # as `SurveySettings` has them


@dataclass(frozen=True)
class Sample:
    """Some features of an SAE, labelled."""

    labels: list[Label]
    """Their labels."""
    one_token: list[Score | None]
    """What the single token that tells best scores for each (see `Labeller.one_token`)."""
    l0: float
    """Active features a token, of all features."""


def sample_labels(
    model: Model, saes: Sequence[Sae], corpora: Sequence[Corpus], *, tokens: int = 300_000, features: int = 100, seed: int = 0
) -> dict[str, Sample]:
    """For each of `saes`, by name, the labels of some features that fired.

    The features are drawn by lot from those that fired on `tokens` tokens of `corpora`; they are labelled and scored as for an atlas.
    Raises `BadConfig` where there is no text, `ShapeMismatch` for an SAE of another model.
    """
    check(model, saes)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), {}, {sae.name: sae.d_sae for sae in saes}, [corpus.name for corpus in corpora])
        texts = windows(corpora, model.tokenizer, length=_CONTEXT, seed=seed)
        read_codes(model, saes, texts, spool, Portions(tokens), lambda _: None)
        if not spool.tokens:
            raise BadConfig("the corpora hold no text to label features on.")
        text = spool.text()
        near, reading = NearMisses(text), Reading()
        for window in range(text.windows):
            reading.add(model.tokenizer.pieces(text.tokens_of(window).tolist()), text.key(window))
        reading.close()
        labeller, out = Labeller(reading), {}
        for sae in saes:
            counts, _ = spool.scales(sae.name)
            events = _some(spool.events(sae.name, counts, 0, sae.d_sae), features, seed)
            top, _ = choose(events, text, _EXAMPLES, 1)
            misses = near.find(events, statistics(events, text).token, top, _MISSES)
            silent = [row[row >= 0] for row in misses]
            labels = [label for label, _ in label_features(reading, events, silent)]
            rivals = [labeller.one_token(*events[i], silent[i]) for i in range(len(events))]
            out[sae.name] = Sample(labels, rivals, float(counts.sum() / len(text)))
    return out


def of_random_weights(
    model: Model, saes: Sequence[Sae], l0: Sequence[float], corpora: Sequence[Corpus], *, seed: int = 0
) -> tuple[Model, list[Sae]]:
    """`model` with fresh weights, and in the place of each of `saes` a dictionary of random directions with `l0` active features a token.

    Nothing was learnt by either: what labels of them score is in the words that the tokens spell (Heap et al., arXiv 2501.17727).
    """
    fresh = randomised_model(model, seed=seed)
    texts = itertools.islice(windows(corpora, model.tokenizer, length=_CONTEXT, seed=seed), _CALIBRATED)
    parts = list(harvest(fresh, texts, sites_of(saes), drop_sinks=False))
    if not parts:
        raise BadConfig("the corpora hold no text to label features on.")
    made = []
    for number, (sae, wanted) in enumerate(zip(saes, l0, strict=True)):
        acts = torch.cat([side_by_side(part, sae.facts.input_sites) for part in parts])
        found = random_dictionary(acts, sae, l0=wanted, seed=seed + number)
        made.append(replace(found, facts=replace(found.facts, model=fresh.name)))
    return fresh, made


def _some(events: Events, features: int, seed: int) -> Events:
    """Some of the features that fired, drawn by lot."""
    alive = np.flatnonzero(np.diff(events.start))
    chosen = np.sort(np.random.default_rng(seed).choice(alive, min(features, len(alive)), replace=False))
    own = [events[int(feature)] for feature in chosen]
    start = np.concatenate([[0], np.cumsum([len(rows) for rows, _ in own])]).astype(np.int64)
    nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    rows, values = (np.concatenate([part[i] for part in (nothing, *own)]) for i in (0, 1))
    return Events(start, rows, values)
