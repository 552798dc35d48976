"""Cluster: units of work shared out to processes on any number of machines, by Ray; what comes back is in order and whole.

A unit is lost with the process or machine that had it, and done again by another. No more is given out than a few units for each worker
beyond what was taken: whoever takes slowly holds the others up, and nothing is dropped. Ray is imported when a cluster is asked for.
"""

import contextlib
import importlib.util
import itertools
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from hooke.engine.crew import Crew, Unit
from hooke.engine.worker import UnitWorker
from hooke.errors import BadConfig, HookeError, Missing

__all__ = ["Cluster", "Unit", "check", "cluster"]

Shared = TypeVar("Shared")
Item = TypeVar("Item")
T = TypeVar("T")

_NOT_INSTALLED = "this needs Ray, which is not installed: pip install 'hooke[ray]'"
_ANSWERS_S = 5.0
_STARTS = 3
_STORE_EACH = 64 << 20
"""What a cluster started here sets aside for results on their way from a worker; what finds no room waits on the disk."""
_TOKEN = secrets.token_hex(32)
_OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too: listen on the loopback address alone
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}
"""How a cluster started here is: reached from this machine only, by whoever has the token, telling nobody, and as busy as any process."""


class Cluster:
    """Workers of a Ray cluster. Made by `cluster`; `in_order` may be called again and again, and uses the same processes."""

    def __init__(self, ray: Any, workers: int, device: str) -> None:
        """`workers` 0 is one for each core of the cluster, or GPU."""
        self._ray, self._gpu = ray, device.startswith("cuda")
        self.workers = workers or max(1, int(ray.cluster_resources().get("GPU" if self._gpu else "CPU", 0)))
        """How many there are at most."""
        self.device = device
        """Where they compute."""
        self._actor = ray.remote(UnitWorker)
        self._idle: list[Any] = []  # between two calls

    def in_order(self, work: Callable[[Shared, Item], T], opened: Callable[[], Shared], units: Iterable[Unit[Item]]) -> Iterator[T]:
        """``work(opened(), unit.item)`` of each unit, in order. Each worker calls `opened` once, before its first unit.

        All three are sent; functions go by name, which is found in Hooke there. What a worker raises is raised here, with the machine and
        the unit. Raises `BadConfig` where a worker's versions are not those here, `LimitReached` where the same unit is lost with its
        worker again and again, or where there is no worker to be had.
        """
        units = iter(units)
        first = list(itertools.islice(units, 1))
        if not first:
            return
        crew = Crew(self._ray, self._make, self.workers, self._ray.put(opened), self._idle)
        self._idle = []
        try:
            yield from crew.run(self._ray.put(work), itertools.chain(first, units))
        finally:
            self._idle = crew.actors()

    def _make(self) -> Any:
        return self._actor.options(num_cpus=1, num_gpus=int(self._gpu), max_restarts=0).remote()


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int = 0, *, device: str = "cpu") -> Iterator[Cluster]:
    """The Ray cluster at `address`, ``HOST:PORT`` or ``auto`` (the one this machine is part of); without one a cluster of this machine
    alone, which ends with the block. On the `device` cuda each worker has a GPU of its own; `workers` 0 is one for each core, or GPU.

    Raises `Missing` where Ray is not installed or nothing answers, `BadConfig` where the cluster has another Ray or Python.
    """
    if address is None:
        with _own(workers or os.cpu_count() or 1) as ray:
            yield Cluster(ray, workers, device)
        return
    check(address)
    ray = _imported()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        if "ersion" in said:
            raise BadConfig(f"the cluster at {address} has other versions: {said}. Install the same Ray and Python everywhere.") from error
        raise Missing(
            f"cannot join the cluster at {address}: {said} Run this on one of its machines (`ray start --address ...`)."
        ) from error
    try:
        yield Cluster(ray, workers, device)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own(workers: int) -> Iterator[Any]:
    """Ray, with a cluster of this machine alone."""
    before = {name: os.environ.get(name) for name in _OWN}
    os.environ.update(_OWN)
    os.environ.setdefault("RAY_AUTH_TOKEN", _TOKEN)
    folder = tempfile.mkdtemp(prefix="hooke-ray-")
    try:
        ray = _imported()
        with _lean(ray):
            _start(ray, workers, folder)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _lean(ray: Any) -> Iterator[None]:
    """While it is entered, Ray starts without what this machine alone has no use for: its monitor asks for machines, its log monitor
    hands on what workers print, its API server answers a dashboard that is not there. Each is a Python of its own. A Ray that spells
    this in another way starts with all of them."""
    private = getattr(ray, "_private", None)
    spelt, services = getattr(private, "parameter", None), getattr(private, "services", None)
    usual, server = getattr(spelt, "RayParams", None), getattr(services, "start_api_server", None)
    if spelt is None or usual is None or services is None or server is None:
        yield
        return

    def lean(*arguments: Any, **named: Any) -> Any:
        found = usual(*arguments, **named)
        found.no_monitor, found.include_log_monitor = True, False
        return found

    spelt.RayParams, services.start_api_server = lean, lambda *_, **__: ("", None)
    try:
        yield
    finally:
        spelt.RayParams, services.start_api_server = usual, server


def _start(ray: Any, workers: int, folder: str) -> None:
    """Ray waits 30 s for itself, which a machine with other work does not always keep to the first time."""
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",  # none that the environment names
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=max(2, workers) * _STORE_EACH,  # Ray asks for 75 MB
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=folder,
            )
            return
        except Exception as error:  # it says in many ways that it cannot
            ray.shutdown()
            if not left:
                raise HookeError(f"Ray did not start here: {' '.join(str(error).split())}") from error


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise Missing(_NOT_INSTALLED) from error
    return ray


def check(address: str | None) -> None:
    """Raise what `cluster` would raise at once: Ray is not installed, `address` is none, nothing listens there."""
    if importlib.util.find_spec("ray") is None:
        raise Missing(_NOT_INSTALLED)
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise BadConfig(f"{address!r} is no address of a Ray cluster. Give HOST:PORT, as `ray start --head` names it, or auto.")
    try:
        socket.create_connection((host, int(port)), _ANSWERS_S).close()
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise Missing(f"no Ray cluster answers at {address} ({said}). Is it running? `ray start --head` starts one.") from error
