"""Make this pack: read text with the model, train the SAEs, describe and label every feature, judge everything, write the card.

    python packs/gemma-3-270m/build.py --corpora ../shared/corpora --work runs/pack
    python packs/gemma-3-270m/build.py --work runs/pack --publish runs/published    # the forms that hubs and other tools read

The folder given as --corpora holds the JSON Lines files of MIX (those that are missing are left out of the mix, and the card says so).
Each stage writes its result under --work, goes on where it was stopped, and is skipped where its result is there; delete a stage's file
to make it again; training goes on from its last checkpoint. With --device cuda the model and the training run on a GPU. On a CPU the model
reads 20 M tokens four layers deep, some hours on eight cores and days on two: let it run in the background at the lowest priority.

    hooke harvest --site resid_post.12 --corpus ... --tokens 20M --out acts      # and what it has so far
    python packs/gemma-3-270m/build.py --corpora ../shared/corpora --work runs/pack --acts acts

trains the sites of a harvest alone, finished or not, from disk, and makes their atlas from it too; the SAEs of the other sites, and what
the package's atlas says of them, stay as they are.

    python packs/gemma-3-270m/build.py --work runs/pack --effects

measures what the features of EFFECTS do, and adds it to whatever atlas the package has (an hour of one core the first time; what was
measured is kept under --work, so that it can be added to another atlas of the same SAEs in a minute).
"""

import argparse
import json
import math
import platform
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import zstandard
from card import write_card

from hooke.atlas import Atlas
from hooke.atlas.compact import compact
from hooke.builder import AtlasSettings, build_atlas
from hooke.evals import EvalConfig, evaluate
from hooke.features.effect_log import EffectLog
from hooke.features.effects import EffectRun, EffectSettings
from hooke.files import atomic_write
from hooke.harvest.saving import HarvestConfig, save
from hooke.harvest.stream import LiveStream, ShardStream, Stream
from hooke.model import Model
from hooke.names import SaeName, Site
from hooke.sae import Sae
from hooke.sae.formats import write_sae
from hooke.sae.publish import save_pretrained
from hooke.shards import Shards
from hooke.shards.manifest import acts_column
from hooke.text.corpus import Corpus, Window, windows
from hooke.train import Hooks, Progress, RunFolder, TrainConfig, train
from hooke.train.export import measure

HERE = Path(__file__).parent
PACKAGE = HERE / "src" / "hooke_gemma_3_270m"
PACKED = PACKAGE / "atlas.sqlite.zst"
MODEL = "gemma-3-270m"
# Layer 12 is what `hooke analyze` reads by default: twice as many features there, so that they can be specific.
D_SAE = {Site(5, "resid_post"): 4096, Site(9, "resid_post"): 4096, Site(12, "resid_post"): 8192, Site(15, "resid_post"): 4096}
# Active features a token: what Gemma Scope 2 calls medium at these layers.
L0 = {Site(5, "resid_post"): 55, Site(9, "resid_post"): 60, Site(12, "resid_post"): 60, Site(15, "resid_post"): 60}
SITES = list(L0)
# Shares of the training tokens: news first (the pack's first use is reading headlines), then prose, talk, knowledge, code, languages.
MIX = {
    "news-articles-2a": 0.09,
    "news-articles-2b": 0.09,
    "news-articles-2c": 0.09,
    "news-headlines-2": 0.10,
    "reuters-21578": 0.08,
    "abc-news": 0.06,
    "brown": 0.04,
    "books": 0.06,
    "wikipedia-small": 0.02,
    "web": 0.02,
    "speeches": 0.02,
    "medical-qa": 0.04,
    "recipes": 0.03,
    "law": 0.03,
    "languages": 0.015,
    "languages-2": 0.035,
    "dialogue": 0.03,
    "code": 0.04,
    "reviews-2": 0.04,
    "structured": 0.01,
    "social-comments": 0.03,
    "maths-latex": 0.01,
    "requests": 0.01,
    "python": 0.02,
    "sampled": 0.03,
}
# Whole sources of other kinds that nothing is trained on: what the SAEs are worth on text that is not like their own.
ELSEWHERE = ("bbc-news-dev", "science-abstracts", "guides-textbook", "movie-reviews")
CONTEXT = 128
FRESH_TOKENS = 20 << 20
# A forward pass costs far more than a step: every activation is learnt from more than once, in a new order each time.
REUSE = 3
BATCH = 1024
POOL = 1 << 17
HELD_OUT_TOKENS = 100_000
ATLAS_TOKENS = 4_000_000
JUDGED_TOKENS, ELSEWHERE_TOKENS = 50_000, 20_000
BASELINE_TOKENS = 5_000
BACKGROUND = 4000
EXAMPLES, AROUND = 2, 30
# Excerpts that travel with the package come from these alone: texts whose stated licence, or age, permits it.
SHOWN = (
    *("reuters-21578", "abc-news", "brown", "books", "wikipedia-small", "web", "speeches", "languages", "movie-reviews"),
    *("medical-qa", "law", "languages-2", "dialogue", "code", "social-comments", "maths-latex", "python", "sampled"),
)
NEWS = ("news-articles-2a", "news-articles-2b", "news-articles-2c", "news-headlines-2", "reuters-21578", "abc-news")
# Sites whose features' effects are measured; of the others the atlas says that nobody did.
EFFECTS = (Site(12, "resid_post"),)
NAMES = {site: str(SaeName(MODEL, site, f"{d_sae // 1024}k")) for site, d_sae in D_SAE.items()}
# Half the usual rate: at this many steps it leaves fewer features dead and the loss as low (docs/quality.md).
LR = 1.5e-3
# Held a little below the tenth of all tokens that no feature should fire on more than.
DENSEST = 0.08


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


def held_out(model: Model, mix: list[Corpus], sites: Sequence[Site], work: Path) -> dict[Site, torch.Tensor]:
    """Activations of held-out documents at `sites`, kept as shards under `work`."""
    config = HarvestConfig(HELD_OUT_TOKENS, CONTEXT, epochs=8, held_out=True)
    for shard in save(model, mix, sites, work / "held", config):
        say(f"held: {shard.file}")
    shards = Shards.open(work / "held")
    parts = [shards.read(i) for i in range(len(shards))]
    return {site: torch.cat([part[acts_column(site)] for part in parts]) for site in sites}


def recipes(sites: Sequence[Site], tokens: int) -> dict[str, TrainConfig]:
    """How each SAE is trained: plain BatchTopK; docs/quality.md has what else was tried. Special tokens, a hundredth, are left out."""
    steps = int(0.99 * tokens) * REUSE // BATCH
    return {
        NAMES[site]: TrainConfig(d_sae=D_SAE[site], l0=L0[site], lr=LR * math.sqrt(4096 / D_SAE[site]), densest=DENSEST, steps=steps)
        for site in sites
    }


def training(model: Model, mix: list[Corpus], sites: Sequence[Site], acts: Shards | None, work: Path, device: str) -> None:
    """The SAEs of `sites` side by side, live from the model or from `acts`, written to `work` in float32. A killed run goes on where its
    last checkpoint left it."""
    configs = recipes(sites, FRESH_TOKENS if acts is None else acts.tokens)
    run = RunFolder(work / "run", {"model": MODEL, "batch": BATCH, "saes": {name: asdict(config) for name, config in configs.items()}})

    def text() -> Iterator[Window]:
        return windows(mix, model.tokenizer, length=CONTEXT, seed=0, epochs=8)

    def report(progress: Progress) -> tuple[str, ...]:
        told = " ".join(f"{row['fvu']:.4f}/{row['dead']:.0f}" for row in progress.saes.values())
        say(f"step {progress.step}/{progress.steps} {progress.tokens_per_s:,.0f} tokens/s, FVU/dead {told}")
        return ()

    with run.opened():
        draws: dict[str, Any] = {"capacity": POOL, "batch": BATCH, "device": device}
        if acts is None:
            stream: Stream = LiveStream(model, text, sites, reuse=REUSE, **draws)
        else:
            stream = ShardStream(acts, sites, epochs=REUSE, **draws)
        held = {site: found.to(device) for site, found in held_out(model, mix, sites, work).items()}
        saes = train(configs, stream, held, model=MODEL, context=CONTEXT, hooks=Hooks(report), folder=run)
        kept = run.restore(configs)
    assert kept is not None
    assert kept[1] is not None
    read, left_out = (kept[1]["tokens"], kept[1]["left_out"]) if acts is None else (acts.corpora, acts.left_out)
    for site in sites:
        name = NAMES[site]
        saes[name].facts.training.update(
            {"tokens": read, "left_out": sum(left_out.values()), "epochs": REUSE, "batch": BATCH, "context": CONTEXT}
        )
        saes[name].save(work / f"{site}.safetensors")


def pack_weights(held: dict[Site, torch.Tensor], work: Path) -> None:
    """Weights as int8 into the package, each with what that costs on the half of the held-out text that set no threshold."""
    for site, acts in held.items():
        sae = Sae.load(work / f"{site}.safetensors")
        acts = acts[len(acts) // 2 :]
        sae.save(PACKAGE / f"{site}.safetensors", weights="int8")
        exact, small = measure(sae, acts), measure(Sae.load(PACKAGE / f"{site}.safetensors"), acts)
        sae.facts.metrics.update(small | {"fvu_float32": exact["fvu"]})
        sae.save(PACKAGE / f"{site}.safetensors", weights="int8")
        say(f"{site}: float32 {exact} int8 {small}")


def atlas(model: Model, mix: list[Corpus], sites: Sequence[Site], acts: Shards | None, work: Path) -> None:
    """Statistics, examples, labels and topics of every feature of `sites`, with enough examples for somebody to name it by."""
    saes = [Sae.load(PACKAGE / f"{site}.safetensors") for site in sites]
    read: dict[str, Any] = {"tokens": ATLAS_TOKENS, "context": CONTEXT, "seed": 1, "epochs": 8}
    kept: dict[str, Any] = {"examples": 40, "per_interval": 10}
    settings = AtlasSettings(**read, **kept, background=BACKGROUND, background_without=NEWS)
    last = [0.0, ""]

    def report(stage: str, done: int, total: int) -> None:
        if stage != last[1] or time.monotonic() > float(last[0]) + 30:
            last[:] = time.monotonic(), stage
            say(f"{stage}: {done:,} of {total:,}")

    build_atlas(model, saes, mix, work / "atlas.sqlite", settings, acts=acts, progress=report)


def pack_atlas(work: Path, *, alone: bool) -> None:
    """A small copy of the atlas into the package, compressed whole: half the size of features compressed one by one. Unless it stands
    `alone`, what the package's atlas says of other SAEs is kept."""
    sources = [work / "atlas.sqlite"]
    if not alone:
        sources.append(work / "before.sqlite")
        if not sources[1].is_file():
            unpack(sources[1])
    kept: dict[str, Any] = {"examples": EXAMPLES, "saes": NAMES.values(), "shown": SHOWN, "around": AROUND, "contexts": True}
    pack(compact(sources, work / "small.sqlite", **kept))


def unpack(target: Path) -> None:
    """The package's atlas, to be opened."""
    with PACKED.open("rb") as source, atomic_write(target) as out:
        zstandard.ZstdDecompressor(max_window_size=1 << 27).copy_stream(source, out)


def pack(atlas: Path) -> None:
    """An atlas into the package."""
    how = zstandard.ZstdCompressionParameters.from_level(22, window_log=26, enable_ldm=True, write_checksum=True)
    with atomic_write(PACKED) as out:
        out.write(zstandard.ZstdCompressor(compression_params=how).compress(atlas.read_bytes()))


def effects(model: Model, work: Path) -> None:
    """What the features of `EFFECTS` do, into the package's atlas; steps that were measured before are not measured again."""
    small, last = work / "small.sqlite", [0.0]
    unpack(small)

    def report(done: int, total: int) -> None:
        if time.monotonic() > last[0] + 30 or done == total:
            last[0] = time.monotonic()
            say(f"effects: {done:,} of {total:,}")

    for site in EFFECTS:
        sae = Sae.load(PACKAGE / f"{site}.safetensors")
        run = EffectRun(model, sae, Atlas(small).table(sae.name).max, EffectSettings())
        with EffectLog(work / "effects" / str(site), run.about) as log:
            run.run(log, progress=report)
            run.write(log, small, small)
    pack(small)


def judged(model: Model, text: Iterator[Window], tokens: int, file: Path) -> dict[str, Any]:
    """What `hooke eval` says of the packed SAEs on some text, kept in `file`."""
    if not file.is_file():
        saes = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES]
        config = EvalConfig(tokens, ("core", "geometry", "uniformity"), baseline_tokens=BASELINE_TOKENS, seed=5)
        result = evaluate(model, saes, text, config, work=file.with_suffix(".sums"), progress=say).result
        with atomic_write(file) as out:
            out.write(json.dumps(result, indent=1).encode())
    return json.loads(file.read_text())


def quality(model: Model, mix: list[Corpus], folder: Path, work: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The packed SAEs on held-out documents of the mix, and on each source that was never in it."""
    own = windows(mix, model.tokenizer, length=CONTEXT, seed=5, held_out=True, epochs=8)
    elsewhere = {}
    for name in ELSEWHERE:
        text = windows([Corpus(name, folder / f"{name}.jsonl.zst")], model.tokenizer, length=CONTEXT, seed=5)
        elsewhere[name] = judged(model, text, ELSEWHERE_TOKENS, work / f"quality-{name}.json")
    return judged(model, own, JUDGED_TOKENS, work / "quality.json"), elsewhere


def published(folder: Path, work: Path) -> None:
    """Every SAE in the layouts that hubs and other tools read, one folder each: native with a card, SAELens, Gemma Scope 2."""
    card = {"licence": "gemma", "intended_use": "Reading what Gemma 3 270M computes.", "versions": f"torch {torch.__version__}"}
    for site, name in NAMES.items():
        if not (work / f"{site}.safetensors").is_file():
            continue
        sae = Sae.load(work / f"{site}.safetensors")
        sae.facts.metrics.update(Sae.load(PACKAGE / f"{site}.safetensors").facts.metrics)
        save_pretrained(sae, folder / "native" / str(site), card=card)
        for form, place in (("saelens", folder / "saelens" / str(site)), ("gemma-scope-2", folder / "gemma-scope-2")):
            say(f"{name}: {write_sae(sae, place, form)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/pack"))
    parser.add_argument("--acts", type=Path, help="a harvest to train on, of one or more of the sites")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--effects", action="store_true", help="only measure what features do, and add it to the package's atlas")
    parser.add_argument("--publish", type=Path)
    options = parser.parse_args()
    work: Path = options.work
    if options.publish:
        return published(options.publish, work)
    work.mkdir(parents=True, exist_ok=True)
    if options.effects:
        return effects(Model.load(MODEL, device=options.device, progress=say), work)
    if options.corpora is None:
        parser.error("say where the corpora are (--corpora)")
    say(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    model = Model.load(MODEL, device=options.device, progress=say)
    if not (work / "sampled.jsonl").is_file():
        sample(model, work / "sampled.jsonl")
    if not (work / "python.jsonl").is_file():
        standard_library(work / "python.jsonl")
    mix = corpora(options.corpora, work)
    acts = Shards.open(options.acts) if options.acts else None
    sites = SITES if acts is None else [site for site in SITES if site in acts.sites]
    if not all((work / f"{site}.safetensors").is_file() for site in sites):
        training(model, mix, sites, acts, work, options.device)
    pack_weights(held_out(model, mix, sites, work), work)
    figures, elsewhere = quality(model, mix, options.corpora, work)
    if not (work / "atlas.sqlite").is_file():
        atlas(model, mix, sites, acts, work)
    pack_atlas(work, alone=acts is None)
    effects(model, work)
    write_card(HERE / "README.md", PACKAGE, work / "small.sqlite", SITES, figures, elsewhere)
    return None


if __name__ == "__main__":
    main()
