"""A labelled SAE finds what a dense matrix of codes says, and ranks it by what the atlas knows."""

from dataclasses import replace

import numpy as np
import planted
import pytest
import torch

from hooke import tiny
from hooke.analysis.firings import Firings
from hooke.analysis.labelled_sae import LabelledSae
from hooke.analysis.likelihood import Likelihood
from hooke.analysis.reader import Options
from hooke.analysis.result import Hit
from hooke.analysis.topics import topic_evidence
from hooke.atlas.notes import Notes
from hooke.atlas.wording import LIKELY
from hooke.topics import topic_vectors

LENGTHS = (4, 0, 1, 6)


@pytest.fixture
def labelled(known) -> LabelledSae:
    return LabelledSae(known[0])


@pytest.fixture
def acts() -> torch.Tensor:
    """Sums of a few features each, with equal peaks among them."""
    generator = torch.Generator().manual_seed(4)
    codes = torch.zeros(sum(LENGTHS), tiny.D_SAE)
    chosen = torch.randint(0, 9, (len(codes), 3), generator=generator)
    return codes.scatter_(1, chosen, 8.0) @ tiny.sae().W_dec


def look(labelled: LabelledSae, acts: torch.Tensor, pool: str = "max") -> list[Firings]:
    return labelled.look(acts, torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS)), len(LENGTHS), pool)


def hits_of(labelled: LabelledSae, found: Firings, tokens: list[str], options: Options) -> list[Hit]:
    return [hit for _, hit in labelled.rank([found], [tokens], options)[0].features]


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
def test_found_is_what_dense_codes_say(labelled, acts, pool):
    dense, start = labelled.sae.encode(acts).dense(), 0
    assert labelled.entry is not None
    for found, length in zip(look(labelled, acts, pool), LENGTHS, strict=True):
        own, x = dense[start : start + length], acts[start : start + length]
        start += length
        fired = own.any(0).nonzero()[:, 0]
        np.testing.assert_array_equal(found.feature, fired)
        if length == 0:
            assert found.explained == 0
            continue
        np.testing.assert_allclose(found.peak, own[:, fired].amax(0))
        np.testing.assert_array_equal(found.count, (own[:, fired] > 0).sum(0))
        np.testing.assert_array_equal(found.pos, (own[:, fired] == own[:, fired].amax(0)).int().argmax(0))
        np.testing.assert_allclose(found.pooled, {"max": own.amax(0), "mean": own.mean(0), "sum": own.sum(0)}[pool][fired], rtol=1e-5)
        events = torch.zeros_like(own)
        events[found.events[1], found.events[0]] = torch.from_numpy(found.events[2])
        assert torch.equal(events, own)
        assert found.error == pytest.approx(float((x - labelled.sae.reconstruct(x)).square().sum()), abs=1e-3)
        assert found.variance == pytest.approx(float((x - torch.from_numpy(labelled.entry.mean.copy())).square().sum()), rel=1e-5)


def test_joined_windows_are_the_text_read_whole(labelled, acts):
    acts = acts * torch.linspace(1, 2, len(acts))[:, None]  # no two peaks are equal
    (whole,) = labelled.look(acts, torch.zeros(len(acts), dtype=torch.int64), 1, "max")
    parts = look(labelled, acts)
    joined = Firings.join(parts, LENGTHS)
    for name in ("feature", "peak", "pos", "pooled", "count"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    for ours, theirs in zip(joined.events, whole.events, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert joined.explained == pytest.approx(whole.explained, abs=1e-6)


def test_specificity_rises_with_strength_and_falls_with_frequency(labelled):
    relative = np.linspace(0, 1.5, 200, dtype=np.float32)
    rare = labelled.specificity(np.zeros(200, np.int64), relative)
    assert (np.diff(rare) >= -1e-6).all()
    assert rare[0] == pytest.approx(np.log(1001 / 41))
    assert rare[-1] == pytest.approx(np.log(1001))
    common = labelled.specificity(np.full(200, tiny.UBIQUITOUS), relative)
    assert common[0] == pytest.approx(0, abs=1e-6)
    assert (common <= rare + 1e-6).all()


@pytest.mark.parametrize("step", range(8))
def test_specificity_at_a_step_is_the_share_of_background_texts_that_pass_it(labelled, step):
    count = labelled.table.background[2, step]
    found = labelled.specificity(np.array([2]), np.array([step / 8], np.float32))
    assert found[0] == pytest.approx(np.log((planted.TEXTS + 1) / (count + 1)), rel=1e-5)


def test_only_what_is_rare_is_telling(labelled):
    telling = labelled.telling(np.arange(tiny.D_SAE))
    assert telling[: tiny.UBIQUITOUS].all()
    assert not telling[tiny.UBIQUITOUS : planted.N_ALIVE].any()


def test_a_feature_that_never_fired_has_no_relative_strength_and_comes_last(labelled):
    """Its maximum is 0: a share of that would put it before everything."""
    feature = np.array([0, planted.N_ALIVE + 2])
    value = np.array([8.0, 5.0], np.float32)
    found = Firings(
        feature, value, np.array([0, 1]), value, np.array([1, 1]), (feature, np.array([0, 1]), value), 0.0, 1.0, *np.zeros((2, 1))
    )
    assert labelled.standings([found], [2]).pooled.tolist() == [1.0, 0.0]
    assert [hit.index for hit in hits_of(labelled, found, ["a", "b"], Options())] == feature.tolist()


def likely_names(labelled: LabelledSae, offsets: dict[int, float]) -> Likelihood:
    """Names that are right as often as `offsets` say, whatever the text."""
    feature, width = np.array(sorted(offsets)), labelled.sae.d_in
    names = tuple(labelled.named(int(index))["name"] or "" for index in feature)
    offset = np.array([offsets[int(index)] for index in feature])
    slope, lean = np.zeros((len(feature), 4)), np.zeros((len(feature), 1))
    mean, scale, centre = np.ones((3, width))
    return Likelihood(np.zeros(5), feature, (labelled.sae.site,), offset, slope, lean, mean, scale, centre, np.zeros((width, 1)), names)


def test_what_a_text_is_about_stands_by_how_likely_names_are_right_and_leaves_out_the_rest(labelled, acts):
    labelled._about = np.ones(labelled.sae.d_sae, bool)
    found, tokens = look(labelled, acts), [["a"] * length for length in LENGTHS]
    every = [fired.feature[labelled.telling(fired.feature)].tolist() for fired in found]
    offsets = {index: float(index - 4) for index in range(9)}
    labelled.likelihood = likely_names(labelled, offsets)
    for one, own in zip(labelled.rank(found, tokens, Options(top=50)), every, strict=True):
        hits = [hit for _, hit in one.about]
        assert [hit.index for hit in hits] == sorted((hit.index for hit in hits), reverse=True)
        assert [hit.index for hit in hits[:1]] == sorted(own)[-1:]
        assert all((hit.likely or 0) >= LIKELY for hit in hits[1:])
        assert [hit.likely for hit in hits] == pytest.approx([1 / (1 + np.exp(-offsets[hit.index])) for hit in hits])
        assert all(hit.likely is None for _, hit in one.words)


def test_nothing_is_said_of_a_name_that_was_changed_since_it_was_judged(labelled, acts):
    labelled._about = np.ones(labelled.sae.d_sae, bool)
    labelled.likelihood = replace(likely_names(labelled, dict.fromkeys(range(9), 3.0)), names=("otherwise",) * 9)
    ranked = labelled.rank(look(labelled, acts), [["a"] * length for length in LENGTHS], Options(top=50))
    assert any(one.about for one in ranked)
    assert all(hit.likely is None for one in ranked for _, hit in one.about)


def test_the_evidence_for_topics_is_that_of_topic_vectors(labelled, acts):
    found = look(labelled, acts)
    table = labelled.table
    assert table is not None
    evidence = topic_evidence(labelled, found)
    assert evidence is not None
    for one, own in zip(found, evidence, strict=True):
        relative = torch.from_numpy(one.peak / table.max[one.feature])
        expected = topic_vectors(relative[None])[0].numpy()[:, None] * table.topics[one.feature]
        np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_hits_carry_what_the_atlas_knows(labelled, acts):
    found = look(labelled, acts)[0]
    tokens = ["a", "b", "c", "d"]
    hits = hits_of(labelled, found, tokens, Options(top=8))
    assert hits
    for hit in hits:
        concept = list(tiny.concepts)[hit.index]
        assert (hit.label, hit.label_method) == (concept, "word")
        assert (hit.label_score, hit.label_evidence) == (planted.score(hit.index), 50 + hit.index)
        assert hit.feature == f"{labelled.sae.name}/{hit.index}"
        assert hit.relative == pytest.approx(hit.activation / planted.STRENGTH)
        assert hit.token == tokens[hit.pos]
        assert max(hit.activations, key=lambda pos: hit.activations[pos]) == hit.pos


def test_your_own_label_is_shown_in_place_of_the_atlas(known, labelled, acts, tmp_path):
    notes, tokens = Notes(tmp_path / "notes.sqlite"), ["a", "b", "c", "d"]
    found = look(labelled, acts)[0]
    first, second = hits_of(labelled, found, tokens, Options(top=8))[:2]
    notes.put(labelled.entry, first.index, label="mine")
    notes.put(labelled.entry, second.index, note="no label", star=True)
    hits = {hit.index: hit for hit in hits_of(LabelledSae(known[0], notes), found, tokens, Options(top=8))}
    assert hits[first.index] == replace(first, own_label="mine")
    assert (hits[first.index].title, first.title) == ("mine", f"the word “{first.label}”")
    assert hits[second.index] == second


def test_without_an_atlas_nothing_is_claimed(monkeypatch, acts):
    monkeypatch.setattr("hooke.analysis.labelled_sae.atlas_file", lambda name: None)
    labelled = LabelledSae(tiny.sae())
    row = labelled.describe()
    assert (row["labelled"], row["expected"], row["l0"]) == (False, None, 3.5)
    found = look(labelled, acts)[0]
    hits = hits_of(labelled, found, ["a", "b", "c", "d"], Options(top=20))
    assert {(hit.label, hit.label_score, hit.label_evidence, hit.specificity) for hit in hits} == {(None, None, 0, 0.0)}
    assert [hit.relative for hit in hits] == sorted((hit.relative for hit in hits), reverse=True)
    assert hits[0].relative == 1
    assert hits_of(labelled, found, ["a", "b", "c", "d"], Options(min_label_score=0.5)) == []


def test_an_atlas_of_other_saes_is_not_used(known, monkeypatch):
    stranger = replace(known[0], facts=replace(known[0].facts, name="tiny/resid_post.0/stranger"))
    assert LabelledSae(stranger).table is None
