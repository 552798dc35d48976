"""Resamples are a bootstrap of windows, do not depend on how batches are cut, and give intervals that hold what they promise."""

import numpy as np
import pytest
import torch

from hooke.evals.sums import RESAMPLES, Figure, Sums, by_window, plain, resampling


def test_a_windows_weights_depend_on_the_seed_and_its_number_alone():
    together, apart = resampling(range(7), 3), torch.cat([resampling([i], 3) for i in range(7)], 1)
    assert torch.equal(together, apart)
    assert together.shape == (RESAMPLES + 1, 7)
    assert bool((together[0] == 1).all())
    assert not torch.equal(together, resampling(range(7), 4))


def test_weights_are_counts_with_mean_and_variance_one():
    weights = resampling(range(2000), 0)[1:]
    assert bool((weights == weights.round()).all())
    assert float(weights.mean()) == pytest.approx(1, abs=0.01)
    assert float(weights.var()) == pytest.approx(1, abs=0.02)


def test_by_window_is_a_sum_over_each_windows_tokens():
    values, window = torch.randn(50, 3), torch.randint(5, (50,))
    naive = torch.stack([values[window == i].double().sum(0) for i in range(5)])
    torch.testing.assert_close(by_window(values, window, 5), naive)


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        sums, values = Sums(), torch.from_numpy(rng.gamma(2.0, size=80))
        sums.add(resampling(range(80), trial), "x", torch.stack([values, torch.ones(80, dtype=torch.float64)], 1))
        figure = Figure.of(sums["x"][:, 0] / sums["x"][:, 1])
        assert figure.value == pytest.approx(float(values.mean()))
        hits += figure.low <= 2.0 <= figure.high
    assert 0.88 <= hits / 200 <= 0.99


def test_sums_come_back_from_their_state():
    sums, other = Sums(), Sums()
    sums.add(resampling([0, 1], 0), "x", torch.tensor([[1.0], [2.0]], dtype=torch.float64))
    other.restore("here", sums.state("here") | {"elsewhere|x": torch.zeros(1)})
    assert torch.equal(other["x"], sums["x"])


def test_what_is_not_defined_is_null():
    figures = {"nan": Figure.of(torch.full((3,), torch.nan)), "alone": Figure.of(torch.tensor([2.0]))}
    assert plain(figures) == {
        "nan": {"value": None, "low": None, "high": None},
        "alone": {"value": 2.0, "low": None, "high": None},
    }
