"""Dense products in the place of the sparse kernels, for codes of which so many entries are active that these are faster; any device."""

import itertools

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor

from hooke.kernels import Entries, Gradients, Layout
from hooke.kernels.products import product

__all__ = ["add_gradients", "decode", "suits"]


def suits(entries: Entries, d_sae: int, share: float) -> bool:
    """Whether more than `share` of all entries are active."""
    return len(entries.feature) > share * (len(entries.indptr) - 1) * d_sae


def decode(
    entries: Entries, W_dec: BFloat16[Tensor, "d_sae d_out"], target: Float[Tensor, "token d_out"], layout: Layout
) -> tuple[Float[Tensor, "token d_out"], Float[Tensor, "group token d_out"], Float[Tensor, " nnz"]]:
    """What the kernels' `decode` gives, from bfloat16 products."""
    codes = _scattered(entries, entries.value, len(W_dec))
    errors, ends = -target[None].repeat(len(layout.ends), 1, 1), [0, *layout.ends.tolist()]
    for g, (start, end) in enumerate(itertools.pairwise(ends)):
        errors[g:] += product(codes[:, start:end], W_dec[start:end])
    grad_recon = (errors * layout.weights[:, None, None]).flip(0).cumsum(0).flip(0) if len(errors) > 1 else errors
    products = torch.cat([product(grad_recon[g].bfloat16(), W_dec[a:b].T) for g, (a, b) in enumerate(itertools.pairwise(ends))], 1)
    return errors[-1], grad_recon, products[entries.rows(), entries.feature.long()].float()


def add_gradients(
    entries: Entries,
    grad_pre: Float[Tensor, " nnz"],
    acts: BFloat16[Tensor, "token d_in"],
    grad_recon: BFloat16[Tensor, "group token d_out"],
    layout: Layout,
    scale: float,
    into: Gradients,
) -> None:
    """What the kernels' `add_gradients` adds, from bfloat16 products."""
    codes, backs = _scattered(entries, entries.value, len(into.b_enc)), _scattered(entries, grad_pre, len(into.b_enc))
    ends = [0, *layout.ends.tolist()]
    for g, (start, end) in enumerate(itertools.pairwise(ends)):
        into.W_dec[start:end] += scale * product(codes[:, start:end].T, grad_recon[g])
    into.W_dec.mul_(torch.arange(into.W_dec.shape[1], device=acts.device) >= layout.writes[:, None])
    for first in layout.reads.unique().tolist():
        own = layout.reads == first
        into.W_enc[own] += scale * product(backs[:, own].T, acts[:, first : first + into.W_enc.shape[1]])
    into.b_enc.add_(backs.float().sum(0), alpha=scale)


def _scattered(entries: Entries, value: Float[Tensor, " nnz"], d_sae: int) -> BFloat16[Tensor, "token d_sae"]:
    out = torch.zeros(len(entries.indptr) - 1, d_sae, dtype=torch.bfloat16, device=value.device)
    out[entries.rows(), entries.feature.long()] = value.bfloat16()
    return out
