"""Shares: how good the labels of an SAE are, all together, beside what a search that has nothing to find comes to."""

from collections.abc import Iterable
from dataclasses import dataclass

from hooke.atlas.records import TOO_RARE, Label

GOOD = 0.8
"""A label of at least this balanced accuracy is a good one."""


@dataclass(frozen=True)
class Shares:
    """Figures of many labels; shares are of all features given, those too rare to name included."""

    features: int
    """Features."""
    rare: float
    """Share too rare to name."""
    named: float
    """Share with a name."""
    good: float
    """Share with a name that scores at least `GOOD` on tokens."""
    strong: float
    """Share with a name that does so where only activations above half the maximum count as active."""
    mean: float | None
    """Mean token score of the features that were scored, named or not."""
    control: float | None
    """Mean score of the shuffled searches: chance, if the search is honest."""

    @classmethod
    def of(cls, labels: Iterable[Label]) -> "Shares":
        """The figures of `labels`: leave out those of features that never fired.

        `hooke.explain.control` makes the labels of the other control: words alone can be labelled too.
        """
        every = list(labels)
        named = [label for label in every if label.kind != "none"]
        good = [label for label in named if label.token is not None and label.token.value >= GOOD]
        strong = [label for label in named if label.strong is not None and label.strong >= GOOD]
        scores = [label.token.value for label in every if label.token is not None]
        controls = [label.control for label in every if label.control is not None]
        rare = [label for label in every if label.text == TOO_RARE]
        n = max(1, len(every))
        return cls(len(every), len(rare) / n, len(named) / n, len(good) / n, len(strong) / n, _mean(scores), _mean(controls))


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
