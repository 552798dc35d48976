"""What Ray takes on one machine beside plain processes that read the same batches: processor time, and memory.

    python benchmarks/cluster.py --corpus news.jsonl.zst --tokens 40k

Both have the same workers with the same model, are given the same batches and write the same shards. Processor time is that of every
process of either, its start included, looked at four times a second; memory is what all of them hold at most, shared pages counted once
(PSS). `Ray itself` is what belongs to neither the command nor a worker.
"""

import argparse
import contextlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from hooke.engine.cluster import Cluster, cluster
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import parse_corpora

_LOOK_S = 0.25
_OPENED: Any = None


def _open(opened: Any) -> None:
    global _OPENED
    _OPENED = opened()


def _work(work: Any, item: Any) -> Any:
    return work(_OPENED, item)


class Processes(Cluster):
    """Plain processes of this machine."""

    def __init__(self, workers: int) -> None:
        self.device, self.workers = "cpu", workers

    def in_order(self, work: Any, opened: Any, units: Any) -> Iterator[Any]:
        with multiprocessing.get_context("spawn").Pool(self.workers, _open, (opened,)) as pool:
            waiting: deque[Any] = deque()
            for unit in units:
                waiting.append(pool.apply_async(_work, (work, unit.item)))
                if len(waiting) == 4 * self.workers:
                    yield waiting.popleft().get()
            while waiting:
                yield waiting.popleft().get()


class Watch:
    """Looks at a process and all it began."""

    def __init__(self, pid: int) -> None:
        self.root, self.ended = psutil.Process(pid), threading.Event()
        self.cpu: dict[int, tuple[str, float]] = {}
        self.memory, self.rays_memory = 0, 0
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def _look(self) -> None:
        looks = 0
        while not self.ended.wait(_LOOK_S):
            whole = rays = 0
            for process in [self.root, *self._children()]:
                with contextlib.suppress(psutil.Error):
                    kind = self._kind(process)
                    times = process.cpu_times()
                    self.cpu[process.pid] = kind, times.user + times.system
                    if looks % 4 == 0:
                        size = process.memory_full_info().pss
                        whole, rays = whole + size, rays + size * (kind == "Ray itself")
            self.memory, self.rays_memory, looks = max(self.memory, whole), max(self.rays_memory, rays), looks + 1

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return self.root.children(recursive=True)
        return []

    def _kind(self, process: psutil.Process) -> str:
        if process.pid == self.root.pid:
            return "command"
        said = " ".join(process.cmdline())
        if not said and process.pid in self.cpu:  # it has ended, and nobody has taken note of that yet
            return self.cpu[process.pid][0]
        return "workers" if "UnitWorker" in said or "ray::batch" in said or "spawn_main" in said else "Ray itself"

    def end(self) -> dict[str, Any]:
        self.ended.set()
        self.thread.join()
        kinds = {kind: round(sum(s for own, s in self.cpu.values() if own == kind), 1) for kind in {own for own, _ in self.cpu.values()}}
        return {"cpu_s": sum(s for _, s in self.cpu.values()), "by": kinds, "memory": self.memory, "rays_memory": self.rays_memory}


def read(engine: str, workers: int, corpus: str, tokens: int, out: str) -> None:
    """One harvest."""
    config = HarvestConfig(tokens, shard_tokens=1 << 14)
    with cluster(workers=workers) if engine == "ray" else contextlib.nullcontext(Processes(workers)) as own:
        began = time.perf_counter()
        for _ in save(Model.load(), parse_corpora((corpus,)), [Site(12, "resid_post")], out, config, cluster=own):
            pass
        print(f"{time.perf_counter() - began:.1f}", flush=True)


def measured(engine: str, options: argparse.Namespace, tokens: int, out: str) -> dict[str, Any]:
    """What such a harvest takes, in a process of its own."""
    command = [sys.executable, __file__, "--one", engine, "--workers", str(options.workers), "--corpus", options.corpus]
    child = subprocess.Popen([*command, "--tokens", str(tokens), "--out", out], stdout=subprocess.PIPE)
    watch = Watch(child.pid)
    wall = child.communicate()[0]
    assert child.returncode == 0
    return {"engine": engine, "tokens": tokens, "wall_s": float(wall), **watch.end()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokens", type=lambda text: int(text.replace("k", "000")), default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        read(options.one, options.workers, options.corpus, options.tokens, options.out)
        return
    print("tokens  engine     processor s  of processes  memory MB  Ray itself MB  by")
    for tokens in (options.tokens // 4, options.tokens):
        rows, written = [], []
        for engine in ("processes", "ray"):
            with tempfile.TemporaryDirectory() as out:
                rows.append(measured(engine, options, tokens, out))
                written.append({path.name: path.read_bytes() for path in Path(out).iterdir() if path.name[0] != "."})
        assert written[0] == written[1]
        for row in rows:
            over = row["cpu_s"] / rows[0]["cpu_s"]
            print(
                f"{tokens:6}  {row['engine']:9} {row['cpu_s']:12.1f} {over:13.3f} {row['memory'] / 1e6:10.0f} "
                f"{row['rays_memory'] / 1e6:14.0f}  {json.dumps(row['by'])}",
                flush=True,
            )


if __name__ == "__main__":
    main()
