"""Topics of a corpus: planted ones are found whole, with their words; figures are what their formulas say."""

import json

import numpy as np
import pytest

from hooke.analysis.corpus_topics import coherence, corpus_topics, diversity
from hooke.analysis.result import Hit, TextResult
from hooke.errors import BadConfig

SUBJECTS = {
    "sport": ("striker scores goal", "goal wins match", "match coach striker", "coach scores match"),
    "money": ("bank raises rates", "rates lift bonds", "bonds bank profit", "profit lifts rates"),
    "weather": ("storm brings rain", "rain floods valley", "valley storm wind", "wind brings floods"),
}


def hit(index: int, name: str, at: dict[int, float]) -> Hit:
    return Hit(f"m/resid_post.1/4k/{index}", "m/resid_post.1/4k", index, name, 0.9, "word", 50, 1.0, 0.8, 4.0, "x", 0, at, name=name)


@pytest.fixture(scope="module")
def texts() -> list[TextResult]:
    """Of each subject four texts, twice; each has two of the subject's three features, on all of its three tokens."""
    out = []
    for s, (name, lines) in enumerate(SUBJECTS.items()):
        for n, line in enumerate(lines * 2):
            tokens = line.split()
            about = [hit(3 * s + k, f"about {name} {k}", dict.fromkeys(range(3), 1.0)) for k in (n % 3, (n + 1) % 3)]
            out.append(TextResult(line, tokens, about, None, [], 0.8, about=about))
    return out


def test_planted_topics_are_found_with_their_words_features_and_texts(texts):
    found = corpus_topics(texts, 3)
    assert sorted(tuple(sorted(topic.texts)) for topic in found.topics) == [tuple(range(8 * s, 8 * s + 8)) for s in range(3)]
    for topic in found.topics:
        name = list(SUBJECTS)[topic.texts[0] // 8]
        own = {word for line in SUBJECTS[name] for word in line.split()}
        assert set(topic.words[:5]) <= own
        assert topic.name.startswith(f"{name} ")
        assert {feature["name"].split()[1] for feature in topic.features} == {name}
        assert sum(feature["share"] for feature in topic.features) == pytest.approx(1)
        assert topic.share == pytest.approx(1 / 3)
    assert found.stability == pytest.approx(1)
    assert set(found.baselines) == {"lda", "nmf"}
    document = found.to_json()
    assert list(document) == ["schema_version", "topics", "coherence", "diversity", "stability", "baselines"]
    assert json.loads(json.dumps(document)) == document


def test_the_same_seed_gives_the_same_topics(texts):
    assert corpus_topics(texts, 3, seed=4) == corpus_topics(texts, 3, seed=4)


def test_coherence_is_the_mean_npmi():
    counts = np.array([[1, 1, 0], [2, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert coherence(np.array([[0, 1]]), counts) == pytest.approx(1)  # they always meet, and never one alone
    assert coherence(np.array([[0, 2]]), counts) == -1
    assert coherence(np.array([[0, 1, 2]]), counts) == pytest.approx((1 - 1 - 1) / 3)
    half = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    assert coherence(np.array([[0, 1]]), half) == pytest.approx(0)  # independent
    assert diversity(np.array([[0, 1], [1, 2]])) == 0.75


@pytest.mark.parametrize("topics", [1, 0, 25])
def test_as_many_topics_as_can_be(texts, topics):
    with pytest.raises(BadConfig, match="cannot be made of 24 texts with 9 features"):
        corpus_topics(texts, topics)


def test_fewer_words_than_topics_are_said(texts):
    with pytest.raises(BadConfig, match=r"and \d words that two of them share: .*give more texts"):
        corpus_topics(texts[:2], 2)


def test_features_that_cannot_be_told_apart_make_fewer_topics(texts):
    """Every text twice, and but two kinds of text: no topic is empty, and nothing is warned of."""
    found = corpus_topics([texts[0], texts[-1]] * 4, 4)
    assert 2 <= len(found.topics) <= 4
    assert all(topic.name and topic.texts for topic in found.topics)


def test_texts_that_share_no_word(texts):
    with pytest.raises(BadConfig, match="no word that two of them share"):
        corpus_topics(texts[:1], 2)
