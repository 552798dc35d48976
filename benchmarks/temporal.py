"""Temporal SAEs beside plain, nested and frozen ones: trained on the same draws, judged on what each group of features says of texts.

    python benchmarks/temporal.py train --shards SHARDS --held HELD --out DIR [--epochs 2] [--pairs 1]
    python benchmarks/temporal.py judge --held HELD --out DIR --labels titles.jsonl.zst=category:title --text held.jsonl.zst
    python benchmarks/temporal.py sheet --shards SHARDS --out DIR [--features 40]

SHARDS and HELD are what `hooke harvest` wrote at one site, from text to train on and with --held-out. `train` goes on where it was
stopped. `judge` prints a table, and writes it as JSON; every --text is read for what the SAEs cost the model there. `sheet` writes where
features drawn by lot from each group fire (sheet.md), shuffled for somebody who reads them blind, and whose they are (key.json).
"""

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from hooke.evals import EvalConfig, evaluate
from hooke.evals.labelled import Labelled, read_labelled
from hooke.evals.pooled import pool_texts
from hooke.evals.probes import dense, fit_few, judge, most_different
from hooke.files import atomic_write
from hooke.harvest.stream import ShardStream
from hooke.model import Model
from hooke.sae import Sae
from hooke.shards import Shards, begins
from hooke.shards.manifest import acts_column
from hooke.text.corpus import parse_corpora, windows
from hooke.train import Hooks, Progress, RunFolder, TrainConfig, train

BATCH = 1024
SHEET_SHARDS = 5
COMMON: dict[str, Any] = {"d_sae": 4096, "l0": 40, "densest": 0.08}
TEMPORAL = COMMON | {"about": 0.2}
WIDE: dict[str, Any] = {"d_sae": 8192, "l0": 60}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": COMMON,
    "plain-seed-1": COMMON | {"seed": 1},
    "matryoshka": TEMPORAL | {"contrast": 0.0},
    "temporal-0.05": TEMPORAL | {"contrast": 0.05},
    "temporal-0.1": TEMPORAL,
    "temporal-0.1-seed-1": TEMPORAL | {"seed": 1},
    "temporal-0.2": TEMPORAL | {"contrast": 0.2},
    "temporal-half": TEMPORAL | {"about": 0.5},
    "plain-8k": COMMON | WIDE,
    "temporal-8k": TEMPORAL | WIDE,
    "temporal-8k-half": TEMPORAL | WIDE | {"about": 0.5},
    "frozen-decoder": COMMON | {"frozen": "decoder"},
    "frozen-encoder": COMMON | {"frozen": "encoder"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "judge", "sheet"))
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--held", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--labels", nargs="*", default=[])
    parser.add_argument("--documents", type=int, default=500, help="documents of each --labels FILE=CLASS[:TEXT]")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--tokens", type=int, default=3000, help="tokens of each --text")
    parser.add_argument("--features", type=int, default=40, help="features that a sheet has of each group")
    parser.add_argument("--seed", type=int, default=0, help="of what a sheet draws")
    options = parser.parse_args()
    {"train": trained, "judge": judged, "sheet": sheet}[options.what](options)


def trained(options: argparse.Namespace) -> None:
    """Every variant, side by side; files under ``saes``."""
    shards, held = Shards.open(options.shards), Shards.open(options.held)
    (site,) = shards.sites
    # Some tokens find no partner in their document: a twentieth is left for them.
    steps = int(0.95 * shards.tokens * options.epochs) // BATCH
    configs = {f"{shards.facts.model}/{site}/{name}": TrainConfig(**VARIANTS[name], steps=steps) for name in options.only}
    stream = ShardStream(shards, [site], epochs=options.epochs, capacity=1 << 16, batch=BATCH, pairs=options.pairs)
    run = RunFolder(options.out, {"shards": shards.digest, "pairs": options.pairs, "saes": {n: asdict(c) for n, c in configs.items()}})

    def report(progress: Progress) -> tuple[str, ...]:
        print(progress.step, progress.steps, *(f"{row['fvu']:.3f}/{row['dead']:.0f}" for row in progress.saes.values()), flush=True)
        return ()

    with run.opened():
        facts: dict[str, Any] = {"model": shards.facts.model, "context": shards.facts.context}
        saes = train(configs, stream, {site: rows(held, site)[0]}, hooks=Hooks(report), folder=run, **facts)
        for name, sae in saes.items():
            sae.facts.training.update({"tokens": shards.tokens, "epochs": options.epochs, "pairs": options.pairs})
            sae.save(run.sae_path(name))


def rows(shards: Shards, site: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All rows in reading order, and which of them follow the row before them in its text."""
    parts = [shards.read(i) for i in range(len(shards))]
    doc, corpus, pos = (torch.cat([part[name].int() for part in parts]) for name in ("doc", "corpus", "pos"))
    follows = ~begins(pos, doc, corpus) & (pos.diff(prepend=pos[:1]) == 1)  # a token that was left out lies between others
    return torch.cat([part[acts_column(site)] for part in parts]), follows


def groups_of(sae: Sae) -> dict[str, slice]:
    return {"all": slice(0, sae.d_sae)} | {name: slice(*run) for name, run in sae.facts.groups.items()}


def smoothness(sae: Sae, acts: torch.Tensor, follows: torch.Tensor) -> dict[str, float]:
    """``Σ|f_t − f_{t−1}| / Σ(f_t + f_{t−1})`` over each group's features: 0 where codes stay as they are, 1 where no feature stays on."""
    changed, there = dict.fromkeys(groups_of(sae), 0.0), dict.fromkeys(groups_of(sae), 0.0)
    for start in range(0, len(acts) - 1, 1024):
        codes = sae.encode(acts[start : start + 1025].float()).dense()
        now, before = codes[1:][follows[start + 1 : start + 1025]], codes[:-1][follows[start + 1 : start + 1025]]
        for name, part in groups_of(sae).items():
            changed[name] += float((now[:, part] - before[:, part]).abs().sum())
            there[name] += float((now[:, part] + before[:, part]).sum())
    return {name: changed[name] / there[name] for name in changed}


def areas(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of every column."""
    positive = truth.sum()
    return (rankdata(vectors, axis=0)[truth].sum(0) - positive * (positive + 1) / 2) / (positive * (~truth).sum())


def probed(vectors: np.ndarray, labelled: Labelled, seed: int = 0) -> dict[str, float]:
    """Means over classes, chosen on one half of the texts and told of the other: the single best feature, and 2 and 5 in a regression."""
    half = np.random.default_rng(seed).permutation(len(labelled)) < len(labelled) // 2
    found: dict[str, list[float]] = {"1": [], "2": [], "5": []}
    for label in labelled.classes:
        truth = labelled.truth(label)
        best = int(areas(vectors[half], truth[half]).argmax())
        found["1"].append(float(areas(vectors[~half][:, [best]], truth[~half])[0]))
        for k in (2, 5):
            column = most_different(vectors[half], truth[half], k, selection="effect")
            scores = fit_few(vectors[half][:, column], truth[half], vectors[~half][:, column])
            found[str(k)].append(float(judge(scores, truth[~half], np.ones((1, (~half).sum())))[2, 0]))
    return {k: float(np.mean(values)) for k, values in found.items()}


def trained_saes(options: argparse.Namespace) -> list[Sae]:
    """Every SAE under ``saes``; others may be laid beside them."""
    return [Sae.load(path) for path in sorted((options.out / "saes").rglob("*.safetensors"))]


def sheet(options: argparse.Namespace) -> None:
    """Of each feature up to ten documents: five of its strongest tenth of places, five of the stronger half of the rest."""
    saes, shards, draw = trained_saes(options), Shards.open(options.shards), random.Random(options.seed)
    tokenizer = Model.load(saes[0].facts.model).tokenizer
    drawn = [
        (sae, group, index)
        for sae in saes
        for group, part in groups_of(sae).items()
        if group != "all" or not sae.facts.groups
        for index in draw.sample(range(part.start, part.stop), options.features)
    ]
    parts = [shards.read(number) for number in range(min(SHEET_SHARDS, len(shards)))]
    ids, doc = (torch.cat([part[name] for part in parts]).tolist() for name in ("ids", "doc"))
    draw.shuffle(drawn)
    values = {sae.name: codes_of(sae, parts, [index for one, _, index in drawn if one is sae]) for sae in saes}
    blocks, key = [], []
    for number, (sae, group, index) in enumerate(drawn):
        column = values[sae.name][index]
        order = sorted(np.flatnonzero(column).tolist(), key=lambda place: -column[place])
        top = order[: max(8, len(order) // 10)]
        rest = order[len(top) : max(len(top) + 1, len(order) // 2)]
        seen: set[int] = set()
        shown = [place for some in (top, rest) for place in one_a_document(draw.sample(some, len(some)), doc, seen, 5)]
        blocks.append(f"## {number}\n" + "\n".join(f"- {around(place, ids, doc, tokenizer)}" for place in shown))
        key.append({"block": number, "sae": sae.name, "group": group, "feature": index, "fires": len(order) / len(ids)})
    with atomic_write(options.out / "sheet.md") as out:
        out.write("\n\n".join(blocks).encode())
    with atomic_write(options.out / "key.json") as out:
        out.write(json.dumps(key, indent=1).encode())


def codes_of(sae: Sae, parts: list[dict[str, torch.Tensor]], features: list[int]) -> dict[int, np.ndarray]:
    """Activations of some features at every token."""
    column = acts_column(sae.site)
    found = [
        sae.encode(part[column][start : start + 1024].float()).dense()[:, features]
        for part in parts
        for start in range(0, len(part[column]), 1024)
    ]
    return dict(zip(features, torch.cat(found).T.numpy(), strict=True))


def one_a_document(places: list[int], doc: list[int], seen: set[int], count: int) -> list[int]:
    """The first `count` of `places` whose documents were not seen yet; they are seen then."""
    chosen: list[int] = []
    for place in places:
        if len(chosen) < count and doc[place] not in seen:
            seen.add(doc[place])
            chosen.append(place)
    return chosen


def around(place: int, ids: list[int], doc: list[int], tokenizer: Any) -> str:
    """A token between ``[[`` and ``]]``, with what its document has around it, on one line."""
    start, stop = place, place + 1
    while start > max(0, place - 16) and doc[start - 1] == doc[place]:
        start -= 1
    while stop < min(len(ids), place + 11) and doc[stop] == doc[place]:
        stop += 1
    before, token, after = (tokenizer.decode(ids[a:b]) for a, b in ((start, place), (place, place + 1), (place + 1, stop)))
    return f"{before}[[{token}]]{after}".replace("\n", " / ")


def judged(options: argparse.Namespace) -> None:
    """A row for every SAE under ``saes``."""
    saes = trained_saes(options)
    model = Model.load(saes[0].facts.model)
    held = Shards.open(options.held)
    acts, follows = rows(held, saes[0].site)
    table = [{"sae": sae.name, **sae.facts.metrics, "smoothness": smoothness(sae, acts, follows)} for sae in saes]
    for given in options.labels:
        file, _, fields = given.rpartition("=")
        labels, _, text = fields.partition(":")
        found = read_labelled(Path(file), labels, text=text or None, documents=options.documents)
        pooled = pool_texts(model, saes, found.texts, progress=print)
        for row, sae, codes in zip(table, saes, pooled.codes, strict=True):
            matrix = dense(codes.mean)
            row[Path(file).name] = {name: probed(matrix[:, part], found) for name, part in groups_of(sae).items()}
    for given in options.text:
        config = EvalConfig(options.tokens, ("core",), baseline_tokens=300, calibration_tokens=1000)
        text = windows(parse_corpora([given]), model.tokenizer, length=128, seed=3)
        for row, judged_row in zip(table, evaluate(model, saes, text, config, progress=print).result["saes"], strict=True):
            row[f"delta_loss {Path(given).name}"] = judged_row["core"]["delta_loss"]["value"]
    with atomic_write(options.out / "judged.json") as out:
        out.write(json.dumps(table, indent=1).encode())
    for row in table:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
