"""What labels are worth: how many features have a good one, beside what the same search makes of shuffled places and of random weights.

    python benchmarks/labels.py CORPUS ... [--sae NAME ...] [--tokens 300000] [--features 100] [--seed 0]

Reads the corpora once with the model and once with the same model of random weights, where random directions, as sparse as each SAE,
stand in its place. Features are drawn from those that fired. A row each: share with a name, share that scores 0.8 or better, the same with
positives from above half the maximum, mean score, and mean score of shuffled searches. Measured on the machine that runs it; a sample.
"""

import argparse
import json
from pathlib import Path

from hooke.analysis.reader import default_sae
from hooke.explain.control import of_random_weights, sample_labels
from hooke.explain.shares import Shares
from hooke.model import Model
from hooke.sae import Sae
from hooke.text.corpus import Corpus


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
    saes = [Sae.load(name) for name in args.sae or [default_sae(args.model)]]
    corpora = [Corpus(path.name.partition(".")[0], path) for path in args.corpus]
    asked = {"tokens": args.tokens, "features": args.features, "seed": args.seed}
    real = sample_labels(model, saes, corpora, **asked)
    fresh, random = of_random_weights(model, saes, [l0 for _, l0 in real.values()], corpora, seed=args.seed)
    for kind, found in (("trained", real), ("random weights", sample_labels(fresh, random, corpora, **asked))):
        for name, (labels, l0) in found.items():
            shares = Shares.of(labels)
            print(
                json.dumps(
                    {"kind": kind, "sae": name, "l0": round(l0, 1), **{k: v if v is None else round(v, 3) for k, v in vars(shares).items()}}
                )
            )


if __name__ == "__main__":
    main()
