"""Hooke's own SAE file: one safetensors file, the facts as JSON in its header; matrices in float32, bfloat16 or int8."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hooke.errors import BadFile, listed
from hooke.files import read_safetensors, write_safetensors
from hooke.kernels import coordinate_units
from hooke.sae import Sae, check_shapes, weights_of
from hooke.sae.facts import HEADER_KEY, SCHEMA, facts_in

_WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def save(sae: Sae, path: Path, weights: Literal["float32", "bfloat16", "int8"]) -> None:
    """Write `sae` to `path`, atomically; the same SAE gives the same bytes."""
    tensors = {name: tensor for name, tensor in weights_of(sae).items() if name not in ("W_enc", "W_dec")}
    for name, by_feature in (("W_enc", sae.W_enc.T), ("W_dec", sae.W_dec)):
        if weights == "int8":
            tensors |= {f"{name}.{part}": tensor for part, tensor in _to_int8(by_feature).items()}
        else:
            tensors[name] = getattr(sae, name).to(getattr(torch, weights))
    facts = json.dumps({"schema": SCHEMA, **asdict(sae.facts)}, sort_keys=True)
    write_safetensors(path, {name: tensor.cpu() for name, tensor in tensors.items()}, {HEADER_KEY: facts})


def load(path: Path) -> Sae:
    """The SAE in a file that `save` wrote; every weight is checked to be finite."""
    tensors, metadata = read_safetensors(path)
    facts = facts_in(metadata, path)
    loaded = {}
    for name in (*_WEIGHTS, *(["W_skip"] if "W_skip" in tensors else [])):
        if f"{name}.int8" in tensors:
            by_feature = _from_int8(_tensor(tensors, f"{name}.int8", path), *_scales(tensors, name, path), path)
            loaded[name] = by_feature.T.contiguous() if name == "W_enc" else by_feature
        else:
            loaded[name] = _tensor(tensors, name, path).float()
        if loaded[name].ndim != (2 if name.startswith("W") else 1):
            raise BadFile(f"{path}: {name} has shape {list(loaded[name].shape)}.")
        if not finite(loaded[name]):
            raise BadFile(f"{path}: {name} holds values that are not finite. The file is damaged or its training diverged.")
    known = {*loaded, *(f"{name}.{part}" for name in ("W_enc", "W_dec") for part in ("int8", "scale", "column"))}
    if strange := tensors.keys() - known:
        raise BadFile(f"{path} holds tensors that this version does not know: {listed(strange)}. A newer Hooke may read it.")
    check_shapes(loaded, f"{path} ({facts.name})")
    return Sae(**loaded, facts=facts)


def finite(tensor: Tensor) -> bool:
    """Whether all values are finite, told in one pass without a copy (NaN makes both bounds NaN)."""
    return tensor.numel() == 0 or all(bool(bound.isfinite()) for bound in tensor.aminmax())


def _tensor(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise BadFile(f"{path} lacks the tensor {name!r}; it holds {listed(tensors) or 'none'}.")
    return tensors[name]


def _to_int8(rows: Float[Tensor, "d_sae d"]) -> dict[str, Tensor]:
    """Integers, a scale for each feature, and one for each coordinate, without which small ones would be rounded away. The latter are
    powers of two, so that what was read can be written again unchanged."""
    tiny = torch.finfo(torch.float32).tiny
    column = coordinate_units(rows)
    even = rows / column
    scale = (even.abs().amax(1) / 127).clamp_min(tiny)
    return {"int8": (even / scale[:, None]).round().clamp(-127, 127).to(torch.int8), "scale": scale.float(), "column": column.float()}


def _scales(tensors: Mapping[str, Tensor], name: str, path: Path) -> tuple[Tensor, Tensor]:
    scale = _tensor(tensors, f"{name}.scale", path)
    # The first files of this kind have no scales for coordinates.
    return scale, tensors.get(f"{name}.column", torch.ones(tensors[f"{name}.int8"].shape[-1]))


def _from_int8(rows: Tensor, scale: Tensor, column: Tensor, path: Path) -> Float[Tensor, "d_sae d"]:
    if rows.dtype != torch.int8 or rows.ndim != 2 or (*scale.shape, *column.shape) != tuple(rows.shape):
        shapes = f"{list(scale.shape)} and {list(column.shape)}"
        raise BadFile(f"{path}: int8 rows of shape {list(rows.shape)} with scales of shape {shapes} do not fit.")
    return rows.float() * scale.float()[:, None] * column.float()
