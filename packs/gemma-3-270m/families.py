"""Word families for labels, from a model's token embedding: `src/hooke/explain/rules/families.txt`, made once and then kept as it is.

    python packs/gemma-3-270m/families.py CORPUS.jsonl.zst ... --out src/hooke/explain/rules/families.txt

Words are those of the corpora that are one token for the model. Each is the mean of the embeddings of its forms with and without a capital,
less what all words share. Two runs of spherical k-means, words weighing as the root of their number, give small and large families; a small
one belongs to the large one that most of it is in. Words far from their family's centre, and families of fewer than three, are left out.
Atlases keep rules that name families, so a new list must keep the old names.
"""

import argparse
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from hooke.model import Model
from hooke.text.corpus import documents

SMALL, LARGE = 1400, 260
"""Families of each size to begin with."""
ROUNDS = (7, 9)
DIMENSIONS, SHARED = 192, 2
"""Principal directions kept; the first few, which say how common a word is, taken out."""
LEAST, NEAR = 4, 0.4
"""A word must stand in the corpora so often, and so near (cosine) to its family's centre."""
CHARACTERS = 5_000_000
"""Read of each corpus."""


def counted(paths: list[Path]) -> Counter[str]:
    words: Counter[str] = Counter()
    for path in paths:
        left = CHARACTERS
        for text in documents(path):
            words.update(re.findall(r"[a-z]+", text[:left].lower()))
            left -= len(text)
            if left <= 0:
                break
    return Counter({word: n for word, n in words.items() if n >= LEAST and (len(word) > 2 or n >= 200)})


def vectors(model: Model, words: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """The words that are tokens, and a unit vector for each."""
    forms = {word: (f" {word}", f" {word.capitalize()}") for word in sorted(words)}
    flat = model.tokenizer.encode(list(itertools.chain(*forms.values())))
    head = 0 if model.tokenizer.bos is None else 1
    ids = iter([row[head] if len(row) == head + 1 else -1 for row in flat])
    known = {word: own for word in forms if (own := [i for i in (next(ids), next(ids)) if i >= 0])}
    table: torch.Tensor = getattr(model.hf.get_input_embeddings(), "weight").detach()  # noqa: B009 (of any module)
    own = [torch.nn.functional.normalize(table[ids].float(), dim=1).mean(0) for ids in known.values()]
    found = torch.stack(own).double().numpy()
    found -= found.mean(0)
    _, axes = np.linalg.eigh(found.T @ found)
    found = found @ axes[:, ::-1][:, SHARED : SHARED + DIMENSIONS]
    return np.array(list(known)), found / np.linalg.norm(found, axis=1, keepdims=True)


def clusters(found: np.ndarray, weight: np.ndarray, count: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each vector, and its cosine with the centre."""
    rng = np.random.default_rng(0)
    centres = found[np.sort(rng.choice(len(found), count, replace=False, p=weight / weight.sum()))]
    for _ in range(rounds):
        own = (found @ centres.T).argmax(1)
        sums = np.zeros_like(centres)
        np.add.at(sums, own, found * weight[:, None])
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-9), centres)
    cosine = found @ centres.T
    return cosine.argmax(1), cosine.max(1)


def in_order(words: np.ndarray, cosine: np.ndarray, count: np.ndarray) -> list[str]:
    """The words of a family, the telling ones first; three that do not begin alike lead, for they are its name."""
    order = words[np.argsort(-cosine * np.log(count + 1), kind="stable")].tolist()
    head: list[str] = []
    for word in order:
        if len(head) < 3 and all(word[:4] != other[:4] for other in head):
            head.append(word)
    return head + [word for word in order if word not in head]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    number = counted(args.corpus)
    words, found = vectors(Model.load(args.model), number)
    count = np.array([number[word] for word in words.tolist()])
    weight = np.sqrt(count)
    small, cosine = clusters(found, weight, SMALL, ROUNDS[0])
    large, _ = clusters(found, weight, LARGE, ROUNDS[1])
    votes = np.zeros((SMALL, LARGE))
    np.add.at(votes, (small, large), weight)
    blocks: dict[int, list[tuple[int, list[str]]]] = {}
    for family, home in enumerate(votes.argmax(1).tolist()):
        own = (small == family) & (cosine >= NEAR)
        if own.sum() >= 3:
            blocks.setdefault(home, []).append((int(count[own].sum()), in_order(words[own], cosine[own], count[own])))
    ordered = [[" ".join(line) for _, line in sorted(block, reverse=True)] for _, block in sorted(blocks.items())]
    args.out.write_text("\n\n".join("\n".join(lines) for lines in ordered) + "\n", "utf-8")


if __name__ == "__main__":
    main()
