"""Standings: where features stand in texts, before it is said which of them are shown."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from hooke.analysis.likelihood import evidence

CANDIDATES = 12
"""Features of what a text is about, of those that stand out most, from which the likeliest names are taken."""


@dataclass(frozen=True)
class Standings:
    """What fired in some texts, a row for each feature of each text; those of a text together."""

    text: Int[np.ndarray, " row"]
    """Number of the text."""
    feature: Int[np.ndarray, " row"]
    """Index of the feature."""
    peak: Float[np.ndarray, " row"]
    """Its largest activation over its maximum."""
    pooled: Float[np.ndarray, " row"]
    """Its pooled activation over its maximum."""
    specificity: Float[np.ndarray, " row"]
    """How unusual that is, in nats."""
    share: Float[np.ndarray, " row"]
    """The share of the text's tokens that it is active on."""
    valid: Float[np.ndarray, " row"]
    """How often its name is true where it stands out."""
    telling: Bool[np.ndarray, " row"]
    """Whether it is rare enough to tell texts apart."""
    about: Bool[np.ndarray, " row"]
    """Whether it tells what a text is about; else it is of the words."""
    ranks: tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"], Float[np.ndarray, " row"]]
    """How high it would stand in each of three lists: of both groups, *about*, and *words*."""

    @property
    def evidence(self) -> Float[np.ndarray, "row 4"]:
        """What this says of the features' names (`hooke.analysis.likelihood.evidence`)."""
        return evidence(self.specificity, self.pooled, self.share, self.valid)

    @property
    def about_rank(self) -> Float[np.ndarray, " row"]:
        """How high each stands among those that tell what a text is about; -inf for all others."""
        return np.where(self.telling & self.about, self.ranks[1], -np.inf)


def first(rank: np.ndarray, text: np.ndarray, most: int) -> np.ndarray:
    """Which of the entries with a rank are among the `most` highest of their `text`; texts stand together."""
    order = np.lexsort((-rank, text))
    start = np.searchsorted(text, np.arange(text.max(initial=-1) + 1))
    some = order[(np.arange(len(order)) - start[text[order]] < most)]
    return np.sort(some[rank[some] > -np.inf])
