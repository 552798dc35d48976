"""Parallel: features shared out to threads. Each feature is worked out on its own, so how they are shared changes nothing."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from hooke.atlas.events import Events

T = TypeVar("T")

_PARTS_EACH = 4
_AHEAD = 8


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


def in_order(work: Callable[[int], T], count: int, workers: int) -> Iterator[T]:
    """``work(0)``, ``work(1)`` ... of `count`, in order, from so many threads, which are never more than a few features ahead."""
    if workers <= 1:
        yield from map(work, range(count))
        return
    pool, waiting = ThreadPoolExecutor(workers), deque[Future[T]]()
    try:
        # Small products are made in all threads at once: more threads for each would only wait for each other.
        with threadpool_limits(1, "blas"):
            for number in range(count):
                waiting.append(pool.submit(work, number))
                if len(waiting) == workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:  # whoever stops listening waits for no more than what is being done
        pool.shutdown(cancel_futures=True)
