"""What `hooke eval` costs beside the bare passes that it cannot do without, and the table of docs/quality.md.

    python benchmarks/eval.py cost FILE ... [--tokens 100000]
    python benchmarks/eval.py table RESULT.json          (what `hooke eval --json` printed)

`cost` runs one clean and one spliced `Model.loss` for every installed SAE of the model over the windows that are judged, then the whole
of core over the same windows, in one process; it prints both times, their ratio and the peak of memory.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from hooke.evals import EvalConfig, evaluate
from hooke.evals.run import padded
from hooke.model import Model, length_batches
from hooke.sae import Sae
from hooke.sae.packs import installed_saes
from hooke.text.corpus import Window, parse_corpora, windows

COLUMNS = ("l0_mean", "fvu", "delta_loss", "loss_recovered_mean", "loss_recovered_zero", "kl", "dead_share", "dense_share")


def bare(model: Model, saes: list[Sae], own: list[Window], batch_tokens: int) -> float:
    """Seconds of one clean and one spliced pass for every SAE."""
    began = time.perf_counter()
    for batch in length_batches([len(window.ids) for window in own], batch_tokens):
        ids, _ = padded(model, [own[i] for i in batch])
        model.loss(ids)
        for sae in saes:
            with model.edit(sae.site, sae.reconstruct):
                model.loss(ids)
    return time.perf_counter() - began


def cost(options: argparse.Namespace) -> None:
    torch.set_grad_enabled(False)
    model = Model.load(options.model)
    saes = [Sae.from_pretrained(row.facts.name) for row in installed_saes() if row.facts.model == options.model]
    stream = windows(parse_corpora(options.corpus), model.tokenizer, length=128, seed=0, held_out=True)
    tenth = options.tokens // 10  # what the defaults come to at 100,000
    config = EvalConfig(options.tokens, ("core",), baseline_tokens=tenth, calibration_tokens=tenth)
    text, n = [], 0
    while n < config.tokens + config.in_front + 256:
        window = next(stream)
        text.append(window)
        n += len(window.ids) - 1
    began = time.perf_counter()
    result = evaluate(model, saes, text, config).result
    whole = time.perf_counter() - began
    own = text[-result["windows"] :]
    least = bare(model, saes, own, config.batch_tokens)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(saes)} SAEs, {result['tokens']:,} tokens, peak {peak:.2f} GB")
    print(f"core {whole:.1f} s, bare passes {least:.1f} s, ratio {whole / least:.2f}")


def table(options: argparse.Namespace) -> None:
    result = json.loads(Path(options.corpus[0]).read_text())
    print(f"{result['tokens']:,} tokens; clean loss {shown(result['saes'][0]['core']['clean_loss'])} nats.\n")
    print("| SAE | " + " | ".join(COLUMNS) + " |\n| --- |" + " --- |" * len(COLUMNS))
    for row in result["saes"]:
        print(f"| `{row['sae']}` | " + " | ".join(shown(row["core"][name]) for name in COLUMNS) + " |")
        for name in ("pca", "random"):
            print(f"| – {name} | " + " | ".join(shown(row["baselines"][name].get(column)) for column in COLUMNS) + " |")


def shown(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    value, low, high = figure["value"], figure["low"], figure["high"]
    return f"{value:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "table"))
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--tokens", type=int, default=100_000)
    options = parser.parse_args()
    {"cost": cost, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
