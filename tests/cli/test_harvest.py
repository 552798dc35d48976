"""`hooke harvest` as people run it: what it says, how it is stopped, and that it goes on to the same bytes whatever happened."""

import json
from functools import partial
from pathlib import Path

import pytest
from commands import Command, forked

from hooke import tiny
from hooke.shards import Shards

TEXTS = ("Bank profit", "the judge after the trial", "Storm", "new album and old guitar with a choir", "rain rain rain match")
SITES = ("--site", "resid_post.0", "--site", "mlp_out.1")
BASE = ("--model", "tiny", *SITES, "--context", "8", "--shard-tokens", "200", "--batch-tokens", "64")
CORPORA = ("--corpus", "news.jsonl=2", "--corpus", "prose.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the planted model and two corpora."""
    root = tmp_path_factory.mktemp("cli")
    (root / "tiny").mkdir()
    tiny.save(root / "tiny")
    for name, repeats in (("news", 300), ("prose", 200)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * repeats))
    return root


@pytest.fixture
def hooke(folder, monkeypatch, command) -> Command:
    """Run `hooke harvest` in `folder`."""
    monkeypatch.chdir(folder)
    return partial(command, "harvest", *BASE)


def test_it_says_what_it_will_do_and_what_it_did(hooke, tmp_path):
    code, out, err = hooke(*CORPORA, "--tokens", "500", "--out", str(tmp_path / "acts"))
    assert code == 0
    assert f"500 tokens at resid_post.0, mlp_out.1 of tiny: 0.1 MB in 3 shards at {tmp_path}/acts. At " in err
    assert "shard-00002.safetensors: 100 tokens, " in err
    assert out.startswith(f"500 tokens, 0.1 MB, at {tmp_path}/acts in ")
    assert "Tokens by corpus: news 3" in out
    assert "special" in out
    code, out, _ = hooke(*CORPORA, "--tokens", "500", "--out", str(tmp_path / "acts"))
    assert (code, "they were all there already" in out) == (0, True)


def test_a_summary_for_programs(hooke, tmp_path):
    code, out, _ = hooke(*CORPORA, "--tokens", "300", "--pack", "--held-out", "--epochs", "50", "--out", str(tmp_path / "acts"), "--json")
    assert code == 0
    summary, shards = json.loads(out), Shards.open(tmp_path / "acts")
    assert (shards.facts.packed, shards.facts.held_out, shards.facts.epochs) == (True, True, 50)
    assert summary["tokens"] == summary["new_tokens"] == shards.tokens == 300
    assert summary["bytes"] == sum(path.stat().st_size for path in (tmp_path / "acts").glob("shard-*"))
    assert summary["corpora"] == shards.corpora
    assert summary["left_out"] == shards.left_out
    assert set(summary["mean_square"]) == {"resid_post.0", "mlp_out.1"}
    assert summary["sites"] == {"resid_post.0": 32, "mlp_out.1": 32}


def test_an_address(hooke):
    code, _, _ = hooke(*CORPORA, "--tokens", "300", "--out", "memory://cli-harvest/acts")
    assert code == 0
    assert Shards.open("memory://cli-harvest/acts").tokens == 300


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*CORPORA, "--tokens", "300", "--site", "resid_post.77"), 4, "resid_post.77"),
        ((*CORPORA, "--tokens", "0"), 2, "--tokens 0 is out of range"),
        (("--corpus", "nowhere.jsonl", "--tokens", "10"), 4, "nowhere.jsonl"),
        (("--corpus", "news.jsonl=heavy", "--tokens", "10"), 2, "'heavy'"),
        ((*CORPORA, "--tokens", "10", "--epochs", "0"), 2, "--epochs 0 is out of range"),
        (("--corpus", "prose.jsonl", "--tokens", "90000"), 6, "tokens of the 90,000 that were asked for"),
        ((*CORPORA, "--tokens", "100000000000"), 6, "100,000,000,000 tokens need 14100.00 GB"),
    ],
)
def test_what_cannot_be_is_said(hooke, tmp_path, arguments, code, said):
    found, out, err = hooke(*arguments, "--out", str(tmp_path / "acts"))
    assert (found, out) == (code, "")
    assert said in err


def test_other_settings_for_the_same_folder_are_refused(hooke, tmp_path):
    assert hooke(*CORPORA, "--tokens", "300", "--out", str(tmp_path))[0] == 0
    code, _, err = hooke(*CORPORA, "--tokens", "300", "--seed", "1", "--out", str(tmp_path))
    assert code == 2
    assert "seed: 0 there, 1 now" in err


# One process pays for the imports; each harvest is a fork of it, which is killed or stopped. Prints what became of them.
RUNS = """
import contextlib, io, json, os, random, signal, sys, time
from pathlib import Path
import hooke.harvest.saving, hooke.harvest.stream, hooke.model, hooke.shards, rich.progress
from commands import ended, fork

hooke.model.Model.load("tiny")  # what it imports, no fork has to
times, arguments, root = int(sys.argv[1]), sys.argv[2:-1], Path(sys.argv[-1])
contents = lambda folder: {path.name: path.read_bytes() for path in folder.iterdir()}

def run(out):
    return fork([*arguments, "--out", str(out)], root / "said")

def until(ready):
    end = time.monotonic() + 60
    while not ready() and time.monotonic() < end:
        time.sleep(0.002)

def shards(out):
    return len(list(out.glob("shard-*")))

start = time.perf_counter()
assert ended(run(root / "whole")) == 0, (root / "said").read_text()
took, order = time.perf_counter() - start, random.Random(0)
killed, out = [], root / "killed"
for _ in range(times):
    before, pid = shards(out), run(out)
    until(lambda: shards(out) > before)
    time.sleep(order.random() * took / 30)
    os.kill(pid, signal.SIGKILL)
    killed.append(ended(pid))
assert ended(run(out)) == 0, (root / "said").read_text()
same = contents(out) == contents(root / "whole")
stopped = {}
for name in ("SIGINT", "SIGTERM"):
    out = root / name
    pid = run(out)
    until(lambda: shards(out) > 0)
    os.kill(pid, getattr(signal, name))
    stopped[name] = [ended(pid), (root / "said").read_text()]
    assert ended(run(out)) == 0
    same = same and contents(out) == contents(root / "whole")
out = root / "busy"
pid = run(out)
until(lambda: shards(out) > 0)
os.kill(pid, signal.SIGSTOP)  # it holds its lock however long the other takes to begin
busy = ended(run(out))
os.kill(pid, signal.SIGKILL)
ended(pid)
print(json.dumps({"killed": killed, "same": same, "stopped": stopped, "busy": busy}))
"""


def test_killed_stopped_or_two_at_once_the_bytes_are_the_same(folder, tmp_path, thorough):
    times, tokens = (5, 4000) if thorough else (1, 2000)
    arguments = [str(times), "harvest", *BASE, *CORPORA, "--tokens", str(tokens)]
    found = forked(RUNS, *arguments, str(tmp_path), folder=folder)
    assert found["same"]
    assert found["killed"].count(-9) >= max(1, times // 2), "the test has to kill it in the middle of its work"
    for name, code in (("SIGINT", 130), ("SIGTERM", 143)):
        assert found["stopped"][name][0] == code
        said = found["stopped"][name][1]
        assert "Stopping once the shard at hand is written" in said
        assert "The same command goes on from there" in said
    assert found["busy"] == 75
