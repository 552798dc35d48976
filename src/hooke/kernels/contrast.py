"""Contrast: how well the codes of one token tell its partner from the partners of others; any device."""

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.kernels import Entries

__all__ = ["contrast"]


def contrast(entries: Entries, width: int, *, cosine: bool, temperature: float) -> tuple[float, Float[Tensor, " nnz"]]:
    """Symmetric InfoNCE of the first `width` features' codes, and its gradient at every entry (0 at other features').

    Row ``i`` of the first half of the tokens and row ``i`` of the second are a pair. With ``S[i, j]`` the cosine (or the dot product) of
    the codes of row ``i`` of the first half and row ``j`` of the second, over `temperature`: the mean cross-entropy of telling ``i`` from
    its row of ``S``, and from its column, in equal parts (arXiv 2511.05541). A token without codes is equally far from all.
    """
    chosen = entries.feature < width
    rows, feature = entries.rows()[chosen], entries.feature[chosen].long()
    codes = torch.zeros(len(entries.indptr) - 1, width, device=entries.value.device)
    codes[rows, feature] = entries.value[chosen]
    length = codes.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    compared = codes / length if cosine else codes
    first, second = compared.chunk(2)
    similar = first @ second.T / temperature
    loss = -(similar.log_softmax(1) + similar.log_softmax(0)).diagonal().mean() / 2
    wrong = similar.softmax(1) + similar.softmax(0) - 2 * torch.eye(len(first), device=similar.device)
    grad_acts = torch.cat([wrong @ second, wrong.T @ first]) / (2 * len(first) * temperature)
    if cosine:
        grad_acts = (grad_acts - (grad_acts * compared).sum(1, keepdim=True) * compared) / length
    gradient = torch.zeros_like(entries.value)
    gradient[chosen] = grad_acts[rows, feature]
    return float(loss), gradient
