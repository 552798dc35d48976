"""Short texts: how far they drive features, against brute force over dense matrices."""

import numpy as np
import torch
from features.readings import codes_of, made, readings
from hypothesis import given, settings

from hooke.atlas.records import BACKGROUND_STEPS
from hooke.codes import Codes
from hooke.features.background import background_counts, columns, pooled, relative


@settings(max_examples=50, deadline=None)
@given(reading=readings())
def test_pooled_counts_shares_and_columns(reading):
    text, dense = made(reading)
    texts = pooled(codes_of(dense), text.window, text.windows)
    wanted = torch.stack([dense[a:b].amax(0) for a, b in zip(text.start[:-1], text.start[1:], strict=True)])
    assert torch.equal(texts.dense(), wanted)
    maximum = np.maximum(dense.amax(0).numpy(), 2.0)
    counts = [
        [sum(float(row[i]) > np.float32(step / BACKGROUND_STEPS) * maximum[i] for row in wanted) for step in range(BACKGROUND_STEPS)]
        for i in range(dense.shape[1])
    ]
    assert background_counts(texts, maximum).tolist() == counts
    torch.testing.assert_close(relative(texts, maximum).dense(), wanted / torch.from_numpy(maximum))
    for low, high in ((0, dense.shape[1]), (1, dense.shape[1]), (0, 1)):
        assert torch.equal(columns(texts, low, high).dense(), wanted[:, low:high])


def test_a_feature_without_a_maximum_counts_as_reached_wherever_it_fires_and_has_no_share():
    texts, nothing = Codes.from_dense(torch.tensor([[0.0], [1.0]])), np.zeros(1, np.float32)
    assert background_counts(texts, nothing).tolist() == [[1] * BACKGROUND_STEPS]
    assert relative(texts, nothing).dense().tolist() == [[0.0], [0.0]]


def test_a_text_without_any_activation_is_a_row_of_its_own():
    texts = pooled(Codes.from_dense(torch.tensor([[0.0, 1.0], [0.0, 3.0]])), np.array([2, 2]), 4)
    assert texts.dense().tolist() == [[0, 0], [0, 0], [0, 3], [0, 0]]
