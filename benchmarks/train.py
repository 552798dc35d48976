"""Training speed and quality on saved activations, ours and, in turn, other tools' (their scripts take the same arguments).

    python benchmarks/train.py ACTS.pt batchtopk 8192 65536 --batch 4096 --turns 3 --peers PYTHON FOLDER
    python benchmarks/train.py ACTS.pt batchtopk 4096 655360 --batch 1024      # quality at equal tokens (--balance 0: unscaled)
    python benchmarks/train.py ACTS.pt batchtopk 0 65536 --growth              # speed against d_sae

ACTS.pt is a bfloat16 tensor ``[tokens, d_in]``, shuffled, its first 20,000 rows held out; without one, numbers drawn at random stand in
(good for speed alone). PYTHON is one that has the other tools, FOLDER holds their scripts. One JSON line a run, then a table.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from hooke.names import Site
from hooke.sae import Sae
from hooke.train import Hooks, InMemory, TrainConfig, train
from hooke.train.export import measure
from hooke.train.trainer import SaeTrainer

SITE, HELD_OUT = Site(9, "resid_post"), 20_000
GROWTH = (2048, 4096, 8192, 16_384, 32_768, 65_536)
# What each architecture is compared with, at every setting that might be the other tool's best.
PEERS = {
    "batchtopk": [["saelens", "batchtopk"], ["dictlearn"], ["sparsify"]],
    "topk": [["saelens", "topk"], ["sparsify"]],
    "jumprelu": [["saelens", "jumprelu"], ["sparsify"]],
}


def load(path: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    if path is None:
        generator = torch.Generator().manual_seed(0)
        acts = torch.randn(100_000, 640, generator=generator).bfloat16()
    else:
        acts = torch.load(path, weights_only=True)
    return acts[:HELD_OUT], acts[HELD_OUT:]


def limit(d_in: int, d_sae: int, batch: int) -> float:
    """Tokens per second of the encoder's product alone."""
    x, weights, bias = torch.randn(batch, d_in).bfloat16(), torch.randn(d_sae, d_in).bfloat16(), torch.zeros(d_sae).bfloat16()
    times = []
    for _ in range(12):
        began = time.perf_counter()
        torch.nn.functional.linear(x, weights, bias)
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[2:])


def ours(acts: torch.Tensor, held: torch.Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Train one SAE; the clock starts once everything is compiled, since a run of any length pays for that once."""
    steps = max(1, options.tokens // options.batch)
    config = TrainConfig(architecture=options.arch, d_sae=options.d_sae, l0=options.l0, steps=steps, lr=options.lr, balance=options.balance)
    warm = SaeTrainer("warm/resid_post.9/up", config.resolved(options.batch), {SITE: acts[:16_384]})
    for rows in acts[: 2 * options.batch].split(options.batch):
        warm.step({SITE: rows})
    began = time.perf_counter()
    configs, stream = {f"gemma-3-270m/{SITE}/{options.arch}": config}, InMemory({SITE: acts}, options.batch, seed=1)
    ended = []  # training ends with the last report; what follows sets thresholds and measures
    hooks = Hooks(report=lambda _: ended.append(time.perf_counter()) or ())
    saes = train(configs, stream, {SITE: held[:4096]}, model="gemma-3-270m", context=128, hooks=hooks)
    wall = ended[-1] - began
    sae: Sae = next(iter(saes.values()))
    if options.save:
        sae.save(options.save / f"hooke-{options.arch}" / f"{SITE}.safetensors")
    quality = measure(sae, held)
    return {
        "tool": "hooke",
        "arch": options.arch,
        "d_in": acts.shape[1],
        "d_sae": options.d_sae,
        "tokens": steps * options.batch,
        "batch": options.batch,
        "tokens_per_s": round(steps * options.batch / wall, 1),
        "seconds": round(wall, 2),
        "l0": round(quality["l0"], 1),
        "fvu": round(quality["fvu"], 4),
        "dead": round(quality["dead"] * options.d_sae),
        "threads": torch.get_num_threads(),
    }


def peers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One run of every other tool, at each of its settings."""
    python, folder = options.peers
    found = []
    for tool, *arch in (one for one in PEERS.get(options.arch, []) if one[0] in options.tools):
        l0 = ["--l0" if tool == "saelens" else "--k", str(options.l0)]
        for extra in ([], ["--autocast"]):
            command = [python, str(Path(folder) / f"train_{tool}.py"), options.acts, *arch, str(options.d_sae), str(options.tokens)]
            command += ["--batch", str(options.batch), *l0, *extra]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(json.dumps({"tool": tool, "error": done.stderr.strip().splitlines()[-1:]}), flush=True)
                continue
            row = json.loads(done.stdout.strip().splitlines()[-1])
            found.append(row | {"tool": row["tool"] + (" bf16" if extra else "")})
    return found


def table(rows: list[dict[str, Any]], limits: dict[int, float]) -> None:
    groups = defaultdict(list)
    for row in rows:
        groups[row["tool"], row["arch"], row["d_sae"]].append(row)
    print("\n| tool | architecture | features | tokens/s | share of the limit | L0 | FVU | dead |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (tool, arch, d_sae), some in groups.items():
        speed = statistics.median(row["tokens_per_s"] for row in some)
        share = f"{speed / limits[d_sae]:.0%}" if d_sae in limits else ""
        fvu = statistics.median(row["fvu"] for row in some)
        print(f"| {tool} | {arch} | {d_sae:,} | {speed:,.0f} | {share} | {some[0]['l0']} | {fvu} | {some[0]['dead']} |")
    for d_sae, speed in limits.items():
        print(f"The encoder's bfloat16 product alone, {d_sae:,} features: {speed:,.0f} tokens/s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("acts", nargs="?")
    parser.add_argument("arch", nargs="?", default="batchtopk")
    parser.add_argument("d_sae", nargs="?", type=int, default=4096)
    parser.add_argument("tokens", nargs="?", type=int, default=32_768)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--l0", type=int, default=50)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--balance", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--peers", nargs=2, metavar=("PYTHON", "FOLDER"))
    parser.add_argument("--tools", nargs="+", default=["saelens", "dictlearn", "sparsify"])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    held, acts = load(options.acts)
    rows, limits = [], {}

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)

    for _ in range(options.turns):
        for d_sae in GROWTH if options.growth else (options.d_sae,):
            options.d_sae = d_sae
            measured = limit(acts.shape[1], d_sae, options.batch)
            limits[d_sae] = max(measured, limits.get(d_sae, 0.0))
            add(ours(acts, held, options))
            if options.peers:
                for row in peers(options):
                    add(row)
    table(rows, limits)


if __name__ == "__main__":
    main()
