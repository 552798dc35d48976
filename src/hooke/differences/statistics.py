"""Statistics of differences between groups, as pure functions of arrays: sizes with intervals, exact tests, what could have been seen.

Everything is written for columns at once: a column is a thing that a text has or has not, a feature, a topic, a word.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import special, stats

LEVEL = 0.05
"""Share of false findings among the findings, and one minus the coverage of intervals."""

Counts = Int[np.ndarray, " column"]
Shares = Float[np.ndarray, " column"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its ends, for every column."""

    value: Shares
    """The estimate."""
    low: Shares
    """Lower end of the 95 % interval."""
    high: Shares
    """Upper end."""


def wilson(count: Num[np.ndarray, " column"], n: Num[np.ndarray, " column"] | float | int, z: float | None = None) -> Interval:
    """Shares with Wilson's score interval (1927); `z` is the normal quantile, by default that of 95 %."""
    z = float(stats.norm.isf(LEVEL / 2)) if z is None else z
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1))


def difference(a: Counts, n_a: int, b: Counts, n_b: int) -> Interval:
    """Document frequency of each column in one group minus that in another, with Newcombe's hybrid score interval (1998, method 10)."""
    return _hybrid(wilson(a, n_a), wilson(b, n_b))


def _hybrid(one: Interval, other: Interval) -> Interval:
    value = one.value - other.value
    low = value - np.sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    high = value + np.sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value, low, high)


def clustered_difference(
    a: Num[np.ndarray, "family_a column"],
    n_a: Int[np.ndarray, " family_a"],
    b: Num[np.ndarray, "family_b column"],
    n_b: Int[np.ndarray, " family_b"],
) -> Interval:
    """`difference` where texts come in families: `a` and `b` count each family's texts that have a column, `n_a` and `n_b` all its texts.

    Each share's variance is that of a ratio of sums over families; it makes an effective number of texts (Korn and Graubard 1998, with
    Student's quantile for the families there are), and the score interval of so many texts is taken. At least 2 families a group.
    """
    return _hybrid(_clustered_share(a, n_a), _clustered_share(b, n_b))


def _clustered_share(counts: np.ndarray, sizes: np.ndarray) -> Interval:
    n = int(sizes.sum())
    share = counts.sum(0) / n
    effective = _effective(share * (1 - share), counts - share * sizes[:, None], n)
    return wilson(share * effective, effective)


def _effective(variance: Shares, residual: Num[np.ndarray, "family column"], n: int) -> Shares:
    """As how many independent ones `n` count that come in families: of the `variance` of one, by the sums over families of what is left."""
    families = len(residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = variance / (families / (families - 1) * (residual**2).sum(0) / n**2)
    # All families alike say no more than one each would.
    effective = np.where(np.isfinite(effective) & (effective > 0), np.minimum(effective, n), families)
    z = float(stats.norm.isf(LEVEL / 2))
    return np.maximum(effective * (z / float(stats.t.isf(LEVEL / 2, families - 1))) ** 2, 1e-9)


def paired_difference(
    only_a: Num[np.ndarray, " column"], only_b: Num[np.ndarray, " column"], pairs: Num[np.ndarray, " column"] | int
) -> Interval:
    """Difference of shares between the members of `pairs` pairs, of which so many differ each way (Agresti and Min 2005: 1/2 a cell)."""
    n = pairs + 2
    up, down = only_a + 0.5, only_b + 0.5
    middle, z = (up - down) / n, float(stats.norm.isf(LEVEL / 2))
    half = z * np.sqrt(np.maximum(up + down - (up - down) ** 2 / n, 0)) / n
    value = (only_a - only_b) / pairs
    return Interval(value, np.minimum(np.maximum(middle - half, -1), value), np.maximum(np.minimum(middle + half, 1), value))


def clustered_paired_difference(
    only_a: Num[np.ndarray, "family column"], only_b: Num[np.ndarray, "family column"], pairs: Int[np.ndarray, " family"]
) -> Interval:
    """`paired_difference` where pairs come in families: of each family's `pairs` so many differ each way. At least 2 families.

    As in `clustered_difference`, the variance over families makes an effective number of pairs.
    """
    up, down, n = only_a.sum(0), only_b.sum(0), int(pairs.sum())
    value = (up - down) / n
    residual = only_a - only_b - value * pairs[:, None]
    effective = _effective(((up + down) / n - value**2), residual, n)
    return paired_difference(up * effective / n, down * effective / n, effective)


def fisher(a: Counts, n_a: int, b: Counts, n_b: int) -> Shares:
    """Fisher's exact p for each column in `a` of `n_a` and in `b` of `n_b` texts: twice the smaller tail of the hypergeometric."""
    cells, back = np.unique(np.stack([a, b]), axis=1, return_inverse=True)  # few of the thousands of columns differ in both counts
    own, had = cells[0], cells.sum(0)
    low, high = stats.hypergeom.cdf(own, n_a + n_b, had, n_a), stats.hypergeom.sf(own - 1, n_a + n_b, had, n_a)
    return np.minimum(1.0, 2 * np.minimum(low, high))[back.ravel()]


def sign_test(only_a: Counts, only_b: Counts) -> Shares:
    """McNemar's exact p: of the pairs that differ, as many either way; 1 where none differs."""
    return np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(only_a, only_b), only_a + only_b, 0.5))


def q_values(p: Shares) -> Shares:
    """Benjamini and Hochberg's adjusted p values (1995): those up to q are expected to hold a share q of false ones."""
    return stats.false_discovery_control(p, method="bh") if len(p) else p


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve: the chance that a text of the group has more of something than another text, ties counting half."""

    value: float
    """The area; 0.5 is no difference."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""


def auc(values: Num[np.ndarray, " text"], member: Bool[np.ndarray, " text"]) -> Auc:
    """The area for `values` of which some are of the group, with DeLong's variance (1988), its interval on the logit scale."""
    ranks = stats.rankdata(values)
    n, m = int(member.sum()), int((~member).sum())
    if not n or not m:
        return Auc(0.5, 0.0, 1.0)
    within, without = stats.rankdata(values[member]), stats.rankdata(values[~member])
    above, below = (ranks[member] - within) / m, 1 - (ranks[~member] - without) / n
    area = float(above.mean())
    variance = (above.var(ddof=1) / n if n > 1 else 0.25) + (below.var(ddof=1) / m if m > 1 else 0.25)
    if not 0 < area < 1:  # no text out of order; the rule of three says how many there may be
        edge = 3 / min(n, m)
        return Auc(area, max(0.0, area - edge), min(1.0, area + edge))
    half = float(stats.norm.isf(LEVEL / 2)) * np.sqrt(variance) / (area * (1 - area))
    return Auc(area, float(special.expit(special.logit(area) - half)), float(special.expit(special.logit(area) + half)))


def area(some: Num[np.ndarray, " text"], member: Bool[np.ndarray, " text"], none_a: int, none_b: int) -> float:
    """The area of `auc` alone, where of most texts nothing is there to be ranked: `some` above 0, and so many of either group at 0."""
    own, other = int(member.sum()), int((~member).sum())
    if not (n := own + none_a) or not (m := other + none_b):
        return 0.5
    above = float(stats.rankdata(some)[member].sum()) - own * (own + 1) / 2
    return (above + own * none_b + none_a * none_b / 2) / (n * m)


def log_odds(
    a: Num[np.ndarray, " column"], b: Num[np.ndarray, " column"], prior: Num[np.ndarray, " column"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Log-odds ratio of each column's count in two groups, and its z, with an informative Dirichlet prior (Monroe et al. 2008).

    ``δ = ln((a + α) / (A + α₀ − a − α)) − ln((b + α) / (B + α₀ − b − α))``, ``z = δ / √(1/(a + α) + 1/(b + α))``; A, B and α₀ are sums.
    A single column has no others to be held against: 0.
    """
    if len(a) < 2:
        return np.zeros(len(a)), np.zeros(len(a))
    up, down = a + prior, b + prior
    odds = np.log(up / (up.sum() - up)) - np.log(down / (down.sum() - down))
    return odds, odds / np.sqrt(1 / up + 1 / down)


def separation(some: Num[np.ndarray, " text"], member: Bool[np.ndarray, " text"], none_a: int, none_b: int, top: int = 100) -> float | None:
    """Share of the group among the `top` texts with most of something, minus its share among those with none of it, `none_a` of it.

    None where no text has any, or none lacks it (HypotheSAEs' score, arXiv 2502.04382).
    """
    if not len(some) or not none_a + none_b:
        return None
    strongest = np.argsort(-some, kind="stable")[:top]
    return float(member[strongest].mean() - none_a / (none_a + none_b))


def smallest_detectable(n_a: int, n_b: int, tests: int, share: float = 0.05, power: float = 0.8) -> float:
    """The difference of shares that a test of `tests` finds with probability `power`, the smaller share being `share`.

    By the arcsine transform (Cohen 1988) at the level of the strictest of the tests, ``0.05 / tests``. 1 less `share` at most.
    """
    angle = _angle(share) + _z(tests, power) * np.sqrt(1 / n_a + 1 / n_b)
    return float(np.sin(min(angle, np.pi) / 2) ** 2 - share)


def texts_needed(low: float, high: float, tests: int, power: float = 0.8) -> int:
    """How many texts either group must have for a test of `tests` to find, with probability `power`, that `low` of the one and `high` of
    the other have something; as `smallest_detectable`, the other way round."""
    return math.ceil(2 * (_z(tests, power) / (_angle(high) - _angle(low))) ** 2)


def _angle(share: float) -> float:
    """The arcsine transform of a share: its variance is 1 over the number of texts, whatever the share."""
    return 2 * math.asin(math.sqrt(share))


def _z(tests: int, power: float) -> float:
    """How many standard errors a difference must measure to be found by the strictest of the tests with probability `power`."""
    return float(stats.norm.isf(LEVEL / 2 / max(tests, 1)) + stats.norm.isf(1 - power))


@dataclass(frozen=True)
class Stratified:
    """A difference of shares with something else held fixed."""

    value: Shares
    """Mantel and Haenszel's difference over strata."""
    p: Shares
    """Of the Cochran-Mantel-Haenszel test, without continuity correction; 1 where no stratum has texts of both groups."""


def stratified_difference(
    a: Int[np.ndarray, "stratum column"],
    n_a: Int[np.ndarray, " stratum"],
    b: Int[np.ndarray, "stratum column"],
    n_b: Int[np.ndarray, " stratum"],
) -> Stratified:
    """The difference of shares within strata: of `n_a` and `n_b` texts of each stratum, `a` and `b` have a column."""
    n = (n_a + n_b).astype(float)
    both = (n_a > 0) & (n_b > 0)
    if not both.any():
        return Stratified(np.zeros(a.shape[1]), np.ones(a.shape[1]))
    a, b, n_a, n_b, n = (part[both] for part in (a, b, n_a, n_b, n))
    weight = (n_a * n_b / n)[:, None]
    value = (weight * (a / n_a[:, None] - b / n_b[:, None])).sum(0) / weight.sum()
    had = a + b
    expected = had * (n_a / n)[:, None]
    spread = had * (n[:, None] - had) * (n_a * n_b)[:, None] / (n**2 * np.maximum(n - 1, 1))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        chi = np.where(spread.sum(0) > 0, (a - expected).sum(0) ** 2 / spread.sum(0), 0.0)
    return Stratified(value, stats.chi2.sf(chi, 1))
