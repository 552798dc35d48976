"""A cluster without machines: everything goes there and comes back as bytes, and is done in this process, one unit after the other."""

import contextlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from hooke.engine import cluster as clusters
from hooke.engine.cluster import Cluster, Unit


def sent(value: Any) -> Any:
    """`value` as another process has it."""
    return pickle.loads(pickle.dumps(value))


class Pickled(Cluster):
    """Which has no workers."""

    def __init__(self) -> None:
        self.device, self.workers = "cpu", 2
        self.done: list[str] = []
        """Names of units that were worked on."""

    def in_order(self, work: Callable[[Any, Any], Any], opened: Callable[[], Any], units: Iterable[Unit[Any]]) -> Iterator[Any]:
        shared = None
        for unit in units:
            shared = sent(opened)() if shared is None else shared
            result = sent(sent(work)(shared, sent(unit.item)))
            self.done.append(unit.name)
            yield result


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Pickled:
    """Let commands that are told ``--engine ray`` have such a cluster."""
    own = Pickled()
    monkeypatch.setattr(clusters, "check", lambda _: None)
    monkeypatch.setattr(clusters, "cluster", lambda *_, **__: contextlib.nullcontext(own))
    return own
