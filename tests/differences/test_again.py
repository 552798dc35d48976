"""The chance that a difference is seen again, held against worlds in which it is seen again, or not."""

import numpy as np
import pytest
from scipy import stats

from hooke.differences.again import chance_again


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_what_is_called_likely_comes_as_often_as_was_said(spread):
    """20,000 differences of which one in five is not 0, seen once; and once more."""
    rng = np.random.default_rng(round(spread))
    true = np.where(rng.random(20_000) < 0.2, rng.normal(0, spread, 20_000), 0.0)
    seen, fresh = true + rng.normal(size=20_000), true + rng.normal(size=20_000)
    again = (stats.norm.sf(np.abs(fresh)) * 2 < 0.04) & (fresh * seen > 0)
    chance = chance_again(2 * stats.norm.sf(np.abs(seen)))
    for low in np.arange(0, 1, 0.1):
        own = (chance >= low) & (chance < low + 0.1)
        if own.sum() >= 300:
            assert again[own].mean() == pytest.approx(chance[own].mean(), abs=4 * 0.5 / np.sqrt(own.sum()))


def test_a_smaller_p_is_likelier_to_come_again_and_luck_is_taken_off():
    rng = np.random.default_rng(0)
    nothing = rng.random(2000)
    chance = chance_again(np.concatenate([nothing, [1e-4, 1e-8, 0.0]]))
    assert chance[-3] < chance[-2] <= chance[-1]
    assert chance[-3] < 0.75  # alone among thousands it is mostly luck, taken at its word it would be 0.97
    assert np.isfinite(chance).all()
    assert chance_again(np.zeros(0)).shape == (0,)
