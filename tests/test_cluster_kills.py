"""A harvest by a cluster whose processes, driver and machines are killed again and again has the bytes of one left alone."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from killed import NEEDS_RAY, driver, workers_of, write_texts

from hooke.engine.cluster import Cluster
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.names import Site
from hooke.text.corpus import Corpus

pytestmark = [pytest.mark.exhaustive, NEEDS_RAY]
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(3000, context=7, shard_tokens=150, batch_tokens=40, epochs=9)


def harvest(folder: Path, out: Path, cluster: Cluster | None = None) -> None:
    corpus = Corpus("news", folder / "news.jsonl")
    for _ in save(Model.load(folder / "tiny"), [corpus], SITES, out, CONFIG, cluster=cluster):
        if cluster is not None:
            time.sleep(0.5)  # long enough to be killed in


@pytest.fixture
def folder(tmp_path) -> Path:
    write_texts(tmp_path)
    harvest(tmp_path, tmp_path / "whole")
    return tmp_path


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_killed_at_random_a_harvest_has_the_same_bytes(folder, workers):
    """A kill after every shard or two: of a worker, and every so often of the driver, which is then started again."""
    draw, kills, seen, out = random.Random(workers), 0, 0, folder / "there"
    code = f"with cluster(workers={workers}) as own: t.harvest(folder, out, own)\n"
    running = driver("test_cluster_kills", code, folder, out)
    until = time.monotonic() + 500
    while running.poll() is None or running.returncode:
        assert time.monotonic() < until
        assert running.returncode in (None, -signal.SIGKILL), "it ended by itself"
        if running.returncode is not None:
            running = driver("test_cluster_kills", code, folder, out)
        time.sleep(draw.uniform(0.05, 0.3))
        written = len(list(out.glob("shard-*")))
        if written > seen and (found := workers_of(running.pid, "batch")):  # something came of it since the last time
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
        "from ray.cluster_utils import Cluster as Nodes\n"
        "nodes = Nodes(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = nodes.add_node(num_cpus=1)\n"
        "nodes.wait_for_nodes()\n"
        "with cluster(nodes.address) as own:\n"
        "    assert own.workers == 2\n"
        "    texts = [t.Corpus('news', folder / 'news.jsonl')]\n"
        "    shards = t.save(t.Model.load(folder / 'tiny'), texts, t.SITES, out, t.CONFIG, cluster=own)\n"
        "    for _ in range(4): next(shards)\n"
        "    nodes.remove_node(second, allow_graceful=False)\n"
        "    assert len(list(shards)) == 16\n"
        "nodes.shutdown()\n"
    )
    assert driver("test_cluster_kills", code, folder, folder / "there").wait(300) == 0
    assert contents(folder / "there") == contents(folder / "whole")
