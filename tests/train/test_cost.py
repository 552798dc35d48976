"""What a run takes: the sums against tensors that are really made, the limits against made-up machines."""

import io
from pathlib import Path

import pytest
import torch

from hooke.errors import LimitReached
from hooke.names import Site
from hooke.report.training_terminal import cost_table
from hooke.train.config import TrainConfig
from hooke.train.cost import CHECKPOINTS, MARGIN, CostSheet, Load, SaeSize, available_memory, estimate, free_disk
from hooke.train.trainer import SaeTrainer

GIB = 1 << 30
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


def load(**more: object) -> Load:
    given = {"tokens": 1_000_000, "batch": 4096, "site_width": 640, "train_tokens_per_s": {"a": 1000.0, "b": 500.0}} | more
    return Load(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("architecture", ["batchtopk", "gated"])
def test_parameters_are_those_of_the_tensors(architecture: str, skip: bool) -> None:
    d_in, d_out, d_sae = 6, 5, 32
    shapes = [(d_in, d_sae), (d_sae,), (d_sae,), (d_sae, d_out), (d_out,)]
    shapes += [(d_sae,), (d_sae,)] if architecture == "gated" else []
    shapes += [(d_in, d_out)] if skip else []
    assert SaeSize("a", d_in, d_out, d_sae, architecture, skip).parameters == sum(torch.zeros(shape).numel() for shape in shapes)


@pytest.mark.parametrize("architecture", ["batchtopk", "gated"])
def test_the_sheet_covers_what_a_trainer_keeps(architecture: str) -> None:
    """The state that a trainer goes on from fits in what the sheet says of one checkpoint, and most of it is used."""
    name, config = "m/resid_post.0/t", TrainConfig(architecture=architecture, d_sae=256, l0=4, steps=4).resolved(64)  # type: ignore[arg-type]
    tensors, _ = SaeTrainer(name, config, {Site.parse("resid_post.0"): torch.randn(512, 32)}).state()
    real = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    size = SaeSize(name, 32, 32, 256, architecture)
    told = estimate([size], load(train_tokens_per_s={name: 1.0})).disk["checkpoints, two at once"] / CHECKPOINTS
    assert 0.85 * told < real < MARGIN * told


def test_memory_disk_and_hours_add_up() -> None:
    saes = [SaeSize("a", 640, 640, 4096), SaeSize("b", 640, 640, 16384)]
    sheet = estimate(saes, load(forward_tokens_per_s=100.0, reuse=4, buffer_tokens=10_000, model_bytes=7))
    parameters = sum(sae.parameters for sae in saes)
    encoders = 2 * 640 * (4096 + 16384)
    step = 4096 * (2 * 16384 + 4 * 2 * 1280)  # one SAE steps after the other: the largest counts
    assert sum(sheet.memory.values()) == 16 * parameters + encoders + step + 2 * 4096 * 640 * 2 + 10_000 * 640 * 2 + 7
    assert sheet.memory_bytes == round(MARGIN * sum(sheet.memory.values()))
    assert sum(sheet.disk.values()) == pytest.approx(4 * parameters * (1 + 3 * CHECKPOINTS), rel=0.001)
    assert sheet.hours == pytest.approx({"running the model": 2500 / 3600, "training": 3000 / 3600})
    assert sheet.total_hours == pytest.approx(5500 / 3600)


def test_shards_need_no_model() -> None:
    sheet = estimate([SaeSize("a", 640, 640, 4096)], load())
    assert sheet.hours["running the model"] == 0
    assert "running the model" not in {part for _, part, _ in sheet.rows()}


def test_the_table_says_totals_first() -> None:
    from rich.console import Console

    sheet = estimate([SaeSize("a", 640, 640, 4096)], load(forward_tokens_per_s=2000.0))
    console = Console(width=80, file=io.StringIO())
    console.print(cost_table(sheet))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[0] == "What this run takes"
    assert [line.split()[0] for line in lines[1:] if line[:1].strip()] == ["time", "memory", "disk"]
    assert lines[1].endswith("25 min")


def test_too_little_memory_is_refused_with_what_to_lower() -> None:
    sheet = CostSheet({"shuffling buffer": 4 * GIB, "SAEs with Adam's moments": GIB}, {"finished SAEs": 1}, {})
    with pytest.raises(LimitReached) as caught:
        sheet.refuse(Path("run"), memory=4 * GIB, disk=GIB)
    assert str(caught.value) == (
        "the run needs 5.5 GiB of memory and 4.0 GiB are available. Most of it is shuffling buffer (4.0 GiB):"
        " lower buffer, or read fewer sites at once."
    )
    sheet.refuse(Path("run"), memory=6 * GIB, disk=GIB)


def test_too_little_disk_is_refused() -> None:
    sheet = CostSheet({"batches": 1}, {"checkpoints, two at once": 2 * GIB}, {})
    with pytest.raises(LimitReached, match=r"needs 2\.2 GiB of disk and 1\.0 GiB are free at run\. .*lower d_sae or train fewer SAEs"):
        sheet.refuse(Path("run"), memory=GIB, disk=GIB)


def test_every_part_of_memory_has_its_own_advice() -> None:
    sheet = estimate([SaeSize("a", 640, 640, 4096)], load())
    for part in sheet.memory:
        with pytest.raises(LimitReached) as caught:
            CostSheet({part: GIB}).refuse(Path("x"), memory=1, disk=1)
        assert str(caught.value).count(": ") == 1


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_memory_of_a_machine_without_limits(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path, {"proc/meminfo": MEMINFO})) == 8_000_000 << 10


def test_memory_of_a_control_group_of_version_2(tmp_path: Path) -> None:
    """The tightest group on the way up binds; cache that can be dropped is free."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/user/job\n",
        "sys/fs/cgroup/user/job/memory.max": "max\n",
        "sys/fs/cgroup/user/job/memory.current": "5\n",
        "sys/fs/cgroup/user/memory.max": f"{4 * GIB}\n",
        "sys/fs/cgroup/user/memory.current": f"{3 * GIB}\n",
        "sys/fs/cgroup/user/memory.stat": f"anon 1\ninactive_file {GIB}\n",
    }
    assert available_memory(machine(tmp_path, files)) == 2 * GIB


def test_memory_of_a_control_group_of_version_1(tmp_path: Path) -> None:
    """In a container the group's own path is not to be seen, its limit is at the root; 2^63 means none."""
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100\n",
    }
    assert available_memory(machine(tmp_path, files)) == GIB + 100
    machine(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"})
    assert available_memory(tmp_path) == 8_000_000 << 10


def test_a_full_group_leaves_nothing_and_an_unknown_machine_is_not_held_against_the_run(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "1000",
        "sys/fs/cgroup/memory.current": "2000",
    }
    assert available_memory(machine(tmp_path / "full", files)) == 0
    assert available_memory(machine(tmp_path / "odd", {"proc/meminfo": "MemAvailable:\n"})) is None


def test_this_machine_has_some(tmp_path: Path) -> None:
    assert (available_memory() or 0) > 1 << 20
    assert (free_disk(tmp_path / "not" / "yet" / "there") or 0) > 0
