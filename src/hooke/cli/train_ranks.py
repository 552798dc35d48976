"""What `hooke train` does on several processes: starts them, or finds that torchrun did; leads them or, not the first, follows."""

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from hooke.errors import BadConfig, HookeError
from hooke.train import RunFolder, train
from hooke.train.plan import Plan
from hooke.train.ranks import ALONE, Ranks, SharedSource, check_spread

# Where processes that this command started meet; torchrun has its own way.
_MEETING = "HOOKE_TRAIN_MEETING"
# The others wait while the first reads text.
_PATIENCE = datetime.timedelta(hours=6)
_ENDS_S = 60.0


@dataclass
class Processes:
    """The processes of a run."""

    ranks: Ranks = ALONE
    begun: bool = False
    """Whether the others were told to train."""

    def check(self, plan: Plan) -> None:
        """Raise `BadConfig` where the plan's SAEs cannot be trained by so many."""
        for name, config in plan.saes.items():
            check_spread(self.ranks, name, config, plan.batch)

    def begin(self) -> None:
        """Have the others train, too."""
        self.begun = True
        self.ranks.told(True)

    def follow(self, plan: Plan, out: str, device: str) -> None:
        """Do as the first process does, until it is done."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the first hears it, and tells
        try:
            if self.ranks.told(None):
                folder = RunFolder(out, plan.settings(), self.ranks)
                train(plan.saes, SharedSource(None, self.ranks, device), {}, model=plan.model, context=plan.context, folder=folder)
        except KeyboardInterrupt:
            return
        except HookeError as error:
            raise type(error)(f"process {self.ranks.part + self.ranks.lot * self.ranks.parts} of the run: {error}") from error
        except RuntimeError as error:
            if _lost(error):  # the first says why
                raise SystemExit(1) from error
            raise


@contextlib.contextmanager
def processes(count: int, replicas: int, device: str) -> Iterator[Processes]:
    """The processes that torchrun started, this being one of them; else `count` of them, this being the first.

    `replicas` of them at a time have the same features and share out each batch. Raises `HookeError` where one of them is lost.
    """
    size, meeting = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1, os.environ.get(_MEETING)
    if size > 1 and meeting is None and count not in (1, size):
        raise BadConfig(f"--nproc {count} under torchrun, which has started {size} processes: leave it out.")
    size = max(size, count)
    if size % replicas:
        raise BadConfig(f"{size} processes cannot be parted into {replicas} replicas: --replicas must divide --nproc.")
    if size == 1:
        yield Processes()
        return
    with contextlib.ExitStack() as stack:
        rank, here, children = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", size)), []
        if "RANK" not in os.environ:
            meeting = stack.enter_context(tempfile.TemporaryDirectory(prefix="hooke-train-")) + "/meeting"
            children = stack.enter_context(_led(size, meeting))
        stack.enter_context(_met(meeting, rank, size, device))
        found = Processes(Ranks.of(rank, size, replicas, here))
        try:
            yield found
        except RuntimeError as error:
            if _lost(error) and found.ranks.first:
                raise HookeError(_fate(children)) from error
            raise
        finally:
            if found.ranks.first and not found.begun:
                found.ranks.told(False)


@contextlib.contextmanager
def _met(meeting: str | None, rank: int, size: int, device: str) -> Iterator[None]:
    """Joined with the others, who meet by the file `meeting` (None: as torchrun says)."""
    if cuda := device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)))
    where = f"file://{meeting}" if meeting else "env://"
    dist.init_process_group("nccl" if cuda else "gloo", init_method=where, timeout=_PATIENCE, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _led(size: int, meeting: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The other processes, doing what this command was asked to do; they reach each other on this machine alone."""
    threads = str(max(1, (os.cpu_count() or 1) // size))
    own: dict[str, Any] = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    own |= {name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    os.environ.update(GLOO_SOCKET_IFNAME=own["GLOO_SOCKET_IFNAME"])
    torch.set_num_threads(int(own["OMP_NUM_THREADS"]))
    children = []
    try:
        for rank in range(1, size):
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, _MEETING: meeting, **own}
            environment = os.environ | {name: str(value) for name, value in told.items()}
            # A session of its own: Ctrl-C is for the first process, which comes to a safe place with all of them.
            command = [sys.executable, "-m", "hooke", *sys.argv[1:]]
            silent: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
            children.append(subprocess.Popen(command, env=environment, **silent))  # noqa: S603 (this very command)
        yield children
    finally:
        for child in children:
            try:
                child.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _lost(error: RuntimeError) -> bool:
    """Whether another process went away in the middle of something."""
    said = str(error)
    return isinstance(error, dist.DistError) or "gloo" in said or "Connection" in said


def _fate(children: list[subprocess.Popen[bytes]]) -> str:
    codes = {}
    for rank, child in enumerate(children, 1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            codes[rank] = child.wait(5)
    bad = [f"process {rank} ended with code {code}" for rank, code in codes.items() if code not in (0, 1)] or ["another process ended"]
    killed = " Killed from outside: most likely there is too little memory." if any(code == -9 for code in codes.values()) else ""
    return f"{', '.join(bad)} in the middle of the run.{killed} The same command goes on from the last checkpoint."
