"""`hooke train --engine ray`: each SAE of a suite in a task of its own, with the bytes that it has beside the others."""

import json
from pathlib import Path

import clusters
import pytest
from commands import Command

from hooke import tiny
from hooke.cli import train_cluster
from hooke.errors import BadConfig, Missing
from hooke.train import RunFolder
from hooke.train.plan import Plan

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SUITE = """
model = "tiny"
corpus = ["news.jsonl"]
tokens = 600
batch = 100
buffer = 500
context = 8
held_out = 256

[[sae]]
site = ["resid_post.0", "resid_post.1"]
d_sae = 48
l0 = 4
"""
_train = train_cluster._train


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "tiny").mkdir()
    tiny.save(tmp_path / "tiny")
    words = [word for group in tiny.concepts.values() for word in group]
    lines = [" ".join(words[(i * 7 + j * j) % len(words)] for j in range(3 + i % 5)) for i in range(1500)]
    (tmp_path / "news.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (tmp_path / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saes(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in (out / "saes").rglob("*.safetensors")}


def lost_at_the_second(suite: train_cluster._Suite, name: str) -> train_cluster._Trained:
    if name.endswith("resid_post.1/batchtopk-48-l0_4"):
        raise KeyboardInterrupt
    return _train(suite, name)


def test_an_sae_a_task_has_the_bytes_of_the_whole_suite(folder, command: Command, monkeypatch):
    assert command("train", "suite.toml", "--out", "here")[0] == 0
    own = clusters.stand_in(monkeypatch)
    monkeypatch.setattr(train_cluster, "_train", lost_at_the_second)
    assert command("train", "suite.toml", "--out", "there", "--engine", "ray")[0] == 130
    assert len(saes(folder / "there")) == 1
    monkeypatch.setattr(train_cluster, "_train", _train)
    code, out, err = command("train", "suite.toml", "--out", "there", "--engine", "ray", "--json")
    assert code == 0, err
    assert saes(folder / "there") == saes(folder / "here")
    assert [row["sae"] for row in json.loads(out)["saes"]] == own.done[1:]
    runs = [json.loads((folder / side / "run.json").read_text()) for side in ("here", "there")]
    assert runs[0] == runs[1]
    events = (folder / "there/tasks/resid_post.0/batchtopk-48-l0_4/events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in events][:: len(events) - 1] == ["started", "finished"]
    code, _, err = command("train", "suite.toml", "--out", "there", "--engine", "ray")
    assert (code, "holds this run, finished" in err, len(own.done)) == (0, True, 3)


def test_what_cannot_be_is_said(folder, command: Command, monkeypatch):
    own = clusters.stand_in(monkeypatch)
    for more, said in ((("--nproc", "2"), "--nproc spreads each SAE"), (("--dry-run",), "--dry-run measures this machine")):
        code, _, err = command("train", "suite.toml", "--out", "there", "--engine", "ray", *more)
        assert (code, said in err, own.done) == (BadConfig.exit_code, True, [])
    plan = Plan.read(folder / "suite.toml", {})
    name = next(iter(plan.saes))
    suite = train_cluster._Suite(plan, str(folder / "out"), str(folder / "elsewhere"), "cpu", 60.0)
    with pytest.raises(Missing, match=r"there is no folder .*elsewhere here, from which the command's paths begin"):
        _train(suite, name)
    marks = iter("ab")
    monkeypatch.setattr(train_cluster, "_train", lambda *_: train_cluster._Trained({}, next(marks)))
    monkeypatch.setattr(train_cluster, "_fetch", lambda *_: None)
    with pytest.raises(BadConfig, match="was trained on a model with other weights than"):
        train_cluster.train_spread(plan, RunFolder(folder / "out", plan.settings()), Direct(), 60.0)
    monkeypatch.undo()
    with pytest.raises(Missing, match="--out is a folder that all machines see"):
        train_cluster._fetch(RunFolder(folder / "out", plan.settings()), str(folder / "out"), name)


class Direct(clusters.Pickled):
    """Which sends nothing."""

    def in_order(self, work, opened, units):
        return (work(opened(), unit.item) for unit in units)
