"""Neighbours, features that fire together, and the logit lens, against dense arithmetic."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from features.readings import codes_of, long_reading, made, readings
from hypothesis import given, settings

from hooke import tiny
from hooke.features import neighbours
from hooke.features.neighbours import LogitLens, decoder_neighbours, logit_lens, stride_for, together


@pytest.mark.parametrize("cells", [64, 1 << 24])
def test_decoder_neighbours(monkeypatch, cells):
    monkeypatch.setattr(neighbours, "_CELLS", cells)
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    rows[7] = 0
    found = decoder_neighbours(rows, 5)
    cosine = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1).fill_diagonal_(-2)
    for i in range(30):
        assert [j for j, _ in found.of(i)] == cosine[i].topk(5).indices.tolist() or i == 7
        np.testing.assert_allclose([v for _, v in found.of(i)], cosine[i].topk(5).values, atol=1e-6)


def test_fewer_features_than_neighbours():
    assert decoder_neighbours(torch.eye(2), 10).of(0) == [(1, 0.0)]


def jaccard(dense, density, count):
    fires = dense.numpy() > 0
    allowed = [1e-6 <= d <= 0.1 for d in density]
    out = []
    for i in range(fires.shape[1]):
        found = []
        for j in range(fires.shape[1]):
            both = (fires[:, i] & fires[:, j]).sum()
            if i != j and allowed[i] and allowed[j] and both >= 2:
                found.append((j, both / (fires[:, i] | fires[:, j]).sum()))
        out.append(sorted(found, key=lambda pair: (-pair[1], pair[0]))[:count])
    return out


@settings(max_examples=50, deadline=None)
@given(reading=readings())
def test_together(reading):
    _, dense = made(reading)
    density = np.where(np.arange(dense.shape[1]) == 2, 0.5, 0.05)
    for workers in (1, 3):
        found = together(codes_of(dense), density, 3, workers)
        for i, wanted in enumerate(jaccard(dense, density, 3)):
            assert [j for j, _ in found.of(i)] == [j for j, _ in wanted]
            np.testing.assert_allclose([v for _, v in found.of(i)], [v for _, v in wanted], rtol=1e-6)


def test_the_work_of_looking_for_pairs_stays_within_bounds():
    assert stride_for(np.array([50, 50]), 100) == 1
    for tokens in (10**6, 10**8):
        counts = np.full(4096, 50 * tokens // 4096)
        assert tokens / stride_for(counts, tokens) * 50 * 50 <= 1.01 * (1 << 29)
    assert stride_for(np.zeros(3), 0) == 1


@pytest.mark.parametrize(("tokens", "features"), [(1 << 13, 2048), (200, 20), (7, 3)])
def test_logit_lens_folds_the_gain_and_takes_out_the_mean(tokens, features, monkeypatch):
    """However few tokens and features are looked at together."""
    monkeypatch.setattr(neighbours, "_ROWS", tokens)
    monkeypatch.setattr(neighbours, "_FEATURES", features)
    monkeypatch.setattr(neighbours, "_CELLS", 5 * tokens)
    generator = torch.Generator().manual_seed(0)
    unembedding, gain = torch.randn(300, 8, generator=generator) + 2, torch.rand(8, generator=generator)
    shown = torch.arange(300) % 3 > 0
    rows = torch.randn(20, 8, generator=generator)
    for centred in (False, True):
        source = rows - rows.mean(1, keepdim=True) if centred else rows
        logits = (source * gain) @ unembedding[shown].T
        logits = logits - logits.mean(1, keepdim=True)
        raised, lowered = LogitLens(unembedding, gain, centred, shown).ends(rows, 5)
        token = shown.nonzero()[:, 0]
        for i in range(20):
            for found, best in ((raised, logits[i].topk(5)), (lowered, (-logits[i]).topk(5))):
                assert [t for t, _ in found.of(i)] == token[best.indices].tolist()
                np.testing.assert_allclose([v for _, v in found.of(i)], logits[i][best.indices], atol=1e-4)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=5), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=60)
def test_the_most_extreme_columns_are_those_of_sorting(widths, count, seed):
    """Columns come in parts, and many are equal: the first of equals is taken."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.integers(-4, 5, (3, sum(widths) + count)) / 2).bfloat16()
    values[1] *= 1e30
    found, at = neighbours._Extremes(3, count), 0
    for part in values.split([count, *widths], 1):
        for first, rows in ((0, slice(0, 1)), (1, slice(1, 3))):
            found.add(part[rows].contiguous().view(torch.int16).numpy(), first, at)
        at += part.shape[1]
    for places, sign in zip(found.places(), (-1, 1), strict=True):
        expected = np.sort(np.argsort(sign * values.float().numpy(), 1, kind="stable")[:, :count], 1)
        np.testing.assert_array_equal(places, expected)


def test_logit_lens_of_a_planted_unembedding():
    """The head reads what the embedding writes, so a concept's decoder row raises the concept's own words, and nothing special."""
    model, sae = tiny.model(), tiny.sae()
    lens = logit_lens(model)
    torch.testing.assert_close(lens.gain, 1 + model.hf.model.norm.weight.float())
    assert not lens.centred
    assert not any(lens.shown[i] for i in model.tokenizer.special)
    raised, _ = lens.ends(sae.W_dec, 6)
    for index, words in enumerate(tiny.concepts.values()):
        assert {model.tokenizer.piece(token).strip().lower() for token, _ in raised.of(index)} <= set(words)


def test_a_norm_that_takes_out_the_mean_is_seen():
    model = tiny.model()
    norm = torch.nn.LayerNorm(tiny.D_MODEL)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    torch.nn.init.uniform_(norm.bias)
    model.hf.model.norm = norm
    lens = logit_lens(model)
    torch.testing.assert_close(lens.gain, norm.weight.detach(), atol=1e-4, rtol=1e-4)
    assert lens.centred


def test_many_features_fire_together_in_a_longer_text():
    _, dense = long_reading(4)
    density = (dense > 0).float().mean(0).numpy()
    found = together(codes_of(dense), density, 10)
    for i, wanted in enumerate(jaccard(dense, density, 10)):
        assert [j for j, _ in found.of(i)] == [j for j, _ in wanted]
