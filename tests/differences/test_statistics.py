"""Statistics of differences equal scipy's and statsmodels' on generated data, and keep to their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable, mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportion_effectsize

from hooke.differences import statistics as ours

CLOSE = 1e-9


@pytest.fixture
def counts():
    """Texts of two groups, 80 and 150, that have each of 40 things; some none, some all."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 81, 40), rng.integers(0, 151, 40)
    a[:3], b[:3] = (0, 80, 5), (0, 150, 0)
    return a, 80, b, 150


def test_wilson_and_newcombe(counts):
    a, n_a, b, n_b = counts
    found, gap = ours.wilson(a, n_a), ours.difference(a, n_a, b, n_b)
    for i in range(len(a)):
        assert (found.low[i], found.high[i]) == pytest.approx(proportion_confint(a[i], n_a, method="wilson"), abs=CLOSE)
        expected = confint_proportions_2indep(a[i], n_a, b[i], n_b, compare="diff", method="newcomb")
        assert (gap.low[i], gap.high[i]) == pytest.approx(expected, abs=CLOSE)


def test_fisher_is_twice_the_smaller_tail(counts):
    a, n_a, b, n_b = counts
    for p, x, y in zip(ours.fisher(a, n_a, b, n_b), a, b, strict=True):
        table = [[x, n_a - x], [y, n_b - y]]
        tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert p == pytest.approx(min(1, 2 * min(tails)), rel=1e-7, abs=CLOSE)


def test_sign_test_is_mcnemars(counts):
    up, down = counts[0], counts[2]
    for p, x, y in zip(ours.sign_test(up, down), up, down, strict=True):
        assert p == pytest.approx(mcnemar([[0, x], [y, 0]], exact=True).pvalue if x + y else 1, abs=CLOSE)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_q_values(p):
    expected = multipletests(p, method="fdr_bh")[1]
    assert ours.q_values(np.array(p)) == pytest.approx(expected, abs=CLOSE)


@given(st.lists(st.integers(0, 6), min_size=4, max_size=60), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_auc_is_mann_whitneys(values, seed):
    values = np.array(values, float)
    member = np.random.default_rng(seed).permutation(np.arange(len(values)) < len(values) // 2)
    u = stats.mannwhitneyu(values[member], values[~member]).statistic
    found = ours.auc(values, member)
    assert found.value == pytest.approx(u / (member.sum() * (~member).sum()), abs=CLOSE)
    assert 0 <= found.low <= found.value <= found.high <= 1
    some, none = values > 0, values == 0
    alone = ours.area(values[some], member[some], int((member & none).sum()), int((~member & none).sum()))
    assert alone == pytest.approx(found.value, abs=CLOSE)
    turned = ours.auc(-values, member)
    assert (turned.value, turned.low, turned.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low), abs=CLOSE)


def test_delongs_variance_is_the_sum_over_pairs():
    rng = np.random.default_rng(2)
    values, member = rng.integers(0, 5, 50).astype(float), np.arange(50) < 20
    wins = (values[member][:, None] > values[~member]) + (values[member][:, None] == values[~member]) / 2
    variance = wins.mean(1).var(ddof=1) / 20 + wins.mean(0).var(ddof=1) / 30
    area = wins.mean()
    half = 1.959963984540054 * np.sqrt(variance) / (area * (1 - area))
    ends = [1 / (1 + np.exp(-(np.log(area / (1 - area)) + side * half))) for side in (-1, 1)]
    found = ours.auc(values, member)
    assert (found.value, found.low, found.high) == pytest.approx((area, *ends), abs=CLOSE)


def test_log_odds_by_hand_and_shrinking():
    a, b, prior = np.array([10.0, 0.0, 90.0]), np.array([10.0, 5.0, 185.0]), np.array([2.0, 1.0, 20.0])
    odds, z = ours.log_odds(a, b, prior)
    up, down = 12 / (100 + 23 - 12), 12 / (200 + 23 - 12)
    assert odds[0] == pytest.approx(np.log(up / down), abs=CLOSE)
    assert z[0] == pytest.approx(np.log(up / down) / np.sqrt(1 / 12 + 1 / 12), abs=CLOSE)
    strong, _ = ours.log_odds(a, b, 1000 * prior)
    assert np.all(np.abs(strong) < np.abs(odds) + CLOSE)  # a strong prior leaves little
    assert ours.log_odds(b, a, prior)[0] == pytest.approx(-odds, abs=CLOSE)


def test_log_odds_of_a_single_word_are_none():
    odds, z = ours.log_odds(np.array([7.0]), np.array([0.0]), np.array([1000.0]))
    assert (odds.tolist(), z.tolist()) == ([0.0], [0.0])


def test_separation_compares_the_strongest_with_those_without():
    values, member = np.array([0.0, 0, 0, 0, 1, 2, 3, 4]), np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)
    assert ours.separation(values[4:], member[4:], 1, 3, top=2) == pytest.approx(1 - 0.25)
    assert ours.separation(np.ones(8), member, 0, 0) is None


def test_smallest_detectable_has_the_power_it_says():
    gap = ours.smallest_detectable(120, 200, tests=50, share=0.1)
    effect = proportion_effectsize(0.1 + gap, 0.1)
    assert NormalIndPower().power(effect, 120, 0.05 / 50, ratio=200 / 120) == pytest.approx(0.8, abs=1e-6)
    assert ours.smallest_detectable(240, 400, 50, 0.1) < gap < ours.smallest_detectable(120, 200, 5000, 0.1)
    assert ours.smallest_detectable(2, 2, 5000, 0.1) == pytest.approx(0.9)


def test_texts_needed_are_just_enough():
    for low, high, tests in ((0.05, 0.2, 4000), (0.05, 0.5, 4000), (0.3, 0.4, 10)):
        n = ours.texts_needed(low, high, tests)
        assert ours.smallest_detectable(n, n, tests, low) <= high - low < ours.smallest_detectable(n - 1, n - 1, tests, low)
        power = NormalIndPower().power(proportion_effectsize(high, low), n, 0.05 / tests)
        assert 0.8 <= power < 0.83


def test_stratified_difference_is_cochran_mantel_haenszels():
    rng = np.random.default_rng(8)
    n_a, n_b = rng.integers(10, 60, 4), rng.integers(10, 60, 4)
    a, b = rng.binomial(n_a, 0.4)[:, None], rng.binomial(n_b, 0.3)[:, None]
    tables = [np.array([[x, n - x], [y, m - y]]) for x, n, y, m in zip(a[:, 0], n_a, b[:, 0], n_b, strict=True)]
    found = ours.stratified_difference(a, n_a, b, n_b)
    assert found.p[0] == pytest.approx(StratifiedTable(tables).test_null_odds(correction=False).pvalue, abs=CLOSE)
    weight = n_a * n_b / (n_a + n_b)
    assert found.value[0] == pytest.approx(np.average(a[:, 0] / n_a - b[:, 0] / n_b, weights=weight), abs=CLOSE)
    apart = ours.stratified_difference(np.array([[9], [0]]), np.array([10, 0]), np.array([[0], [2]]), np.array([0, 10]))
    assert (apart.value[0], apart.p[0]) == (0, 1)  # no stratum has both


def test_a_difference_that_strata_explain_goes_away():
    """Simpson: long texts have it, and one group's are long; within a class of length nothing differs."""
    n_a, n_b = np.array([90, 10]), np.array([10, 90])
    found = ours.stratified_difference(np.array([[81], [1]]), n_a, np.array([[9], [9]]), n_b)
    assert ours.fisher(np.array([82]), 100, np.array([18]), 100)[0] < 1e-9
    assert found.value[0] == pytest.approx(0)
    assert found.p[0] > 0.5


def coverage(draw, truth: float, runs: int = 400) -> float:
    inside = 0
    for seed in range(runs):
        found = draw(np.random.default_rng(seed))
        inside += found.low[0] <= truth <= found.high[0]
    return inside / runs


def test_intervals_hold_the_truth_as_often_as_they_say():
    def texts(rng):
        return ours.difference(rng.binomial(90, [0.3]), 90, rng.binomial(140, [0.15]), 140)

    def pairs(rng):
        up, down, _ = rng.multinomial(150, [0.2, 0.1, 0.7])
        return ours.paired_difference(np.array([up]), np.array([down]), 150)

    def families(rng):
        sizes = [rng.integers(2, 12, 40) for _ in range(2)]
        shares = [rng.beta(2 * p, 2 * (1 - p), 40) for p in (0.4, 0.2)]
        a, b = (rng.binomial(n, p)[:, None] for n, p in zip(sizes, shares, strict=True))
        return ours.clustered_difference(a, sizes[0], b, sizes[1])

    def pairs_in_families(rng):
        sizes = rng.integers(1, 8, 40)
        share = rng.dirichlet([0.8, 0.4, 2.8], 40)  # some families differ more than others
        up, down, _ = np.array([rng.multinomial(n, own) for n, own in zip(sizes, share, strict=True)]).T
        return ours.clustered_paired_difference(up[:, None], down[:, None], sizes)

    for draw, truth in ((texts, 0.15), (pairs, 0.1), (families, 0.2), (pairs_in_families, 0.1)):
        assert 0.92 <= coverage(draw, truth) <= 0.98


def test_families_that_agree_make_an_interval_wider():
    sizes = np.full(10, 8)
    alike = ours.clustered_difference(np.repeat([[8], [0]], 5, 0), sizes, np.repeat([[8], [0]], [2, 8], 0), sizes)
    texts = ours.difference(np.array([40]), 80, np.array([16]), 80)
    assert alike.value[0] == pytest.approx(texts.value[0])
    assert alike.high[0] - alike.low[0] > 2 * (texts.high[0] - texts.low[0])


def test_pairs_that_agree_make_an_interval_wider_and_single_ones_do_not():
    up, down = np.repeat([1, 0], [6, 34])[:, None], np.repeat([0, 1, 0], [6, 2, 32])[:, None]
    ones = np.ones(40, int)
    plain, alone = ours.paired_difference(up.sum(0), down.sum(0), 40), ours.clustered_paired_difference(up, down, ones)
    assert alone.value[0] == pytest.approx(plain.value[0])
    assert alone.high[0] - alone.low[0] == pytest.approx(plain.high[0] - plain.low[0], rel=0.05)
    told = ours.clustered_paired_difference(np.array([[6], [0], [0], [0]]), np.array([[0], [2], [0], [0]]), np.full(4, 10))
    assert told.high[0] - told.low[0] > 1.5 * (plain.high[0] - plain.low[0])
    nothing = ours.clustered_paired_difference(np.zeros((4, 1), int), np.zeros((4, 1), int), np.full(4, 10))
    assert nothing.low[0] < 0 < nothing.high[0]
