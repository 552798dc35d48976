"""A harvest and an atlas by a cluster whose processes, driver and machines are killed again and again have the bytes of those left alone.

Starting Ray, and any worker of it, takes seconds of processor time: one driver makes both, and each kill is of another kind or of another
number of workers. `KILLS=5 pytest tests/test_cluster_kills.py` kills five times as often.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest

from hooke import tiny
from hooke.builder import AtlasSettings, build_atlas
from hooke.engine.cluster import Cluster
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Corpus

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'hooke[ray]'"),
]
AGAIN = int(os.environ.get("KILLS", "1"))
WORKERS = (2, 4, 1)
"""How many a driver has, the first and those that are started after it."""
IN_HARVEST = ("worker", "driver", "worker", "worker") * AGAIN
IN_ATLAS = ("worker", "driver", "worker") * AGAIN
"""What is killed, each after more was written."""
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(2400 * AGAIN, context=7, shard_tokens=150, batch_tokens=40, epochs=9 * AGAIN)
SHARDS = 16 * AGAIN
SETTINGS = AtlasSettings(400 * AGAIN, 8, examples=4, background=20, chunk_tokens=40, workers=1, epochs=9)
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def harvest(folder: Path, out: Path, cluster: Cluster | None = None) -> None:
    for _ in save(Model.load(folder / "tiny"), [Corpus("news", folder / "news.jsonl")], SITES, out, CONFIG, cluster=cluster):
        time.sleep(0.5 if cluster else 0)  # long enough to be killed in


def build(folder: Path, out: Path, cluster: Cluster | None = None) -> None:
    def progress(stage: str, *_: int) -> None:
        time.sleep(0.5 if cluster and stage == "Reading" else 0)

    model, texts = Model.load(folder / "tiny"), Corpus("news", folder / "news.jsonl")
    build_atlas(model, [tiny.sae()], [texts], out, SETTINGS, progress=progress, cluster=cluster)


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


def driver(code: str, folder: Path, out: Path) -> subprocess.Popen:
    """A process that runs `code`, which sees this module as ``t``, and `folder`, `out` and `cluster`."""
    begin = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pathlib, time, test_cluster_kills as t\n"
        "from hooke.engine.cluster import cluster\n"
        "folder, out = map(pathlib.Path, sys.argv[2:4])\n"
    )
    arguments = [str(Path(__file__).parent), str(folder), str(out)]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", begin + code, *arguments], start_new_session=True)


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
        self._again = lambda: driver(
            f"with cluster(workers={next(self._workers)}) as own:\n"
            "    t.harvest(folder, out / 'acts', own)\n"
            "    t.build(folder, out / 'atlas.sqlite', own)\n",
            folder,
            out,
        )
        self._running = self._again()

    def kill(self, victims: Iterable[str], written: Callable[[], int]) -> None:
        """Kill `victims` at moments drawn at random, each once more is `written` than before."""
        before = 0
        for victim in victims:
            found: list[int] = []
            while not found:
                assert self._running.poll() is None, "it ended before all were killed"
                time.sleep(self._draw.uniform(0.05, 0.3))
                found = workers_of(self._running.pid) if written() > before else []
            before = written()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running.pid if victim == "driver" else self._draw.choice(found), signal.SIGKILL)
            if victim == "driver":
                self._running.wait()
                self._running = self._again()

    def end(self) -> int:
        """What the last driver says at its end."""
        return self._running.wait(500)

    def close(self) -> None:
        """Leave none behind."""
        self._running.kill()
        self._running.wait()


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir() if not path.name.startswith(".")}


def test_killed_at_random_they_have_the_same_bytes(folder, tmp_path):
    with contextlib.closing(Killed(folder, tmp_path)) as running:
        running.kill(IN_HARVEST, lambda: len(list(tmp_path.glob("acts/shard-*"))))
        running.kill(IN_ATLAS, lambda: len(list(tmp_path.glob("atlas.sqlite.work/chunk-*"))))
        assert running.end() == 0
    assert contents(tmp_path / "acts") == contents(folder / "whole")
    assert (tmp_path / "atlas.sqlite").read_bytes() == (folder / "whole.sqlite").read_bytes()


def test_of_two_machines_one_goes_away_and_comes_back_and_goes_away(folder, tmp_path):
    """Two nodes of Ray's own cluster utility; the one with a worker at it is removed in the middle of an atlas and of a harvest."""
    code = (
        "from ray.cluster_utils import Cluster as Nodes\n"
        "nodes = Nodes(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "more = [nodes.add_node(num_cpus=1)]\n"
        "nodes.wait_for_nodes()\n"
        "def lose(): nodes.remove_node(more.pop(), allow_graceful=False)\n"
        "import hooke.features.cache as cache\n"
        "add = cache.ActivationCache.add\n"
        "def added(self, chunk):\n"
        "    add(self, chunk)\n"
        "    if len(self) == 3: lose()\n"
        "cache.ActivationCache.add = added\n"
        "with cluster(nodes.address) as own:\n"
        "    assert own.workers == 2\n"
        "    t.build(folder, out / 'atlas.sqlite', own)\n"
        "    more.append(nodes.add_node(num_cpus=1))\n"
        "    nodes.wait_for_nodes()\n"
        "    texts = [t.Corpus('news', folder / 'news.jsonl')]\n"
        "    shards = t.save(t.Model.load(folder / 'tiny'), texts, t.SITES, out / 'acts', t.CONFIG, cluster=own)\n"
        "    until = time.monotonic() + 100\n"
        "    next(shards)\n"
        "    while len(t.workers_of(t.os.getpid())) < 2 and time.monotonic() < until: time.sleep(0.1)\n"
        "    for _ in range(6): next(shards), time.sleep(0.5)\n"
        "    lose()\n"
        "    assert len(list(shards)) == t.SHARDS - 7\n"
        "nodes.shutdown()\n"
    )
    assert driver(code, folder, tmp_path).wait(500) == 0
    assert (tmp_path / "atlas.sqlite").read_bytes() == (folder / "whole.sqlite").read_bytes()
    assert contents(tmp_path / "acts") == contents(folder / "whole")
