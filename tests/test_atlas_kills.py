"""An atlas whose workers, driver and machines are lost on the way has the bytes of one that was left alone."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from killed import NEEDS_RAY, driver, workers_of, write_texts

from hooke import tiny
from hooke.builder import AtlasSettings, build_atlas
from hooke.engine.cluster import Cluster
from hooke.model import Model
from hooke.text.corpus import Corpus

pytestmark = [pytest.mark.exhaustive, NEEDS_RAY]
KILLS = int(os.environ.get("KILLS", "2"))
"""How many there are; `KILLS=20 pytest tests/test_atlas_kills.py` takes minutes."""
SETTINGS = AtlasSettings(120 * KILLS, 8, examples=4, background=20, chunk_tokens=40, workers=1, epochs=9)


def build(folder: Path, out: Path, cluster: Cluster | None = None, slowly: float = 0.0) -> None:
    def progress(stage: str, *_: int) -> None:
        time.sleep(slowly if stage == "Reading" else 0)  # long enough to be killed in

    build_atlas(
        Model.load(folder / "tiny"),
        [tiny.sae()],
        [Corpus("news", folder / "news.jsonl")],
        out,
        SETTINGS,
        progress=progress,
        cluster=cluster,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    write_texts(tmp_path)
    build(tmp_path, tmp_path / "whole.sqlite")
    return tmp_path


def test_killed_at_random_an_atlas_has_the_same_bytes(folder):
    """A kill after every chunk: of a worker, and every so often of the driver, which is then started again."""
    code = "with cluster(workers=2) as own: t.build(folder, out, own, 0.5)\n"
    draw, kills, seen, out = random.Random(KILLS), 0, 0, folder / "there.sqlite"
    running, until = driver("test_atlas_kills", code, folder, out), time.monotonic() + 60 * KILLS
    while running.poll() is None or running.returncode:
        assert time.monotonic() < until
        assert running.returncode in (None, -signal.SIGKILL), "it ended by itself"
        if running.returncode is not None:
            running = driver("test_atlas_kills", code, folder, out)
        time.sleep(0.05)
        written = len(list(folder.glob("there.sqlite.work/chunk-*")))
        if kills < KILLS and written > seen and (found := workers_of(running.pid, "windows")):
            victim, seen = running.pid if draw.random() < 0.2 else draw.choice(found), written
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
            if victim == running.pid:
                running.wait()
    assert kills == KILLS
    assert out.read_bytes() == (folder / "whole.sqlite").read_bytes()


def test_of_two_machines_one_goes_away(folder):
    """Two nodes of Ray's own cluster utility; the one with a worker at it is removed in the middle."""
    code = (
        "from ray.cluster_utils import Cluster as Nodes\n"
        "nodes = Nodes(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = nodes.add_node(num_cpus=1)\n"
        "nodes.wait_for_nodes()\n"
        "import time, hooke.features.cache as cache\n"
        "add = cache.ActivationCache.add\n"
        "def added(self, chunk):\n"
        "    add(self, chunk)\n"
        "    if len(self) == 3: nodes.remove_node(second, allow_graceful=False)\n"
        "cache.ActivationCache.add = added\n"
        "with cluster(nodes.address) as own:\n"
        "    assert own.workers == 2\n"
        "    t.build(folder, out, own)\n"
        "nodes.shutdown()\n"
    )
    assert driver("test_atlas_kills", code, folder, folder / "there.sqlite").wait(300) == 0
    assert (folder / "there.sqlite").read_bytes() == (folder / "whole.sqlite").read_bytes()
