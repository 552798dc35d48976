"""Work given to a cluster: in order, whole and the same to the byte, whichever workers are lost on the way. One local Ray serves all."""

import contextlib
import importlib.util
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from hooke import tiny
from hooke.builder.cache import Portions, read_codes
from hooke.cli import app
from hooke.cli.engines import Engine
from hooke.engine import cluster as clusters
from hooke.engine import crew
from hooke.engine.cluster import Cluster, Unit, check, cluster
from hooke.errors import BadConfig, HookeError, LimitReached, Missing, UnknownName
from hooke.features.cache import ActivationCache
from hooke.features.effect_log import EffectLog
from hooke.features.effects import EffectRun, EffectSettings
from hooke.harvest.saving import HarvestConfig, save
from hooke.model import Model
from hooke.model.recipe import Recipe
from hooke.names import Site
from hooke.text.corpus import Corpus, windows

with_ray = [
    pytest.mark.exhaustive,  # starting Ray takes as long as a hundred other tests
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'hooke[ray]'"),
    pytest.mark.filterwarnings("default::ResourceWarning", "default::FutureWarning"),
]
SITES = [Site(0, "resid_post"), Site(1, "mlp_out")]
CONFIG = HarvestConfig(300, context=7, shard_tokens=90, batch_tokens=40)
TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")


@pytest.fixture(scope="module")
def four():
    with cluster(workers=4) as own:
        yield own


@pytest.fixture
def workers(four: Cluster):
    """The cluster with so many of its workers."""

    def some(count: int) -> Cluster:
        four.workers = count
        return four

    yield some
    four.workers = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    folder.mkdir()
    tiny.save(folder)
    return Model.load(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    path = tmp_path_factory.mktemp("text") / "news.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 60))
    return Corpus("news", path)


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in where.iterdir()}


def at_work() -> list[int]:
    """The processes of workers; waits for one that is between two units, for at a unit Ray calls a process by that unit's name."""
    until = time.monotonic() + 30
    found: list[int] = []
    while not found and time.monotonic() < until:
        found = [
            process.pid
            for process in psutil.Process().children(recursive=True)
            if "ray::UnitWorker" in process.name() or "ray::UnitWorker" in "".join(process.cmdline())
        ]
    return found


def units(count: int, drawn: list[int] | None = None):
    for number in range(count):
        if drawn is not None:
            drawn.append(number)
        yield Unit(f"unit {number}", number)


def lost_once(mark: str, at: int):
    """Work that ends its process the first time that it comes to number `at`."""

    def work(shared, number):
        if number == at and not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return shared + number

    return work


class TestRay:
    pytestmark = with_ray

    def test_results_come_in_order_and_whoever_takes_slowly_holds_the_others_up(self, workers):
        drawn = []
        results = workers(2).in_order(lambda shared, number: (shared, number), lambda: "opened", units(40, drawn))
        for taken in range(20):
            assert next(results) == ("opened", taken)
            assert len(drawn) <= taken + 1 + crew._AHEAD * 2
        results.close()
        assert list(workers(2).in_order(lambda *_: 1, lambda: None, units(0))) == []

    def test_a_lost_worker_costs_its_units_and_nothing_else(self, workers, tmp_path):
        work = lost_once(str(tmp_path / "mark"), 5)
        assert list(workers(2).in_order(work, lambda: 100, units(12))) == list(range(100, 112))
        assert (tmp_path / "mark").exists()

    def test_a_unit_that_takes_every_worker_with_it_is_named(self, workers, monkeypatch):
        monkeypatch.setattr(crew, "_TRIES", 2)
        with pytest.raises(LimitReached, match=r"unit 3 was lost with its worker 2 times, last at .* \(process \d+\)"):
            list(workers(2).in_order(lambda _, number: os._exit(1) if number == 3 else 0, lambda: None, units(6)))

    def test_what_goes_wrong_says_where_and_at_what(self, workers, monkeypatch):
        def work(_, number):
            raise UnknownName("no such thing") if number == 2 else ValueError("odd")

        with pytest.raises(ValueError, match="odd") as caught:
            list(workers(1).in_order(work, lambda: None, units(3)))
        assert any("unit 0" in note or "unit 1" in note for note in caught.value.__notes__)  # both are at work
        with pytest.raises(UnknownName, match=r"^at .* \(process \d+\), unit 2: no such thing$"):
            list(workers(1).in_order(work, lambda: None, itertools.islice(units(3), 2, None)))
        with pytest.raises(UnknownName, match=r"^at .* \(process \d+\): unknown model 'nowhere'"):
            list(workers(1).in_order(work, Recipe("nowhere", "float32", "cpu", "").load, units(3)))
        monkeypatch.setattr(crew, "versions", lambda: {"Hooke": "9.9", "torch": "0.1"})
        with pytest.raises(BadConfig, match=r"\(process \d+\) has other versions.*Hooke .* \(here 9\.9\), torch .* \(here 0\.1\)"):
            list(workers(1).in_order(lambda *_: 0, lambda: None, units(1)))

    def test_a_harvest_has_the_same_bytes_for_any_number_of_workers(self, workers, model, corpus, tmp_path):
        list(save(model, [corpus], SITES, tmp_path / "here", CONFIG))
        for count in (1, 2, 4):
            out = tmp_path / str(count)
            if count == 2:
                first = save(model, [corpus], SITES, out, CONFIG, cluster=workers(count))
                next(first)
                first.close()  # stopped after one shard, and begun anew
            list(save(model, [corpus], SITES, out, CONFIG, cluster=workers(count)))
            assert contents(out) == contents(tmp_path / "here")

    def test_a_harvest_that_loses_workers_has_the_same_bytes(self, workers, model, corpus, tmp_path):
        list(save(model, [corpus], SITES, tmp_path / "here", CONFIG))
        shards = save(model, [corpus], SITES, tmp_path / "there", CONFIG, cluster=workers(2))
        next(shards)
        os.kill(at_work()[0], signal.SIGKILL)
        assert len(list(shards)) == 3
        assert contents(tmp_path / "there") == contents(tmp_path / "here")

    def test_a_model_with_other_weights_is_refused(self, workers, model, corpus, tmp_path):
        other = Model.load(model.ref)
        next(iter(other.blocks.parameters())).data[0] += 1
        with pytest.raises(BadConfig, match=r"^at .*the model '.*tiny' has other weights than where the command runs"):
            list(save(other, [corpus], SITES, tmp_path, CONFIG, cluster=workers(1)))

    def test_the_reading_of_an_atlas_has_the_same_bytes(self, workers, model, corpus, tmp_path):
        saes = [tiny.sae()]
        for name, own in (("here", None), ("there", workers(2))):
            cache = ActivationCache(tmp_path / name, {}, {saes[0].name: saes[0].d_sae}, ["news"])
            texts = windows([corpus], model.tokenizer, length=7, seed=0)
            read_codes(model, saes, texts, cache, Portions(300, 60, 40), lambda _: None, own)
        assert contents(tmp_path / "there") == contents(tmp_path / "here")
        assert len(contents(tmp_path / "there")) > 4

    def test_effects_are_the_same_lines(self, workers, model, tmp_path):
        sae = tiny.sae()
        maximum = torch.linspace(0, 9, sae.d_sae).numpy()
        run = EffectRun(model, sae, maximum, EffectSettings((1.0,), contexts=4, length=3, controls=19))
        for name, own in (("here", None), ("there", workers(2))):
            (tmp_path / name).mkdir()
            with EffectLog(tmp_path / name, run.about) as log:
                assert run.run(log, progress=lambda *_: None, cluster=own)
        assert (tmp_path / "there/effects.jsonl").read_bytes() == (tmp_path / "here/effects.jsonl").read_bytes()

    def test_the_command(self, workers, command, model, corpus, tmp_path, monkeypatch):
        monkeypatch.setattr(clusters, "cluster", lambda *_, **__: contextlib.nullcontext(workers(2)))
        asked = ("harvest", "--model", str(model.ref), "--site", "resid_post.0", "--corpus", str(corpus.path), "--tokens", "300")
        code, _, err = command(*asked, "--out", str(tmp_path / "there"), "--engine", "ray", "--readers", "2")
        assert (code, "tokens/s that takes" in err) == (0, False)
        assert command(*asked, "--out", str(tmp_path / "here"))[0] == 0
        assert contents(tmp_path / "there") == contents(tmp_path / "here")

    def test_it_is_reached_from_this_machine_alone(self, four):
        import ray

        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
        assert os.environ["RAY_AUTH_MODE"] == "token"


def test_without_ray_it_is_said_at_once(command, monkeypatch, tmp_path):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    asked = ("harvest", "--site", "resid_post.0", "--corpus", __file__, "--tokens", "5", "--out", str(tmp_path / "acts"))
    code, _, err = command(*asked, "--engine", "ray")
    assert (code, "needs Ray, which is not installed: pip install 'hooke[ray]'" in err) == (Missing.exit_code, True)


def test_engines_and_addresses_that_cannot_be(monkeypatch):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UnknownName, match=r"unknown engine 'rya'\. Did you mean 'ray'\?"):
        Engine("rya").home("cpu", "auto")
    with pytest.raises(BadConfig, match="give --engine ray as well"):
        Engine("here", "auto").home("cpu", "auto")
    for address in ("ray://head:10001", "head", "head:many", ":6379"):
        with pytest.raises(BadConfig, match="is no address of a Ray cluster"):
            check(address)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(Missing, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
            check(f"127.0.0.1:{port}")
    assert Engine("ray", None, 2).home("cuda", "auto") == {"device": "cpu", "dtype": "bfloat16"}


def test_a_model_made_here_cannot_be_loaded_elsewhere():
    with pytest.raises(BadConfig, match="tiny was made in this process"):
        Recipe.of(tiny.model(), "cpu")


def test_an_error_in_a_worker_that_lacks_hooke_is_translated():
    class Gone(Exception):
        pass

    waiting = crew.Crew(None, lambda: None, 1, None, [])
    with pytest.raises(Missing, match="a worker cannot import 'hooke'"):
        waiting._lost(None, crew._Member(None), Gone("The actor died.\nModuleNotFoundError: No module named 'hooke'\n"))
    assert issubclass(Missing, HookeError)


RAY_JOB = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"},
    "spec.rayClusterSpec": {"rayVersion", "headGroupSpec", "workerGroupSpecs"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "template"},
    "spec.rayClusterSpec.workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}
"""Of the fields that KubeRay's RayJob (ray.io/v1) has those that are made use of."""


def unknown_keys(job: dict) -> set[str]:
    found = set()
    for place, known in RAY_JOB.items():
        at = job
        for name in filter(None, place.split(".")):
            at = at[name]
        found |= {key for one in (at if isinstance(at, list) else [at]) for key in one.keys() - known}
    return found


def test_the_scripts_for_clusters_are_understood():
    folder = Path(__file__).parent.parent / "examples/scale"
    job = yaml.safe_load((folder / "kuberay.yaml").read_text())
    script = (folder / "slurm.sh").read_text()
    assert unknown_keys(job) == set()
    assert (job["kind"], subprocess.run(["bash", "-n", folder / "slurm.sh"], check=False).returncode) == ("RayJob", 0)
    slurm = script[script.index("hooke harvest") : script.index(" &\nharvest")].replace("\\\n", " ").replace("$address", "head:6379")
    for line in (job["spec"]["entrypoint"], slurm):
        _, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
        assert bound.arguments["where"].engine == "ray"
