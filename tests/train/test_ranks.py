"""Runs on several processes: what one would compute, checkpoints that any number of them go on from, and what is refused."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from hooke import tiny
from hooke.errors import BadConfig
from hooke.kernels import cpu
from hooke.names import Site
from hooke.sae import Sae
from hooke.train import Hooks, InMemory, Ranks, RunFolder, TrainConfig, train
from hooke.train.checkpoint import parts_of
from hooke.train.ranks import ALONE, check_spread, share_of
from hooke.train.sharded import ShardedKernels

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SITES = [Site(0, "resid_post"), Site(0, "mlp_out")]
STEPS, BATCH = 100, 64
EACH = {"d_sae": 256, "l0": 4, "steps": STEPS, "lr": 1e-3, "dead_after": 500, "aux_k": 8}
CONFIGS = {
    "toy/resid_post.0/batchtopk": TrainConfig(**EACH),
    "toy/resid_post.0/nested": TrainConfig(**EACH, prefixes=(40, 101)),
    "toy/resid_post.0/transcoder": TrainConfig(**EACH, writes=("mlp_out.0",), skip=True, frozen="soft-decoder", densest=0.1),
    "toy/resid_post.0/jumprelu": TrainConfig(**EACH, architecture="jumprelu", frequency=0.01),
    "toy/resid_post.0/step": TrainConfig(**EACH, architecture="jumprelu-step"),
}
SETTINGS = {"model": "toy", "batch": BATCH, "saes": {name: {"d_sae": config.d_sae} for name, config in CONFIGS.items()}}


def source() -> InMemory:
    """A few directions, each seldom there, and noise."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(len(SITES), 60, 32, generator=generator)
    codes = torch.randn(3000, 60, generator=generator).relu() * (torch.rand(3000, 60, generator=generator) < 0.06)
    noise = torch.randn(len(SITES), 3000, 32, generator=generator)
    return InMemory({site: codes @ directions[i] + 0.05 * noise[i] for i, site in enumerate(SITES)}, BATCH, seed=7)


def go(folder: Path, ranks: Ranks = ALONE, hooks: Hooks | None = None) -> None:
    run = RunFolder(folder, SETTINGS, ranks)
    with run.opened() if ranks.first else contextlib.nullcontext():
        held = {site: value[:500] for site, value in source().acts.items()}
        for name, sae in train(CONFIGS, source(), held, model="toy", context=16, hooks=hooks, folder=run).items():
            sae.save(run.sae_path(name))


# Reads what to do line by line, does it in forks of itself, which need not import anything, and says after each whether all went well.
FORKS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import numba, torch
from train import test_ranks
for line in sys.stdin:
    size, *asked = json.loads(line)
    children = []
    for rank in range(size):
        children.append(os.fork())
        if not children[-1]:
            torch.set_num_threads(1), numba.set_num_threads(1)
            test_ranks.joined(rank, size, *asked)
            os._exit(0)
    print(not any([os.waitpid(child, 0)[1] for child in children]), flush=True)
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen]:
    """One process that has paid for the imports of all."""
    own = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(Path(__file__).parent.parent)]
    with subprocess.Popen(command, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        yield one
        one.stdin.close()


@pytest.fixture
def spread(forks):
    """`go` by so many processes, in so many lots, stopped after so many steps if any."""

    def run(folder: Path, size: int, lots: int = 1, stop: int = 0) -> None:
        print(json.dumps([size, str(folder), lots, stop]), file=forks.stdin, flush=True)
        assert forks.stdout.readline() == "True\n"

    return run


def joined(rank: int, size: int, folder: str, lots: int, stop: int) -> None:
    """What each of the processes does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}.{os.getppid()}.{size}", rank=rank, world_size=size)
    ranks, left = Ranks.of(rank, size, lots, size), iter(range(stop - 1))
    if not stop:
        keeps_what_one_process_keeps(ranks)
    try:
        go(Path(folder), ranks, Hooks(stop=lambda: bool(stop) and ranks.first and next(left, None) is None))
    except KeyboardInterrupt:
        assert stop
    dist.destroy_process_group()


def keeps_what_one_process_keeps(ranks: Ranks) -> None:
    """Of pre-activations with few values, so that many are equal, wherever the cut falls."""
    generator = torch.Generator().manual_seed(1)
    whole = (torch.randint(-2, 4, (24, 50), generator=generator) / 4).bfloat16()
    low, high = share_of(ranks.part, ranks.parts, 50)
    rows = range(*share_of(ranks.lot, ranks.lots, 24))
    for keep in (1, 7, 200, 333, 500, 1199, 1200):
        for floor in (1, 16000, 16256):
            entries, cut = ShardedKernels(cpu, ranks).largest(whole[rows.start : rows.stop, low:high].contiguous(), keep, floor)
            expected, wanted_cut = cpu.largest(whole, keep, floor)
            own = {
                (row + rows.start, feature + low) for row, feature in zip(entries.rows().tolist(), entries.feature.tolist(), strict=True)
            }
            all_of_them = set(zip(expected.rows().tolist(), expected.feature.tolist(), strict=True))
            assert own == {(row, feature) for row, feature in all_of_them if row in rows and low <= feature < high}
            assert cut == wanted_cut


def losses(folder: Path) -> torch.Tensor:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return torch.tensor([[row["saes"][name]["loss"] for name in CONFIGS] for row in rows])


def apart(one: Path, other: Path) -> dict[str, tuple[float, float]]:
    """By SAE: how far losses and weights are apart, at most."""
    off = (losses(one) - losses(other)).abs().max(0).values.tolist()
    found = {}
    for name, loss in zip(CONFIGS, off, strict=True):
        mine, theirs = (Sae.load(RunFolder(folder, SETTINGS).sae_path(name)) for folder in (one, other))
        pairs = [(getattr(mine, key), getattr(theirs, key)) for key in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "W_skip")]
        found[name] = loss, max(float((a - b).abs().max()) for a, b in pairs if a is not None)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(folder)
    return folder


@pytest.mark.parametrize(
    ("size", "lots"), [(2, 1), *(pytest.param(*both, marks=pytest.mark.exhaustive) for both in ((4, 1), (2, 2), (4, 2), (3, 1)))]
)
def test_it_is_what_one_process_computes(whole, spread, tmp_path, size, lots):
    spread(tmp_path / "run", size, lots)
    found = apart(whole, tmp_path / "run")
    assert {name: both for name, both in found.items() if both[0] > 1e-5 or both[1] > 1e-4} == {}


@pytest.mark.parametrize(("first", "then"), [(2, 3), *(pytest.param(*both, marks=pytest.mark.exhaustive) for both in ((1, 4), (4, 1)))])
def test_another_number_of_processes_goes_on(whole, spread, tmp_path, first, then):
    spread(tmp_path / "run", first, stop=STEPS // 2)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == [f"step-{STEPS // 2:09d}"]
    spread(tmp_path / "run", then)
    assert max(max(both) for both in apart(whole, tmp_path / "run").values()) < 1e-4


@pytest.mark.parametrize(("d_sae", "width"), [(5, 3), (1023, 7), (1024, 16), (2500, 5), (4096, 24), (3073, 1)])
def test_numbers_drawn_in_parts_are_those_of_the_whole(d_sae, width):
    whole, after = torch.Generator().manual_seed(4), []
    expected = torch.randn(d_sae, width, generator=whole)
    for part in range(3):
        own = torch.Generator().manual_seed(4)
        ranks = Ranks(part, 3)
        low, high = ranks.features(d_sae)
        assert torch.equal(ranks.drawn(d_sae, width, own), expected[low:high])
        after.append(torch.randn(4, generator=own))
    assert all(torch.equal(one, after[0]) for one in (*after, torch.randn(4, generator=whole)))


def test_a_checkpoint_that_lacks_a_part_is_none(tmp_path):
    step = tmp_path / "step-000000007"
    for name in (".part-0-of-2.x.part", "part-1-of-2"):
        (step / name).mkdir(parents=True)
        assert parts_of(step) == []
    (step / "part-0-of-2").mkdir()
    assert [path.name for path in parts_of(step)] == ["part-0-of-2", "part-1-of-2"]


def test_what_cannot_be_spread_is_refused():
    several = Ranks(1, 2, 0, 2)
    for config, kind in (
        (TrainConfig(architecture="topk"), "topk SAE"),
        (TrainConfig(architecture="gated"), "gated SAE"),
        (TrainConfig(about=0.5), "temporal SAE"),
        (TrainConfig(reads=("resid_post.0", "resid_post.1")), "crosscoder"),
    ):
        with pytest.raises(BadConfig, match=f"toy: a {kind} trains in one process. Over several can be spread batchtopk, jumprelu, "):
            check_spread(several, "toy", config, 64)
        check_spread(ALONE, "toy", config, 63)
    with pytest.raises(BadConfig, match="batch=60 cannot be cut into 2 lots: give a multiple of 8"):
        check_spread(several, "toy", TrainConfig(), 60)
    with pytest.raises(BadConfig, match="d_sae=1 features cannot be cut into 2 parts"):
        check_spread(several, "toy", TrainConfig(d_sae=1, l0=1), 64)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    run = RunFolder(tmp_path, SETTINGS)
    with run.opened(), contextlib.suppress(KeyboardInterrupt):
        train(CONFIGS, source(), source().acts, model="toy", context=16, hooks=Hooks(stop=lambda: True), folder=run)
    name = next(iter(CONFIGS))
    with pytest.raises(BadConfig, match=r"is of another toy/resid_post\.0/batchtopk: l0 was 4 and is now 5"):
        run.restore(CONFIGS | {name: replace(CONFIGS[name], l0=5)})


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    (folder / "tiny").mkdir()
    tiny.save(folder / "tiny")
    words = [word for group in tiny.concepts.values() for word in group]
    lines = [" ".join(words[(i * 7 + j * j) % len(words)] for j in range(3 + i % 5)) for i in range(2500)]
    (folder / "news.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    head = 'model = "tiny"\ncorpus = ["news.jsonl"]\ncontext = 8\nheld_out = 256\ntokens = 6400\nbatch = 128\nbuffer = 1024\n'
    (folder / "suite.toml").write_text(head + '[[sae]]\nsite = "resid_post.0"\nd_sae = 128\nl0 = 4\nlr = 1e-4\n')
    return folder


@pytest.mark.exhaustive
def test_the_command_starts_processes_or_is_started_by_torchrun(plan, command, monkeypatch):
    """The first process is this one, but for those of torchrun."""
    monkeypatch.chdir(plan)
    for name in ("GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back at the end
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hooke"]
    arguments = ["train", "suite.toml", "--out", "run"]
    done = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    spread_out = {"one": (), "two": ("--nproc", "2"), "four": ("--nproc", "4", "--replicas", "2")}
    for out, options in spread_out.items():
        code, _, said = command("train", "suite.toml", "--out", out, *options)
        assert code == 0, said
    mine, *others = (Sae.load(next((plan / out / "saes").rglob("*.safetensors"))) for out in (*spread_out, "run"))
    for other in others:
        assert torch.allclose(mine.W_dec, other.W_dec, atol=1e-4, rtol=0)
        assert torch.allclose(mine.W_enc, other.W_enc, atol=1e-4, rtol=0)
    assert command("train", "suite.toml", "--out", "two", "--nproc", "2")[2].count("holds this run, finished") == 1
    code, _, said = command("train", "suite.toml", "--out", "none", "--nproc", "3", "--replicas", "2")
    assert (code, said) == (2, "hooke: 3 processes cannot be parted into 2 replicas: --replicas must divide --nproc.\n")
    code, _, said = command("train", "suite.toml", "--out", "none", "--nproc", "2", "--corpus", "nowhere.jsonl")
    assert (code, said.count("hooke: ")) == (4, 1)
