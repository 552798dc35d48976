"""What an atlas says of features, against brute force over dense matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooke import tiny
from hooke.atlas import BACKGROUND_STEPS
from hooke.atlas.build import Events, background_counts, output_tokens, pooled_max, top_examples
from hooke.codes import Codes


@st.composite
def codes(draw) -> torch.Tensor:
    rows, features = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    values = draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 3.25]), min_size=rows * features, max_size=rows * features))
    return torch.tensor(values).reshape(rows, features)


@settings(max_examples=50, deadline=None)
@given(dense=codes())
def test_events(dense):
    events = Events.of(Codes.from_dense(dense))
    assert len(list(events)) == dense.shape[1]
    for feature, (rows, values) in enumerate(events):
        wanted = dense[:, feature].nonzero()[:, 0]
        np.testing.assert_array_equal(rows, wanted)
        np.testing.assert_array_equal(values, dense[wanted, feature])
    np.testing.assert_array_equal(events.max(), dense.amax(0))


@settings(max_examples=50, deadline=None)
@given(dense=codes(), seed=st.integers(0, 99))
def test_pooled_max_and_background_counts(dense, seed):
    texts = 4
    text = np.sort(np.random.default_rng(seed).integers(0, texts, len(dense)))
    pooled = pooled_max(Codes.from_dense(dense), text, texts)
    for n in range(texts):
        own = dense[torch.from_numpy(text == n)]
        assert torch.equal(pooled[n], own.amax(0) if len(own) else torch.zeros(dense.shape[1]))
    maximum = np.maximum(dense.amax(0).numpy(), 2.0)
    counts = background_counts(pooled, maximum)
    wanted = [
        [sum(float(pooled[n, i]) > step / BACKGROUND_STEPS * maximum[i] for n in range(texts)) for step in range(BACKGROUND_STEPS)]
        for i in range(dense.shape[1])
    ]
    assert counts.tolist() == wanted


def test_a_feature_without_a_maximum_counts_as_reached_wherever_it_fires():
    assert background_counts(torch.tensor([[0.0], [1.0]]), np.zeros(1, np.float32)).tolist() == [[1] * BACKGROUND_STEPS]


def test_top_examples():
    model = tiny.model()
    texts = ["the bank and the loan", "old bank before the match", "profit"]
    encoded = [ids[1:] for ids in model.tokenizer.encode(texts)]
    ids = np.array([token for own in encoded for token in own])
    window = np.repeat(np.arange(3), [len(own) for own in encoded])
    fires = [" bank", " loan", " match"]
    rows = np.array([row for row, token in enumerate(ids) if model.tokenizer.piece(int(token)) in fires])
    values = np.array([5.0, 7.12345, 5.0, 1.0], np.float32)
    found = top_examples(rows, values, window, ids, ["a", "b", "c"], model.tokenizer, 5)
    assert [(e.before, e.peak, e.after, e.activation, e.source) for e in found] == [
        ("the bank and the", " loan", "", 7.123, "a"),
        ("old", " bank", " before the match", 5.0, "b"),
    ]
    assert top_examples(rows, values, window, ids, ["a", "b", "c"], model.tokenizer, 1) == found[:1]
    assert top_examples(rows[:0], values[:0], window, ids, ["a", "b", "c"], model.tokenizer, 5) == []


def test_an_example_stays_in_its_window_and_is_cut_to_what_is_near():
    model = tiny.model()
    (ids,) = model.tokenizer.encode(["the old bank " * 20])
    body = np.array(ids[1:])
    window = np.repeat([0, 1], [30, len(body) - 30])
    (example,) = top_examples(np.array([30]), np.array([1.0]), window, body, ["a", "b"], model.tokenizer, 3)
    assert example.before == ""
    pieces = model.tokenizer.pieces(body.tolist())
    assert example.peak + example.after == "".join(pieces[30:36])
    (example,) = top_examples(np.array([25]), np.array([1.0]), window, body, ["a", "b"], model.tokenizer, 3)
    assert example.before == "".join(pieces[13:25])
    assert example.after == "".join(pieces[26:30])


def test_output_tokens_of_a_planted_unembedding():
    """The head reads what the embedding writes, so a concept's decoder row raises the concept's own words."""
    model, sae = tiny.model(), tiny.sae()
    gain = 1 + model.hf.model.norm.weight.float()
    found = output_tokens(sae, model.hf.get_output_embeddings().weight, gain, model.tokenizer, 6)
    assert len(found) == sae.d_sae
    for index, words in enumerate(tiny.concepts.values()):
        assert {token.strip().lower() for token in found[index]} <= set(words), index
        assert len(set(found[index])) == 6


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_output_tokens_fold_the_gain_and_take_out_the_mean(gain):
    model, sae = tiny.model(), tiny.sae()
    unembedding = torch.randn(len(model.tokenizer), sae.W_dec.shape[1], generator=torch.Generator().manual_seed(0))
    allowed = [
        token
        for token in range(len(unembedding))
        if token not in model.tokenizer.special and any(char.isalnum() for char in model.tokenizer.piece(token))
    ]
    scale = torch.ones(sae.W_dec.shape[1])
    scale[::2] = gain
    matrix = (unembedding * scale)[allowed]
    logits = sae.W_dec[:4] @ (matrix - matrix.mean(0)).T
    found = output_tokens(sae, unembedding + 100, scale, model.tokenizer, 1)
    for index in range(4):
        best = logits[index].topk(3).indices
        assert found[index][0] in [model.tokenizer.piece(allowed[int(i)]) for i in best]  # bfloat16 may swap near equals
