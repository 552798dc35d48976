"""Edits: changes of what chosen features of an SAE say, made in the activations; what the SAE cannot explain of these stays as it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooke.errors import BadConfig, ShapeMismatch, UnknownName

if TYPE_CHECKING:
    from hooke.sae.autoencoder import Sae

# Larger amounts than this drown whatever else any model computes.
_LARGEST = 1e6

Kind = Literal["ablate", "scale", "clamp", "clamp_active", "mean_set", "add", "project", "cap"]
Features = int | Sequence[int] | Tensor
"""One feature's number, or those of several."""
Amount = float | Sequence[float] | Tensor
"""One number for all features of an edit, one for each, or a tensor that broadcasts to ``[*batch, feature]``."""

# f' from f and the amount asked for.
_ACTIVATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ablate": lambda f, amount: torch.zeros_like(f),
    "scale": lambda f, amount: f * amount,
    "clamp": lambda f, amount: amount.expand_as(f),
    "clamp_active": lambda f, amount: torch.where(f > 0, amount, f),
    "mean_set": lambda f, amount: amount.expand_as(f),
}
# How far along a feature's direction the activations lie afterwards, from how far they lie and the amount.
_LENGTHS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "project": lambda length, amount: amount.expand_as(length),
    "cap": lambda length, amount: torch.minimum(length, amount),
}


@dataclass(frozen=True)
class Edit:
    """A change of chosen features of one SAE; made by the methods of `Sae`, used with `Model.edit` or `hooke.intervene.intervene`.

        x' = x + (f' − f) W_dec        ablate, scale, clamp, clamp_active, mean_set
        x' = x + amount · W_dec        add
        x' = x + (c − x·w) w           project, cap; w a decoder row at length 1

    f are the features' activations on what the SAE reads. ``b_dec`` and what the SAE does not explain of x cancel, so that where ``f'``
    is f, x comes back bit for bit (methods: 5.1). Computed in float32 and brought back to x's dtype last.
    """

    sae: "Sae"
    """Whose features these are."""
    features: Int[Tensor, " feature"]
    """Which of them."""
    kind: Kind
    """What is done to them."""
    amount: Float[Tensor, "*batch _"]
    """How much; broadcasts over the activations' leading shape."""

    def __call__(self, acts: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """`acts` with the change made; for an SAE that writes the site it reads."""
        if self.sae.facts.output_sites != self.sae.facts.input_sites:
            raise BadConfig(f"{self.sae.name} writes another site than it reads: use hooke.intervene.intervene(model, edit).")
        return self.apply(acts, acts)

    def apply(self, read: Float[Tensor, "*batch d_in"], written: Float[Tensor, "*batch d_out"]) -> Float[Tensor, "*batch d_out"]:
        """`written` with the change made that the activations `read`, of the same tokens, ask for."""
        return shifted(written, self.shift(read, written))

    def shift(self, read: Float[Tensor, "*batch d_in"], written: Float[Tensor, "*batch d_out"]) -> Float[Tensor, "*batch d_out"]:
        """What the change adds to `written`, in float32."""
        rows, read, written = self.sae.W_dec[self.features], read.float(), written.float()
        if written.shape[-1] != rows.shape[1]:
            raise ShapeMismatch(f"{self.sae.name} writes activations of width {rows.shape[1]}; these have width {written.shape[-1]}.")
        amount = self.amount.to(written)
        if self.kind == "add":
            return amount.expand(*written.shape[:-1], len(rows)) @ rows
        if self.kind in _LENGTHS:
            directions = torch.nn.functional.normalize(rows, dim=1)
            length = written @ directions.T
            return (_LENGTHS[self.kind](length, amount) - length) @ directions
        f = self.sae.activations(read, self.features)
        return (_ACTIVATIONS[self.kind](f, amount) - f) @ rows * self.sae.token_scale(read)


def shifted(acts: Float[Tensor, "*batch d"], shift: Float[Tensor, "*#batch d"]) -> Float[Tensor, "*batch d"]:
    """`acts` plus `shift` in their own dtype, bit for bit the same where nothing is added."""
    return torch.where(shift == 0, acts, (acts.float() + shift).to(acts.dtype))


def edit(sae: "Sae", kind: Kind, features: Features, amount: Amount = 0.0) -> Edit:
    """The edit of that kind, its features and amounts checked."""
    index = torch.as_tensor(features, dtype=torch.int64).reshape(-1)
    if not len(index) or len(index.unique()) < len(index):
        raise BadConfig(f"an edit takes one feature or several different ones; these are {index.tolist()[:20]}.")
    if int(index.min()) < 0 or int(index.max()) >= sae.d_sae:
        raise UnknownName(
            f"{sae.name} has features 0 to {sae.d_sae - 1}; asked for is {int(index.max() if index.min() >= 0 else index.min())}."
        )
    if kind in _LENGTHS and len(index) > 1:
        raise BadConfig(f"{kind} takes one feature at a time, as directions of several are not independent; these are {len(index)}.")
    value = torch.as_tensor(amount, dtype=torch.float32)
    if not bool(value.isfinite().all()) or bool((value.abs() > _LARGEST).any()):
        raise BadConfig(f"{kind}: an amount must be a finite number of at most {_LARGEST:,.0f}; given is {amount}.")
    if value.ndim and value.shape[-1] not in (1, len(index)):
        raise ShapeMismatch(f"{kind}: {value.shape[-1]} amounts for {len(index)} features. Give one for all, or one for each.")
    return Edit(sae, index.to(sae.W_dec.device), kind, value.reshape(1) if value.ndim == 0 else value)
