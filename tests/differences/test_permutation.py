"""Permutation tests: what a naive twin gives, uniform p values by chance, and power where there is something."""

import numpy as np
import pytest
from scipy import sparse, stats

from hooke.differences.permutation import flip_test, permutation_test


def test_z_is_the_sum_over_its_spread():
    """All ways to deal three units of five out: the mean of the sum is 0 and its spread what z divides by."""
    from itertools import permutations

    totals, sizes = np.array([[3.0], [0], [1], [2], [0]]), np.array([4, 2, 1, 3, 2])
    target = np.array([1.0, 0, 1, 1, 0])
    rest = totals[:, 0] - sizes * totals.sum() / sizes.sum()
    sums = [rest @ np.array(dealt) for dealt in permutations(target)]
    assert np.mean(sums) == pytest.approx(0)
    found = permutation_test(sparse.csr_matrix(totals), sizes, target, seed=0, permutations=10)
    assert found.z[0] == pytest.approx(rest @ target / np.std(sums))


def test_p_values_are_uniform_by_chance_and_the_same_for_a_seed():
    rng = np.random.default_rng(1)
    totals = sparse.csr_matrix(rng.binomial(6, 0.3, (60, 800)))
    sizes, target = np.full(60, 6), np.arange(60) < 25
    found = permutation_test(totals, sizes, target.astype(float), seed=3, permutations=200)
    assert stats.kstest(found.p, "uniform").pvalue > 0.01
    assert np.array_equal(found.p, permutation_test(totals, sizes, target.astype(float), seed=3, permutations=200).p)


def test_a_trend_is_found_among_many_that_are_none():
    rng = np.random.default_rng(4)
    when = rng.permutation(300).astype(float)
    present = (rng.random((300, 400)) < 0.2).astype(int)
    present[:, 7] = rng.random(300) < when / 400
    found = permutation_test(sparse.csr_matrix(present), np.ones(300, int), when, seed=0, permutations=100)
    assert found.p.argmin() == 7
    assert found.p[7] < 1e-4
    assert found.z[7] > 0


def test_turning_whole_units_against_every_way_to_turn_them():
    """Eight units of up to three pairs: z is the sum over its spread, and p the share of all 256 ways that go as far."""
    from itertools import product

    leans = np.array([3.0, 1, 0, 2, -1, 1, 1, 2])
    sums = np.array([np.dot(signs, leans) for signs in product((1, -1), repeat=8)])
    found = flip_test(sparse.csr_matrix(leans[:, None]), seed=0, permutations=20_000)
    assert found.z[0] == pytest.approx(leans.sum() / sums.std())
    assert found.p[0] == pytest.approx((np.abs(sums) >= leans.sum()).mean(), abs=0.005)


def test_units_that_lean_by_chance_have_uniform_p_values():
    leans = np.random.default_rng(2).binomial(9, 0.5, (50, 800)) - 4.5
    found = flip_test(leans, seed=1, permutations=200)
    assert stats.kstest(found.p, "uniform").pvalue > 0.01
