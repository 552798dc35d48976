"""Kernels: the sparse half of an SAE's training step. One dense product makes the pre-activations; everything after it is here.

Each function exists once per kind of device, in `cpu` (Numba) and `cuda` (Triton), with a naive twin in the tests. Codes in training
are `Entries`; encoder weights are held by feature (``[d_sae, d_in]``), so that one feature's gradient touches one row of each matrix.
Outside of training, `active` finds the codes of a JumpReLU SAE.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import BadConfig

if TYPE_CHECKING:
    from hooke.kernels import cpu

__all__ = ["Entries", "Gradients", "Layout", "Parameter", "coordinate_units", "kernels_for"]


class Entries(NamedTuple):
    """Chosen entries of a batch's pre-activations as compressed sparse rows, features ascending within a row."""

    indptr: Int[Tensor, " rows_plus_one"]
    """Where each token's run begins (int64)."""
    feature: Int[Tensor, " nnz"]
    """Feature of each entry (int32)."""
    value: Float[Tensor, " nnz"]
    """Its value (float32)."""

    def rows(self) -> Int[Tensor, " nnz"]:
        """The token of each entry."""
        counts = self.indptr.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts, output_size=len(self.feature))

    def only(self, chosen: Bool[Tensor, " nnz"]) -> "Entries":
        """The `chosen` entries alone."""
        before = torch.zeros(len(chosen) + 1, dtype=torch.int64, device=chosen.device)
        torch.cumsum(chosen, 0, out=before[1:])
        return Entries(before[self.indptr], self.feature[chosen], self.value[chosen])


@dataclass(frozen=True)
class Layout:
    """How an SAE's features lie: the nested dictionaries they make up, and the part of input and output each one touches."""

    ends: Int[Tensor, " group"]
    """Matryoshka: sizes of the prefixes that reconstruct on their own, ascending, the last being d_sae (int32)."""
    weights: Float[Tensor, " group"]
    """Weight of each prefix's error in the loss, summing to 1."""
    group: Int[Tensor, " d_sae"]
    """The first prefix that each feature belongs to (int32)."""
    reads: Int[Tensor, " d_sae"]
    """First input column each feature reads (int32); it reads as many as its encoder row has."""
    writes: Int[Tensor, " d_sae"]
    """First output column each feature writes (int32); it writes all from there on."""

    @classmethod
    def of(cls, d_sae: int, ends: list[int] | None = None) -> "Layout":
        """Features that read and write everything, nested in prefixes of sizes `ends`, whose errors weigh the same."""
        ends = ends or [d_sae]
        group = torch.bucketize(torch.arange(d_sae), torch.tensor(ends), right=True).int()
        nothing = torch.zeros(d_sae, dtype=torch.int32)
        return cls(torch.tensor(ends, dtype=torch.int32), torch.full((len(ends),), 1 / len(ends)), group, nothing, nothing.clone())

    def to(self, device: torch.device) -> "Layout":
        """The same on another device."""
        return Layout(*(getattr(self, name).to(device) for name in ("ends", "weights", "group", "reads", "writes")))


class Gradients(NamedTuple):
    """Where the gradients of an SAE's main weights add up."""

    W_dec: Float[Tensor, "d_sae d_out"]
    W_enc: Float[Tensor, "d_sae d_read"]
    b_enc: Float[Tensor, " d_sae"]


@dataclass(frozen=True)
class Parameter:
    """A trained tensor with its gradient and Adam's running moments, all of one shape, float32."""

    value: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, value: Tensor) -> "Parameter":
        """A fresh one."""
        return cls(value, torch.zeros_like(value), torch.zeros_like(value), torch.zeros_like(value))


def coordinate_units(rows: Float[Tensor, "d_sae d"]) -> Float[Tensor, " d"]:
    """A power of two for each coordinate, near what it weighs in `rows` of length about 1; dividing by it changes no digit.

    Coordinates of a residual stream differ a hundredfold in spread, and weights that read or write them differ likewise.
    """
    tiny = torch.finfo(torch.float32).tiny
    spread = (rows / rows.abs().amax(1, keepdim=True).clamp_min(tiny)).square().mean(0).sqrt()
    return spread.clamp_min(2.0**-64).log2().round().exp2()


def kernels_for(device: torch.device) -> "type[cpu]":  # pyright: ignore[reportInvalidTypeForm]
    """The module of kernels that runs on `device`. Raises `BadConfig` for a kind of device without any."""
    if device.type not in ("cpu", "cuda"):
        raise BadConfig(f"there are no training kernels for {device.type!r} devices; train on cpu or cuda.")
    return cast(Any, importlib.import_module(f"hooke.kernels.{device.type}"))
