"""Examples against a slow reading of their definition."""

import numpy as np
import pytest
import torch
from features.readings import codes_of, long_reading, made, readings
from hypothesis import given, settings

from hooke.atlas.records import INTERVALS
from hooke.features.corpus_tokens import CorpusTokens
from hooke.features.events import Events, drawn
from hooke.features.examples import AFTER, BEFORE, REACH, choose, example_at


def around(text, row):
    window = text.window[row]
    low, high = max(text.start[window], row - BEFORE), min(text.start[window + 1], row + AFTER + 1)
    return row - low, tuple(text.ids[low:high].tolist())


def first_fit(candidates, text, count):
    kept = []
    for row in candidates:
        home = text.document[text.window[row]]
        if sum(text.document[text.window[k]] == home for k in kept) < 2 and around(text, row) not in [around(text, k) for k in kept]:
            kept.append(row)
    return kept[:count]


def by_hand(text, column, top, per_interval):
    peaks = []
    for window in range(text.windows):
        own = column[text.start[window] : text.start[window + 1]]
        if own.max() > 0:
            peaks.append(int(text.start[window] + own.argmax()))
    strongest = first_fit(sorted(peaks, key=lambda row: (-column[row], row)), text, top)
    spread = []
    for part in range(INTERVALS):
        own = [r for r in peaks if min(int(np.float64(column[r]) / column.max() * INTERVALS), INTERVALS - 1) == part and r not in strongest]
        spread.append(first_fit(sorted(own, key=lambda row: int(drawn(row, 0))), text, per_interval))
    return strongest, spread


def compare(text, dense, top, per_interval, workers=1):
    found, spread = choose(Events.of(codes_of(dense)), text, top, per_interval, workers)
    for i in range(dense.shape[1]):
        wanted = by_hand(text, dense[:, i].numpy(), top, per_interval)
        assert [row for row in found[i].tolist() if row >= 0] == wanted[0]
        assert [[row for row in part if row >= 0] for part in spread[i].tolist()] == wanted[1]


@settings(max_examples=60, deadline=None)
@given(reading=readings())
def test_examples_are_those_of_the_definition(reading):
    compare(*made(reading), top=3, per_interval=2)


@pytest.mark.parametrize("workers", [1, 4])
def test_on_a_longer_text(workers):
    compare(*long_reading(1), top=20, per_interval=4, workers=workers)


@pytest.mark.parametrize(("top", "per_interval"), [(2, 1), (5, 2), (50, 8)])
def test_of_many_windows_the_first_are_found_without_sorting_all(top, per_interval):
    compare(*long_reading(3, windows=500, features=4), top=top, per_interval=per_interval)


def test_where_the_strongest_are_of_one_document_others_are_looked_for():
    text, _ = long_reading(4, windows=300, features=2)
    table = np.stack([text.corpus, np.sort(text.doc), text.offset, np.diff(text.start)], 1)
    falling = torch.linspace(9, 1, len(text))[:, None].expand(-1, 2).contiguous()
    compare(CorpusTokens(text.ids, table, ("a", "b")), falling, top=12, per_interval=2)


@settings(max_examples=30, deadline=None)
@given(reading=readings())
def test_an_example_says_where_in_its_window_the_feature_fired(reading):
    text, dense = made(reading)
    for i, (rows, values) in enumerate(Events.of(codes_of(dense))):
        for row in rows:
            example = example_at(int(row), rows, values, text)
            tokens = text.tokens_of(example.window)
            assert tokens[example.peak] == text.ids[row]
            own = dense[text.start[example.window] : text.start[example.window + 1], i].numpy()
            np.testing.assert_array_equal(example.at, np.flatnonzero(own))
            np.testing.assert_array_equal(example.values, own[example.at])


def test_activations_far_from_the_peak_are_left_out():
    text, dense = long_reading(2)
    dense[:] = 1
    window = int(np.argmax(np.diff(text.start)))
    rows = np.arange(len(text))
    row = int(text.start[window]) + 40
    example = example_at(row, rows, dense[:, 0].numpy(), text)
    assert (example.peak, example.at.min(), example.at.max()) == (40, 40 - REACH, min(40 + REACH, len(text.tokens_of(window)) - 1))
