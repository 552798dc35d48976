"""Parallel: features shared out to threads. Each feature is worked out on its own, so how they are shared changes nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hooke.atlas.events import Events

_PARTS_EACH = 4


def in_parts(events: Events, workers: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(low, high)`` for runs of features that together are all of them, each run with about as many events as the others."""
    if workers <= 1:
        work(0, len(events))
        return
    # A feature that never fires is some work too.
    load = events.start + np.arange(len(events) + 1)
    edges = np.searchsorted(load, np.linspace(0, load[-1], workers * _PARTS_EACH + 1))
    edges[0], edges[-1] = 0, len(events)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, edges[:-1].tolist(), edges[1:].tolist()))
