"""A harvest and an atlas by a cluster whose processes, driver and machines are killed again and again have the bytes of those left alone.

Starting Ray, and any worker of it, takes seconds of processor time: one driver makes both, and each kill is of another kind or of another
number of workers. `KILLS=5 pytest tests/test_cluster_kills.py` kills five times as often.
"""

import contextlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from hooke import tiny
from hooke.builder import AtlasSettings, build_atlas
from hooke.engine.cluster import Cluster, cluster
from hooke.features.cache import ActivationCache
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Corpus

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'hooke[ray]'"),
]
AGAIN = int(os.environ.get("KILLS", "1"))
WORKERS = (2, 3, 1)
"""How many a driver has, the first and those that are started after it."""
IN_HARVEST = ("worker", "driver", "worker") * AGAIN
IN_ATLAS = ("driver", "worker") * AGAIN
"""What is killed, each after more was written."""
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(2400 * AGAIN, context=7, shard_tokens=150, batch_tokens=40, epochs=9 * AGAIN)
SHARDS = 16 * AGAIN
SETTINGS = AtlasSettings(400 * AGAIN, 8, examples=4, background=20, chunk_tokens=40, workers=1, epochs=9)
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def harvest(folder: Path, out: Path, on: Cluster | None = None) -> None:
    for _ in save(Model.load(folder / "tiny"), [Corpus("news", folder / "news.jsonl")], SITES, out, CONFIG, cluster=on):
        time.sleep(0.5 if on else 0)  # long enough to be killed in


def build(folder: Path, out: Path, on: Cluster | None = None) -> None:
    def progress(stage: str, *_: int) -> None:
        time.sleep(0.5 if on and stage == "Reading" else 0)

    model, texts = Model.load(folder / "tiny"), Corpus("news", folder / "news.jsonl")
    build_atlas(model, [tiny.sae()], [texts], out, SETTINGS, progress=progress, cluster=on)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The planted model, texts to read with it, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "tiny").mkdir()
    tiny.save(folder / "tiny")
    (folder / "news.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 120))
    harvest(folder, folder / "whole")
    build(folder, folder / "whole.sqlite")
    return folder


# Ray is not among them: how it speaks is settled where it is imported.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["hooke.builder", "hooke.harvest.saving", "hooke.engine.cluster", "hooke.tiny"])


def driver(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that does `work`, a fork of one that has paid for the imports."""
    process = _SERVER.Process(target=_by_itself, args=(work, *arguments))
    process.start()
    return process


def _by_itself(work: Callable[..., None], *arguments: Any) -> None:
    os.setsid()
    warnings.simplefilter("ignore")
    work(*arguments)


def ended(process: BaseProcess) -> int | None:
    """What a driver says at its end; None if it does not come to one."""
    process.join(500)
    return process.exitcode


def both(workers: int, folder: Path, out: Path) -> None:
    """A harvest and an atlas by so many workers."""
    with cluster(workers=workers) as own:
        harvest(folder, out / "acts", own)
        build(folder, out / "atlas.sqlite", own)


def workers_of(pid: int) -> list[int]:
    """The workers below process `pid`, idle or at a unit, by whose name Ray then calls them."""
    try:
        said = [(child.pid, "".join(child.cmdline())) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
    return [child for child, line in said if line.startswith(("ray::UnitWorker", "ray::batch", "ray::windows"))]


class Killed:
    """A driver that is started again, with another number of workers, whenever it is killed."""

    def __init__(self, folder: Path, out: Path) -> None:
        self._draw, self._workers = random.Random(0), itertools.cycle(WORKERS)
        self._again = lambda: driver(both, next(self._workers), folder, out)
        self._running = self._again()

    def kill(self, victims: Iterable[str], written: Callable[[], int]) -> None:
        """Kill `victims` at moments drawn at random, each once more is `written` than before."""
        before = 0
        for victim in victims:
            found: list[int] = []
            while not found:
                assert self._running.is_alive(), "it ended before all were killed"
                time.sleep(self._draw.uniform(0.05, 0.3))
                found = workers_of(self._running.pid) if written() > before else []
            before = written()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running.pid if victim == "driver" else self._draw.choice(found), signal.SIGKILL)
            if victim == "driver":
                self._running.join()
                self._running = self._again()

    def end(self) -> int | None:
        """What the last driver says at its end."""
        return ended(self._running)

    def close(self) -> None:
        """Leave none behind."""
        self._running.kill()
        self._running.join()


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir() if not path.name.startswith(".")}


def test_killed_at_random_they_have_the_same_bytes(folder, tmp_path):
    with contextlib.closing(Killed(folder, tmp_path)) as running:
        running.kill(IN_HARVEST, lambda: len(list(tmp_path.glob("acts/shard-*"))))
        running.kill(IN_ATLAS, lambda: len(list(tmp_path.glob("atlas.sqlite.work/chunk-*"))))
        assert running.end() == 0
    assert contents(tmp_path / "acts") == contents(folder / "whole")
    assert (tmp_path / "atlas.sqlite").read_bytes() == (folder / "whole.sqlite").read_bytes()


def with_one_that_goes_away(folder: Path, out: Path) -> None:
    """Two nodes of Ray's own cluster utility; the one with a worker at it is removed in the middle of an atlas and of a harvest."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    more = [nodes.add_node(num_cpus=1)]
    nodes.wait_for_nodes()
    add = ActivationCache.add

    def added(self: ActivationCache, chunk: Any) -> None:
        add(self, chunk)
        if len(self) == 3:
            nodes.remove_node(more.pop(), allow_graceful=False)

    ActivationCache.add = added
    with cluster(nodes.address) as own:
        assert own.workers == 2
        build(folder, out / "atlas.sqlite", own)
        more.append(nodes.add_node(num_cpus=1))
        nodes.wait_for_nodes()
        model, texts = Model.load(folder / "tiny"), [Corpus("news", folder / "news.jsonl")]
        shards = save(model, texts, SITES, out / "acts", CONFIG, cluster=own)
        until = time.monotonic() + 100
        next(shards)
        while len(workers_of(os.getpid())) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        for _ in range(6):
            next(shards)
            time.sleep(0.5)
        nodes.remove_node(more.pop(), allow_graceful=False)
        assert len(list(shards)) == SHARDS - 7
    nodes.shutdown()


def test_of_two_machines_one_goes_away_and_comes_back_and_goes_away(folder, tmp_path):
    assert ended(driver(with_one_that_goes_away, folder, tmp_path)) == 0
    assert (tmp_path / "atlas.sqlite").read_bytes() == (folder / "whole.sqlite").read_bytes()
    assert contents(tmp_path / "acts") == contents(folder / "whole")
