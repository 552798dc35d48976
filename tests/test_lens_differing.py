"""Two texts through the layers: their distance by plain sums, their pairs, the feature that was planted for the word that differs."""

import math

import numpy as np
import pytest

from hooke import tiny
from hooke.errors import BadConfig
from hooke.lens import LensSae
from hooke.lens.differing import TwoTexts, paired, read_difference

FIRST, SECOND = "The bank and the storm", "The judge and the storm"


@pytest.fixture(scope="module")
def both() -> TwoTexts:
    return TwoTexts(tiny.model(), FIRST, SECOND)


def test_the_distance_is_that_of_plain_sums(both: TwoTexts):
    found = both.layer(1)
    for at, (first, second) in enumerate(both.pairs):
        p, q = (
            both.first.model.logits(text.text)[0, 1 + place].double().softmax(-1).detach().numpy()
            for text, place in ((both.first, first), (both.second, second))
        )
        m = (p + q) / 2
        bits = sum(0.5 * float((one * np.log2(one / m, where=one > 0, out=np.zeros_like(one))).sum()) for one in (p, q))
        assert found.apart[at] == pytest.approx(bits, abs=2e-3)
        pieces = both.first.model.tokenizer.pieces
        assert found.words[at] == (pieces([int(p.argmax())])[0], pieces([int(q.argmax())])[0])
    assert found.apart[0] == 0
    assert all(0 <= value <= 1 for value in found.apart)


def test_the_feature_that_differs_is_the_one_planted_for_the_word(both: TwoTexts):
    sae = tiny.sae()
    density = np.where(np.arange(sae.d_sae) == tiny.UBIQUITOUS, 1.0, 0.01)
    found = both.features(LensSae(sae, np.full(sae.d_sae, 8.0), density))
    names = list(tiny.concepts)
    assert found.most[0] is None
    assert found.most[1] is not None
    assert found.most[1].feature in {f"{sae.name}/{names.index(name)}" for name in names if {"bank", "judge"} & set(tiny.concepts[name])}
    assert max(found.most[1].first, found.most[1].second) == pytest.approx(1, abs=0.1)
    assert math.isclose(min(found.most[1].first, found.most[1].second), 0, abs_tol=0.05)


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        ("a b c", "a b c", [(0, 0), (1, 1), (2, 2)]),
        ("a b c", "a x y c", [(0, 0), (1, 2), (2, 3)]),
        ("a x y c", "a b c", [(0, 0), (2, 1), (3, 2)]),
        ("a c", "a not c", [(0, 0), (1, 2)]),
        ("a", "b", [(0, 0)]),
    ],
)
def test_pairs(first: str, second: str, pairs: list[tuple[int, int]]):
    assert paired(first.split(), second.split()) == pairs


def test_a_text_beside_itself_differs_nowhere():
    found = read_difference(tiny.model(), FIRST, FIRST)
    assert all(value == 0 for layer in found.layers for value in layer.apart)
    assert found.left_out == 0
    with pytest.raises(BadConfig, match="no token"):
        read_difference(tiny.model(), FIRST, "")
