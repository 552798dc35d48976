"""Shares count what they say they count."""

from hooke.atlas.records import NO_MEANING, TOO_RARE, Label, Score
from hooke.explain import Shares


def scored(kind: str, value: float, control: float | None = None, strong: float | None = None) -> Label:
    text = "x" if kind != "none" else NO_MEANING
    return Label(text, kind, {}, Score(value, value, value, 9, 9), control=control, strong=strong)


def test_shares_are_of_all_features():
    labels = [
        scored("word", 0.9),
        scored("word", 0.8, 0.52),
        scored("near", 0.75, strong=0.85),
        scored("none", 0.5, 0.48),
        Label(TOO_RARE, "none"),
    ]
    found = Shares.of(labels)
    assert (found.features, found.rare, found.named, found.good, found.strong) == (5, 0.2, 0.6, 0.4, 0.2)
    assert found.mean == (0.9 + 0.8 + 0.75 + 0.5) / 4
    assert found.control == 0.5


def test_no_labels():
    assert Shares.of([]) == Shares(0, 0.0, 0.0, 0.0, 0.0, None, None)
