"""A harvest by a cluster whose processes, driver and machines are killed again and again has the bytes of one left alone."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hooke import tiny
from hooke.engine.cluster import Cluster
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Corpus

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'hooke[ray]'"),
]
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(3000, context=7, shard_tokens=150, batch_tokens=40, epochs=9)
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


def harvest(folder: Path, out: Path, cluster: Cluster | None = None) -> None:
    corpus = Corpus("news", folder / "news.jsonl")
    for _ in save(Model.load(folder / "tiny"), [corpus], SITES, out, CONFIG, cluster=cluster):
        if cluster is not None:
            time.sleep(0.5)  # long enough to be killed in


def driver(folder: Path, out: Path, workers: int) -> subprocess.Popen:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pathlib, test_cluster_kills as t\n"
        "from hooke.engine.cluster import cluster\n"
        "with cluster(workers=int(sys.argv[4])) as own:\n"
        "    t.harvest(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), own)\n"
    )
    arguments = [str(Path(__file__).parent), str(folder), str(out), str(workers)]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, *arguments], start_new_session=True)


def workers_of(pid: int) -> list[int]:
    try:
        said = [(child.pid, "".join(child.cmdline())) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
    return [child for child, line in said if "ray::UnitWorker" in line or "ray::batch" in line]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "tiny").mkdir()
    tiny.save(tmp_path / "tiny")
    (tmp_path / "news.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 120))
    harvest(tmp_path, tmp_path / "whole")
    return tmp_path


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_killed_at_random_a_harvest_has_the_same_bytes(folder, workers):
    """A kill after every shard or two: of a worker, and every so often of the driver, which is then started again."""
    draw, kills, seen, out = random.Random(workers), 0, 0, folder / "there"
    running = driver(folder, out, workers)
    until = time.monotonic() + 500
    while running.poll() is None or running.returncode:
        assert time.monotonic() < until
        assert running.returncode in (None, -signal.SIGKILL), "it ended by itself"
        if running.returncode is not None:
            running = driver(folder, out, workers)
        time.sleep(draw.uniform(0.05, 0.3))
        written = len(list(out.glob("shard-*")))
        if written > seen and (found := workers_of(running.pid)):  # something came of it since the last time
            victim, seen = running.pid if draw.random() < 0.15 else draw.choice(found), written
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
            if victim == running.pid:
                running.wait()
    assert kills >= 5
    assert contents(out) == contents(folder / "whole")


def test_of_two_machines_one_goes_away(folder):
    """Two nodes of Ray's own cluster utility; the one with a worker at it is removed in the middle."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import os, pathlib, test_cluster_kills as t\n"
        "from ray.cluster_utils import Cluster as Nodes\n"
        "from hooke.engine.cluster import cluster\n"
        "nodes = Nodes(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = nodes.add_node(num_cpus=1)\n"
        "nodes.wait_for_nodes()\n"
        "folder, out = map(pathlib.Path, sys.argv[2:4])\n"
        "with cluster(nodes.address) as own:\n"
        "    assert own.workers == 2\n"
        "    texts = [t.Corpus('news', folder / 'news.jsonl')]\n"
        "    shards = t.save(t.Model.load(folder / 'tiny'), texts, t.SITES, out, t.CONFIG, cluster=own)\n"
        "    for _ in range(4): next(shards)\n"
        "    nodes.remove_node(second, allow_graceful=False)\n"
        "    assert len(list(shards)) == 16\n"
        "nodes.shutdown()\n"
    )
    arguments = [str(Path(__file__).parent), str(folder), str(folder / "there")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], timeout=300, check=True)
    assert contents(folder / "there") == contents(folder / "whole")
