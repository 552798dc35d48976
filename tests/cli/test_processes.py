"""Processes that a command runs as: by which means they talk, what each has, what is refused, and what becomes of one that is lost."""

import subprocess
import sys
import threading

import pytest
import torch
import torch.distributed as dist

from hooke.cli import processes
from hooke.cli.processes import Joined, joined
from hooke.errors import BadConfig, HookeError


@pytest.fixture
def told(monkeypatch) -> list:
    """What torch is told, on a machine that has two GPUs; this is the second of two processes that torchrun started."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    said = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: said.append(("GPU", device)))
    monkeypatch.setattr(processes, "usable_device", lambda name: said.append(("usable", name)))
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    monkeypatch.setattr(dist, "init_process_group", lambda kind, **how: said.append((kind, how["init_method"], how["rank"])))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: said.append("left"))
    return said


def test_each_process_has_a_gpu_of_its_own_and_they_talk_by_nccl(told):
    with joined(1, "cuda") as own:
        assert own == Joined(3, 4, 2)
    assert told == [("usable", "cuda:1"), ("GPU", 1), ("nccl", "env://", 3), "left"]


def test_processors_talk_by_gloo(told):
    with joined(4, "cpu"):
        assert told == [("usable", "cpu"), ("gloo", "env://", 3)]


def test_what_cannot_be_is_said(told, monkeypatch):
    with (
        pytest.raises(BadConfig, match=r"'cuda:1' is one GPU, and each of 4 processes takes its own: give --device cuda"),
        joined(1, "cuda:1"),
    ):
        pass
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(BadConfig, match="2 processes on this machine take a GPU each, and it has 1: give --nproc 1, or less"),
        joined(1, "cuda"),
    ):
        pass
    with pytest.raises(BadConfig, match="--nproc 3 under torchrun, which has started 4 processes: leave it out"), joined(3, "cpu"):
        pass


def test_without_a_gpu_nothing_is_started(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setattr(processes, "_led", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(BadConfig, match="cannot compute on 'cuda'"), joined(2, "cuda"):
        pass


def test_what_is_lost_is_told_where_nothing_else_tells_it(monkeypatch):
    """As with NCCL, which waits for a process that is gone."""
    over = threading.Event()
    for name in ("_LOOK_S", "_WORDS_S", "_FATE_S"):
        monkeypatch.setattr(processes, name, 0.1)
    monkeypatch.setattr(processes.os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    said = []
    monkeypatch.setattr(processes.sys.stderr, "write", said.append)
    with (
        subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) as lost,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as waits,
    ):
        with pytest.raises(SystemExit) as ended:
            processes._watch([lost, waits], over)
        assert (ended.value.code, waits.wait(10)) == (HookeError.exit_code, -9)
    assert said[0].startswith("hooke: process 1 ended with code -9 in the middle of the run. Killed from outside: most likely there is too")
    over.set()
    processes._watch([lost], over)  # all is over, and nothing is said
    assert len(said) == 1
