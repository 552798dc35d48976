"""Cosines against all pairs at once; random directions lie as far apart as they should."""

from dataclasses import replace

import pytest
import torch

from hooke import tiny
from hooke.evals.geometry import geometry, nearest
from hooke.sae import Sae, SaeFacts


def test_nearest_is_the_largest_of_all_cosines(monkeypatch):
    monkeypatch.setattr("hooke.evals.geometry._VALUES", 100)
    rows = torch.randn(40, 7) * torch.rand(40, 1)
    unit = rows / rows.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    off = cosines - 2 * torch.eye(40)
    largest, mean = nearest(rows)
    torch.testing.assert_close(largest, off.amax(1).double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mean, ((cosines.abs().sum(1) - 1) / 39).double(), rtol=1e-4, atol=1e-5)


def test_what_was_planted():
    found = geometry(tiny.sae())
    # Directions 9 to 54 come in pairs of opposite sign, the rest are orthogonal or nothing at all.
    assert found["decoder_max_cosine"].value == pytest.approx(0, abs=1e-6)
    assert found["near_duplicate_share"].value == 0
    assert found["decoder_max_cosine_random"].low > 0.2


def test_random_directions_are_their_own_baseline():
    rows = torch.nn.functional.normalize(torch.randn(3000, 200), dim=1)
    facts = SaeFacts("x/resid_post.0/a", "x")
    sae = Sae(rows.T.contiguous(), torch.zeros(3000), rows, torch.zeros(200), torch.zeros(3000), facts)
    found = geometry(sae)
    assert found["decoder_max_cosine"].value == pytest.approx(found["decoder_max_cosine_random"].value, rel=0.01)
    assert found["decoder_max_cosine"].value == pytest.approx(found["decoder_max_cosine_asymptotic"].value, rel=0.15)
    assert found["encoder_decoder_cosine"].value == pytest.approx(1)
    doubled = replace(sae, W_dec=torch.cat([rows[:1500], rows[:1500]]))
    assert geometry(doubled)["near_duplicate_share"].value == 1


def test_a_wide_sae_is_sampled(monkeypatch):
    monkeypatch.setattr("hooke.evals.geometry._MAX_ROWS", 10)
    found = geometry(tiny.sae())
    assert found["decoder_max_cosine"].low is not None
