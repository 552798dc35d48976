"""Make this pack: sample text from the model, train the SAEs, describe and label every feature, write the card.

    python packs/gemma-3-270m/build.py --corpora ../shared/corpora --work runs/pack

The folder given as --corpora holds the JSON Lines files of MIX (those that are missing are left out of the mix, and the card says so).
Each stage writes its result under --work and is skipped where that is already there; delete a stage's file to make it again.
Everything runs on a CPU: about an hour and a half on two cores.
"""

import argparse
import contextlib
import json
import platform
import shutil
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from card import write_card
from safetensors.torch import load_file, save_file

from hooke.atlas import Atlas
from hooke.explain.survey import SurveySettings, survey
from hooke.files import atomic_write
from hooke.harvest import harvest
from hooke.harvest.stream import LiveStream
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
EXAMPLES = 4
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


def atlas(model: Model, mix: list[Corpus], work: Path) -> None:
    """Statistics, examples, labels and topics of every feature; few examples, since the file is installed with the pack."""
    saes = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES]
    read = {"tokens": ATLAS_TOKENS, "context": CONTEXT, "seed": 1, "epochs": 2}
    small = {"examples": EXAMPLES, "kept_examples": EXAMPLES, "contexts": False}
    settings = SurveySettings(**read, **small, background=BACKGROUND, background_without=NEWS)
    last = [0.0, ""]

    def report(stage: str, done: int, total: int) -> None:
        if stage != last[1] or time.monotonic() > float(last[0]) + 30:
            last[:] = time.monotonic(), stage
            say(f"{stage}: {done:,} of {total:,}")

    survey(model, saes, mix, work / "atlas.sqlite", settings, progress=report)


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
    if not (work / "atlas.sqlite").is_file():
        atlas(model, mix, work)
    shutil.copyfile(work / "atlas.sqlite", PACKAGE / "atlas.sqlite")
    if not (work / "losses.json").is_file():
        saes, means = [Sae.load(PACKAGE / f"{site}.safetensors") for site in SITES], Atlas(work / "atlas.sqlite").saes
        own = [window for window in windows(mix, model.tokenizer, length=CONTEXT, seed=5, held_out=True) if len(window.ids) == CONTEXT]
        found = fidelity(model, saes, {name: entry.mean for name, entry in means.items()}, own[:LOSS_WINDOWS])
        (work / "losses.json").write_text(json.dumps(found))
    write_card(HERE / "README.md", PACKAGE, SITES, json.loads((work / "losses.json").read_text()), LOSS_WINDOWS * (CONTEXT - 2))


if __name__ == "__main__":
    main()
