"""Spread: a model over several devices, whole layers on each, or processes, a part of every layer in each; read, and nothing else."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from hooke.engine import sendable
from hooke.errors import HookeError
from hooke.model import Model
from hooke.model.architectures import verify
from hooke.model.loading import load, processes
from hooke.names import Site, model_name

__all__ = ["SpreadModel"]

T = TypeVar("T")


class SpreadModel(Model):
    """A model that is spread.

    Of several processes, which have joined before, all load it. The first leads: it is asked (`capture`), within `led`, and has the answer;
    the others `follow`.
    """

    spread = True
    _calm = True
    """Whether no pass is under way."""

    @classmethod
    def opened(cls, folder: str | Path, dtype: torch.dtype, ref: str) -> "SpreadModel":
        """The model `ref`, laid out by the `transformers` library."""
        hf, tokenizer = _by_all(lambda: load(folder, dtype, ref, spread=True))
        model = cls.__new__(cls)
        model._settle(hf.config, tokenizer, model_name(ref))
        verify(hf.eval().requires_grad_(False), model.architecture)
        model.hf = hf
        return model

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """While inside, the others follow; then they are told to end."""
        try:
            yield
        finally:
            if self._calm:  # else they wait in the middle of a pass, and end when this process does
                self._told(None)

    def follow(self) -> None:
        """Compute what the first process is asked for, until it is done."""
        while (asked := self._told(None)) is not None:
            with torch.inference_mode():
                self._found(*asked)

    def _pass(self, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "batch pos d_site"]]:
        for site in sites:
            self.width(site)  # one that is not there is said here, and not by every process
        self._told((ids, sites))
        self._calm = False
        found = self._found(ids, sites)
        self._calm = True
        return {site: acts.to(self.device) for site, acts in found.items()}

    def _found(self, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "batch pos d_site"]]:
        found = super()._pass(ids, sites)
        if processes() > 1:  # heads are shared out, so that what they give lies side by side in the order of the processes
            found |= {site: _joined(acts) for site, acts in found.items() if site.kind == "attn_z"}
        return found

    def _told(self, value: Any) -> Any:
        """What the first process says; the others wait for it."""
        told = [value]
        if processes() > 1:
            dist.broadcast_object_list(told, src=0)
        return told[0]


def _joined(acts: Float[Tensor, "batch pos d_part"]) -> Float[Tensor, "batch pos d_site"]:
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
