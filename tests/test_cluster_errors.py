"""What goes wrong on one machine of many is told with the machine and the unit, and leaves nothing half-written."""

import errno
import itertools
import os
import time
from pathlib import Path

import pytest
import torch

from hooke import stores
from hooke.engine import crew
from hooke.engine.cluster import Unit
from hooke.engine.worker import UnitWorker
from hooke.errors import BadConfig, HookeError, LimitReached
from hooke.files import atomic_write
from hooke.names import Site
from hooke.train import Hooks, InMemory, RunFolder, TrainConfig, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def writes(_: None, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"some")


def test_a_full_disk_on_one_machine(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done, error = UnitWorker().work(writes, tmp_path / "part")
    assert (done, type(error)) == (False, LimitReached)
    told = crew._placed(error, "node-7 (process 12)", crew._Task(0, Unit("toy/resid_post.0/a", None)))
    assert str(told).startswith(f"at node-7 (process 12), toy/resid_post.0/a: no room to write {tmp_path / 'part'}")
    assert "Nothing was left half-written" in str(told)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    """Forwards and backwards by years, between any two looks at it."""
    configs = {"toy/resid_post.0/a": TrainConfig(d_sae=24, l0=4, steps=6, dead_after=500)}
    settings = {"model": "toy", "batch": 32, "saes": {name: {"d_sae": 24} for name in configs}}
    acts = {Site(0, "resid_post"): torch.randn(200, 8, generator=torch.Generator().manual_seed(0))}
    clock = itertools.cycle([0.0, 4e9, 1e9, 2e9, 5.0])
    for name in ("whole", "jumping"):
        run = RunFolder(tmp_path / name, settings)
        with run.opened():
            hooks = Hooks(checkpoint_s=0.0)
            for sae in train(configs, InMemory(acts, 32), acts, model="toy", context=16, hooks=hooks, folder=run).values():
                sae.save(run.sae_path(sae.name))
        monkeypatch.setattr(time, "time", lambda: next(clock))
    found = [
        {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "events.jsonl"}
        for root in (tmp_path / "whole", tmp_path / "jumping")
    ]
    assert found[0] == found[1]


def test_a_clock_that_a_store_refuses_is_told_apart_from_missing_rights():
    said = "The difference between the request time and the server's time is too large."
    error = stores.told(PermissionError(said), "write", "s3://lab/acts/manifest.json")
    assert isinstance(error, BadConfig)
    assert "this machine's clock is wrong" in str(error)
    refused = stores.told(PermissionError("Access Denied"), "write", "s3://lab/acts/manifest.json")
    assert isinstance(refused, HookeError)
    assert "clock" not in str(refused)
