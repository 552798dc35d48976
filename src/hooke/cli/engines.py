"""Engines: where a command's model reads, here or by a cluster; options of every command that can choose."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hooke.cli.values import WORKERS
from hooke.errors import BadConfig, unknown

if TYPE_CHECKING:
    from hooke.engine.cluster import Cluster


@Parameter(name="*")
@dataclass(frozen=True)
class Engine:
    """Options that say where the model reads."""

    engine: Annotated[str, Parameter(help="Where the model reads: here, or ray (any number of processes and machines).")] = "here"
    address: Annotated[
        str | None, Parameter(help="The Ray cluster to join, HOST:PORT or auto; by default --engine ray starts one of this machine alone.")
    ] = None
    readers: Annotated[int, WORKERS, Parameter(help="Processes of the engine ray, each with the model; 0: one a core, or a GPU.")] = 0

    def home(self, device: str, dtype: str) -> dict[str, Any]:
        """Where and in what this process itself keeps the model: beside a cluster it only cuts text, and the devices are the workers'.

        Refuses at once what `joined` would refuse.
        """
        if self.engine not in ("here", "ray"):
            raise unknown("engine", self.engine, ("here", "ray"))
        if self.engine == "here":
            if self.address is not None or self.readers:
                raise BadConfig("--address and --readers are for another engine: give --engine ray as well.")
            return {"device": device, "dtype": dtype}
        from hooke.engine.cluster import check

        check(self.address)
        return {"device": "cpu", "dtype": "bfloat16" if dtype == "auto" and device.startswith("cuda") else dtype}

    @contextlib.contextmanager
    def joined(self, device: str) -> "Iterator[Cluster | None]":
        """The cluster that was asked for; None where the work is to be done here."""
        if self.engine == "here":
            yield None
            return
        from hooke.engine.cluster import cluster

        with cluster(self.address, self.readers, device=device) as found:
            yield found


HERE = Engine()
"""No other."""
