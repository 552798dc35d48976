"""Statistics of features against brute force over dense matrices."""

from collections import Counter

import numpy as np
import pytest
from features.readings import codes_of, long_reading, made, readings
from hypothesis import given, settings

from hooke.atlas.records import HISTOGRAM_BINS, QUANTILES
from hooke.features.events import Events
from hooke.features.statistics import TOKENS, statistics


def by_hand(text, dense, i):
    """What should be said of feature `i`."""
    column = dense[:, i].numpy()
    rows = np.flatnonzero(column)
    values = column[rows].astype(np.float64)
    doc = text.document[text.window]
    mass, count = Counter(), Counter()
    for row in rows:
        mass[int(text.ids[row])] += float(column[row])
        count[int(text.ids[row])] += 1
    ranked = sorted(mass, key=lambda token: (-mass[token], token))
    total = sum(mass.values())
    met = sorted(set(doc[rows]))
    everywhere, extra = Counter(text.ids.tolist()), 0.01 * len(set(text.ids.tolist()))
    return {
        "count": len(rows),
        "max": values.max(initial=0),
        "mean": values.mean() if len(rows) else 0,
        "quantiles": np.quantile(values, QUANTILES).astype(np.float32) if len(rows) else np.zeros(len(QUANTILES)),
        "histogram": np.histogram(values, HISTOGRAM_BINS, (0, values.max()))[0] if len(rows) else np.zeros(HISTOGRAM_BINS),
        "documents": len(met),
        "persistence": np.mean([(doc[rows] == d).sum() / (doc == d).sum() for d in met]) if met else 0,
        "commonest": max(count.values(), default=0) / max(1, len(rows)),
        "purity": [sum(mass[t] for t in ranked[:n]) / total if total else 0 for n in (1, 5, 20)],
        "tokens": [
            (t, count[t], mass[t] / total, np.log((count[t] + 0.01) / (len(rows) + extra) / ((everywhere[t] + 0.01) / (len(text) + extra))))
            for t in ranked[:TOKENS]
        ],
    }


def compare(text, dense, found):
    for i in range(dense.shape[1]):
        wanted = by_hand(text, dense, i)
        tokens = wanted.pop("tokens")
        for name, value in wanted.items():
            got = getattr(found, name)[i]
            if name in ("count", "max", "histogram", "documents"):
                np.testing.assert_array_equal(got, np.float32(value) if name == "max" else value, err_msg=name)
            else:
                np.testing.assert_allclose(got, value, rtol=1e-6, atol=1e-12, err_msg=name)
        listed = [(t.token, t.count, t.share, t.enrichment) for t in found.tokens(i)]
        assert sorted(row[:2] for row in listed) == sorted(row[:2] for row in tokens) or len(tokens) == TOKENS
        np.testing.assert_allclose([row[2:] for row in listed], [row[2:] for row in tokens], rtol=1e-5, atol=1e-9)
        assert found.histogram[i].sum() == found.count[i]


@settings(max_examples=60, deadline=None)
@given(reading=readings())
def test_statistics_are_those_of_brute_force(reading):
    text, dense = made(reading)
    compare(text, dense, statistics(Events.of(codes_of(dense)), text))


@pytest.mark.parametrize("seed", range(3))
def test_on_a_longer_text_and_for_any_number_of_workers(seed):
    text, dense = long_reading(seed)
    events = Events.of(codes_of(dense))
    alone = statistics(events, text)
    compare(text, dense, alone)
    for workers in (2, 5):
        shared = statistics(events, text, workers)
        for name in vars(alone):
            np.testing.assert_array_equal(getattr(alone, name), getattr(shared, name), err_msg=name)


@settings(max_examples=40, deadline=None)
@given(reading=readings())
def test_events_are_the_codes_by_feature(reading):
    _, dense = made(reading)
    events = Events.of(codes_of(dense))
    assert len(events) == dense.shape[1] == len(list(events))
    for feature, (rows, values) in enumerate(events):
        wanted = dense[:, feature].nonzero()[:, 0]
        np.testing.assert_array_equal(rows, wanted)
        np.testing.assert_array_equal(values, dense[wanted, feature])
        np.testing.assert_array_equal(events[feature][0], rows)
    np.testing.assert_array_equal(events.max(), dense.amax(0))
