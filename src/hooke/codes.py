"""Codes: sparse feature activations in compressed sparse rows, one row per token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooke.errors import ShapeMismatch


@dataclass(frozen=True, repr=False)
class Codes:
    """Sparse activations of `d_sae` features on a run of tokens.

    Row ``t`` holds ``feature[indptr[t]:indptr[t+1]]`` (ascending) with ``value`` beside them; values are > 0.

    >>> codes = Codes.from_dense(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
    >>> codes.indptr.tolist(), codes.feature.tolist(), codes.value.tolist()
    ([0, 1, 1], [1], [2.0])
    """

    indptr: Int[Tensor, " rows_plus_one"]
    """Where each token's run begins; the last entry is the number of active features in all."""
    feature: Int[Tensor, " nnz"]
    """Feature index of each active entry."""
    value: Float[Tensor, " nnz"]
    """Its activation, float32."""
    d_sae: int
    """Number of features."""
    leading: tuple[int, ...] | None = None
    """The leading shape of what was encoded, whose tokens are the rows in order; None: the rows stand one under another."""

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "token d_sae"]) -> "Codes":
        """The codes that hold exactly the non-zero entries of `dense`."""
        row, feature = dense.nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=dense.shape[0])
        indptr = torch.zeros(dense.shape[0] + 1, dtype=torch.int64)
        torch.cumsum(counts.cpu(), 0, out=indptr[1:])
        return cls(indptr.to(dense.device), feature, dense[row, feature].float(), dense.shape[1])

    @classmethod
    def cat(cls, parts: "Sequence[Codes]") -> "Codes":
        """The rows of all `parts`, in order."""
        if not parts or len({part.d_sae for part in parts}) != 1:
            raise ShapeMismatch(f"cannot join codes of widths {sorted({part.d_sae for part in parts})}; they must come from one SAE.")
        offsets = torch.tensor([0] + [len(part.feature) for part in parts]).cumsum(0)
        ends = [part.indptr[1:] + int(offset) for part, offset in zip(parts, offsets[:-1], strict=True)]
        indptr = torch.cat([parts[0].indptr[:1], *ends])
        return cls(indptr, torch.cat([p.feature for p in parts]), torch.cat([p.value for p in parts]), parts[0].d_sae)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        l0 = len(self.value) / max(1, len(self))
        return f"Codes({' × '.join(map(str, self.shape[:-1]))} tokens of {self.d_sae:,} features, {l0:.1f} active on average)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what `dense` gives: that of what was encoded, with the features last."""
        return (*((len(self),) if self.leading is None else self.leading), self.d_sae)

    @property
    def l0(self) -> Int[Tensor, " token"]:
        """Active features of each token."""
        return self.indptr[1:] - self.indptr[:-1]

    @property
    def row(self) -> Int[Tensor, " nnz"]:
        """Token index of each active entry."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.indptr.device), self.l0)

    def rows(self, start: int, stop: int) -> "Codes":
        """The tokens of the half-open range ``[start, stop)``."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return Codes(self.indptr[start : stop + 1] - low, self.feature[low:high], self.value[low:high], self.d_sae)

    def take(self, rows: Int[Tensor, " row"]) -> "Codes":
        """The tokens `rows`, in that order."""
        l0 = self.l0[rows]
        indptr = torch.cat([l0.new_zeros(1), l0.cumsum(0)])
        entry = torch.repeat_interleave(self.indptr[rows] - indptr[:-1], l0) + torch.arange(int(indptr[-1]), device=l0.device)
        return Codes(indptr, self.feature[entry], self.value[entry], self.d_sae)

    def only(self, features: Bool[Tensor, " d_sae"]) -> "Codes":
        """The same tokens with those of the `features` alone that are marked."""
        kept = features[self.feature]
        before = torch.cat([self.indptr.new_zeros(1), kept.cumsum(0)])
        return Codes(before[self.indptr], self.feature[kept], self.value[kept], self.d_sae, self.leading)

    def silenced(self, rows: Bool[Tensor, " token"]) -> "Codes":
        """The same tokens, those that are marked with no active feature."""
        kept = ~rows.to(self.indptr.device)[self.row]
        before = torch.cat([self.indptr.new_zeros(1), kept.cumsum(0)])
        return Codes(before[self.indptr], self.feature[kept], self.value[kept], self.d_sae, self.leading)

    def dense(self) -> Float[Tensor, "*batch d_sae"]:
        """The same as a full tensor, in the leading shape of what was encoded."""
        out = torch.zeros(len(self), self.d_sae, device=self.value.device)
        out[self.row, self.feature] = self.value
        return out.reshape(self.shape)
