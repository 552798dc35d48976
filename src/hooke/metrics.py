"""Metrics: which positions are attention sinks, several sites side by side, variance unexplained; pure functions, and streamed sums."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooke.names import Site

# A position whose norm is this many times the median of its text is an attention sink, not a thought (methods: 1.2).
_SINK_NORM = 10.0


def not_sinks(acts: Iterable[Float[Tensor, "batch pos d_site"]], counted: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Which of the `counted` positions are no attention sinks: at none of the sites is their norm above ten times their row's median.

    The one rule of every command: no SAE is trained on sinks, so nothing is said of them. A row is held against itself alone, so that the
    answer does not depend on what it is read with; a single position has nothing to be held against and stays.

    >>> import torch
    >>> not_sinks([torch.tensor([[[900.0], [2.0], [3.0]]])], torch.tensor([[True, True, True]])).tolist()
    [[False, True, True]]
    """
    return usual_norms([norms(value) for value in acts], counted)


def norms(acts: Float[Tensor, "*batch d_site"]) -> Float[Tensor, "*batch"]:
    """The length of each position's activations."""
    return torch.linalg.vector_norm(acts, dim=-1, dtype=torch.float32)


def usual_norms(found: Iterable[Float[Tensor, "batch pos"]], counted: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """`not_sinks`, of the `norms` at each site."""
    good = counted.clone()
    for norm in found:
        own = norm.to(counted.device)
        good &= ~(own > _SINK_NORM * own.masked_fill(~counted, torch.nan).nanmedian(1, keepdim=True).values)  # NaN is no sink
    return good


def concat_sites(acts: Mapping[Site, Float[Tensor, "*batch d_site"]], sites: Sequence[Site]) -> Float[Tensor, "*batch d"]:
    """Activations at several sites side by side, as SAEs read and write them; at one site, the very tensor.

    >>> import torch
    >>> here, there = Site.parse("mlp_out.0"), Site.parse("mlp_out.1")
    >>> concat_sites({here: torch.tensor([[1.0]]), there: torch.tensor([[2.0, 3.0]])}, [there, here]).tolist()
    [[2.0, 3.0, 1.0]]
    """
    return acts[sites[0]] if len(sites) == 1 else torch.cat([acts[site] for site in sites], -1)


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

    def numbers(self) -> Float[Tensor, " n"]:
        """The sums as one row (float64): tokens, error, squares, then the total of each column. Rows of several parts add up."""
        total = torch.zeros(0) if self._total is None else self._total.cpu()
        return torch.cat([torch.tensor([self.tokens, self._error, self._square], dtype=torch.float64), total.double()])

    @classmethod
    def of(cls, numbers: Float[Tensor, " n"]) -> "VarianceSum":
        """The sums that such a row, or the sum of several, stands for."""
        sums = cls()
        sums.tokens, sums._error, sums._square = int(numbers[0]), float(numbers[1]), float(numbers[2])
        sums._total = numbers[3:] if sums.tokens else None
        return sums

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """The mean of what was added (float32)."""
        assert self._total is not None
        return (self._total / self.tokens).float()

    @property
    def fvu(self) -> float:
        """The fraction; 0 is a perfect reconstruction, 1 as good as the mean, and it can exceed 1. NaN before two tokens."""
        if self._total is None or self.tokens < 2:
            return float("nan")
        variance = self._square - float(self._total.square().sum()) / self.tokens
        return self._error / variance if variance > 0 else float("nan")
