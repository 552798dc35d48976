"""Firings: what one SAE's features did in one text, before anything is known of what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Firings:
    """The features of one SAE that fired in one text."""

    feature: np.ndarray
    """Features that fired, ascending."""
    peak: np.ndarray
    """Strongest activation of each."""
    pos: np.ndarray
    """Token on which it was reached."""
    pooled: np.ndarray
    """Its activations pooled over the text."""
    count: np.ndarray
    """Tokens on which each was active."""
    events: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Every single activation: feature, token, value."""
    error: float
    """Σ‖x − x̂‖² over the text's tokens."""
    variance: float
    """Σ‖x − μ‖², μ the mean activation of ordinary text (without an atlas: what the SAE says when nothing is active)."""
    acts: np.ndarray
    """``[d_in]``: sum over the text's tokens of what the SAE reads."""
    around: np.ndarray
    """``[d]``: the same of what tells where the text lies among others, at the sites of `hooke.analysis.likelihood`."""

    @property
    def explained(self) -> float:
        """Share of the variance that the SAE reconstructs."""
        return 1 - self.error / self.variance if self.variance > 0 else 0.0

    @staticmethod
    def join(parts: "Sequence[Firings]", lengths: Sequence[int]) -> "Firings":
        """What fired in a text read in several windows of `lengths` tokens; pooled values are the largest of any window."""
        if len(parts) == 1:
            return parts[0]
        shift = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        feature = np.concatenate([part.feature for part in parts])
        peak, pooled = (np.concatenate([getattr(part, name) for part in parts]) for name in ("peak", "pooled"))
        pos = np.concatenate([part.pos + offset for part, offset in zip(parts, shift, strict=True)])
        order = np.lexsort((pos, -peak, feature))
        first = np.flatnonzero(np.diff(feature[order], prepend=-1))
        events = (
            np.concatenate([part.events[0] for part in parts]),
            np.concatenate([part.events[1] + offset for part, offset in zip(parts, shift, strict=True)]),
            np.concatenate([part.events[2] for part in parts]),
        )
        best = order[first]
        largest = np.maximum.reduceat(pooled[order], first) if len(first) else pooled
        count = np.concatenate([part.count for part in parts])
        count = np.add.reduceat(count[order], first) if len(first) else count
        error, variance, *sums = (sum(getattr(part, name) for part in parts) for name in ("error", "variance", "acts", "around"))
        return Firings(feature[best], peak[best], pos[best], largest, count, events, error, variance, *map(np.asarray, sums))
