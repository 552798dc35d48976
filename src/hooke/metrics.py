"""Metrics: pure functions on tensors, and streamed sums."""

from jaxtyping import Float
from torch import Tensor


class VarianceSum:
    """Fraction of variance unexplained, streamed in float64.

        FVU = Σ‖x − x̂‖² / Σ‖x − μ‖²,   μ the mean of x over everything added

    >>> import torch
    >>> sums = VarianceSum()
    >>> sums.add(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]))
    >>> sums.fvu
    0.5
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._error = 0.0
        self._square = 0.0
        self._total: Tensor | None = None

    def add(self, acts: Float[Tensor, "token d_in"], reconstruction: Float[Tensor, "token d_in"]) -> None:
        """Count these tokens in."""
        x, e = acts.double(), (acts.float() - reconstruction.float()).double()
        self.tokens += len(x)
        self._error += float(e.square().sum())
        self._square += float(x.square().sum())
        self._total = x.sum(0) if self._total is None else self._total + x.sum(0)

    @property
    def fvu(self) -> float:
        """The fraction; 0 is a perfect reconstruction, 1 as good as the mean, and it can exceed 1. NaN before two tokens."""
        if self._total is None or self.tokens < 2:
            return float("nan")
        variance = self._square - float(self._total.square().sum()) / self.tokens
        return self._error / variance if variance > 0 else float("nan")
