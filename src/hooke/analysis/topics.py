"""Topics: from features to the broader subjects of the news, learnt from headlines written for the purpose, explained by features.

The topics are the top level of IPTC Media Topics, the news industry's list. For each SAE a softmax regression maps a text's features to
topics, with "none" as one more class; its weights are kept per feature, so every assignment can name the features that made it.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
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
    data = tomllib.loads((resources.files("hooke.analysis") / "topics.toml").read_text("utf-8"))
    topics = tuple(Topic(t["name"], t["short"], t["code"], tuple(t["examples"])) for t in data["topic"])
    return topics, tuple(data["none"]["examples"])


def topic_vectors(relative: Float[Tensor, "text d_sae"], idf: Float[Tensor, " d_sae"]) -> Float[Tensor, "text d_sae"]:
    """What the regression reads: ``√relative · idf``, each text scaled to length 1 (methods: 6.2)."""
    return torch.nn.functional.normalize(relative.clamp(0, 1).sqrt() * idf, dim=-1)


def idf(background: np.ndarray, texts: int) -> Float[Tensor, " d_sae"]:
    """``ln((1 + N) / (1 + n))``: how telling it is that a feature fires at all, 0 for one that fires in every background text."""
    return torch.from_numpy(np.log((1 + texts) / (1 + background[:, 0]))).float().clamp_min(0)


def fit(
    vectors: Float[Tensor, "text d_sae"], labels: Int[Tensor, " text"], classes: int, *, decay: float = 3e-4
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
