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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from card import write_card
from safetensors.torch import load_file, save_file

from hooke.analysis.topics import NONE, fit, load_topics, topic_rules, topic_vectors
from hooke.atlas import Atlas, Feature, FeatureRow, SaeEntry, relative_to
from hooke.atlas.build import Events, background_counts, output_tokens, pooled_max, top_examples
from hooke.codes import Codes
from hooke.explain import Reading, label_feature
from hooke.explain.label import MIN_EVIDENCE, MIN_SCORE, STRONG
from hooke.files import atomic_write
from hooke.harvest import harvest
from hooke.harvest.stream import LiveStream
from hooke.metrics import VarianceSum
from hooke.model import Model
from hooke.names import SaeName, Site
from hooke.sae import Sae
from hooke.text.corpus import Corpus, Window, windows
from hooke.train import Hooks, Progress, RunFolder, TrainConfig, train
from hooke.train.export import measure

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
ATLAS_TOKENS = 400_000
BACKGROUND = 4000
LOSS_WINDOWS = 128
NEWS = ("reuters-21578", "abc-news")
NAMES = {site: str(SaeName(MODEL, site, "4k")) for site in SITES}
RECIPE = TrainConfig(d_sae=4096, l0=50, steps=FRESH_TOKENS * REUSE // BATCH - 200, lr=1e-3, dead_after=150_000)


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
    stream = LiveStream(
        model, lambda: windows(mix, model.tokenizer, epochs=8, **settings), SITES, capacity=1 << 17, batch=BATCH, reuse=REUSE
    )
    recipes = dict.fromkeys(NAMES.values(), RECIPE)
    folder = RunFolder(work / "run", {"model": MODEL, "batch": BATCH, "saes": {name: asdict(RECIPE) for name in recipes}})
    seen: dict[str, Any] = {}

    def batches(position: Any = None) -> Iterator[Any]:
        for batch in stream.batches(position):
            seen.update(batch.position)
            yield batch

    def report(progress: Progress) -> tuple[str, ...]:
        fvu, dead = zip(*((row["fvu"], row["dead"]) for row in progress.saes.values()), strict=True)
        told = " ".join(f"{value:.4f}" for value in fvu)
        say(f"step {progress.step}/{progress.steps} {progress.tokens_per_s:,.0f} tokens/s fvu {told} dead {list(dead)}")
        return ()

    with folder.opened():  # a killed run goes on from its last checkpoint
        source = SimpleNamespace(batches=batches, device="cpu")
        saes = train(recipes, source, held_out, model=MODEL, context=CONTEXT, hooks=Hooks(report), folder=folder)
    left_out = sum(seen["left_out"].values())
    facts = {"tokens": seen["tokens"], "left_out": left_out, "reuse": REUSE, "batch": BATCH, "context": CONTEXT}
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


def pooled_on(model: Model, saes: list[Sae], texts: list[Window]) -> dict[str, tuple[torch.Tensor, torch.Tensor, float]]:
    """For each SAE: every text's largest activations (in the order given), the mean activation, and the share explained."""
    place = {id(own): i for i, own in enumerate(texts)}
    pooled = {sae.name: torch.zeros(len(texts), sae.d_sae) for sae in saes}
    sums = {sae.name: VarianceSum() for sae in saes}
    total, n = {sae.name: torch.zeros(sae.d_in, dtype=torch.float64) for sae in saes}, 0
    for part in harvest(model, texts, [sae.site for sae in saes], drop_sinks=False):
        order = torch.tensor([place[id(own)] for own in part.windows])
        n += len(part.pos)
        for sae in saes:
            acts = part.acts[sae.site].float()
            codes = sae.encode(acts)
            sums[sae.name].add(acts, sae.decode(codes))
            total[sae.name] += acts.double().sum(0)
            pooled[sae.name][order] = pooled_max(codes, part.window.numpy(), len(part.windows))
    return {sae.name: (pooled[sae.name], (total[sae.name] / n).float(), 1 - sums[sae.name].fvu) for sae in saes}


def exemplars(model: Model) -> tuple[list[Window], torch.Tensor, list[str]]:
    """The headlines written for each topic, their topics, and all topics' names with "none" last."""
    topics, none = load_topics()
    texts = [(text, i) for i, topic in enumerate(topics) for text in topic.examples] + [(text, len(topics)) for text in none]
    encoded = model.tokenizer.encode([text for text, _ in texts])
    own = [Window("topics", i, ids) for i, ids in enumerate(encoded)]
    return own, torch.tensor([label for _, label in texts]), [topic.name for topic in topics] + [NONE]


def describe(
    model: Model, sae: Sae, got: Read, counts: np.ndarray, facts: dict[str, Any], mean: torch.Tensor
) -> tuple[SaeEntry, list[FeatureRow]]:
    """One SAE's part of the atlas; topics come later."""
    events = Events.of(got.codes[sae.name])
    maximum = events.max()
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
        rows.append(FeatureRow(feature, index, counts[index], np.zeros(0)))
    facts = facts | {"tokens": len(got.ids), "explained": got.explained[sae.name]}
    say(f"{sae.name}: described {len(rows):,} features, {facts}")
    return SaeEntry(0, sae.name, facts, mean.numpy()), rows


def atlas(model: Model, mix: list[Corpus], work: Path) -> None:
    """Statistics, examples and labels of every feature, and what the topics are fitted on."""
    saes = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES]
    background, (own, _, _) = list(background_texts(mix, model, BACKGROUND)), exemplars(model)
    neutral, headlines = pooled_on(model, saes, background), pooled_on(model, saes, own)
    say(f"read {len(background):,} neutral texts and {len(own)} headlines")
    got = read(model, saes, windows(mix, model.tokenizer, length=CONTEXT, seed=1, epochs=2), ATLAS_TOKENS)
    say(f"read {len(got.ids):,} tokens")
    parts = []
    for sae in saes:
        pooled, mean, explained = neutral[sae.name]
        counts = background_counts(pooled, Events.of(got.codes[sae.name]).max())
        facts = {"background_texts": len(background), "explained_background": explained, "explained_headlines": headlines[sae.name][2]}
        parts.append(describe(model, sae, got, counts, facts, mean))
    facts = {"model": MODEL, "tokens": len(got.ids), "corpora": {corpus.name: corpus.weight for corpus in mix}, "topics": []}
    Atlas.write(work / "atlas-without-topics.sqlite", facts, parts)
    save_file({name: torch.cat([headlines[name][0], neutral[name][0]]).half() for name in neutral}, work / "short.safetensors")


def renamed(feature: Feature, topic: int, score: float, evidence: int) -> Feature:
    """`feature` named after the topic of the texts that drive it, where that predicts it clearly and better than any rule over words."""
    better = score > (feature.score or 0) if feature.rule != "none" else True
    if score < MIN_SCORE or evidence < MIN_EVIDENCE or not better:
        return feature
    short = load_topics()[0][topic].short
    return replace(feature, label=f"texts on {short}", rule="topic", score=round(score, 4), evidence=evidence, words=[short])


def with_topics(model: Model, work: Path) -> None:
    """The finished atlas: each SAE's features weighed for topics, and the background that specificity compares with.

    Topics are fitted on the headlines written for them and the neutral texts. The background is both, the headlines (of all subjects)
    repeated so that they weigh as much: a feature that any headline would fire is not specific to one.
    """
    plain, short = Atlas(work / "atlas-without-topics.sqlite"), load_file(work / "short.safetensors")
    _, labels, names = exemplars(model)
    parts = []
    for entry in plain.saes.values():
        table, pooled = plain.table(entry.name), short[entry.name].float()
        vectors = topic_vectors(torch.from_numpy(relative_to(pooled.numpy(), table.max)))
        neutral = len(pooled) - len(labels)
        everything = torch.cat([labels, torch.full((neutral,), len(names) - 1)])
        topics = fit(vectors, everything, len(names)).numpy()
        headlines = pooled[: len(labels)][labels < len(names) - 1]
        counts = table.background + np.round(background_counts(headlines, table.max) * (neutral / len(headlines)))
        rules = topic_rules(
            torch.from_numpy(relative_to(headlines.numpy(), table.max)), labels[: len(headlines)], len(names) - 1, strong=STRONG
        )
        features = [renamed(plain.feature(f"{entry.name}/{i}"), *rule) for i, rule in enumerate(rules)]
        rows = [FeatureRow(feature, i, counts[i], topics[i]) for i, feature in enumerate(features)]
        parts.append((replace(entry, facts=entry.facts | {"background_texts": 2 * neutral}), rows))
        say(f"{entry.name}: topics fitted")
    Atlas.write(work / "atlas.sqlite", plain.facts | {"topics": names}, parts)


def fidelity(model: Model, saes: list[Sae], means: dict[str, np.ndarray], own: list[Window]) -> dict[str, dict[str, float]]:
    """Next-token loss in nats: clean, with each SAE in the place of its site, and with the site's mean there; position 0 is left alone."""

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
        out[sae.name] = {
            "loss": clean,
            "loss_spliced": spliced,
            "loss_mean_ablated": ablated,
            "delta_loss": spliced - clean,
            "recovered_mean": recovered,
        }
        say(f"{sae.name}: {out[sae.name]}")
    return out


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
    if not (work / "atlas-without-topics.sqlite").is_file():
        atlas(model, mix, work)
    with_topics(model, work)
    shutil.copyfile(work / "atlas.sqlite", PACKAGE / "atlas.sqlite")
    if not (work / "losses.json").is_file():
        saes, means = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES], Atlas(work / "atlas.sqlite").saes
        own = [window for window in windows(mix, model.tokenizer, length=CONTEXT, seed=5, held_out=True) if len(window.ids) == CONTEXT]
        found = fidelity(model, saes, {name: entry.mean for name, entry in means.items()}, own[:LOSS_WINDOWS])
        (work / "losses.json").write_text(json.dumps(found))
    write_card(HERE / "README.md", PACKAGE, SITES, json.loads((work / "losses.json").read_text()), LOSS_WINDOWS * (CONTEXT - 2))


if __name__ == "__main__":
    main()
