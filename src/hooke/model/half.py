"""Half: a float32 model that writes token by token reads its weights in half the bytes, where that changes none of them."""

from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# Values looked at in one go: what a core's cache holds.
_CACHED_VALUES = 1 << 18
_Product = Callable[[Tensor], Tensor]
# By layer: which state of its weights the product belongs to, and the product; None where half the bits are not enough.
_products: "WeakKeyDictionary[nn.Module, tuple[tuple[int, int], _Product | None]]" = WeakKeyDictionary()


class HalfWeights:
    """Inside ``with``, the linear layers of a model that are in float32 on a CPU multiply by float16 copies of their weights.

    One token of a few texts takes little arithmetic: a model waits for its weights from memory. Copies are made once, and only where they
    are exact, as of a model that was published in bfloat16 or float16. Products are summed in float32, in another order. Elsewhere
    (another processor, a gradient wanted) layers stay what they are.
    """

    def __init__(self, hf: nn.Module) -> None:
        layers = [layer for layer in hf.modules() if type(layer) is nn.Linear]
        self._products = [(layer, product) for layer in layers if (product := _product(layer)) is not None]

    def __enter__(self) -> None:
        for layer, product in self._products:
            setattr(layer, "forward", product)  # noqa: B010 (types want a method of the class)

    def __exit__(self, *error: object) -> None:
        for layer, _ in self._products:
            del layer.forward


def _product(layer: nn.Linear) -> _Product | None:
    weight = layer.weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or weight.requires_grad or weight.is_inference():
        return None
    state = weight.data_ptr(), weight._version
    known = _products.get(layer)
    if known is None or known[0] != state:
        known = _products[layer] = state, _packed(weight, layer.bias) if _exact(weight) else None
    return known[1]


def _exact(weight: Tensor) -> bool:
    rows = max(1, _CACHED_VALUES // weight.shape[1])
    return all(torch.equal(some.half().float(), some) for some in weight.split(rows))


def _packed(weight: Tensor, bias: Tensor | None) -> _Product | None:
    try:
        return partial(_multiplied, torch.ops.quantized.linear_prepack_fp16(weight, bias))
    except (AttributeError, RuntimeError):  # no such product for this processor, or in this PyTorch
        return None


def _multiplied(weights: torch.ScriptObject, x: Tensor) -> Tensor:
    return torch.ops.quantized.linear_dynamic_fp16(x, weights)
