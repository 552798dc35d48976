"""What labels are worth: how many features have a good one, beside what the same search makes of shuffled places and of random weights.

    python benchmarks/labels.py CORPUS ... [--sae NAME ...] [--tokens 300000] [--features 100] [--seed 0]

Reads the corpora once with the model and once with the same model of random weights, where random directions, as sparse as each SAE,
stand in its place. SAEs are all that are installed, or those named. Features are drawn from those that fired. A row each: share with a
name, share that scores 0.8 or better, the same with positives from above half the maximum, mean score, mean score of shuffled searches,
and what the one token that tells best scores. Measured on the machine that runs it; a sample.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from hooke.atlas.records import Score
from hooke.explain.control import of_random_weights, sample_labels
from hooke.explain.shares import GOOD, Shares
from hooke.model import Model
from hooke.sae import Sae
from hooke.sae.packs import installed_saes
from hooke.text.corpus import Corpus


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
