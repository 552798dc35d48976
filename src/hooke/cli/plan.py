"""`hooke plan`: what a harvest or the training of SAEs would take, before anything is started."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hooke.cli.options import Context, Json, Sites
from hooke.cli.output import Status, print_line, print_text
from hooke.cli.values import BATCH, TOKENS, WIDTH, count, share
from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.plan import Machines, Outlook, Rates, Workload

_RATE = share(1e-9, 1e15)
_STEPS = 4
_SHOWN = 4


def plan(
    *,
    site: Sites,
    tokens: Annotated[int, TOKENS, Parameter(help="Tokens to write, or to train every SAE on.")],
    d_sae: Annotated[
        tuple[int, ...], WIDTH, Parameter(help="Features of an SAE for each site; may be repeated. Without it: a harvest.")
    ] = (),
    model: Annotated[str, Parameter(help="A carried model's name, a folder, its config.json, or org/name on a hub.")] = "gemma-3-270m",
    context: Context = 128,
    batch: Annotated[int, BATCH, Parameter(help="Tokens per training step.")] = 1024,
    machines: Annotated[int, count(1, 100_000), Parameter(help="Machines, all alike.")] = 1,
    devices: Annotated[int, count(1, 1024), Parameter(help="GPUs of each machine, or processes of its CPU.")] = 1,
    memory: Annotated[float | None, _RATE, Parameter(help="GB of memory of a device; what does not fit is told.")] = None,
    network: Annotated[float, _RATE, Parameter(help="Gbit/s of a machine's link.")] = 10.0,
    price: Annotated[float, share(0, 1e9), Parameter(help="Money for a machine and hour.")] = 0.0,
    nproc: Annotated[int, count(1, 1024), Parameter(help="Devices that share one SAE in training, or one model in a harvest.")] = 1,
    tflops: Annotated[
        float | None, _RATE, Parameter(help="10^12 operations a second that a device keeps up, in place of measuring.")
    ] = None,
    bandwidth: Annotated[float, _RATE, Parameter(help="With --tflops: GB a second that a device's memory moves.")] = 2000.0,
    forward_rate: Annotated[float | None, _RATE, Parameter(help="Tokens a second that a device reads, in place of measuring.")] = None,
    train_rate: Annotated[
        tuple[float, ...], _RATE, Parameter(help="Tokens a second of one SAE's training on a device, one for each --d-sae.")
    ] = (),
    json: Json = False,
) -> None:
    """Say what a harvest or the training of SAEs would take on given machines: hours, money, memory, disk, and what is short.

    Without --tflops or rates it measures on this machine for a few seconds, and takes one device to be as fast.
    """
    if train_rate and len(train_rate) != len(d_sae):
        raise BadConfig(f"--train-rate goes with --d-sae, one for each: there are {len(train_rate)} and {len(d_sae)}.")
    with Status("Reading the configuration"):
        from hooke.model.size import ModelSize
        from hooke.names import Site
        from hooke.plan import Machines, Rates, Workload, outlook

        size = ModelSize.read(model)
        job = Workload(list(dict.fromkeys(map(Site.parse, site))), tokens, tuple(dict.fromkeys(d_sae)), context, batch)
        there = Machines(machines, devices, memory, network, price, nproc)
        for own in job.sites:
            size.width(own)
    known = Rates.of_device(tflops, bandwidth, size, job) if tflops else None
    forward = forward_rate or (known.forward if known else _forward(model, job))
    given = dict(zip(d_sae, train_rate, strict=True)) if train_rate else (known.train if known else None)
    rates = Rates(forward, _training(job, size.width(job.sites[0])) if given is None else given)
    told = outlook(size, job, there, rates)
    if json:
        asked = {"model": model, "sites": list(map(str, job.sites)), "tokens": tokens, "d_sae": list(job.widths), "machines": asdict(there)}
        print_line(asked | {"rates": {"forward": rates.forward, "train": rates.train}} | asdict(told))
        return
    _show(job, there, rates, told)


def _forward(model: str, job: "Workload") -> float:
    """Tokens per second that this machine reads."""
    from hooke.cli.harvest import reading_rate
    from hooke.harvest.saving import HarvestConfig
    from hooke.model import Model

    with Status() as status:
        loaded = Model.load(model, progress=status)
        status("Measuring how fast this machine reads")
        return reading_rate(loaded, list(job.sites), HarvestConfig(job.tokens, job.context))


def _training(job: "Workload", width: int) -> dict[int, float]:
    """Tokens per second that this machine trains SAEs of each width on, on random numbers."""
    import torch

    from hooke.plan import L0
    from hooke.train.config import TrainConfig
    from hooke.train.trainer import SaeTrainer

    rates = {}
    with Status("Measuring how fast this machine trains"):
        for n in job.widths:
            acts = {job.sites[0]: torch.randn(job.batch, width)}
            trainer = SaeTrainer(f"plan/{job.sites[0]}/{n}", TrainConfig(d_sae=n, l0=min(L0, n), steps=1000).resolved(job.batch), acts)
            trainer.step(acts)  # compiles
            began = time.perf_counter()
            for _ in range(_STEPS):
                trainer.step(acts)
            rates[n] = _STEPS * job.batch / (time.perf_counter() - began)
    return rates


def _show(job: "Workload", machines: "Machines", rates: "Rates", told: "Outlook") -> None:
    from hooke.text.figures import duration

    def line(what: str, much: str) -> None:
        print_text(f"{what:<10}{much}")

    saes = len(job.sites) * len(job.widths)
    what = f"training {saes:,} SAE{'s' * (saes > 1)}" if saes else "harvest"
    sites = f"{len(job.sites)} sites" if len(job.sites) > _SHOWN else ", ".join(map(str, job.sites))
    line("job", f"{what} on {job.tokens:,} tokens at {sites}")
    line(
        "rates",
        f"{rates.forward:,.0f} tokens/s read"
        + "".join(f", {rate:,.0f} trained at {n:,}" for n, rate in rates.train.items())
        + ", a device",
    )
    parts = ", ".join(f"{part} {duration(3600 * hours)}" for part, hours in told.hours.items())
    line("time", f"{duration(3600 * told.total_hours)} ({parts}); most is {told.bottleneck}")
    if machines.price:
        line("money", f"{told.money:,.0f}, for {machines.machines:,} machine{'s' * (machines.machines > 1)} at {machines.price:g} an hour")
    line("memory", f"{told.memory / 1e9:,.1f} GB on the fullest device")
    line("disk", f"{told.disk / 1e9:,.1f} GB")
    if told.network:
        line("network", f"{told.network:,.2f} of {machines.network:g} Gbit/s into the machine that writes")
    for problem in told.problems:
        line("cannot be", problem)
