"""Hooke: a microscope for language models. Names load what they need when they are first used; importing does nothing."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hooke.analysis import Analysis, analyze
    from hooke.atlas import Atlas
    from hooke.builder import build_atlas
    from hooke.codes import Codes
    from hooke.differences import Differences, diff
    from hooke.errors import HookeError
    from hooke.evals.run import evaluate
    from hooke.model import Model
    from hooke.names import FeatureName, SaeName, Site
    from hooke.sae import Sae
    from hooke.train import TrainConfig
    from hooke.train import train as train_saes

__all__ = [
    "Analysis",
    "Atlas",
    "Codes",
    "Differences",
    "FeatureName",
    "HookeError",
    "Model",
    "Sae",
    "SaeName",
    "Site",
    "TrainConfig",
    "analyze",
    "build_atlas",
    "diff",
    "evaluate",
    "train_saes",
]

_HOMES = {
    "Analysis": "analysis",
    "Atlas": "atlas",
    "Codes": "codes",
    "Differences": "differences",
    "FeatureName": "names",
    "HookeError": "errors",
    "Model": "model",
    "Sae": "sae",
    "SaeName": "names",
    "Site": "names",
    "TrainConfig": "train",
    "analyze": "analysis",
    "build_atlas": "builder:build_atlas",
    "diff": "differences",
    "evaluate": "evals.run",
    "train_saes": "train:train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hooke' has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"hooke.{module}"), there or name)


def __dir__() -> list[str]:
    return __all__
