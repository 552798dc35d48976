"""Tokens per second of a harvest, against the fastest bare forward pass over the same windows, and of four sites against one.

    python benchmarks/harvest.py CORPUS.jsonl.zst [--layer 9] [--context 128 1024] [--tokens 16384] [--repeat 5] [--peer PYTHON SCRIPT]

The bare pass is the library's own model cut off after the layer, without hooks, norm or head, on ready-made batches of token ids. All
kinds run in turn, so that whatever else the machine does meets them alike; the last line gives medians of the ratios within a turn. With
--peer, another tool's script (called as ``PYTHON SCRIPT MODEL_DIR TOKENS.npy HOOK D_IN N``, printing one JSON line with
``tokens_per_s``) runs in every turn too.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hooke.harvest import harvest
from hooke.model import Model
from hooke.model.carried import carried_folder
from hooke.model.faster import hasten
from hooke.names import Site
from hooke.text.corpus import Window, parse_corpus, windows

BATCH_TOKENS = 4096


@contextlib.contextmanager
def cut_off(model: Model, layers: int) -> Iterator[torch.nn.Module]:
    """The model as the library computes it, without what comes after so many layers."""
    base: Any = model.architecture.base(model.hf)
    ours = {module: type(module) for module in base.modules() if type(module).__module__ == hasten.__module__}
    whole, norm, count = base.layers, base.norm, base.config.num_hidden_layers
    base.layers, base.norm, base.config.num_hidden_layers = whole[:layers], torch.nn.Identity(), layers
    for module, kind in ours.items():
        module.__class__ = kind.__mro__[2]  # what it is derived from
    try:
        yield base
    finally:
        base.layers, base.norm, base.config.num_hidden_layers = whole, norm, count
        for module, kind in ours.items():
            module.__class__ = kind


def bare(model: Model, texts: list[Window], layer: int) -> None:
    ids = torch.tensor([window.ids for window in texts])
    with torch.inference_mode(), cut_off(model, layer + 1) as base:
        for batch in ids.split(max(1, BATCH_TOKENS // ids.shape[1])):
            base(input_ids=batch, use_cache=False)


def ours(model: Model, texts: list[Window], layers: list[int]) -> None:
    for _ in harvest(model, texts, [Site(layer, "resid_post") for layer in layers], batch_tokens=BATCH_TOKENS):
        pass


def peer(options: argparse.Namespace, texts: list[Window], width: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        # It shuffles a buffer as it goes, and so asks for about twice as many tokens as it gives.
        rows = np.array([window.ids for window in texts], np.int64)
        np.save(Path(folder) / "tokens.npy", np.tile(rows, (3, 1)))
        place = [str(carried_folder("gemma-3-270m")), f"{folder}/tokens.npy", f"model.layers.{options.layer}", str(width), str(rows.size)]
        done = subprocess.run([*options.peer, *place], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["tokens_per_s"])


def measured(context: int, model: Model, options: argparse.Namespace) -> dict[str, Any]:
    source = windows([parse_corpus(options.corpus)], model.tokenizer, length=context, seed=0, pack=True)
    texts = list(itertools.islice(source, options.tokens // context))
    four = sorted({options.layer * step // 4 for step in (1, 2, 3)} | {options.layer})
    kinds: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(model, texts, options.layer),
        "ours": lambda: ours(model, texts, [options.layer]),
        "four_sites": lambda: ours(model, texts, four),
    }
    for run in kinds.values():
        run()
    rates: dict[str, list[float]] = {kind: [] for kind in (*kinds, *(["peer"] if options.peer else []))}
    for _ in range(options.repeat):
        for kind, run in kinds.items():
            began = time.perf_counter()
            run()
            rates[kind].append(len(texts) * context / (time.perf_counter() - began))
        if options.peer:
            rates["peer"].append(peer(options, texts, model.width(Site(options.layer, "resid_post"))))
        print(json.dumps({"context": context} | {kind: round(found[-1], 1) for kind, found in rates.items()}), flush=True)

    def ratio(kind: str, other: str) -> float:
        return round(statistics.median(a / b for a, b in zip(rates[kind], rates[other], strict=True)), 3)

    ratios = {"ours/bare": ratio("ours", "bare"), "four_sites/ours": ratio("four_sites", "ours")}
    return {"context": context, "tokens_per_s": {kind: round(statistics.median(found), 1) for kind, found in rates.items()}} | (
        ratios | ({"ours/peer": ratio("ours", "peer")} if options.peer else {})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--context", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--tokens", type=int, default=1 << 14)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer", nargs=2)
    options = parser.parse_args()
    model = Model.load("gemma-3-270m")
    results = [measured(context, model, options) for context in options.context]
    print(json.dumps({"threads": torch.get_num_threads(), "results": results}))


if __name__ == "__main__":
    main()
