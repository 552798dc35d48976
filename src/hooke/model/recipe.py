"""Recipe: how a process elsewhere loads the same model, and knows that it is the same."""

import hashlib
import os
from dataclasses import dataclass

import torch

from hooke.errors import BadConfig
from hooke.model import Model

_SAMPLED = 256


@dataclass(frozen=True)
class Recipe:
    """A model by where it comes from; small, whatever the model."""

    ref: str
    """What `Model.load` takes. A folder is looked for at the same path everywhere."""
    dtype: str
    """What it computes in."""
    device: str
    """Where it computes."""
    mark: str
    """`weights_mark` of its weights."""

    @classmethod
    def of(cls, model: Model, device: str) -> "Recipe":
        """How `model` is loaded elsewhere, there to `device`. Raises `BadConfig` for one that was not loaded."""
        if model.ref is None:
            raise BadConfig(f"{model.name} was made in this process, so that no other one can load it. Save it to a folder first.")
        ref = os.path.abspath(model.ref) if os.path.isdir(model.ref) else model.ref
        return cls(ref, str(model.dtype).removeprefix("torch."), device, weights_mark(model))

    def load(self) -> Model:
        """The model. Raises what `Model.load` raises, `BadConfig` where its weights are not the ones that were meant."""
        model = Model.load(self.ref, dtype=self.dtype, device=self.device)
        if weights_mark(model) != self.mark:
            raise BadConfig(f"the model {self.ref!r} has other weights than where the command runs. Put the same files on every machine.")
        return model


def weights_mark(model: Model) -> str:
    """A digest of the shapes of all weights of the model's blocks, and of some of the values of each, spread evenly."""
    total = hashlib.sha256()
    for name, weight in model.blocks.named_parameters():
        flat = weight.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _SAMPLED)].cpu().contiguous()
        total.update(f"{name} {tuple(weight.shape)}".encode() + some.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
