"""circuit-tracer: sets of per-layer transcoders (``layer_{i}.safetensors``) and cross-layer transcoders (``W_enc_{i}``, ``W_dec_{i}``).

`config.yaml` says which sites. Both matrices are stored by feature. A per-layer skip is ``[d_out, d_in]``. The decoder of a cross-layer
file ``L`` has a slice for each layer from ``L`` on; ``b_dec_{W}`` belongs to the layer ``W`` that is written.
"""

import re
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile, Missing
from hooke.sae import Sae
from hooke.sae.formats.gemma_scope_2 import at_target, joined
from hooke.sae.formats.parts import Parts, asked_site, finish, number, weight, word
from hooke.sae.formats.sites import model_id, parse_hook
from hooke.sae.formats.source import Source

CONFIG = "config.yaml"
_LAYER = re.compile(r"layer_(\d{1,4})\.safetensors")
_CROSS = re.compile(r"W_enc_(\d{1,4})\.safetensors")


def sniff(source: Source) -> bool:
    """A `config.yaml` with `model_kind`, or a layer file beside it."""
    if source.file:
        return bool(_LAYER.fullmatch(source.file)) and CONFIG in source.names
    return CONFIG in source.names and (bool(members(source)) or "model_kind" in source.yaml(CONFIG))


def sniff_cross(source: Source) -> bool:
    """``W_enc_{L}.safetensors`` beside a `config.yaml`."""
    named = [source.file] if source.file else source.names
    return CONFIG in source.names and any(map(_CROSS.fullmatch, named))


def members(source: Source) -> list[str]:
    """The layers."""
    found = [name for name in source.names if _LAYER.fullmatch(name) or _CROSS.fullmatch(name)]
    return sorted((name.removesuffix(".safetensors") for name in found), key=lambda name: int(name.rpartition("_")[2]))


def read(source: Source) -> Sae:
    """One layer's transcoder; a cross-layer set as a whole, or one layer's share of it."""
    config = source.yaml(CONFIG)
    model = source.model or model_id(word(source, config, "model_name"))
    files = members(source)
    if not files:
        known = ", ".join(str(uri)[:120] for uri in config.get("transcoders") or [] if isinstance(uri, str))
        raise Missing(f"{source.where} points at files that lie elsewhere: {known[:2000] or 'none named'}. Open those.")
    activation = word(source, config, "activation", "relu")
    k = int(number(source, config, "k")) if activation == "topk" else None
    facts: dict[str, Any] = {"model": model, "bos": True, "training": {"format": "circuit-tracer"}}
    facts |= {"activation": "topk" if k else "jumprelu", "k": k}
    if files[0].startswith("W_enc_"):
        return _cross(source, config, files, facts)
    m = _LAYER.fullmatch(source.file)
    if m is None:
        raise BadFile(f"{source.where}: name one layer of {', '.join(files[:20])}.")
    found, layer = source.tensors(source.file), int(m[1])
    skip = weight(source, found, "W_skip", 2).T if "W_skip" in found else None
    b_enc = weight(source, found, "b_enc", 1)
    parts = Parts(
        weight(source, found, "W_enc", 2).T,
        b_enc,
        weight(source, found, "W_dec", 2),
        weight(source, found, "b_dec", 1),
        _threshold(source, found, "activation_function.threshold", b_enc),
        skip,
    )
    reads = asked_site(source, _hook(source, config, "feature_input_hook", layer), model)
    writes = [parse_hook(_hook(source, config, "feature_output_hook", layer), model).site]
    return finish(source, parts, reads, model.rpartition("/")[2] or "circuit-tracer", source.folder.name, writes, **facts)


def _hook(source: Source, config: dict[str, Any], key: str, layer: int) -> str:
    short = word(source, config, key)
    if not short:
        raise BadFile(f"{source.where}: {CONFIG} has no {key}.")
    return f"blocks.{layer}.{short}"


def _threshold(source: Source, found: dict[str, Tensor], key: str, b_enc: Tensor) -> Tensor | None:
    """Thresholds of any shape that spreads over the features; none is ReLU."""
    if key not in found:
        return None
    threshold = weight(source, found, key, found[key].ndim)
    if threshold.numel() not in (1, len(b_enc)):
        raise BadFile(f"{source.where}: {key} has shape {list(threshold.shape)} for {len(b_enc)} features.")
    if not threshold.is_meta and bool((threshold < 0).any()):
        source.warn("some thresholds are below 0: circuit-tracer would let negative activations pass there; here 0 is the least.")
    return threshold.reshape(-1).expand(len(b_enc)).contiguous()


def _cross(source: Source, config: dict[str, Any], files: list[str], facts: dict[str, Any]) -> Sae:
    m = _CROSS.fullmatch(source.file)
    if m is None and files != [f"W_enc_{i}" for i in range(len(files))]:
        raise BadFile(f"{source.where} holds {', '.join(files)[:200]}; the files of a set are numbered from 0 without a gap.")
    if facts["k"]:
        raise BadFile(f"{source.where}: a top-k over several layers; Hooke has no faithful form for it.")
    model = facts["model"]
    chosen = [int(m[1])] if m else list(range(len(files)))
    parts = [_cross_part(source, i, None if m else len(files)) for i in chosen]
    reads = [parse_hook(_hook(source, config, "feature_input_hook", i), model) for i in chosen]
    targets = range(chosen[0], chosen[0] + len(parts[0].b_dec) // parts[0].W_enc.shape[0])
    writes = [parse_hook(_hook(source, config, "feature_output_hook", i), model).site for i in targets]
    variant = source.folder.name if m is None else f"{source.folder.name}.layer_{chosen[0]}"
    if m:
        source.warn(f"this is the share of layer {chosen[0]}, which writes from there on; what all layers write at a site adds up.")
    return finish(source, joined(source, parts), reads, model.rpartition("/")[2] or "circuit-tracer", variant, writes, **facts)


def _cross_part(source: Source, i: int, count: int | None) -> Parts:
    """Layer `i`, with decoders into all `count` layers, or (None) into those from `i` on, as they are stored."""
    found = source.tensors(f"W_enc_{i}.safetensors") | source.tensors(f"W_dec_{i}.safetensors")
    W_enc, W_dec = weight(source, found, f"W_enc_{i}", 2).T, weight(source, found, f"W_dec_{i}", 3)
    b_enc, bias = weight(source, found, f"b_enc_{i}", 1), weight(source, found, f"b_dec_{i}", 1)
    later = W_dec.shape[1] if count is None else count - i
    if list(W_dec.shape) != [len(b_enc), later, len(bias)] or W_enc.shape[0] != len(bias):
        said = f"W_enc_{i} has shape {list(W_enc.T.shape)} and W_dec_{i} {list(W_dec.shape)}"
        raise BadFile(f"{source.where}: {said}; they must be {[len(b_enc), len(bias)]} and {[len(b_enc), later, len(bias)]}.")
    first = i if count is not None else 0
    if first:
        W_dec = torch.cat([W_dec.new_zeros(len(b_enc), first, len(bias)), W_dec], dim=1)
    threshold = _threshold(source, found, f"threshold_{i}", b_enc)
    return Parts(W_enc, b_enc, W_dec.flatten(1), at_target(bias[None], first, first + later)[0], threshold)
