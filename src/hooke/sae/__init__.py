"""Sae: a sparse autoencoder's weights and facts; encode, decode, reconstruct, save, load. Knows no model.

What packs and atlases are at hand can be told without weights, so torch is loaded once a name that needs it is first used.
"""

from typing import TYPE_CHECKING, Any

from hooke.sae.facts import SaeFacts

if TYPE_CHECKING:
    from hooke.sae.autoencoder import Sae, check_shapes, digest, weights_of

__all__ = ["Sae", "SaeFacts", "check_shapes", "digest", "weights_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hooke.sae' has no attribute {name!r}")
    from hooke.sae import autoencoder

    return getattr(autoencoder, name)
