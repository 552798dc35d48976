"""What labels are worth: how many features have a good one, beside what the same search makes of shuffled places and of random weights.

    python benchmarks/labels.py CORPUS ... [--sae NAME ...] [--tokens 300000] [--features 100] [--seed 0]

Reads the corpora once with the model and once with the same model of random weights, where random directions, as sparse as each SAE,
stand in its place. SAEs are all that are installed, or those named. Features are drawn from those that fired. A row each: share with a
name, share that scores 0.8 or better, the same with positives from above half the maximum, mean score, mean score of shuffled searches,
and what the one token that tells best scores. Measured on the machine that runs it; a sample.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hooke.atlas.records import TOO_RARE, Label, Score
from hooke.builder.cache import Portions, read_codes
from hooke.errors import BadConfig
from hooke.evals.randomised import random_dictionary, randomised_model
from hooke.evals.run import check
from hooke.explain.rules.corpus_index import TokenIndex
from hooke.explain.rules.labeller import Labeller, label_features
from hooke.features.cache import ActivationCache
from hooke.features.events import Events
from hooke.features.examples import choose
from hooke.features.near_misses import NearMissFinder
from hooke.features.statistics import statistics
from hooke.harvest import harvest
from hooke.metrics import concat_sites
from hooke.model import Model
from hooke.sae import Sae
from hooke.sae.facts import sites_of
from hooke.sae.packs import installed_saes
from hooke.text.corpus import Corpus, windows

GOOD = 0.8
"""A label of at least this balanced accuracy is a good one."""


@dataclass(frozen=True)
class Shares:
    """Figures of many labels; shares are of all features given, those too rare to name included."""

    features: int
    """Features."""
    rare: float
    """Share too rare to name."""
    named: float
    """Share with a name."""
    good: float
    """Share with a name that scores at least `GOOD` on tokens."""
    strong: float
    """Share with a name that does so where only activations above half the maximum count as active."""
    mean: float | None
    """Mean token score of the features that were scored, named or not."""
    control: float | None
    """Mean score of the shuffled searches: chance, if the search is honest."""

    @classmethod
    def of(cls, labels: Iterable[Label]) -> "Shares":
        """The figures of `labels`: leave out those of features that never fired."""
        every = list(labels)
        named = [label for label in every if label.kind != "none"]
        good = [label for label in named if label.token is not None and label.token.value >= GOOD]
        strong = [label for label in named if label.strong is not None and label.strong >= GOOD]
        scores = [label.token.value for label in every if label.token is not None]
        controls = [label.control for label in every if label.control is not None]
        rare = [label for label in every if label.text == TOO_RARE]
        n = max(1, len(every))
        return cls(len(every), len(rare) / n, len(named) / n, len(good) / n, len(strong) / n, _mean(scores), _mean(controls))


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


_CONTEXT = 128
_CALIBRATED = 64
"""Windows on which random dictionaries are made as sparse as SAEs."""
_EXAMPLES, _MISSES = 20, 32  # as `AtlasSettings` has them


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
        cache = ActivationCache(Path(folder), {}, {sae.name: sae.d_sae for sae in saes}, [corpus.name for corpus in corpora])
        texts = windows(corpora, model.tokenizer, length=_CONTEXT, seed=seed)
        read_codes(model, saes, texts, cache, Portions(tokens), lambda _: None)
        if not cache.tokens:
            raise BadConfig("the corpora hold no text to label features on.")
        text = cache.text()
        near, reading = NearMissFinder(text), TokenIndex()
        for window in range(text.windows):
            reading.add(model.tokenizer.pieces(text.tokens_of(window).tolist()), text.key(window))
        reading.close()
        labeller, out = Labeller(reading), {}
        for sae in saes:
            counts, _ = cache.scales(sae.name)
            events = _some(cache.events(sae.name, counts, 0, sae.d_sae), features, seed)
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
    parts = list(harvest(fresh, texts, sites_of(sae.facts for sae in saes), drop_sinks=False))
    if not parts:
        raise BadConfig("the corpora hold no text to label features on.")
    made = []
    for number, (sae, wanted) in enumerate(zip(saes, l0, strict=True)):
        acts = torch.cat([concat_sites(part.acts, sae.facts.input_sites).float() for part in parts])
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


def rival(scores: Sequence[Score | None]) -> dict[str, float | None]:
    """The same of the single token that tells best: share of all that scores well, mean of those that were scored."""
    known = [score.value for score in scores if score is not None]
    good = sum(value >= GOOD for value in known) / max(1, len(scores))
    return {"one_token_good": good, "one_token_mean": sum(known) / len(known) if known else None}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--sae", action="append")
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = Model.load(args.model)
    saes = [Sae.from_pretrained(name) for name in args.sae or []] or [Sae.load(row.path) for row in installed_saes()]
    corpora = [Corpus(path.name.partition(".")[0], path) for path in args.corpus]
    asked = {"tokens": args.tokens, "features": args.features, "seed": args.seed}
    real = sample_labels(model, saes, corpora, **asked)
    fresh, random = of_random_weights(model, saes, [own.l0 for own in real.values()], corpora, seed=args.seed)
    for kind, found in (("trained", real), ("random weights", sample_labels(fresh, random, corpora, **asked))):
        for name, sample in found.items():
            figures = vars(Shares.of(sample.labels)) | rival(sample.one_token)
            print(
                json.dumps({"kind": kind, "sae": name, "l0": round(sample.l0, 1)} | {k: v and round(v, 3) for k, v in figures.items()}),
                flush=True,
            )


if __name__ == "__main__":
    main()
