"""Processes: a command that runs as several, started here or by torchrun; the first leads, and says what became of one that is lost."""

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from hooke.devices import usable_device
from hooke.errors import BadConfig, HookeError

__all__ = ["Joined", "joined"]

# Where processes that a command started meet; torchrun has its own way.
_MEETING = "HOOKE_MEETING"
# The others wait while the first reads text.
_PATIENCE = datetime.timedelta(hours=6)
_ENDS_S = 60.0
# NCCL waits for a process that is gone as for a slow one.
_LOOK_S = 1.0
_WORDS_S = 15.0
_FATE_S = 5.0


@dataclass(frozen=True)
class Joined:
    """Which of the processes this is."""

    rank: int = 0
    """Its number; 0 leads."""
    size: int = 1
    """How many there are."""
    here: int = 1
    """How many of them are on this machine."""


@contextlib.contextmanager
def joined(count: int, device: str) -> Iterator[Joined]:
    """The processes that torchrun started, this being one of them; else `count` of them, this being the first.

    Those that do not lead hear no Ctrl-C and no SIGTERM: the first does, and tells. Raises `BadConfig` where they cannot be started,
    `HookeError` where one of them is lost; those that do not lead then end without a word.
    """
    size = started(count)
    if size == 1:
        yield Joined()
        return
    own = Joined(int(os.environ.get("RANK", "0")), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))
    _check(own, device)
    with contextlib.ExitStack() as stack:
        children, meeting = list[subprocess.Popen[bytes]](), os.environ.get(_MEETING)
        if "RANK" not in os.environ:
            meeting = stack.enter_context(tempfile.TemporaryDirectory(prefix="hooke-")) + "/meeting"
            children = stack.enter_context(_led(size, meeting, watched=device == "cuda"))
        stack.enter_context(_met(meeting, own, device))
        if own.rank:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        try:
            yield own
        except RuntimeError as error:
            if not _lost(error):
                raise
            if own.rank:
                raise SystemExit(1) from error
            raise HookeError(_fate(children)) from error


def started(count: int) -> int:
    """How many processes there will be, of which torchrun has started all, or a command `count`."""
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size > 1 and _MEETING not in os.environ and count not in (1, size):
        raise BadConfig(f"--nproc {count} under torchrun, which has started {size} processes: leave it out.")
    return max(1, size, count)


def _check(own: Joined, device: str) -> None:
    if not device.startswith("cuda") or not (found := torch.cuda.device_count()):
        usable_device(device)
        return
    if device != "cuda":
        raise BadConfig(f"{device!r} is one GPU, and each of {own.size} processes takes its own: give --device cuda.")
    if own.here > found:
        raise BadConfig(f"{own.here} processes on this machine take a GPU each, and it has {found}: give --nproc {found}, or less.")
    usable_device(f"cuda:{_local(own)}")


def _local(own: Joined) -> int:
    """Its number on this machine."""
    return int(os.environ.get("LOCAL_RANK", own.rank))


@contextlib.contextmanager
def _met(meeting: str | None, own: Joined, device: str) -> Iterator[None]:
    """Joined with the others, who meet by the file `meeting` (None: as torchrun says)."""
    if cuda := device == "cuda":
        torch.cuda.set_device(_local(own))
    where = f"file://{meeting}" if meeting else "env://"
    dist.init_process_group("nccl" if cuda else "gloo", init_method=where, timeout=_PATIENCE, rank=own.rank, world_size=own.size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _led(size: int, meeting: str, *, watched: bool) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The other processes, doing what this command was asked to do; they reach each other on this machine alone.

    If `watched`, one that is lost ends this process as well, should nothing else do so soon.
    """
    threads = str(max(1, (os.cpu_count() or 1) // size))
    own: dict[str, Any] = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0"}
    own |= {name: os.environ.get(name, threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    os.environ.update(GLOO_SOCKET_IFNAME=own["GLOO_SOCKET_IFNAME"])
    torch.set_num_threads(int(own["OMP_NUM_THREADS"]))
    children: list[Any] = []
    over = threading.Event()
    try:
        for rank in range(1, size):
            told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, _MEETING: meeting, **own}
            told["TERM"] = "dumb"  # a terminal has one bar
            environment = os.environ | {name: str(value) for name, value in told.items()}
            # A session of its own: Ctrl-C is for the first process, which comes to a safe place with all of them.
            command = [sys.executable, "-m", "hooke", *sys.argv[1:]]
            silent: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True}
            children.append(subprocess.Popen(command, env=environment, **silent))  # noqa: S603 (this very command)
        if watched:
            threading.Thread(target=_watch, args=(children, over), daemon=True).start()
        yield children
    finally:
        over.set()
        for child in children:
            try:
                child.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _watch(children: list[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """End this process where one of `children` is lost and what waits for it never hears of that."""
    while not over.wait(_LOOK_S):
        if any(child.poll() not in (None, 0) for child in children):
            if over.wait(_WORDS_S):
                return
            sys.stderr.write(f"hooke: {_fate(children)}\n")
            sys.stderr.flush()
            for child in children:
                child.kill()
            os._exit(HookeError.exit_code)


def _lost(error: RuntimeError) -> bool:
    """Whether another process went away in the middle of something."""
    said = str(error)
    return isinstance(error, dist.DistError) or "gloo" in said or "Connection" in said


def _fate(children: list[subprocess.Popen[bytes]]) -> str:
    codes = {}
    for rank, child in enumerate(children, 1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            codes[rank] = child.wait(_FATE_S)
    bad = [f"process {rank} ended with code {code}" for rank, code in codes.items() if code not in (0, 1)] or ["another process ended"]
    killed = " Killed from outside: most likely there is too little memory." if any(code == -9 for code in codes.values()) else ""
    return f"{', '.join(bad)} in the middle of the run.{killed} What was written is kept; the same command goes on from there."
