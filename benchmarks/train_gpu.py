"""Tokens per second that SAE training reaches on a GPU: ours, a dense step as most trainers take it, and the encoder's product alone.

    python benchmarks/train_gpu.py [--d-in 2304] [--widths 16384 65536 262144] [--batch 4096] [--l0 50] [--steps 20]
    python benchmarks/train_gpu.py --smoke        # tiny sizes, on the CPU where there is no GPU: that it runs, not how fast

One JSON line per measurement to standard output, a table to standard error. ``matmul`` is the least any trainer can take that reads
every feature: one bfloat16 product. ``dense`` is BatchTopK under bfloat16 autocast with fused Adam, parallel gradients taken out and
rows scaled back to length 1. Lines with ``share`` time decoding and gradients through sparse kernels and through dense products, for
codes of that share of active entries: where the two cross is what the kernels' ``_DENSE_SHARE`` should be.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, cycle
from typing import Any

import torch
from torch import Tensor

from hooke.kernels import Gradients, Layout, kernels_for
from hooke.names import Site
from hooke.train.config import TrainConfig
from hooke.train.trainer import SaeTrainer

SITE = Site(0, "resid_post")
WARMUP = 5
SHARES = (1 / 2048, 1 / 512, 1 / 256, 1 / 128, 1 / 64, 1 / 32)


def activations(batch: int, d_in: int, device: torch.device, count: int = 4) -> list[Tensor]:
    """Batches of sparse sums of planted directions, the first far more frequent than the last, with some noise."""
    generator = torch.Generator(device).manual_seed(0)
    n = 4 * d_in
    directions = torch.randn(n, d_in, generator=generator, device=device) / d_in**0.5
    often = 40 * torch.arange(1, n + 1, device=device).pow(-0.7) / torch.arange(1, n + 1, device=device).pow(-0.7).sum()
    made = []
    for _ in range(count):
        codes = torch.rand(batch, n, generator=generator, device=device)
        codes = (codes < often) * torch.rand(batch, n, generator=generator, device=device)
        made.append(codes @ directions + 0.05 * torch.randn(batch, d_in, generator=generator, device=device))
    return made


class Dense(torch.nn.Module):
    """BatchTopK as most trainers write it."""

    def __init__(self, d_in: int, d_sae: int, l0: int) -> None:
        super().__init__()
        self.l0 = l0
        self.W_dec = torch.nn.Parameter(torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1))
        self.encoder = torch.nn.Linear(d_in, d_sae)
        self.b_dec = torch.nn.Parameter(torch.zeros(d_in))

    def loss(self, x: Tensor) -> Tensor:
        codes = self.encoder(x - self.b_dec).relu()
        flat = codes.flatten()
        top = flat.topk(self.l0 * len(x), sorted=False)
        kept = torch.zeros_like(flat).scatter_(0, top.indices, top.values).view_as(codes)
        return (kept @ self.W_dec + self.b_dec - x).square().mean()


def dense_step(d_in: int, d_sae: int, l0: int, device: torch.device) -> Callable[[Tensor], None]:
    model = Dense(d_in, d_sae, l0).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=device.type == "cuda")

    def step(x: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = model.loss(x)
        loss.backward()
        with torch.no_grad():
            rows, gradient = model.W_dec, model.W_dec.grad
            assert gradient is not None
            gradient -= (gradient * rows).sum(1, keepdim=True) * rows
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            rows /= rows.norm(dim=1, keepdim=True)

    return step


def our_step(d_sae: int, l0: int, batches: list[Tensor]) -> Callable[[Tensor], None]:
    config = TrainConfig(d_sae=d_sae, l0=l0, steps=10_000, dead_after=1 << 40).resolved(len(batches[0]))
    trainer = SaeTrainer(f"random/resid_post.0/{d_sae}", config, {SITE: batches[0]})
    return lambda x: trainer.step({SITE: x})


def matmul_step(d_in: int, d_sae: int, device: torch.device) -> Callable[[Tensor], None]:
    weights = torch.randn(d_sae, d_in, device=device, dtype=torch.bfloat16)

    def step(x: Tensor) -> None:
        torch.nn.functional.linear(x.bfloat16(), weights)

    return step


def seconds(step: Callable[[Tensor], None], batches: list[Tensor], steps: int) -> float:
    """Median time of a step; the device is waited for."""
    wait = torch.cuda.synchronize if batches[0].is_cuda else lambda: None
    times, source = [], cycle(batches)
    for _ in range(WARMUP + steps):
        x = next(source)
        wait()
        began = time.perf_counter()
        step(x)
        wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times[WARMUP:])


def measured(options: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    batches = activations(options.batch, options.d_in, device)
    for d_sae in options.widths:
        makers: dict[str, Callable[[], Callable[[Tensor], None]]] = {
            "matmul": lambda d_sae=d_sae: matmul_step(options.d_in, d_sae, device),
            "hooke": lambda d_sae=d_sae: our_step(d_sae, options.l0, batches),
            "dense": lambda d_sae=d_sae: dense_step(options.d_in, d_sae, options.l0, device),
        }
        for what, make in makers.items():
            line: dict[str, Any] = {"what": what, "d_in": options.d_in, "d_sae": d_sae, "batch": options.batch, "l0": options.l0}
            try:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                took = seconds(make(), batches, options.steps)
                line |= {"step_ms": round(1e3 * took, 3), "tokens_per_s": round(options.batch / took)}
                if device.type == "cuda":
                    line["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            except torch.OutOfMemoryError:
                line["out_of_memory"] = True
            if device.type == "cuda":
                torch.cuda.empty_cache()
            yield line


def crossover(options: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    """Decoding and gradients both ways, in the narrowest of the widths, for codes that grow denser."""
    kernels, d_sae = kernels_for(device), min(options.widths)
    x = activations(options.batch, options.d_in, device, 1)[0]
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, options.d_in, device=device), dim=1)
    layout, pre = Layout.of(d_sae).to(device), (x @ W_dec.T).bfloat16()
    into = Gradients(torch.zeros_like(W_dec), torch.zeros_like(W_dec), torch.zeros(d_sae, device=device))
    usual = kernels._DENSE_SHARE
    for share in SHARES:
        entries, _ = kernels.largest(pre, round(share * pre.numel()))
        line: dict[str, Any] = {"what": "crossover", "d_sae": d_sae, "share": share, "l0": round(share * d_sae, 1)}

        def step(target: Tensor, entries: Any = entries) -> None:
            _, grad_recon, grad_acts = kernels.decode(entries, W_dec.bfloat16(), target, layout)
            kernels.add_gradients(entries, grad_acts, target.bfloat16(), grad_recon.bfloat16(), layout, 1.0, into)

        for way, limit in (("sparse_ms", 1.0), ("dense_ms", 0.0)):
            kernels._DENSE_SHARE = limit
            line[way] = round(1e3 * seconds(step, [x], options.steps), 3)
        kernels._DENSE_SHARE = usual
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-in", type=int, default=2304)
    parser.add_argument("--widths", type=int, nargs="+", default=[16_384, 65_536, 262_144])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--l0", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20, help=f"timed, after {WARMUP} that are not")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; on the CPU where there is no GPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.smoke:
        options.d_in, options.widths, options.batch, options.l0, options.steps = 48, [128, 256], 64, 8, 2
    elif device.type == "cpu":
        print("no CUDA device here, so nothing is measured; --smoke runs tiny sizes on the CPU", file=sys.stderr)
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    lines = []
    for line in chain(measured(options, device), crossover(options, device)):
        line |= {"device": name, "torch": torch.__version__}
        print(json.dumps(line), flush=True)
        lines.append(line)
    table(lines)


def table(lines: list[dict[str, Any]]) -> None:
    """The same for people."""
    print(f"\n{lines[0]['device']}, torch {lines[0]['torch']}", file=sys.stderr)
    for line in lines:
        if line["what"] == "crossover":
            print(f"L0 {line['l0']:8.1f}   sparse {line['sparse_ms']:9.2f} ms   dense {line['dense_ms']:9.2f} ms", file=sys.stderr)
        else:
            told = "out of memory" if "out_of_memory" in line else f"{line['step_ms']:9.2f} ms {line['tokens_per_s']:12,} tokens/s"
            print(f"{line['d_sae']:8,} features   {line['what']:7}{told}", file=sys.stderr)


if __name__ == "__main__":
    main()
