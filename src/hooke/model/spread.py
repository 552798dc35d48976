"""Spread: a model over several devices, whole layers on each, or processes, a part of every layer in each; read, and nothing else."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from hooke.engine import sendable
from hooke.errors import HookeError
from hooke.model import loading
from hooke.model.loading import processes
from hooke.names import Site
from hooke.text.tokens import Tokenizer

__all__ = ["Spread", "load_spread"]

T = TypeVar("T")
Pass = Callable[[Int[Tensor, "batch pos"], Sequence[Site]], dict[Site, Float[Tensor, "batch pos d_site"]]]
"""What computes activations at sites."""


def load_spread(folder: str | Path, dtype: torch.dtype, ref: str) -> tuple[PreTrainedModel, Tokenizer]:
    """The model `ref`, laid out by the `transformers` library, and its tokenizer: in every process, or all raise what went wrong in one."""
    return _by_all(lambda: loading.load(folder, dtype, ref, spread=True))


class Spread:
    """How a model is read that is spread.

    Of several processes the first leads: it asks, within `led`, and has the answer; the others `follow`.
    """

    def __init__(self, own: Pass) -> None:
        """`own` computes what is here; all have to call it at a time."""
        self._own = own
        self._calm = True

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """While inside, the others follow; then they are told to end."""
        try:
            yield
        finally:
            if self._calm:  # else they wait in the middle of a pass, and end when this process does
                _told(None)
                _parted()

    def ask(self, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "batch pos d_site"]]:
        """Activations at `sites`, computed by all."""
        _told((ids, sites))
        self._calm = False
        try:
            found = self._whole(ids, sites)
        except HookeError:  # all come to it, and none is in the middle of something
            self._calm = True
            raise
        self._calm = True
        return found

    def follow(self) -> None:
        """Compute what the first process is asked for, until it is done."""
        while (asked := _told(None)) is not None:
            with torch.inference_mode(), contextlib.suppress(HookeError):
                self._whole(*asked)
        _parted()

    def _whole(self, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "batch pos d_site"]]:
        found = self._own(ids, sites)
        if processes() > 1:  # heads are shared out, so that what they give lies side by side in the order of the processes
            found |= {site: _joined(acts) for site, acts in found.items() if site.kind == "attn_z"}
        return found


def _told(value: Any) -> Any:
    """What the first process says; the others wait for it."""
    told = [value]
    if processes() > 1:
        dist.broadcast_object_list(told, src=0)
    return told[0]


def _parted() -> None:
    """Wait until all have heard that it is over: none is to go while it is still being listened to."""
    if processes() > 1:
        dist.barrier()


def _joined(acts: Float[Tensor, "batch pos _"]) -> Float[Tensor, "batch pos d_site"]:
    parts = [torch.empty_like(acts, memory_format=torch.contiguous_format) for _ in range(processes())]
    dist.all_gather(parts, acts.contiguous())
    return torch.cat(parts, -1)


def _by_all(do: Callable[[], T]) -> T:
    """What `do` gives once it has gone well in every process; else all raise what the first of them that failed did."""
    found, failed = list[T](), None
    try:
        found.append(do())
    except HookeError as error:
        failed = error
    everyones: list[Any] = [failed and sendable(failed)] * processes()
    if processes() > 1:
        dist.all_gather_object(everyones, everyones[0])
    for rank, error in enumerate(everyones):
        if error is not None:
            raise failed if failed and not rank else type(error)(f"process {rank}: {error}" if rank else str(error))
    return found[0]
