"""Worker: what a process of a cluster does, and what it says of itself. Imports nothing that takes long."""

import functools
import hashlib
import os
import platform
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hooke.engine import sendable

_DECIDING = ("torch", "transformers", "tokenizers", "numpy", "numba")
"""Packages whose versions decide about last bits."""

Answer = tuple[bool, Any]
"""Whether it went well, and what came of it, or the error."""


class UnitWorker:
    """Opens what the work shares, and does one unit after the other. An error is an answer, too."""

    def __init__(self) -> None:
        self._shared: Any = None

    def hello(self) -> Answer:
        """Where this is, and `versions`."""
        return _answer(lambda: (f"{socket.gethostname()} (process {os.getpid()})", versions()))

    def open(self, opened: Callable[[], Any]) -> Answer:
        """Open what the units to come share; what was open before goes first."""
        self._shared = None

        def keep() -> None:
            self._shared = opened()

        return _answer(keep)

    def work(self, work: Callable[[Any, Any], Any], item: Any) -> Answer:
        """One unit."""
        return _answer(lambda: work(self._shared, item))


def _answer(do: Callable[[], Any]) -> Answer:
    try:
        return True, do()
    except Exception as error:
        return False, sendable(error)


@functools.cache
def versions() -> dict[str, str]:
    """What decides whether two processes compute the same: Hooke by the digest of its source, Python, and the packages beneath."""
    found = {"Python": platform.python_version()}
    for name in _DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    root, source = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return {"Hooke": f"{version('hooke')} ({source.hexdigest()[:12]})", **found}
