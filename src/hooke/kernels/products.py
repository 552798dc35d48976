"""Products: matrix products of bfloat16 numbers, summed in float32 and rounded to bfloat16, fast on every processor."""

import torch
from jaxtyping import BFloat16
from torch import Tensor

from hooke.devices import multiplies_bfloat16


def product(
    a: BFloat16[Tensor, "row d"], b: BFloat16[Tensor, "d n"], *, out: BFloat16[Tensor, "row n"] | None = None
) -> BFloat16[Tensor, "row n"]:
    """``a b``, written to `out` where that is given. A processor that has no bfloat16 arithmetic multiplies the same numbers in float32."""
    if multiplies_bfloat16(a.device):
        return torch.mm(a, b, out=out)
    found = torch.mm(a.float(), b.float())
    return found.bfloat16() if out is None else out.copy_(found)


def linear(
    x: BFloat16[Tensor, "token d_in"], weight: BFloat16[Tensor, "d_sae d_in"], bias: BFloat16[Tensor, " d_sae"]
) -> BFloat16[Tensor, "token d_sae"]:
    """``x weightᵀ + bias``, the weights a row for each feature."""
    if multiplies_bfloat16(x.device):
        return torch.nn.functional.linear(x, weight, bias)
    return torch.nn.functional.linear(x.float(), weight.float(), bias.float()).bfloat16()
