"""Cost: what a run will take in memory, disk and hours, told before it starts, and a refusal where it cannot fit."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hooke.errors import LimitReached
from hooke.text.figures import duration

__all__ = ["CostSheet", "Load", "SaeSize", "available_memory", "estimate", "free_disk"]

CHECKPOINTS = 2
"""Checkpoints that lie on disk at once: the one that is kept, and the next while it is written."""
MARGIN = 1.1
"""What is asked for on top of the sum: allocators round up, and an estimate is an estimate."""

_FLOAT = 4
_METRICS_BYTES = 130  # of one SAE in one row of metrics.jsonl
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 where there is no limit


@dataclass(frozen=True)
class SaeSize:
    """What the cost of one SAE depends on."""

    name: str
    """Its name."""
    d_in: int
    """Width of what it reads."""
    d_out: int
    """Width of what it writes."""
    d_sae: int
    """Number of features."""
    architecture: str = "batchtopk"
    """How it is trained; ``gated`` learns two more vectors."""
    skip: bool = False
    """Whether it learns a matrix from input to output as well."""

    @property
    def parameters(self) -> int:
        """Numbers that are learnt: ``W_enc, W_dec, b_enc, b_dec``, the thresholds, and what the architecture adds."""
        extra = 2 * self.d_sae if self.architecture == "gated" else 0
        extra += self.d_in * self.d_out if self.skip else 0
        return self.d_sae * (self.d_in + self.d_out) + 2 * self.d_sae + self.d_out + extra


@dataclass(frozen=True)
class Load:
    """What the run does with the SAEs: how much is read, and how fast that went in a short measurement."""

    tokens: int
    """Tokens that every SAE is trained on."""
    batch: int
    """Tokens per step."""
    site_width: int
    """Widths of all sites that are read, summed."""
    train_tokens_per_s: Mapping[str, float | int]
    """Measured tokens per second, by SAE."""
    forward_tokens_per_s: float | None = None
    """Measured tokens per second of the model; None where the activations come from shards."""
    reuse: int = 1
    """Times that each activation is drawn."""
    buffer_tokens: int = 0
    """Tokens that the shuffling buffer holds."""
    held_out_tokens: int = 0
    """Tokens whose activations are kept from training, in memory and on disk."""
    model_bytes: int = 0
    """Memory of the model, as far as it is not loaded yet."""
    dtype_bytes: int = 2
    """Bytes of one activation."""
    report_every: int = 50
    """Steps between two rows of metrics."""


@dataclass(frozen=True)
class CostSheet:
    """What a run takes: parts in bytes and hours, by what they are for."""

    memory: dict[str, int] = field(default_factory=dict)
    """Bytes of memory."""
    disk: dict[str, int] = field(default_factory=dict)
    """Bytes on disk, at the most there is at once."""
    hours: dict[str, float | int] = field(default_factory=dict)
    """Hours, one after the other."""

    @property
    def memory_bytes(self) -> int:
        """All memory, with a margin."""
        return round(MARGIN * sum(self.memory.values()))

    @property
    def disk_bytes(self) -> int:
        """All disk, with a margin."""
        return round(MARGIN * sum(self.disk.values()))

    @property
    def total_hours(self) -> float | int:
        """All hours."""
        return sum(self.hours.values())

    def rows(self) -> list[tuple[str, str, str]]:
        """What, what for, how much: a total for each of time, memory and disk, and under it the parts that are not nothing."""
        rows = [
            ("time", "", duration(3600 * self.total_hours)),
            *(("", part, duration(3600 * hours)) for part, hours in self.hours.items() if hours),
        ]
        for what, total, parts in (("memory", self.memory_bytes, self.memory), ("disk", self.disk_bytes, self.disk)):
            rows.append((what, f"with {MARGIN - 1:.0%} to spare", size(total)))
            rows += [("", part, size(n)) for part, n in parts.items() if n]
        return rows

    def refuse(self, folder: Path, *, memory: int | None = None, disk: int | None = None) -> None:
        """Raise `LimitReached` where the run cannot fit: what it needs, what there is, and what to lower.

        `memory` and `disk` are the bytes there are; left out, they are this process' and those of the disk that `folder` lies on.
        What cannot be found out is not held against the run.
        """
        memory = available_memory() if memory is None else memory
        disk = free_disk(folder) if disk is None else disk
        if memory is not None and self.memory_bytes > memory:
            part, much = _largest(self.memory)
            raise LimitReached(
                f"the run needs {size(self.memory_bytes)} of memory and {size(memory)} are available. Most of it is {part}"
                f" ({size(much)}): {_MEMORY_ADVICE.get(part, 'lower batch')}."
            )
        if disk is not None and self.disk_bytes > disk:
            part, much = _largest(self.disk)
            raise LimitReached(
                f"the run needs {size(self.disk_bytes)} of disk and {size(disk)} are free at {folder}. Most of it is {part}"
                f" ({size(much)}): free some space, name a folder on another disk, lower d_sae or train fewer SAEs at once."
            )


_WEIGHTS, _BUFFER, _PRE, _MODEL, _BATCHES = "SAEs with Adam's moments", "shuffling buffer", "a step's pre-activations", "model", "batches"
_HELD_OUT = "held-out activations"
_MEMORY_ADVICE = {
    _WEIGHTS: "lower d_sae, or train fewer SAEs at once",
    _BUFFER: "lower buffer, or read fewer sites at once",
    _PRE: "lower batch, or d_sae",
    _MODEL: "choose a smaller model, or harvest its activations first",
    _BATCHES: "lower batch, or read fewer sites at once",
    _HELD_OUT: "lower held_out, or read fewer sites at once",
}


def estimate(saes: Sequence[SaeSize], load: Load) -> CostSheet:
    """What training `saes` side by side takes.

    Memory: four float32 copies of every parameter (weight, gradient, Adam's two moments) and the encoder once more in bfloat16; one
    step's pre-activations in bfloat16, rows and errors in float32, of the largest SAE, since they step one after another; two batches of
    all sites; the buffer; the held-out activations; the model. Disk: checkpoints of three float32 copies, the
    finished SAEs in float32, the held-out activations, and the metrics.
    """
    parameters = sum(sae.parameters for sae in saes)
    memory = {
        _WEIGHTS: 4 * _FLOAT * parameters + 2 * sum(sae.d_in * sae.d_sae for sae in saes),
        _PRE: max((load.batch * (2 * sae.d_sae + _FLOAT * 2 * (sae.d_in + sae.d_out)) for sae in saes), default=0),
        _BATCHES: 2 * load.batch * load.site_width * load.dtype_bytes,
        _BUFFER: load.buffer_tokens * load.site_width * load.dtype_bytes,
        _HELD_OUT: load.held_out_tokens * load.site_width * load.dtype_bytes,
        _MODEL: load.model_bytes,
    }
    rows = -(-load.tokens // (load.batch * load.report_every))
    disk = {
        "checkpoints, two at once": CHECKPOINTS * 3 * _FLOAT * parameters,
        "finished SAEs": _FLOAT * parameters,
        _HELD_OUT: memory[_HELD_OUT],
        "metrics": rows * len(saes) * _METRICS_BYTES,
    }
    read = load.tokens / load.reuse + load.held_out_tokens
    forward = read / load.forward_tokens_per_s if load.forward_tokens_per_s else 0.0
    train = sum(load.tokens / load.train_tokens_per_s[sae.name] for sae in saes)
    return CostSheet(memory, disk, {"running the model": forward / 3600, "training": train / 3600})


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process may still take: what the system has left, or what its control group leaves; None if unknown.

    `root` is where ``proc`` and ``sys`` are found.
    """
    found = [_meminfo(root / "proc" / "meminfo"), *_cgroup_room(root)]
    known = [n for n in found if n is not None]
    if not known and root == Path("/"):  # macOS has neither; all memory is then an upper bound
        known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if "SC_PHYS_PAGES" in os.sysconf_names else []
    return max(0, min(known)) if known else None


def free_disk(folder: Path) -> int | None:
    """Bytes free on the disk where `folder` is or would be made; None if that cannot be found out."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.exists():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return None
    return None


def _meminfo(path: Path) -> int | None:
    for line in _text(path).splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable" and value.split():
            return int(value.split()[0]) << 10
    return None


def _cgroup_room(root: Path) -> Iterable[int]:
    """What each control group above this process leaves of its limit (versions 1 and 2); file cache that can be dropped counts as free."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        controllers, _, own = line.partition(":")[2].partition(":")
        if "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        limit, usage, cache = names
        inside = base / own.lstrip("/")
        # A limit of any group further up binds as well. Inside a container the own path may not be there, the root is.
        for place in (inside, *(parent for parent in inside.parents if parent.is_relative_to(base))):
            most, used = _int(_text(place / limit)), _int(_text(place / usage))
            if most is not None and used is not None and most < _UNLIMITED:
                stat = dict(entry.split() for entry in _text(place / "memory.stat").splitlines() if len(entry.split()) == 2)
                yield most - used + (_int(stat.get(cache, "")) or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _int(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _largest(parts: dict[str, int]) -> tuple[str, int]:
    return max(parts.items(), key=lambda item: item[1])


def size(n: float | int) -> str:
    """Bytes as people say them.

    >>> size(3 << 29)
    '1.5 GiB'
    """
    for unit, digits in (("B", 0), ("KiB", 0), ("MiB", 0)):
        if n < 1024:
            return f"{n:.{digits}f} {unit}"
        n /= 1024
    return f"{n:,.1f} GiB"
