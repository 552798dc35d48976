"""How likely names are right of a text: learnt back from marks that were drawn from a known truth, kept whole, refused when damaged."""

import numpy as np
import pytest
import torch
from handmade import write

from hooke.analysis.likelihood import Likelihood, Marks, evidence, fit, read
from hooke.atlas import Atlas
from hooke.errors import BadFile
from hooke.files import read_safetensors, write_safetensors
from hooke.names import Site

D, NAMES, TEXTS, ROWS = 12, 20, 300, 6000
SITES = (Site(0, "resid_post"), Site(1, "resid_post"))
"""Where texts' activations are read, half of `D` coordinates at each."""


@pytest.fixture(scope="module")
def marks():
    """Marks of names that are right where a text lies as the name does, the more often the stronger the feature is; how much strength says
    is another thing for each name."""
    rng = np.random.default_rng(0)
    of_names, of_texts = rng.normal(size=(NAMES, D)), rng.normal(size=(TEXTS, D))
    feature, text = 3 * rng.integers(NAMES, size=ROWS), rng.integers(TEXTS, size=ROWS)
    seen = evidence(rng.uniform(1, 6, ROWS), rng.uniform(0, 1, ROWS), rng.uniform(0, 1, ROWS), np.full(ROWS, 0.4))
    alike = np.einsum("rd,rd->r", of_names[feature // 3], of_texts[text]) / D**0.5
    slope = rng.uniform(0, 2, NAMES)[feature // 3]
    truth = 1 / (1 + np.exp(-(slope * seen[:, 0] + 2 * alike + rng.normal(size=NAMES)[feature // 3])))
    named = {3 * i: f"name {i}" for i in range(NAMES)}
    return named, of_names, of_texts, feature, text, seen, truth, rng.uniform(size=ROWS) < truth


@pytest.fixture(scope="module")
def learnt(marks) -> Likelihood:
    named, *given, feature, text, seen, _, right = marks
    half = np.arange(ROWS) % 2 == 0
    return fit(named, SITES, *given, Marks(feature[half], text[half], seen[half], right[half]))


def test_what_is_learnt_says_how_often_names_are_right_where_nobody_had_said_so(marks, learnt):
    _, _, of_texts, feature, text, seen, truth, right = marks
    out = np.arange(ROWS) % 2 == 1
    likely = learnt.of(feature[out], seen[out], text[out], of_texts)
    assert np.corrcoef(likely, truth[out])[0, 1] > 0.9
    for low in np.arange(0, 1, 0.2):
        of = (likely >= low) & (likely < low + 0.2)
        assert abs(right[out][of].mean() - likely[of].mean()) < 4 * (0.25 / of.sum()) ** 0.5 + 0.03


def test_what_the_evidence_alone_says_is_right_for_names_that_nobody_judged(marks, learnt):
    _, _, of_texts, feature, text, seen, _, _ = marks
    assert not learnt.judges(feature + 1).any()
    likely = learnt.of(feature + 1, seen, text, of_texts)
    np.testing.assert_allclose(likely, 1 / (1 + np.exp(-(seen @ learnt.weights[:-1] + learnt.weights[-1]))), rtol=1e-6)


def test_the_logit_is_what_the_formula_says_row_by_row(marks, learnt):
    _, _, of_texts, feature, text, seen, _, _ = marks
    for f, t, e in zip(feature[:20], text[:20], seen[:20], strict=True):
        here, there = np.split((of_texts[t] - learnt.mean) / learnt.scale, 2)
        units = np.concatenate([here / np.linalg.norm(here), there / np.linalg.norm(there)])
        place = (units - learnt.centre) @ learnt.directions
        logit = (
            learnt.weights @ [*e, 1]
            + e @ learnt.slope[f // 3]
            + learnt.offset[f // 3]
            + place / np.linalg.norm(place) @ learnt.lean[f // 3]
        )
        assert learnt.of(np.array([f]), e[None], np.array([t]), of_texts)[0] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_the_same_marks_give_the_same_likelihood(marks, learnt):
    named, *given, feature, text, seen, _, right = marks
    half = np.arange(ROWS) % 2 == 0
    again = fit(named, SITES, *given, Marks(feature[half], text[half], seen[half], right[half]))
    assert all(np.array_equal(getattr(again, name), getattr(learnt, name)) for name in ("weights", "offset", "slope", "lean", "directions"))


@pytest.fixture
def entry(tmp_path):
    """An SAE whose mean is as wide as the texts' activations at a site."""
    from dataclasses import replace

    atlas = Atlas(write(tmp_path / "atlas.sqlite"))
    (own,) = list(atlas.saes.values())[:1]
    return replace(own, mean=np.zeros(D // len(SITES), np.float32), d_sae=3 * NAMES, digest="a" * 64)


def test_what_is_kept_says_the_same_to_half_precision(marks, learnt, entry, tmp_path):
    _, _, of_texts, feature, text, seen, _, _ = marks
    learnt.save(tmp_path / "some.likelihood", entry)
    back = read(tmp_path / "some.likelihood", entry)
    assert back is not None
    assert back.name_of == learnt.name_of
    assert back.sites == learnt.sites
    ours, theirs = (known.of(feature, seen, text, of_texts) for known in (back, learnt))
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_of_other_weights_nothing_is_known(learnt, entry, tmp_path):
    from dataclasses import replace

    learnt.save(tmp_path / "some.likelihood", entry)
    assert read(tmp_path / "some.likelihood", replace(entry, digest="b" * 64)) is None


def test_of_another_versions_form_nothing_is_known(learnt, entry, tmp_path):
    learnt.save(tmp_path / "some.likelihood", entry)
    tensors, said = read_safetensors(tmp_path / "some.likelihood")
    write_safetensors(tmp_path / "old", tensors, said | {"format": "hooke likelihood 1"})
    assert read(tmp_path / "old", entry) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, said: (tensors, said | {"format": "another"}),
        lambda tensors, said: ({name: tensors[name] for name in tensors if name != "lean"}, said),
        lambda tensors, said: (tensors | {"lean": tensors["lean"][:-1]}, said),
        lambda tensors, said: (tensors | {"feature": tensors["feature"].flip(0)}, said),
        lambda tensors, said: (tensors | {"feature": tensors["feature"] + 3 * NAMES}, said),
        lambda tensors, said: (tensors | {"offset": torch.full_like(tensors["offset"], float("nan"))}, said),
        lambda tensors, said: (tensors | {"scale": -tensors["scale"]}, said),
        lambda tensors, said: (tensors, said | {"names": "[1"}),
        lambda tensors, said: (tensors, said | {"names": "[]"}),
        lambda tensors, said: (tensors | {"slope": tensors["slope"][:, :-1]}, said),
        lambda tensors, said: (tensors, said | {"sites": '["resid_post.0"]'}),
        lambda tensors, said: (tensors, said | {"sites": '["resid_post.0", "nowhere"]'}),
        lambda tensors, said: (tensors, said | {"sites": "5"}),
        lambda tensors, said: (tensors, {key: value for key, value in said.items() if key != "sites"}),
    ],
)
def test_damaged_files_are_refused(learnt, entry, tmp_path, damage):
    path = tmp_path / "some.likelihood"
    learnt.save(path, entry)
    tensors, said = damage(*read_safetensors(path))
    write_safetensors(tmp_path / "damaged", tensors, said)
    with pytest.raises(BadFile):
        read(tmp_path / "damaged", entry)
