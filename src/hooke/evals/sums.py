"""Sums over windows of text, each as it is and for resamples of the windows, so that every figure has an interval in bounded memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

RESAMPLES = 200
"""Resamples behind each interval."""


def resampling(windows: Sequence[int], seed: int) -> Float[Tensor, "resample window"]:
    """How often each window is counted: once in the first row, and a Poisson(1) number of times in each resample after it.

    For many windows this is the bootstrap (Chamandy and others 2012), and it needs no window twice: sums can be streamed. A window's
    numbers depend on `seed` and its own number alone, so batches may be cut in any way.
    """
    draws = [np.random.Generator(np.random.Philox(key=[seed, window])).poisson(1.0, RESAMPLES) for window in windows]
    return torch.cat([torch.ones(1, len(windows), dtype=torch.float64), torch.from_numpy(np.array(draws)).double().T])


def by_window(values: Float[Tensor, "token n"], window: Int[Tensor, " token"], n_windows: int) -> Float[Tensor, "window n"]:
    """`values` summed over each window's tokens, in float64."""
    out = torch.zeros(n_windows, values.shape[1], dtype=torch.float64, device=values.device)
    return out.index_add_(0, window, values.double()).cpu()


class Sums:
    """Named sums; the first row of each is the sum itself, the others are its resamples."""

    def __init__(self) -> None:
        self._of: dict[str, Tensor] = {}

    def add(self, weights: Float[Tensor, "resample window"], name: str, values: Float[Tensor, "window n"]) -> None:
        """Count `values` in under `name`."""
        added = weights @ values
        self._of[name] = self._of[name] + added if name in self._of else added

    def __getitem__(self, name: str) -> Float[Tensor, "resample n"]:
        return self._of[name]

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Everything, for a file."""
        return {f"{prefix}|{name}": value for name, value in self._of.items()}

    def restore(self, prefix: str, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` of the same prefix gave."""
        self._of = {key.removeprefix(f"{prefix}|"): value for key, value in state.items() if key.startswith(f"{prefix}|")}


@dataclass(frozen=True)
class Figure:
    """A number and the interval that 95 % of its resamples lie in."""

    value: float
    """The number itself; NaN where it is not defined."""
    low: float | None = None
    """Lower end; None where there is no interval."""
    high: float | None = None
    """Upper end."""

    @classmethod
    def of(cls, rows: Float[Tensor, " resample"]) -> "Figure":
        """From the number and its resamples."""
        if len(rows) < 2 or not bool(rows[0].isfinite()):
            return cls(float(rows[0]))
        low, high = torch.nanquantile(rows[1:], torch.tensor([0.025, 0.975], dtype=rows.dtype)).tolist()
        return cls(float(rows[0]), low, high)

    def to_json(self) -> dict[str, Any]:
        """``{"value": .., "low": .., "high": ..}``, null for what is not defined."""
        return {
            name: None if number is None or not np.isfinite(number) else number
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures by name, ready for JSON."""
    return {name: figure.to_json() for name, figure in figures.items()}
