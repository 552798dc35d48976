"""Named: the SAEs that a command's arguments mean, found (and fetched) before anything that takes long to load is imported."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hooke.sae.resolve import Resolved


def named(refs: Iterable[str], progress: Callable[[str], None] = lambda _: None) -> "list[Resolved]":
    """Where the SAEs lie, in order; the errors of `hooke.sae.resolve.resolve` for what is none."""
    from hooke.sae.resolve import resolve

    return [resolve(ref, progress=progress) for ref in refs]
