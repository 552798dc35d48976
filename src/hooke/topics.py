"""Topics: from features to the broader subjects of the news, learnt from headlines written for the purpose, explained by features.

The topics are the top level of IPTC Media Topics, the news industry's list. For each SAE a softmax regression maps a text's features to
topics, with "none" as one more class; its weights are kept per feature, so every assignment can name the features that made it.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import torch
from jaxtyping import Float, Int
from torch import Tensor

NONE = "none"
_STEPS, _LR = 300, 0.5


@dataclass(frozen=True)
class Topic:
    """A broad subject."""

    name: str
    """IPTC's name."""
    short: str
    """One or two words."""
    code: str
    """IPTC's code."""
    examples: tuple[str, ...]
    """Headlines of the topic."""


@cache
def load_topics() -> tuple[tuple[Topic, ...], tuple[str, ...]]:
    """All topics, and lines that belong to none."""
    data = tomllib.loads((resources.files("hooke") / "topics.toml").read_text("utf-8"))
    topics = tuple(Topic(t["name"], t["short"], t["code"], tuple(t["examples"])) for t in data["topic"])
    return topics, tuple(data["none"]["examples"])


def further_headlines(most: int) -> list[tuple[str, int]]:
    """More headlines for the regression alone, at most `most` of each topic: the number of the topic stands beside each, of none last.

    They are of many newsrooms and not chosen to be typical, so no rule and no background is made from them.
    """
    topics, _ = load_topics()
    data = tomllib.loads((resources.files("hooke") / "headlines.toml").read_text("utf-8"))
    return [(text, number) for number, short in enumerate([*(topic.short for topic in topics), NONE]) for text in data[short][:most]]


def topic_vectors(relative: Float[Tensor, "text d_sae"]) -> Float[Tensor, "text d_sae"]:
    """What the regression reads: the root of each feature's relative strength, each text scaled to length 1.

    Weighing by rarity (methods: 6.2) was tried and lost: 0.68 instead of 0.72 right of 17 topics on held-out examples.
    """
    return torch.nn.functional.normalize(relative.clamp(0, 1).sqrt(), dim=-1)


def fit(
    vectors: Float[Tensor, "text d_sae"], labels: Int[Tensor, " text"], classes: int, *, decay: float = 3e-6
) -> Float[Tensor, "d_sae topic"]:
    """Weights of a softmax regression with balanced classes and weight decay; deterministic."""
    weights = torch.zeros(vectors.shape[1], classes, requires_grad=True)
    share = torch.bincount(labels, minlength=classes).float()
    optimiser = torch.optim.LBFGS([weights], lr=_LR, max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (
            torch.nn.functional.cross_entropy(vectors @ weights, labels, weight=len(labels) / classes / share)
            + decay * weights.square().sum()
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    found = weights.detach()
    return found - found.mean(1, keepdim=True)


@dataclass(frozen=True)
class TopicRule:
    """That a text is on a topic, as a guess at whether it drives a feature."""

    topic: int
    """Number of the topic."""
    hit: float
    """Share of the texts that drive the feature that are on the topic."""
    false: float
    """Share of the texts that leave it silent that are on the topic."""
    driven: int
    """How many texts drive it."""
    silent: int
    """How many leave it silent."""

    @property
    def score(self) -> float:
        """Balanced accuracy; 0.5 is chance."""
        return 0.5 + (self.hit - self.false) / 2


def topic_rules(relative: Float[Tensor, "text d_sae"], labels: Int[Tensor, " text"], classes: int, *, strong: float) -> list[TopicRule]:
    """For each feature the topic whose texts it fires on, and how well "the text is on that topic" predicts it.

    The topic is chosen on every other text and scored on the rest: balanced accuracy of the rule at telling texts that drive the feature
    above `strong` of its maximum from texts that leave it silent, as for all other labels.
    """
    is_topic = torch.nn.functional.one_hot(labels, classes).float()

    def shares(half: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        driven, silent = (relative[half] >= strong).float(), (relative[half] == 0).float()
        hit = driven.T @ is_topic[half] / driven.sum(0).clamp_min(1)[:, None]
        false = silent.T @ is_topic[half] / silent.sum(0).clamp_min(1)[:, None]
        return hit, false, driven.sum(0).int(), silent.sum(0).int()

    hit, false, _, _ = shares(slice(0, None, 2))
    best = (hit - false).argmax(1)
    hit, false, driven, silent = shares(slice(1, None, 2))
    own = [share.gather(1, best[:, None])[:, 0].tolist() for share in (hit, false)]
    return [TopicRule(*row) for row in zip(best.tolist(), *own, driven.tolist(), silent.tolist(), strict=True)]
