"""What `hooke eval` costs beside the bare passes that it cannot do without, and the tables of docs/quality.md.

    python benchmarks/eval.py cost FILE ... [--tokens 2000] [--rounds 1]
    python benchmarks/eval.py table RESULT.json ...      (what `hooke eval --json` printed)

`cost` takes turns, in one process and on the same windows: one clean `Model.loss` and one spliced one for every installed SAE of the
model, then the whole of core. It tells apart what baselines took, and what they would have taken on one token in ten, as at 100,000
tokens. Seconds are of the processor, all threads together, so that a busy machine changes little. `table` prints the figures as
Markdown: core beside its baselines, probing, TPP, whichever the results have.
"""

import argparse
import contextlib
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from hooke.evals import EvalConfig, evaluate, run
from hooke.evals.evaluator import Evaluator
from hooke.evals.run import padded
from hooke.model import Model, length_batches
from hooke.report.evaluation_terminal import by_size
from hooke.sae import Sae
from hooke.sae.packs import installed_saes
from hooke.text.corpus import Window, parse_corpora, windows

COLUMNS = ("l0_mean", "fvu", "delta_loss", "loss_recovered_mean", "loss_recovered_zero", "kl", "dead_share", "dense_share")
# Methods of probing that look at no SAE.
SHARED = ("majority", "tfidf", "tfidf chars")


def bare(model: Model, saes: list[Sae], own: list[Window], batch_tokens: int) -> None:
    """One clean and one spliced pass for every SAE."""
    for batch in length_batches([len(window.ids) for window in own], batch_tokens):
        ids, _ = padded(model, [own[i] for i in batch])
        model.loss(ids)
        for sae in saes:
            with model.edit(sae.site, sae.reconstruct):
                model.loss(ids)


def taken(model: Model, stream: Iterator[Window], tokens: int) -> list[Window]:
    """Windows of `stream` with at least `tokens` tokens that are counted."""
    own, n = [], 0
    while n < tokens:
        own.append(next(stream))
        n += sum(token not in model.tokenizer.special for token in own[-1].ids)
    return own


def cost(options: argparse.Namespace) -> None:
    torch.set_grad_enabled(False)
    model = Model.load(options.model)
    saes = [Sae.from_pretrained(row.facts.name) for row in installed_saes() if row.facts.model == options.model]
    stream = windows(parse_corpora(options.files), model.tokenizer, length=128, seed=0, held_out=True)
    tenth = max(1, options.tokens // 10)
    front, own = (taken(model, stream, tokens) for tokens in (tenth, options.tokens))
    config = EvalConfig(options.tokens, ("core",), baseline_tokens=tenth, calibration_tokens=tenth)
    bare(model, saes, own[:1], config.batch_tokens)
    spent, tokens = dict.fromkeys(("bare", "core", "fitting", "baselines"), 0.0), 0.0
    for _ in range(options.rounds):
        with timed(spent, "bare"):
            bare(model, saes, own, config.batch_tokens)
        with timed(spent, "core"), timing(run, "_judge", spent, "fitting"), timing(Evaluator, "_compare", spent, "baselines"):
            result = evaluate(model, saes, [*front, *own], config).result
        tokens = result["saes"][0]["core"]["paired_tokens"]["value"]
    share = tokens / result["tokens"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(saes)} SAEs, {result['tokens']:,} tokens, baselines on {share:.0%} of them, {options.rounds} rounds, peak {peak:.2f} GB")
    without = spent["core"] - spent["fitting"] - spent["baselines"]
    tenth_of_all = without + spent["baselines"] * 0.1 / share
    for name, seconds in (*spent.items(), ("core without baselines", without), ("core, baselines on a tenth", tenth_of_all)):
        print(f"{name:28}{seconds / options.rounds:8.1f} s{seconds / spent['bare']:8.2f}x")


@contextlib.contextmanager
def timed(spent: dict[str, float], name: str) -> Iterator[None]:
    """Add the processor's seconds within to `spent`."""
    began = time.process_time()
    yield
    spent[name] += time.process_time() - began


@contextlib.contextmanager
def timing(owner: Any, attribute: str, spent: dict[str, float], name: str) -> Iterator[None]:
    """Within, add to `spent` what calls of a function take."""
    whole = getattr(owner, attribute)

    def call(*given: Any) -> Any:
        with timed(spent, name):
            return whole(*given)

    setattr(owner, attribute, call)
    yield
    setattr(owner, attribute, whole)


def table(options: argparse.Namespace) -> None:
    for file in options.files:
        result = json.loads(Path(file).read_text())
        if "core" in result["saes"][0]:
            core(result)
        for suite in ("probing", "tpp"):
            if any("rows" in row.get(suite, {}) for row in result["saes"]):
                labelled(result, suite)


def core(result: dict[str, Any]) -> None:
    print(f"{result['tokens']:,} tokens; clean loss {shown(result['saes'][0]['core']['clean_loss'])} nats.\n")
    print("| SAE | " + " | ".join(COLUMNS) + " |\n| --- |" + " --- |" * len(COLUMNS))
    for row in result["saes"]:
        print(f"| `{row['sae']}` | " + " | ".join(shown(row["core"][name]) for name in COLUMNS) + " |")
        for name in ("pca", "random"):
            print(f"| – {name} | " + " | ".join(shown(row["baselines"][name].get(column)) for column in COLUMNS) + " |")
    print()


def labelled(result: dict[str, Any], suite: str) -> None:
    """Of probing the mean-pooled features that differ most; what looks at no SAE stands once, last."""
    found = {row["sae"]: row[suite] for row in result["saes"] if "rows" in row.get(suite, {})}
    lines, shared = {}, {}
    for sae, facts in found.items():
        for (method, way), line in by_size(suite, facts["rows"]).items():
            if method in SHARED:
                shared["all", method, way] = line
            elif suite == "tpp" or way in ("mean", "mean difference"):
                lines[f"`{sae}`", method, way] = line
    facts = next(iter(found.values()))
    classes = ", ".join(f"{n} {name}" for name, n in facts["classes"].items())
    print(f"{suite}: {facts['labels']}, {facts['documents']:,} documents: {classes}.\n")
    sizes = sorted({size for line in [*lines.values(), *shared.values()] for size in line}, key=lambda size: (size is None, size))
    print("| SAE | method | of | " + " | ".join("all" if size is None else str(size) for size in sizes) + " |")
    print("| --- | --- | --- |" + " --- |" * len(sizes))
    for names, line in (lines | shared).items():
        print(f"| {' | '.join(names)} | " + " | ".join(shown(line.get(size)) for size in sizes) + " |")
    print()


def shown(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    value, low, high = (None if end is None else round(end, 6) + 0.0 for end in (figure["value"], figure["low"], figure["high"]))
    return f"{value:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "table"))
    parser.add_argument("files", nargs="+", help="corpora, or the result")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    {"cost": cost, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
