"""Memory: what is said where there is too little of it. Libraries say so in many ways, and one of them ends the process."""

import importlib.abc
import resource
import sys
from importlib.machinery import ModuleSpec
from typing import Any

from hooke.errors import LimitReached, ran_out_of_memory

# Below this torch cannot be loaded, and aborts where it tries.
_LEAST = 768 << 20


def guard() -> None:
    """Where this process may use less address space than torch takes, make importing it raise `LimitReached`."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST:
        sys.meta_path.insert(0, _Refused(allowed))


def ran_out(error: BaseException) -> bool:
    """Whether `error` comes of too little memory; a library that cannot be mapped, too, where address space is limited."""
    unmapped = isinstance(error, ImportError | OSError) and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return ran_out_of_memory(error) or (unmapped and any(words in str(error) for words in ("failed to map", "load shared object")))


def advice() -> str:
    """What to do where memory ran out: take a limit of address space away, if there is one, else read less at a time."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed == resource.RLIM_INFINITY:
        return "Give shorter texts, or a smaller --batch-tokens where the command has that."
    return f"This process may use {allowed >> 20:,} MiB of address space. Allow more, or take the limit away: ulimit -v unlimited"


class _Refused(importlib.abc.MetaPathFinder):
    def __init__(self, allowed: int) -> None:
        self._allowed = allowed

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname == "torch":
            raise LimitReached(
                f"this process may use {self._allowed >> 20} MiB of address space, and torch alone takes more. "
                "Allow some 3 GiB, or take the limit away: ulimit -v unlimited"
            )
        return None
