"""Train: suites of SAEs from one stream of activations. Knows neither models nor corpora; whoever calls it joins them.

What a run is asked for can be told without torch, which is loaded once a name that needs it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from hooke.train.config import TrainConfig

if TYPE_CHECKING:
    from hooke.train.loop import Hooks, Progress, train
    from hooke.train.ranks import Ranks
    from hooke.train.run import RunFolder
    from hooke.train.source import ActivationSource, Batch, InMemory

__all__ = ["ActivationSource", "Batch", "Hooks", "InMemory", "Progress", "Ranks", "RunFolder", "TrainConfig", "train"]

_HOMES = {"ActivationSource": "source", "Batch": "source", "InMemory": "source", "Ranks": "ranks", "RunFolder": "run"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hooke.train' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hooke.train.{_HOMES.get(name, 'loop')}"), name)
