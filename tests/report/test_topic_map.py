"""The map of texts among topics lies as the shares pull, and its table says the same."""

import dataclasses
import re

import numpy as np
import pytest

from hooke.analysis.result import Analysis, TextResult, TopicResult, TopicScore
from hooke.report import topic_map as module
from hooke.report.topic_map import FEWEST, topic_map

TOPICS = ("sport", "politics and government", "weather")


def text(n: int, **shares: float) -> TextResult:
    scores = [TopicScore(next(name for name in TOPICS if name.startswith(key)), share, []) for key, share in shares.items()]
    scores.sort(key=lambda score: -score.score)
    return TextResult(f"text <{n}>", ["a"], [], scores[0].topic if scores else None, scores, 0.8)


def analysis(texts: list[TextResult]) -> Analysis:
    topics = [TopicResult(name, [n for n, one in enumerate(texts) if one.topic == name], []) for name in TOPICS]
    return Analysis("model", [], texts, topics, [])


def dots(drawn: str) -> np.ndarray:
    return np.array([[int(x), int(y)] for x, y in re.findall(r'<circle cx="(-?\d+)" cy="(-?\d+)"', drawn)])


def labels(drawn: str) -> dict[str, np.ndarray]:
    found = re.findall(r'<text x="(-?\d+)" y="(-?\d+)"[^>]*>([^<]*)<', drawn)
    return {name: np.array([int(x), int(y)]) for x, y, name in found}


def test_a_text_lies_nearest_to_its_topic_and_what_is_on_none_in_the_middle() -> None:
    texts = [
        text(0, sport=0.9),
        text(1, politics=0.9),
        text(2, weather=0.9),
        text(3),
        *[text(n, sport=0.45, weather=0.45) for n in range(4, 9)],
    ]
    drawn = topic_map(analysis(texts))
    assert drawn is not None
    places, names = dots(drawn), labels(drawn)
    for n, topic in enumerate(TOPICS):
        near = min(names, key=lambda name: float(np.linalg.norm(places[n] - names[name])))
        assert topic.startswith(near)
    assert np.linalg.norm(places[3]) < 1
    both = np.linalg.norm(places[4] - names["sport"]), np.linalg.norm(places[4] - names["weather"])
    assert max(both) < np.linalg.norm(places[4] - names["politics"])
    assert len({tuple(place) for place in places.tolist()}) == len(texts)  # none hides another


def test_topics_of_the_same_texts_are_neighbours() -> None:
    shares = np.array([[0.5, 0, 0.5, 0], [0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [0, 0.1, 0.5, 0]])
    assert module._ring(shares) == [0, 2, 1, 3]


def test_the_table_says_the_same_and_names_are_text() -> None:
    drawn = topic_map(analysis([text(n, sport=0.7, weather=0.2) for n in range(FEWEST)]))
    assert drawn is not None
    assert drawn.count("<tr>") == FEWEST + 1
    assert "sport 70\u202f%, weather 20\u202f%" in drawn
    assert "text &lt;3&gt;" in drawn
    assert "<3>" not in drawn


def test_few_texts_or_a_single_topic_have_no_map_and_many_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    many = analysis([text(n, sport=0.7) for n in range(FEWEST)])
    assert topic_map(dataclasses.replace(many, texts=many.texts[1:])) is None
    assert topic_map(dataclasses.replace(many, topics=many.topics[:1])) is None
    monkeypatch.setattr(module, "MOST", FEWEST)
    cut = topic_map(dataclasses.replace(many, texts=many.texts * 2))
    assert cut is not None
    assert len(dots(cut)) == FEWEST
    assert f"The first {FEWEST} texts are shown." in cut
