"""Engine: items shared out to threads or processes. Each is worked out on its own, so how they are shared changes nothing.

What is to be done is always a function, the data that all of its calls share, and the items: nothing is caught in a closure, so that the
same call could be made where nothing is shared but what is sent.
"""

import contextlib
import gc
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from hooke.errors import HookeError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
T = TypeVar("T")

_PARTS_EACH = 4
_AHEAD = 8
_WORTH_IT = 256
"""So many items are worth processes of their own."""
_HERE = 4
"""So many of them are worked out before: what they load and compile need not be loaded in every process."""


def in_parts(start: np.ndarray, workers: int, work: Callable[[int, int], object]) -> None:
    """Call ``work(low, high)`` for runs of items that together are all of them, each run with about as much work as the others.

    The work of item ``i`` is ``start[i + 1] - start[i]`` and a little more; `start` begins with 0.
    """
    count = len(start) - 1
    if workers <= 1:
        work(0, count)
        return
    # An item without work, a feature that never fires, is some work too.
    load = start + np.arange(count + 1)
    edges = np.searchsorted(load, np.linspace(0, load[-1], workers * _PARTS_EACH + 1))
    edges[0], edges[-1] = 0, count
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, edges[:-1].tolist(), edges[1:].tolist()))


def in_order(work: Callable[[Shared, Item], T], shared: Shared, items: Sequence[Item], workers: int) -> Iterator[T]:
    """``work(shared, item)`` of each item, in order, from so many threads, which are never more than a few items ahead."""
    if workers <= 1:
        with _one_blas_thread():
            for item in items:
                yield work(shared, item)
        return
    pool, waiting = ThreadPoolExecutor(workers), deque[Future[T]]()
    try:
        with _one_blas_thread():
            for item in items:
                waiting.append(pool.submit(work, shared, item))
                if len(waiting) == workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:  # whoever stops listening waits for no more than what is being done
        pool.shutdown(cancel_futures=True)


def in_processes(work: Callable[[Shared, Item], T], shared: Shared, items: Sequence[Item], workers: int) -> Iterator[T]:
    """The same from so many processes, which do not wait for each other as threads of Python do.

    They are split off this process as it is now, `shared` with it: what `work` changes is lost, and it must not use torch, whose threads
    are not split off. They end when nobody listens any more, even if this process is killed. Where there are few items, or the system is
    not known to be safe to split (only Linux is), threads do the work.
    """
    if workers <= 1 or len(items) < _WORTH_IT or sys.platform != "linux" or multiprocessing.current_process().daemon:
        yield from in_order(work, shared, items, workers)
        return
    yield from in_order(work, shared, items[:_HERE], 1)
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(workers)]
    shares = [items[_HERE + own :: workers] for own in range(workers)]
    processes = [context.Process(target=_serve, args=(work, shared, share, pipes, own), daemon=True) for own, share in enumerate(shares)]
    try:
        with _one_blas_thread():
            for process in processes:
                process.start()
        for _, theirs in pipes:
            theirs.close()
        for number in range(_HERE, len(items)):
            yield _received(pipes[(number - _HERE) % workers][0])
    finally:
        for ours, theirs in pipes:
            ours.close()
            theirs.close()
        for process in processes:
            if process.pid is not None:
                process.join()


def _one_blas_thread() -> threadpool_limits:
    """While it is entered, products take one thread: small ones, made by many at once, would only wait for more."""
    return threadpool_limits(1, "blas")


def _received(pipe: Connection) -> Any:
    try:
        done, result = pipe.recv()
    except EOFError:
        raise HookeError(
            "a process that works out features was ended from outside, most likely for want of memory. "
            "Try again with one worker; what was read is kept."
        ) from None
    if not done:
        raise result
    return result


def _serve(
    work: Callable[[Shared, Item], T], shared: Shared, items: Sequence[Item], pipes: Sequence[tuple[Connection, Connection]], own: int
) -> None:
    """What a process does: send what comes of each of its `items`, until it is told that nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the listener hears it, and stops listening
    gc.disable()  # it would touch, and so copy, all that is shared
    for place, (theirs, ours) in enumerate(pipes):
        theirs.close()
        if place != own:
            ours.close()
    out = pipes[own][1]
    with contextlib.suppress(BrokenPipeError):
        for item in items:
            try:
                result = work(shared, item)
            except Exception as error:
                out.send((False, sendable(error)))
                return
            out.send((True, result))


def sendable(error: Exception) -> Exception:
    """`error` with its traceback as a note; in words where the listener could not make it out of what is sent."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own, made a moment ago)
    except Exception:
        return HookeError(f"{type(error).__name__}: {error}")
    return error
