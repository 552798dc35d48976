"""What Numba compiles is compiled by one process and found by the others: on a fresh clone, workers and their forks would all do it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_mine: set[Path] = set()
"""Locks that this process holds."""


def install(folder: Path) -> None:
    """Have processes that share `folder` wait for each other where they compile the same function."""
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    compile_ = Dispatcher.compile

    def compile_once(self: Dispatcher, signature: Any) -> Any:
        if self._cache.cache_path is None:  # one that is not kept
            return compile_(self, signature)
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}.lock"
        with global_compiler_lock, held(folder / name):  # in this order always, so that no two wait for each other
            return compile_(self, signature)

    Dispatcher.compile = compile_once


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Let no other process hold `path`; the kernel lets go of it however this one ends."""
    if path in _mine:
        yield
        return
    _mine.add(path)
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
        _mine.discard(path)
