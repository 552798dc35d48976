"""One SAE on several processes of this machine: memory of each, processor time of a step, and what the estimate says of both.

    python benchmarks/train_ranks.py 32768 --processes 1 2 4          # the same SAE, cut into more parts
    python benchmarks/train_ranks.py 16384 --processes 1 2 4 --weak   # so many features to each process

Memory is what a process takes at most over what it took with everything imported. Processor time is that of all processes for a step, over
what `--processes 1` takes for as many features. The model of cost: a step's products and updates go with the features that a process has,
and each has the whole batch besides.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numba
import torch
import torch.distributed as dist

from hooke.names import Site
from hooke.train import InMemory, Ranks, TrainConfig
from hooke.train.trainer import SaeTrainer

SITE, WIDTH, BATCH = Site(9, "resid_post"), 512, 256


def memory() -> int:
    """Bytes at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def one(rank: int, size: int, d_sae: int, steps: int, meeting: str) -> dict[str, float]:
    """What process number `rank` takes."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    ranks = Ranks.of(rank, size, 1, size) if size > 1 else Ranks()
    acts = {SITE: torch.randn(4 * BATCH, WIDTH, generator=torch.Generator().manual_seed(0))}
    batches = InMemory(acts, BATCH).batches()
    warm = SaeTrainer("x/resid_post.9/warm", TrainConfig(d_sae=64 * size, l0=2, steps=9).resolved(BATCH), acts, ranks)
    warm.step(next(batches).acts)  # compiles
    before = memory()
    config = TrainConfig(d_sae=d_sae, l0=32, steps=1000).resolved(BATCH)
    trainer = SaeTrainer("x/resid_post.9/y", config, acts, ranks)
    trainer.step(next(batches).acts)
    began, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        trainer.step(next(batches).acts)
    took = {"cpu_s": (time.process_time() - began) / steps, "wall_s": (time.perf_counter() - wall) / steps, "bytes": memory() - before}
    dist.destroy_process_group()
    return took


def forked(size: int, d_sae: int, steps: int) -> list[dict[str, float]]:
    """The same of all processes."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(size):
            if child := os.fork():
                children.append(child)
                continue
            Path(folder, str(rank)).write_text(json.dumps(one(rank, size, d_sae, steps, f"{folder}/meeting")))
            os._exit(0)
        assert not any(os.waitpid(child, 0)[1] for child in children)
        return [json.loads(Path(folder, str(rank)).read_text()) for rank in range(size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("d_sae", type=int)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    print("processes  features  memory each  of one  estimate  processor s a step  of one  wall s")
    first: tuple[float, float] | None = None
    for size in options.processes:
        d_sae = options.d_sae * (size if options.weak else 1)
        found = forked(size, d_sae, options.steps)
        most, cpu = max(row["bytes"] for row in found), sum(row["cpu_s"] for row in found)
        first = first or (most, cpu)
        estimate = 18 * 2 * WIDTH * d_sae // size + 2 * BATCH * d_sae // size
        share, work = most / first[0], cpu / first[1] / (size if options.weak else 1)
        wall = max(row["wall_s"] for row in found)
        print(f"{size:9}  {d_sae:8,}  {most / 1e6:8.0f} MB  {share:6.2f}  {estimate / 1e6:5.0f} MB  {cpu:18.3f}  {work:6.2f}  {wall:6.2f}")


if __name__ == "__main__":
    main()
