"""Hooke: a microscope for language models. Names load what they need when they are first used; importing does nothing."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hooke.analysis import Analysis, analyze
    from hooke.atlas import Atlas
    from hooke.codes import Codes
    from hooke.errors import HookeError
    from hooke.model import Model
    from hooke.names import FeatureName, SaeName, Site
    from hooke.sae import Sae
    from hooke.train import TrainConfig

__all__ = [
    "Analysis",
    "Atlas",
    "Codes",
    "FeatureName",
    "HookeError",
    "Model",
    "Sae",
    "SaeName",
    "Site",
    "TrainConfig",
    "analyze",
]

_HOMES = {
    "Analysis": "analysis",
    "Atlas": "atlas",
    "Codes": "codes",
    "FeatureName": "names",
    "HookeError": "errors",
    "Model": "model",
    "Sae": "sae",
    "SaeName": "names",
    "Site": "names",
    "TrainConfig": "train",
    "analyze": "analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hooke' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hooke.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
