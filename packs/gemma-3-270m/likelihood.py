"""How likely the names of this pack's features are right of a text: learnt from marks, tried on texts left out, put beside the weights.

    python packs/gemma-3-270m/likelihood.py --corpora ../shared/corpora

`marks.jsonl.zst` has what readers said of names beside short texts (titles, first sentences): *good* (a reader agrees that the text is
about that), *useless* (true, and says nothing of what it is about) or *wrong*. It holds no text: of each the file it is from and a digest,
by which it is found again in the folder given as --corpora. Its first line has the names that were judged; marks of a feature that is
called otherwise today are left out.
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hooke.analysis import Options, Reader
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.likelihood import SUFFIX, Likelihood, Marks, evidence, fit
from hooke.analysis.reader import Glance
from hooke.atlas.wording import LIKELY
from hooke.harvest import harvest
from hooke.metrics import concat_sites
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Window
from hooke.text.unpack import unpacked

HERE = Path(__file__).parent
MARKS = HERE / "marks.jsonl.zst"
SAE = "gemma-3-270m/resid_post.12/4k"
SITES = [Site(layer, "resid_post") for layer in (5, 9, 12)]
BESIDE = HERE / "src" / "hooke_gemma_3_270m" / f"resid_post.12{SUFFIX}"
FOLDS = 5
LETTERS = ("good", "useless", "wrong")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in unpacked(file)[0]:
            yield json.loads(line)


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def short_texts(record: dict[str, Any]) -> list[str]:
    """What of a document may have been judged: its title, its first sentence, a text of one line."""
    first = re.split(r"(?<=[.!?])\s", record["text"])[0]
    return [re.sub(r"\s+", " ", text).strip() for text in (record.get("title") or "", first, record["text"][:200])]


def found_again(corpora: Path, marks: list[dict[str, Any]]) -> dict[str, str]:
    """The texts by digest."""
    wanted = {row["text"] for row in marks}
    known: dict[str, str] = {}
    for source in sorted({row["source"] for row in marks}):
        for record in lines(corpora / f"{source}.jsonl.zst"):
            known |= {key: text for text in short_texts(record) if (key := digest(text)) in wanted}
    return known


def mean_acts(model: Model, texts: list[str]) -> np.ndarray:
    """``[text, d]``: mean activations of texts at `SITES`, side by side."""
    sums = torch.zeros(len(texts), sum(model.width(site) for site in SITES))
    windows = (Window("", n, list(ids)) for n, ids in enumerate(model.tokenizer.encode(texts)))
    for read in harvest(model, windows, SITES, batch_tokens=1024, drop_sinks=False):
        owner = torch.tensor([window.doc for window in read.windows])[read.window]
        sums.index_add_(0, owner, concat_sites(read.acts, SITES).float() / owner.bincount()[owner, None])
    return sums.numpy()


class Judged:
    """Marks as arrays: of row r the feature, the text, the evidence and what was said."""

    def __init__(self, labelled: LabelledSae, glances: Iterable[Glance], acts: np.ndarray, marks: list[dict[str, Any]]) -> None:
        rows = []
        for number, (glance, row) in enumerate(zip(glances, marks, strict=True)):
            said = {index: letter for letter in LETTERS for index in row.get(letter, ())}
            fired = glance.fired[0]
            at = np.flatnonzero(np.isin(fired.feature, list(said)))
            peak, pooled = (labelled.relative(fired, strength)[at] for strength in (fired.peak, fired.pooled))
            feature = fired.feature[at]
            seen = evidence(labelled.specificity(feature, peak), pooled, fired.count[at] / max(1, glance.tokens), labelled._valid[feature])
            rows += [(index, number, said[index], own) for index, own in zip(feature.tolist(), seen, strict=True)]
        self.feature, self.text = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        self.said, self.seen = np.array([row[2] for row in rows]), np.stack([row[3] for row in rows])
        self.acts = acts

    def fitted(self, named: dict[int, str], of_names: np.ndarray, some: np.ndarray) -> Likelihood:
        marks = Marks(self.feature[some], self.text[some], self.seen[some], self.said[some] == "good")
        return fit(named, SITES, of_names, self.acts, marks)


def report(judged: Judged, likely: np.ndarray) -> None:
    """How good the likelihood is where it was not learnt: calibration, and the first three names of a text."""
    print("| said | rows | right |\n| --- | --- | --- |")
    for low in np.arange(0, 1, 0.1):
        of = (likely >= low) & (likely < low + 0.1)
        if of.any():
            print(f"| {10 * low:.0f} to {10 * low + 1:.0f} in 10 | {of.sum():,} | {(judged.said[of] == 'good').mean():.2f} |")
    order = np.lexsort((-likely, judged.text))
    place = np.arange(len(order)) - np.searchsorted(judged.text[order], judged.text[order])
    shown = order[(place < 3) & ((likely[order] >= LIKELY) | (place == 0))]
    shares = ", ".join(f"{(judged.said[shown] == letter).mean():.1%} {letter}" for letter in LETTERS)
    texts = np.unique(judged.text[shown])
    none = 1 - np.isin(texts, judged.text[shown][judged.said[shown] == "good"]).mean()
    print(f"\nfirst three: {shares}; {none:.1%} of texts without a good one; {len(shown) / len(texts):.2f} shown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    args = parser.parse_args()
    head, *marks = lines(MARKS)
    texts = found_again(args.corpora, marks)
    marks = [row for row in marks if row["text"] in texts]
    reader = Reader.load("gemma-3-270m", [SAE], Options())
    labelled = reader.labelled_saes[0]
    named = {int(index): name for index, name in head["names"].items() if labelled.named(int(index))["name"] == name}
    named = dict(sorted(named.items()))
    marks = [row | {letter: [index for index in row.get(letter, ()) if index in named] for letter in LETTERS} for row in marks]
    print(f"{len(marks):,} texts, {sum(len(row[letter]) for row in marks for letter in LETTERS):,} marks of {len(named)} names", flush=True)
    judged_texts = [texts[row["text"]] for row in marks]
    of_names, of_texts = mean_acts(reader.model, list(named.values())), mean_acts(reader.model, judged_texts)
    judged = Judged(labelled, reader.glance(judged_texts), of_texts, marks)
    likely = np.zeros(len(judged.text))
    for fold in range(FOLDS):
        out = judged.text % FOLDS == fold
        known = judged.fitted(named, of_names, ~out)
        likely[out] = known.of(judged.feature[out], judged.seen[out], judged.text[out], judged.acts)
    report(judged, likely)
    assert labelled.entry is not None
    judged.fitted(named, of_names, np.ones(len(judged.text), bool)).save(BESIDE, labelled.entry)
    print(f"{BESIDE.name}: {BESIDE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
