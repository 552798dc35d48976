"""A map of an analysis: its texts among its topics, as SVG, and the same as a table."""

import math
from collections import Counter

import numpy as np

from hooke.analysis.result import Analysis, TextResult
from hooke.analysis.wording import count, percent, short_topic
from hooke.text.marks import stripped
from hooke.text.markup import Markup, join, tag

FEWEST, MOST = 8, 500
"""Texts from which on a map says something, and that it shows at most."""
_WIDTH, _HEIGHT, _RING, _LABEL, _DOT = 680, 470, 190, 16, 4
_SPREAD, _GOLDEN = 6.0, math.pi * (3 - math.sqrt(5))
_NAMED = 3
_SHORT = 90


def topic_map(analysis: Analysis) -> Markup | None:
    """The texts as dots inside a ring of the topics they were given to; None where there are fewer than two topics or `FEWEST` texts.

    Each topic pulls a text by its share, what fits none pulls to the middle (RadViz). Topics that the same texts are on are neighbours.
    """
    topics, texts = [topic.topic for topic in analysis.topics], analysis.texts[:MOST]
    if len(topics) < 2 or len(texts) < FEWEST:
        return None
    shares = _shares(texts, topics)
    ring = _ring(shares)
    angle = np.empty(len(topics))
    angle[ring] = 2 * np.pi * np.arange(len(topics)) / len(topics)
    rim = np.stack([np.sin(angle), -np.cos(angle)], 1)
    places = _spread(shares @ rim * _RING, shares)
    title = f"{count(len(texts), 'text')} among {count(len(topics), 'topic')}; the table below says the same"
    drawing = tag(
        "svg",
        tag("circle", r=_RING, class_="ring"),
        [_anchor(topic, *place) for topic, place in zip(topics, rim.tolist(), strict=True)],
        [_dot(n, text, *place) for n, (text, place) in enumerate(zip(texts, places.tolist(), strict=True))],
        viewBox=f"{-_WIDTH / 2:.0f} {-_HEIGHT / 2:.0f} {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=title,
    )
    note = (
        "Each dot is a text. Each topic pulls it by its share: the nearer the rim, the surer; what lies between two is on both, or on"
        " neither. Point at a dot to read it."
    )
    more = f" The first {MOST} texts are shown." if len(analysis.texts) > MOST else ""
    return tag(
        "section", tag("h2", "The texts among the topics"), tag("p", note + more, class_="soft small"), drawing, _table(texts), class_="map"
    )


def _shares(texts: list[TextResult], topics: list[str]) -> np.ndarray:
    """``[text, topic]``: the share of each topic in each text."""
    shares = np.zeros((len(texts), len(topics)))
    place = {topic: k for k, topic in enumerate(topics)}
    for n, text in enumerate(texts):
        for score in text.topics:
            if score.topic in place and math.isfinite(score.score):
                shares[n, place[score.topic]] = min(max(score.score, 0.0), 1.0)
    return shares / np.maximum(shares.sum(1, keepdims=True), 1)


def _ring(shares: np.ndarray) -> list[int]:
    """The topics in their order round the ring: each beside the one, of those left, that it shares most texts with."""
    together = shares.T @ shares
    order, left = [0], set(range(1, len(together)))
    while left:
        order.append(max(sorted(left), key=lambda k: together[order[-1], k]))
        left.remove(order[-1])
    return order


def _spread(places: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The places, those of one topic moved apart in a spiral, so that no text hides another."""
    seen: Counter[int] = Counter()
    out = places.copy()
    for n in np.argsort(-shares.max(1), kind="stable").tolist():
        topic = int(shares[n].argmax()) if shares[n].any() else -1
        turn, away = seen[topic] * _GOLDEN, _SPREAD * math.sqrt(seen[topic])
        out[n] += np.array([math.cos(turn), math.sin(turn)]) * away
        seen[topic] += 1
    return out


def _anchor(topic: str, x: float, y: float) -> Markup:
    side = "middle" if abs(x) < 0.2 else "start" if x > 0 else "end"
    far = _RING + _LABEL + (2 * _SPREAD if side == "middle" else 0)
    return tag("text", short_topic(topic), x=round(far * x), y=round(far * y) + 4, text_anchor=side)


def _dot(n: int, text: TextResult, x: float, y: float) -> Markup:
    circle = tag("circle", tag("title", stripped(text.text)[:_SHORT]), cx=round(x), cy=round(y), r=_DOT)
    return tag("a", circle, href=f"#text-{n}", tabindex=-1)


def _table(texts: list[TextResult]) -> Markup:
    rows = []
    for n, text in enumerate(texts):
        cells = tag("a", str(n + 1), href=f"#text-{n}"), tag("bdi", stripped(text.text)[:_SHORT]), _named(text)
        rows.append(tag("tr", [tag("td", cell) for cell in cells]))
    head = tag("thead", tag("tr", [tag("th", name, scope="col") for name in ("", "Text", "Topics")]))
    return tag("details", tag("summary", "The same as a table"), tag("table", head, tag("tbody", rows)))


def _named(text: TextResult) -> Markup:
    said = [f"{short_topic(score.topic)} {percent(score.score)}" for score in text.topics[:_NAMED]]
    return join(", ".join(said) or "none")
