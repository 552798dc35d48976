"""Monitors on the planted model: the planted kind is caught, false alarms keep to what was set, the file is data."""

import json
from dataclasses import replace

import numpy as np
import planted
import pytest
from piles import pile

from hooke import tiny
from hooke.analysis import Options, Reader
from hooke.differences.grouping import group, piles
from hooke.errors import BadConfig, BadFile, DigestMismatch, UnknownName
from hooke.monitors import Drift, Monitor, Scorer, labelled, make_monitor, watch
from hooke.monitors import _threshold as threshold
from hooke.text.intake import Record

SPORT = list(tiny.concepts).index("sport")


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    path = planted.write(tmp_path_factory.mktemp("atlas") / "atlas.sqlite", [tiny.sae()])
    return Reader(tiny.model(), [tiny.sae()], Options(), atlas=path)


@pytest.fixture(scope="module")
def made(reader) -> Monitor:
    grouped = group(piles([pile("sport", 120, 1.0, 1), pile("sport", 160, 0.0, 2)], ["sport", "rest"], "kind"), "kind")
    return make_monitor(reader, grouped, "sport", rate=0.1, features=2)


def test_what_was_planted_is_caught_by_its_feature(made):
    features, probe = made.scorers
    assert SPORT in features.columns
    for scorer in (features, probe):
        assert scorer.figures["caught"][0] > 0.9
        assert scorer.figures["false_alarms"][1] <= 0.1
    assert made.words_auc[0] > 0.5


def test_it_says_the_same_of_fresh_texts_and_of_none(reader, made):
    texts = [*pile("sport", 30, 1.0, 7), *pile("sport", 30, 0.0, 8)]
    drift = Drift(made)
    raised = list(watch(reader, made, texts, drift))
    alarms = np.array([one.alarm["features"] for one in raised])
    assert alarms[:30].mean() > 0.9
    assert alarms[30:].mean() <= 0.3
    assert raised[0].because[0] == SPORT
    report = drift.report()
    assert report["texts"] == 60
    assert report["alarms"]["features"] == pytest.approx(alarms.mean())
    assert Drift(made).report() == {"texts": 0}


@pytest.mark.parametrize("sae", [tiny.sae(), replace(tiny.sae(), facts=replace(tiny.sae().facts, activation="topk", k=3))])
def test_what_a_monitor_measures_is_what_a_whole_reading_finds(sae):
    reader = Reader(tiny.model(), [sae], Options(chunk=7))
    texts = ["", "goal", *pile("sport", 20, 0.6, 3), "the old goal in the new league " * 300]
    columns = [SPORT, 3, 40]
    for glance, measured in zip(reader.glance(texts), reader.measure(texts, columns), strict=True):
        (own,) = glance.fired or [None]
        known = {} if own is None else dict(zip(own.feature.tolist(), own.pooled.tolist(), strict=True))
        assert measured.tokens == glance.tokens
        assert measured.values == pytest.approx([known.get(column, 0.0) for column in columns], abs=1e-5)
        assert measured.acts == pytest.approx(glance.acts, abs=1e-5)


def test_a_text_scores_the_same_whatever_it_is_read_with(made, reader):
    texts = [*pile("sport", 12, 0.5, 5), "goal", "the old goal in the new league " * 40]
    scores, measured = [], []
    for chunk in (1, 5, 32):
        own = Reader(tiny.model(), [tiny.sae()], replace(reader.options, chunk=chunk), atlas=None)
        scores.append([one.score for one in watch(own, made, texts, Drift(made))])
        measured.append(np.stack([np.concatenate([one.values, one.acts]) for one in own.measure(texts, [SPORT, 3])]))
    assert scores[0] == scores[1] == scores[2]
    np.testing.assert_allclose(measured[0], measured[2], atol=1e-5)


def test_unlike_texts_are_drift(reader, made):
    drift = Drift(made)
    list(watch(reader, made, ["goal match team league " * 6] * 20, drift))
    assert drift.report()["shift"]["tokens"] > 3
    assert drift.report()["shift"]["features"] is None  # nothing raised no alarm


@pytest.mark.parametrize("of_the_kind", [0, 30, 120])
def test_more_of_the_kind_is_no_drift(reader, made, of_the_kind):
    drift = Drift(made)
    list(watch(reader, made, [*pile("sport", 60, 0.0, 8), *pile("sport", of_the_kind or 1, 1.0, 7)], drift))
    shift = drift.report()["shift"]
    assert {name: abs(shift[name]) < 1 for name in ("features", "probe")} == {"features": True, "probe": True}


def test_other_texts_without_an_alarm_are_drift_of_the_score(reader, made):
    probe = made.scorers[1]
    low = Scorer(probe.name, [], probe.weights, probe.offset - 30, probe.threshold, probe.figures)  # a stream that scores lower throughout
    drift = Drift(replace(made, scorers=[made.scorers[0], low]))
    list(watch(reader, replace(made, scorers=[made.scorers[0], low]), pile("sport", 60, 0.0, 8), drift))
    assert drift.report()["shift"]["probe"] < -1


def test_a_mistyped_field_of_kinds_is_named_with_what_was_likely_meant():
    texts = [Record.of("a text", {"desk": "sport"})] * 3
    with pytest.raises(UnknownName, match="Did you mean 'desk'"):
        labelled(texts, "desc", "sport")


def test_a_file_is_written_and_read_back(made, tmp_path):
    made.save(tmp_path / "m.json")
    assert Monitor.load(tmp_path / "m.json") == made


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "hooke-monitor-1"}', '{"format": "hooke-monitor-1", "scorers": [{"name": 1}]}']
)
def test_what_is_no_monitor_is_refused(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(BadFile):
        Monitor.load(tmp_path / "odd.json")


def test_a_weight_that_is_no_number(made, tmp_path):
    made.save(tmp_path / "m.json")
    found = json.loads((tmp_path / "m.json").read_text())
    found["scorers"][0]["weights"][0] = "1"
    (tmp_path / "m.json").write_text(json.dumps(found))
    with pytest.raises(BadFile, match=r"no number|is no monitor"):
        Monitor.load(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m.update(scorers=[]), "no scorers"),
        (lambda m: m["scorers"][0]["columns"].__setitem__(0, "a"), "do not match"),
        (lambda m: m["scorers"][0]["columns"].__setitem__(0, -1), "do not match"),
        (lambda m: m["scorers"][0]["weights"].pop(), "do not match"),
        (lambda m: m["scorers"][0].update(threshold=None), "no number"),
        (lambda m: m.update(usual={}), "what texts are usual"),
        (lambda m: m["usual"].update(tokens=[1]), "is no number"),
        (lambda m: m.update(rate=float("nan")), "is no number"),
        (lambda m: m.update(model=3), "is no text"),
    ],
)
def test_a_damaged_monitor_is_refused(made, tmp_path, spoil, said):
    made.save(tmp_path / "m.json")
    found = json.loads((tmp_path / "m.json").read_text())
    spoil(found)
    (tmp_path / "m.json").write_text(json.dumps(found))
    with pytest.raises(BadFile, match=rf"{said}|is no monitor"):  # types are checked before, in tests
        Monitor.load(tmp_path / "m.json")


def test_a_monitor_whose_weights_do_not_fit_the_sae_is_refused(made, reader):
    features, probe = made.scorers
    for bad in (replace(features, columns=[*features.columns[1:], 64]), replace(probe, weights=probe.weights[1:])):
        with pytest.raises(BadFile, match="do not fit"):
            list(watch(reader, replace(made, scorers=[bad]), ["goal"], Drift(made)))


def test_all_other_labels_are_the_other_kind():
    texts = [Record.of(f"text {n}", {"kind": ["sport", 3, ["a"], ["sport", "b"], None][n % 5]}) for n in range(100)]
    grouped = labelled(texts, "kind", "sport")
    assert sorted(grouped.names) == ["not sport", "sport"]
    assert np.bincount(grouped.group).tolist() == [40, 20]
    with pytest.raises(UnknownName, match="Did you mean 'sport'"):
        labelled(texts, "kind", "spot")


def test_another_sae_is_refused(made):
    other = Reader(tiny.model(), [replace(tiny.sae(), b_dec=tiny.sae().b_dec + 1e-3)], Options())
    with pytest.raises(DigestMismatch, match="has other weights"):
        list(watch(other, made, ["goal"], Drift(made)))


def test_too_few_texts(reader):
    grouped = group(piles([pile("sport", 20, 1.0, 1), pile("sport", 160, 0.0, 2)], ["sport", "rest"], "kind"), "kind")
    with pytest.raises(BadConfig, match="there are 20 and 160"):
        make_monitor(reader, grouped, "sport")
    grouped = group(piles([pile("sport", 60, 1.0, 1), pile("sport", 60, 0.0, 2)], ["sport", "rest"], "kind"), "kind")
    with pytest.raises(BadConfig, match=r"cannot set a rate of 0\.01"):
        make_monitor(reader, grouped, "sport", rate=0.01)


def test_the_threshold_lets_fresh_texts_pass_as_often_as_it_says():
    rng, beyond = np.random.default_rng(0), []
    for _ in range(2000):
        scores = rng.normal(size=41)
        beyond.append(scores[0] > threshold(scores[1:], 0.1))
    assert 0.07 < np.mean(beyond) <= 0.115
