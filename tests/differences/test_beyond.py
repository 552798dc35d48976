"""What plain words leave of a difference: nothing of what the words say themselves, all of what they cannot know."""

import numpy as np
import pytest
from scipy import sparse

from hooke.differences.beyond import BeyondWords, _Ridge, _weighted
from hooke.differences.words import count_words

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "nrst"]


@pytest.fixture(scope="module")
def world():
    """400 texts; the group goes with four of their words, and with something that no word tells."""
    rng = np.random.default_rng(3)
    chosen = np.array([rng.choice(len(WORDS), 8, replace=False) for _ in range(400)])
    texts = [" ".join(WORDS[i] for i in own) for own in chosen]
    has = np.zeros((400, len(WORDS)), bool)
    has[np.arange(400)[:, None], chosen] = True
    hidden = rng.random(400) < 0.4
    in_a = rng.random(400) < 0.25 + 0.4 * has[:, :4].any(1) + 0.3 * hidden
    return texts, has, hidden, in_a


def test_a_feature_that_words_spell_says_no_more_and_one_that_they_cannot_know_does(world):
    texts, has, hidden, in_a = world
    rng = np.random.default_rng(4)
    spelt = np.stack([has[:, :4].any(1), *(has[:, [i, i + 1]].any(1) for i in range(0, 16, 2))], 1)
    noisy = spelt ^ (rng.random(spelt.shape) < 0.02)  # a feature does not fire on every one of its words
    items = np.column_stack([hidden, hidden & ~has[:, 20], spelt, noisy]).astype(float)
    more = items[in_a].mean(0) > items[~in_a].mean(0)
    found = BeyondWords(texts, np.ones(400, bool), 0).says_more(sparse.csc_matrix(items), in_a, more, np.arange(400))
    assert found[:2].all()
    assert not found[2:].any()


def test_nothing_but_chance_is_seldom_called_more(world):
    texts, _, _, in_a = world
    rng = np.random.default_rng(5)
    nothing = (rng.random((400, 200)) < 0.2).astype(float)
    tested = BeyondWords(texts, np.ones(400, bool), 0)
    assert tested.says_more(sparse.csc_matrix(nothing), in_a, np.ones(200, bool), np.arange(400)).mean() <= 0.02
    whole = tested.says_more(sparse.csc_matrix(nothing[:, :5]), in_a, np.ones(5, bool), np.arange(400) // 100)
    assert not whole.any()  # four families show nothing


def test_a_guess_is_made_without_the_text_itself(world):
    texts, _, hidden, in_a = (part[:30] for part in world)
    words = _weighted(count_words(texts, 2)[0])
    found = _Ridge(words).guess(np.column_stack([hidden, in_a]).astype(float))
    with_one = sparse.hstack([words, np.ones((30, 1))]).toarray()
    for column, target in enumerate((hidden, in_a)):
        truth, naive = target - target.mean(), []
        for penalty in np.geomspace(1e-2, 1e3, 11):
            guesses = []
            for i in range(30):
                others = np.delete(with_one, i, 0)
                weights = np.linalg.solve(others.T @ others + penalty * np.eye(others.shape[1]), others.T @ np.delete(truth, i))
                guesses.append(with_one[i] @ weights + target.mean())
            naive.append(guesses)
        assert min(np.abs(np.array(own) - found[:, column]).max() for own in naive) < 1e-8
