"""Plan: what a harvest, or the training of a suite, takes on machines that are not here, told before anything is started.

    a token read up to block b     2 · (parameters of blocks 0 ... b) + 2 · context · heads · d_head · (b + 1)   operations
    a token of one SAE's training  2 · d_in · d_sae / share                                                      operations
                                   28 · parameters / batch + 12 · l0 · d_in                                      bytes of memory moved

Attention looks back over half a context on average. `share` is how much of a training step's arithmetic the encoder's product is, which
an SAE costs at the least (docs/performance.md measures 0.47 to 0.57). Adam reads and writes weight, gradient and both moments, and a
token's decoder rows are read three times.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hooke.errors import BadConfig
from hooke.model.size import ModelSize
from hooke.names import Site
from hooke.train.cost import MARGIN, Load, SaeSize, estimate

SHARE = 0.5
"""How much of a training step the encoder's product is taken to be where training was not measured."""
L0 = 50
"""Features that are taken to be active on a token."""
_ROW = 13  # bytes of a row of a shard beside its activations: token, document, position, corpus


@dataclass(frozen=True)
class Machines:
    """What there is to work on, all machines alike."""

    machines: int = 1
    """How many."""
    devices: int = 1
    """Devices of each: GPUs, or processes of a CPU."""
    memory: float | int | None = None
    """GB of memory of a device; None where it is not looked at."""
    network: float | int = 10.0
    """Gbit/s of a machine's link."""
    price: float | int = 0.0
    """Money for a machine and hour."""
    nproc: int = 1
    """Devices that share the features of one SAE in training, or the layers of one model in a harvest."""

    def __post_init__(self) -> None:
        if min(self.machines, self.devices) < 1 or min(self.network, self.memory or 1) <= 0 or self.price < 0:
            raise BadConfig(f"machines, devices, memory and network must be positive, and a price at least 0; given: {self}.")
        if not 1 <= self.nproc <= self.all_devices:
            raise BadConfig(f"an SAE or a model cannot be spread over {self.nproc} devices; there are {self.all_devices}.")

    @property
    def all_devices(self) -> int:
        """Devices of all machines."""
        return self.machines * self.devices


@dataclass(frozen=True)
class Workload:
    """What is to be done."""

    sites: Sequence[Site]
    """Where activations are taken."""
    tokens: int
    """Tokens to write, or that every SAE is trained on."""
    widths: Sequence[int] = ()
    """Features of the SAEs of each site; none: a harvest."""
    context: int = 128
    """Tokens in a window."""
    batch: int = 1024
    """Tokens of a training step."""
    buffer: int = 1 << 17
    """Tokens that a device shuffles at a time in training."""


@dataclass(frozen=True)
class Rates:
    """Tokens per second of one device."""

    forward: float | int
    """Read up to the highest site."""
    train: Mapping[int, float | int] = field(default_factory=dict)
    """Of one SAE's training, by width."""

    @classmethod
    def of_device(cls, tflops: float | int, bandwidth: float | int, model: ModelSize, job: Workload) -> "Rates":
        """What a device comes to that keeps up `tflops` 10¹² operations a second and moves `bandwidth` GB a second."""
        width, train = max(model.width(site) for site in job.sites), {}
        for n in job.widths:
            moved = 28 * 2 * width * n / job.batch + 12 * min(L0, n) * width
            train[n] = 1 / (2 * width * n / SHARE / (tflops * 1e12) + moved / (bandwidth * 1e9))
        return cls(tflops * 1e12 / model.operations(job.sites, job.context), train)


@dataclass(frozen=True)
class Outlook:
    """What a job takes."""

    hours: dict[str, float | int]
    """By what is done; of a harvest both at the same time, of training one after the other."""
    total_hours: float | int
    """Until it is done."""
    bottleneck: str
    """What takes longest."""
    money: float | int
    """All machines, all the time."""
    disk: int
    """Bytes written, checkpoints included."""
    memory: int
    """Bytes of the fullest device."""
    network: float | int
    """Gbit/s into the machine that writes, at most."""
    problems: tuple[str, ...] = ()
    """Why it cannot be done so."""


def outlook(model: ModelSize, job: Workload, machines: Machines, rates: Rates) -> Outlook:
    """What `job` takes on `machines` at `rates`.

    A harvest is read by all devices and written by one machine (docs/scale.md). In training each device has a command of its own, with its
    share of the SAEs, and reads all the text for them: SAEs are dealt out, the costliest first, to whoever has least. Devices that share an
    SAE (`nproc`) are one such command; what they tell each other at every step, a batch's rows, is not counted.
    """
    done = _training(model, job, machines, rates) if job.widths else _harvest(model, job, machines, rates)
    problems = []
    if machines.memory is not None and done.memory > machines.memory * 1e9:
        problems.append(
            f"a device needs {done.memory / 1e9:,.0f} GB and has {machines.memory:,.0f}: "
            + f"{'an SAE' if job.widths else 'a model that is read'} can be spread over several devices (--nproc)"
        )
    money = done.total_hours * machines.machines * machines.price
    return Outlook(done.hours, done.total_hours, done.bottleneck, money, done.disk, done.memory, done.network, tuple(problems))


def _harvest(model: ModelSize, job: Workload, machines: Machines, rates: Rates) -> Outlook:
    size = job.tokens * (_ROW + 2 * sum(model.width(site) for site in job.sites))
    hours = {
        "reading": job.tokens / (rates.forward * machines.all_devices) / 3600,
        "writing through one machine": size * 8 / (machines.network * 1e9) / 3600,
    }
    total = max(hours.values())
    memory = round(MARGIN * model.bytes_up_to(job.sites) / machines.nproc)
    return Outlook(hours, total, max(hours, key=lambda part: hours[part]), 0.0, size, memory, size * 8e-9 / (3600 * total))


def _training(model: ModelSize, job: Workload, machines: Machines, rates: Rates) -> Outlook:
    saes = [(site, n) for site in job.sites for n in job.widths]
    parts = machines.nproc
    hands: list[list[tuple[Site, int]]] = [[] for _ in range(min(len(saes), machines.all_devices // parts))]

    def seconds(hand: Sequence[tuple[Site, int]]) -> float | int:
        return sum(job.tokens / rates.train[n] / parts for _, n in hand)

    for sae in sorted(saes, key=lambda sae: -sae[1]):
        min(hands, key=seconds).append(sae)
    fullest = max(hands, key=seconds)
    sizes = [SaeSize(f"{site}/{n}", model.width(site), model.width(site), -(-n // parts)) for site, n in fullest]
    sites = list(dict.fromkeys(site for site, _ in fullest))
    load = Load(
        job.tokens, job.batch, sum(map(model.width, sites)), dict.fromkeys((one.name for one in sizes), math.inf), buffer_tokens=job.buffer
    )
    sheet = estimate(sizes, load)
    hours = {"reading": job.tokens / rates.forward / 3600, "training": seconds(fullest) / 3600}
    everywhere = round(sheet.disk_bytes * parts * len(saes) / len(fullest))
    memory = round(sheet.memory_bytes + MARGIN * model.bytes_up_to(job.sites))
    return Outlook(hours, sum(hours.values()), max(hours, key=lambda part: hours[part]), 0.0, everywhere, memory, 0.0)
