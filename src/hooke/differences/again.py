"""Again: the chance that as many fresh texts would show a difference once more, learnt from all differences that were tested together."""

import numpy as np
from jaxtyping import Float
from scipy import special

from hooke.differences.statistics import LEVEL, Shares

LEAST = 0.75
"""What would be seen again less often than this is not listed: much of what a test barely finds was luck."""
_SPREADS = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0])
_STEPS = 200
_BINS = 400
_SMALLEST = 1e-300


def chance_again(p: Shares) -> Shares:
    """Of every difference, by its p value, the chance that fresh texts, as many, show it with the same sign and p below 0.04.

    0.04 is where Benjamini and Hochberg's bound lies if four of five hold. By empirical Bayes (van Zwet, Schwab and Senn 2021): the z
    values of all tests are a mixture ``Σ wₖ N(0, 1 + τₖ²)`` whose weights are fitted to them (EM); given z and k the difference itself is
    ``N(z τₖ²/(1 + τₖ²), τₖ²/(1 + τₖ²))``, and what is measured anew has variance 1 around it. So luck is taken off as far as this sample's
    own differences say.
    """
    if not len(p):
        return p
    z = _z(p)
    within = 1 + _SPREADS**2
    weights = _mixture(z, within)
    member = weights * np.exp(-(z[:, None] ** 2) / 2 / within) / np.sqrt(within)
    member /= np.maximum(member.sum(1, keepdims=True), _SMALLEST)
    kept = _SPREADS**2 / within
    bound = -special.ndtri(0.8 * LEVEL / 2)
    return (member * special.ndtr((z[:, None] * kept - bound) / np.sqrt(1 + kept))).sum(1)


def _z(p: Shares) -> Shares:
    """|z| of two-sided p values."""
    return -special.ndtri(np.maximum(p, _SMALLEST) / 2)


def _mixture(z: Shares, within: Float[np.ndarray, " part"]) -> Float[np.ndarray, " part"]:
    """The weights under which these z values are likeliest, each part being normal around 0 with so much variance."""
    counts, edges = np.histogram(z, _BINS)
    middle = (edges[:-1] + edges[1:]) / 2
    density = np.exp(-(middle[:, None] ** 2) / 2 / within) / np.sqrt(within) + _SMALLEST
    weights = np.full(len(within), 1 / len(within))
    for _ in range(_STEPS):
        own = density * weights
        weights = (counts[:, None] * own / own.sum(1, keepdims=True)).sum(0) / counts.sum()
    return weights
