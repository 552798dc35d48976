"""Jacobian lens: what an activation makes a model likelier to say later, by the mean of the derivatives on the way to the last layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hooke.errors import BadFile
from hooke.files import read_safetensors, write_safetensors
from hooke.model import Model
from hooke.model.hooks import capturing
from hooke.names import Site

__all__ = ["JacobianFit", "jacobian_rows"]

_FORMAT = "hooke-jacobian-fit-1"
# Rows of one backward pass: large products, and no more memory than a forward pass of a batch takes.
_AT_ONCE = 32


@dataclass
class JacobianFit:
    """A Jacobian lens in the making: sums over texts, each text giving some of the rows, so that many texts share in the work."""

    model: str
    """Name of the model."""
    sums: Float[Tensor, "layer d_model d_model"]
    """Of each layer but the last, what the texts read so far gave."""
    texts: Int[Tensor, " d_model"]
    """How many texts gave each row."""
    done: int = 0
    """Texts read."""

    @classmethod
    def begun(cls, model: Model) -> "JacobianFit":
        """One that has read nothing."""
        width = model.width(Site(0, "resid_post"))
        return cls(model.name, torch.zeros(model.n_layers - 1, width, width), torch.zeros(width, dtype=torch.int64))

    def add(self, model: Model, ids: Int[Tensor, " pos"], count: int) -> None:
        """Read one more text for `count` rows: those whose turn it is in an order by lot."""
        width = len(self.texts)
        order = torch.randperm(width, generator=torch.Generator().manual_seed(0))
        rows = order[(self.done * count + torch.arange(count)) % width]
        self.sums[:, rows] += jacobian_rows(model, ids, rows.tolist()).cpu()
        self.texts[rows] += 1
        self.done += 1

    def save(self, path: Path) -> None:
        """Keep it in a file, whole or not at all."""
        facts = {"format": _FORMAT, "model": self.model, "done": str(self.done)}
        write_safetensors(path, {"sums": self.sums, "texts": self.texts}, facts)

    @classmethod
    def load(cls, path: Path) -> "JacobianFit":
        """One that was kept, to go on with. Raises `BadFile` for what is none."""
        tensors, facts = read_safetensors(path)
        if facts.get("format") != _FORMAT or tensors.keys() != {"sums", "texts"} or not facts.get("done", "").isdecimal():
            raise BadFile(f"{path} is no Jacobian lens in the making; give another file, or none to begin anew.")
        return cls(facts.get("model", ""), tensors["sums"].float(), tensors["texts"].long(), int(facts["done"]))

    def transported(self, hidden: Float[Tensor, "*batch d_model"], layer: int) -> Float[Tensor, "*batch d_model"]:
        """``J_l h``: how the residual stream after a layer is felt at the last one, on average; after the last layer `hidden` itself."""
        return hidden if layer == len(self.sums) else hidden.float() @ self.jacobians[layer].to(hidden.device).T

    @property
    def jacobians(self) -> Float[Tensor, "layer d_model d_model"]:
        """The mean over the texts; rows of which no text gave anything are 0."""
        return self.sums / self.texts.clamp_min(1)[:, None]


def jacobian_rows(model: Model, ids: Int[Tensor, " pos"], rows: Sequence[int]) -> Float[Tensor, "layer row d_model"]:
    """Of each layer but the last, the chosen rows of this text's share in its Jacobian.

        J_l[row] = mean over t of Σ_{t' >= t} ∂ h_last(t')[row] / ∂ h_l(t)      h the residual stream after a layer, special tokens left out

    One backward pass for each row gives that row for all layers at once (methods-2: F).
    """
    last = model.n_layers - 1
    sites = {Site(layer, "resid_post"): model.architecture.locate(model.hf, Site(layer, "resid_post")) for layer in range(last + 1)}
    keep = ~model.is_special(ids)
    # The weights ask for no gradient; what the model begins with has to. One graph serves all rows, for which attention must be in parts.
    begun = model.hf.get_input_embeddings()(ids[None].to(model.device)).detach().requires_grad_()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), capturing(sites) as found:
        model.architecture.base(model.hf)(inputs_embeds=begun, use_cache=False)
    layers = [found[Site(layer, "resid_post")] for layer in range(last)]
    total = found[Site(last, "resid_post")][0, keep].float().sum(0)
    parts = []
    for some in torch.eye(len(total), device=total.device)[list(rows)].split(_AT_ONCE):
        grads = torch.autograd.grad(total, layers, some, retain_graph=True, is_grads_batched=True)
        parts.append(torch.stack([grad[:, 0, keep].float().mean(1) for grad in grads]))
    return torch.cat(parts, 1)
