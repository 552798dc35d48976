"""How good the first features shown of a headline are, by formula, on headlines whose features were judged.

    python benchmarks/ranking.py [--first 3]

`judged_headlines.jsonl` has 200 headlines in the style of news agencies; for each the features of gemma-3-270m/resid_post.12/8k that one
of the formulas puts first, judged by one reader, a language model, by their name beside the headline: *good* (a plain meaning that the
headline is about), *useless* (true, and says nothing of what it is about), *wrong*. The formulas were chosen on the half "choose" with
the SAE that was the default before, of 4,096 features, whose features the file had then (of a hundred judgements made again, shuffled, 89
came out the same, kappa 0.79); on this one's nothing was chosen. Prints a table: share good and wrong, headlines without anything good,
and how much was never judged.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Literal

import numpy as np

from hooke.analysis import Options, Reader
from hooke.analysis.firings import Firings
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.ranking import about_standing, diverse

JUDGED = Path(__file__).with_name("judged_headlines.jsonl")
SAE = "gemma-3-270m/resid_post.12/8k"


def reading(texts: list[str], pool: Literal["max", "mean"]) -> tuple[LabelledSae, list[tuple[Firings, int]]]:
    """The SAE, and what was found in each text with its number of tokens."""
    reader = Reader.load("gemma-3-270m", [SAE], Options(pool=pool, chunk=len(texts)))
    passages = [parts for parts, _ in reader._passages(texts)]
    counts = [sum(len(part.ids) for part in parts) for parts in passages]
    return reader.labelled_saes[0], [(reader._merged(parts)[0], count) for parts, count in zip(passages, counts, strict=True)]


def first(labelled: LabelledSae, one: tuple[Firings, int], by: str, top: int) -> list[int]:
    """The features that the formula called `by` puts first."""
    found, tokens = one
    seen = labelled.standings([found], [tokens])
    of_words, tried, _ = seen.ranks
    rank = {
        "of words": of_words,
        "not tried": about_standing(seen.specificity, seen.pooled, seen.share, labelled._trust[found.feature], 1),
        "tried, all kinds": tried,
        "about": np.where(seen.about, tried, 0),
    }[by]
    rank = np.where(seen.telling, rank, 0)
    order = [i for i in np.argsort(-rank, kind="stable")[:64].tolist() if rank[i] > 0]
    return found.feature[diverse([(float(rank[i]), int(found.pos[i]), i) for i in order], top)].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=3)
    top = parser.parse_args().first
    rows = [json.loads(line) for line in JUDGED.read_text("utf-8").splitlines()]
    print("| pool | formula | half | good | wrong | none good | not judged |\n| --- | --- | --- | --- | --- | --- | --- |")
    for pool in ("max", "mean"):
        labelled, found = reading([row["text"] for row in rows], pool)
        for by, half in itertools.product(("of words", "not tried", "tried, all kinds", "about"), ("choose", "report")):
            shown = [(row, first(labelled, one, by, top)) for row, one in zip(rows, found, strict=True) if row["half"] == half]
            counts = {kind: [sum(x in row[kind] for x in own) for row, own in shown] for kind in ("good", "useless", "wrong")}
            every = sum(len(own) for _, own in shown)
            good, wrong = (sum(counts[kind]) / every for kind in ("good", "wrong"))
            none, judged = counts["good"].count(0) / len(shown), sum(map(sum, counts.values())) / every
            print(f"| {pool} | {by} | {half} | {good:.0%} | {wrong:.1%} | {none:.0%} | {1 - judged:.1%} |")


if __name__ == "__main__":
    main()
