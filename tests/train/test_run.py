"""A run that is killed and goes on ends with the bytes of one left alone; a damaged, foreign or busy folder is refused with a reason."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hooke.errors import BadConfig, BadFile, Busy
from hooke.names import Site
from hooke.shards.place import place_at
from hooke.train import Hooks, InMemory, RunFolder, TrainConfig, train

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SITES = [Site(0, "resid_post"), Site(0, "mlp_out")]
CONFIGS = {
    "toy/resid_post.0/a": TrainConfig(d_sae=24, l0=4, steps=100, lr=1e-3, dead_after=500),
    "toy/resid_post.0/b": TrainConfig(architecture="jumprelu", d_sae=16, l0=3, steps=80, lr=1e-3, dead_after=500, prefixes=(8,)),
    "toy/resid_post.0/c": TrainConfig(architecture="gated", d_sae=16, l0=3, steps=100, lr=1e-3, writes=("mlp_out.0",), skip=True),
    "toy/resid_post.0/d": TrainConfig(d_sae=24, l0=4, steps=100, lr=1e-3, dead_after=500, about=0.25, frozen="soft-decoder"),
}
SETTINGS = {"model": "toy", "batch": 32, "saes": {name: {"d_sae": config.d_sae} for name, config in CONFIGS.items()}}


def source() -> InMemory:
    generator = torch.Generator().manual_seed(0)
    return InMemory({site: torch.randn(2000, 8, generator=generator) for site in SITES}, 32, seed=7, pairs=2, text=torch.arange(2000) // 9)


def go(folder: Path | str, hooks: Hooks | None = None, settings: dict | None = None) -> None:
    run = RunFolder(folder, settings or SETTINGS)
    with run.opened():
        held = {site: value[:500] for site, value in source().acts.items()}
        for name, sae in train(CONFIGS, source(), held, model="toy", context=16, hooks=hooks, folder=run).items():
            sae.save(run.sae_path(name))
        run.keep_finished()


def result(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, but for what tells the time."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "events.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    go(folder)
    return result(folder)


@pytest.mark.exhaustive
def test_killed_at_random_moments_it_ends_with_the_same_bytes(whole, tmp_path):
    """Twenty times SIGKILL, at steps drawn at random (a process kills itself: from outside one cannot aim), with frequent checkpoints."""
    code = (
        "import os, random, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "import numba, pathlib, torch\n"
        "from train import test_run as t\n"
        "draw = random.Random(3)\n"
        "for _ in range(20):\n"
        "    steps = draw.randrange(1, 7)\n"
        "    if child := os.fork():\n"
        "        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL\n"
        "        continue\n"
        "    torch.set_num_threads(1), numba.set_num_threads(1)\n"
        "    left = iter(range(steps))\n"
        "    stop = lambda: next(left, None) is None and os.kill(os.getpid(), signal.SIGKILL) is None\n"
        "    t.go(pathlib.Path(sys.argv[2]), t.Hooks(stop=stop, checkpoint_s=0.01))\n"
        "    os._exit(0)\n"
    )
    arguments = [str(Path(__file__).parent.parent), str(tmp_path)]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], timeout=300, check=True)
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert "step-000000100" not in kept
    go(tmp_path)
    assert result(tmp_path).keys() == whole.keys()
    for name, wanted in whole.items():
        assert result(tmp_path)[name] == wanted, name


def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(whole, tmp_path, monkeypatch):
    """At every call that touches the disk for a checkpoint."""
    calls, real = [0], os.fsync

    def failing(limit):
        def fsync(handle):
            calls[0] += 1
            if calls[0] == limit:
                raise KeyboardInterrupt
            real(handle)

        return fsync

    for limit in (3, 9, 14, 25):
        calls[0] = 0
        monkeypatch.setattr(os, "fsync", failing(limit))
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path, Hooks(checkpoint_s=0.02))
    monkeypatch.setattr(os, "fsync", real)
    go(tmp_path)
    assert result(tmp_path) == whole


def test_asked_to_stop_it_keeps_what_it_did(whole, tmp_path):
    asked = iter([False] * 50 + [True])
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Hooks(stop=lambda: next(asked)))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000051"]
    go(tmp_path)
    assert result(tmp_path) == whole


def test_metrics_have_every_row_once(whole):
    rows = [json.loads(line) for line in whole["metrics.jsonl"].decode().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert all(row["tokens"] == 32 * row["step"] for row in rows)


def test_other_settings_are_refused_by_name(tmp_path):
    RunFolder(tmp_path, SETTINGS).write_settings()
    other = SETTINGS | {"batch": 64, "saes": SETTINGS["saes"] | {"toy/resid_post.0/a": {"d_sae": 32}}}
    with pytest.raises(BadConfig, match=r"batch was 32 and is now 64; saes\.toy/resid_post\.0/a\.d_sae was 24 and is now 32"):
        RunFolder(tmp_path, other)
    other = SETTINGS | {"saes": {"toy/resid_post.0/new": {"d_sae": 32}}}
    with pytest.raises(
        BadConfig, match=r": saes\.toy/resid_post\.0/a was part of it, .*saes\.toy/resid_post\.0/new was not part of it\. Give"
    ):
        RunFolder(tmp_path, other)


def test_a_second_trainer_is_told_to_wait(tmp_path):
    run = RunFolder(tmp_path, SETTINGS)
    with run.opened(), pytest.raises(Busy, match="another process is writing"), RunFolder(tmp_path, SETTINGS).opened():
        pass


@pytest.mark.parametrize("file", ["sae-0000.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_found_out(tmp_path, file):
    asked = iter([False] * 8 + [True])
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Hooks(stop=lambda: next(asked)))
    path = tmp_path / "checkpoints" / "step-000000009" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw[:-1] if file == "state.json" else raw)
    with pytest.raises(BadFile, match=r"step-000000009.*Remove"):
        go(tmp_path)


def test_events_tell_of_checkpoints_and_speed(tmp_path):
    go(tmp_path, Hooks(report=lambda progress: ["careful"] if progress.step == 67 else ()))
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["kind"] for event in events} == {"speed", "warning", "checkpoint"}
    assert [event["text"] for event in events if event["kind"] == "warning"] == ["careful"]
    assert all(abs(event["time"] - time.time()) < 600 for event in events)


def elsewhere(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """What a command does from now on it does on a machine that has nothing of what others have."""
    monkeypatch.setenv("HOOKE_HOME", str(home))


def stopping(after: int) -> Hooks:
    asked = itertools.count(1)
    return Hooks(stop=lambda: next(asked) == after, checkpoint_s=0.0)


def test_at_an_address_another_machine_goes_on(whole, tmp_path, monkeypatch):
    there = f"file-store://{tmp_path}/there"
    monkeypatch.setattr("hooke.shards.kept.place_at", lambda where: place_at(where.removeprefix("file-store://")))
    for machine, after in (("first", 20), ("second", 55), ("first", 80), ("third", 10_000)):
        elsewhere(monkeypatch, tmp_path / machine)
        with contextlib.suppress(KeyboardInterrupt):
            go(there, stopping(after))
        steps = {path.name for path in (tmp_path / "there/checkpoints").glob("step-*") if list(path.iterdir())}
        assert len(steps) == 1, "what came before the newest is gone"
    run = RunFolder(there, SETTINGS)
    assert run.finished
    own = result(run.path)
    assert {name: own[name] for name in whole if name != "run.json"} == {name: own for name, own in whole.items() if name != "run.json"}
    for name in SETTINGS["saes"]:
        sae = run.sae_path(name)
        assert (tmp_path / "there" / sae.relative_to(run.path)).read_bytes() == sae.read_bytes()
