"""OpenMOSS: Llama Scope (2024, `hyperparams.json`), Llama-Scope-R1-Distill (`config.json`), and today's format (tensors ``W_E``, ``W_D``).

The average norms of inputs and of outputs are two factors, folded separately: a transcoder folded with one is wrong by their ratio.
Where selection counts decoder norms, activations are brought to decoder rows of length 1 before the threshold is applied.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadFile, quoted, unknown
from hooke.sae import Sae
from hooke.sae.formats.gemma_scope_2 import at_target, joined
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, number, weight, word
from hooke.sae.formats.sites import NormalizedSite, model_id, parse_hook
from hooke.sae.formats.source import Source

LLAMA_CONFIG, LLAMA_FILE = "hyperparams.json", "final.safetensors"
CONFIG, FILE = "config.json", "sae_weights.safetensors"
_MODELS = {"Llama3_1-8B-Base": "meta-llama/Llama-3.1-8B", "Llama-Scope-R1-Distill": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"}
_ACTIVATIONS = ("relu", "jumprelu", "topk")
_NORMS = ("dataset-wise", "inference", "token-wise")
_NO_FORM = {
    "crosscoder": "the layout of its tensors is not documented",
    "lorsa": "it is attention over a whole sequence, so a token alone has no code",
    "molt": "its features are matrices",
}


def sniff_llama_scope(source: Source) -> bool:
    """`hyperparams.json` with `checkpoints/final.safetensors`."""
    return source.file in ("", LLAMA_CONFIG) and LLAMA_CONFIG in source.names


def sniff(source: Source) -> bool:
    """`sae_weights.safetensors` with a `config.json` (SAELens has `cfg.json`)."""
    return source.file in ("", CONFIG, FILE) and {CONFIG, FILE} <= source.names and "cfg.json" not in source.names


def read_llama_scope(source: Source) -> Sae:
    """A Llama Scope SAE or transcoder, in raw activations, as its own loader makes it."""
    config = source.json(LLAMA_CONFIG)
    checkpoints = Source(source.folder / "checkpoints", meta=source.meta)
    found = checkpoints.tensors(LLAMA_FILE)
    source.held, source.dtypes = checkpoints.held, checkpoints.dtypes
    source.shapes, source.others = checkpoints.shapes, checkpoints.others
    source.used.add(f"checkpoints/{LLAMA_FILE}")
    parts = _linear(source, found)
    norms = config.get("dataset_average_activation_norm")
    parts, rescale = _unscaled(source, config, parts, lambda side: number(source, norms if isinstance(norms, dict) else {}, side))
    threshold = torch.full_like(parts.b_enc, number(source, config, "jump_relu_threshold", 0.0))
    return _finish(source, config, parts, threshold, rescale)


def read(source: Source) -> Sae:
    """An SAE or transcoder of the R1 or of today's format; a cross-layer transcoder as a whole or one layer's share."""
    config, found = source.json(CONFIG), source.tensors(FILE)
    kind = word(source, config, "sae_type", "sae")
    if kind in _NO_FORM:
        raise BadFile(f"{source.where} is a {kind}: {_NO_FORM[kind]}. Hooke has no faithful form for it.")
    if kind == "clt":
        return _clt(source, config, found)
    if kind != "sae":
        raise unknown("sae_type", kind, ("sae", "clt", *_NO_FORM), f"Asked by {source.where}.")
    if "encoder.weight" in found:
        source.warn("an older OpenMOSS file: its weights are taken as they are, with no average norm to fold.")
        parts, rescale = _linear(source, found), "none"
        threshold = weight(source, found, "log_jumprelu_threshold", 1).exp() if "log_jumprelu_threshold" in found else None
        return _finish(source, config | {"sparsity_include_decoder_norm": False}, parts, threshold, rescale)
    if "W_E_glu" in found or config.get("use_glu_encoder") is True:
        raise BadFile(f"{source.where} has a gated linear encoder (W_E_glu), for which Hooke has no faithful form.")
    names = ("W_E", "b_E", "W_D", "b_D")
    parts = Parts(*(weight(source, found, name, 1 + name.startswith("W")) for name in names))
    check_parts(source, parts)
    hooks = {side: word(source, config, f"hook_point_{side}") for side in ("in", "out")}
    parts, rescale = _unscaled(source, config, parts, lambda side: _norm(source, found, hooks[side] or hooks["in"]))
    log = found.get("activation_function.log_jumprelu_threshold")
    threshold = None if log is None else weight(source, found, "activation_function.log_jumprelu_threshold", 1).exp()
    return _finish(source, config, parts, threshold, rescale)


def _linear(source: Source, found: dict[str, Tensor]) -> Parts:
    names = ("encoder.weight", "encoder.bias", "decoder.weight")
    E, e, D = (weight(source, found, name, 1 + name.endswith("weight")) for name in names)
    b_dec = weight(source, found, "decoder.bias", 1) if "decoder.bias" in found else D.new_zeros(D.shape[0])
    parts = Parts(E.T, e, D.T.contiguous(), b_dec)
    check_parts(source, parts)
    return parts


def _norm(source: Source, found: dict[str, Tensor], hook: str) -> float:
    key = f"dataset_average_activation_norm.{hook}"
    if key not in found:
        raise BadFile(f"{source.where} lacks {key}, the average norm that its activations were scaled by.")
    return source.scalar(FILE, key, found)


def _unscaled(source: Source, config: dict[str, Any], parts: Parts, norm: Callable[[str], float]) -> tuple[Parts, str]:
    """`parts` on raw activations, and what must still be done to each token."""
    how = word(source, config, "norm_activation", "dataset-wise")
    if how not in _NORMS:
        raise BadFile(f"{source.where}: norm_activation {how!r} depends on the batch; Hooke has no faithful form for it.")
    if how == "token-wise":
        return parts, "rms"
    if how == "inference" or parts.unread:
        return parts, "none"
    norms = {side: norm(side) for side in ("in", "out")}
    if min(norms.values()) <= 0:
        raise BadFile(f"{source.where}: average norms {norms} must be positive.")
    s_in, s_out = parts.W_enc.shape[0] ** 0.5 / norms["in"], len(parts.b_dec) ** 0.5 / norms["out"]
    # The encoder of raw x: (s x) W + b = s (x W + b / s); activations come out divided by s, so the decoder is multiplied by it.
    return replace(parts, b_enc=parts.b_enc / s_in, W_dec=parts.W_dec * (s_in / s_out), b_dec=parts.b_dec / s_out), "none"


def _finish(source: Source, config: dict[str, Any], parts: Parts, threshold: Tensor | None, rescale: str) -> Sae:
    activation = word(source, config, "act_fn", "relu" if threshold is None else "jumprelu").lower()
    if activation not in _ACTIVATIONS:
        raise BadFile(f"{source.where}: act_fn {activation!r} selects over a batch; known are {', '.join(_ACTIVATIONS)}.")
    if config.get("sparsity_include_decoder_norm", True) is not False:
        parts = parts.unit_decoder()
    if activation == "jumprelu":
        if threshold is None:
            raise BadFile(f"{source.where} is jumprelu and has no threshold.")
        parts = replace(parts, threshold=threshold)
    k = int(number(source, config, "top_k", 50)) if activation == "topk" else None
    model = source.model or _model(source, config)
    hook_in = word(source, config, "hook_point_in")
    reads = asked_site(source, hook_in, model)
    hook_out = word(source, config, "hook_point_out") or hook_in
    writes = None if hook_out == hook_in else [parse_hook(hook_out, model).site]
    if rescale != "none":
        if writes or reads.normalize != "none":
            raise BadFile(f"{source.where} scales each target by its own norm, which is not known when the source is read.")
        reads = NormalizedSite(reads.site, "rms")
    return finish(
        source,
        parts,
        reads,
        model.rpartition("/")[2] or "openmoss",
        source.folder.name,
        writes,
        model=model,
        activation="topk" if k else "jumprelu",
        k=k,
        context=1024,
        bos=True,
        metrics={"l0": number(source, config, "top_k") if isinstance(config.get("top_k"), int) else None},
        training={"format": "openmoss"},
    )


def _model(source: Source, config: dict[str, Any]) -> str:
    if name := word(source, config, "model_name"):
        return model_id(name)
    path = source.folder.absolute().as_posix()
    for key, model in _MODELS.items():
        if key in path:
            return model
    source.warn("the model is not known: neither the configuration nor a folder names it.")
    return ""


def members(source: Source) -> list[str]:
    """The layers of a cross-layer transcoder."""
    if not {CONFIG, FILE} <= source.names:
        return []
    hooks = source.json(CONFIG).get("hook_points_in")
    return [f"layer_{i}" for i in range(len(hooks))] if isinstance(hooks, list) else []


def _clt(source: Source, config: dict[str, Any], found: dict[str, Tensor]) -> Sae:
    hooks = {side: config.get(f"hook_points_{side}") for side in ("in", "out")}
    if not all(isinstance(names, list) and names and all(isinstance(name, str) for name in names) for names in hooks.values()):
        raise BadFile(f"{source.where}: hook_points_in and hook_points_out must be lists of names.")
    if word(source, config, "norm_activation", "dataset-wise") != "inference":
        raise BadFile(f"{source.where}: only cross-layer transcoders whose norms are folded (norm_activation 'inference') are read.")
    if word(source, config, "act_fn", "jumprelu") not in ("relu", "jumprelu"):
        raise BadFile(f"{source.where}: act_fn {quoted(config.get('act_fn'))} selects over layers; known are relu and jumprelu.")
    model = source.model or _model(source, config)
    count = len(hooks["in"] or [])
    chosen = int(m[1]) if (m := re.fullmatch(r"layer_(\d{1,4})", source.file)) else None
    parts = [_clt_part(source, config, found, i, count) for i in range(count) if chosen in (None, i)]
    reads = [parse_hook(hook, model) for i, hook in enumerate(hooks["in"] or []) if chosen in (None, i)]
    writes = [parse_hook(hook, model).site for hook in hooks["out"] or []]
    source.asked |= {f"b_D.{i}" for i in range(count)}  # each layer's share asks for its own alone
    variant = source.folder.name if chosen is None else f"{source.folder.name}.layer_{chosen}"
    if chosen is not None:
        source.warn(f"this is the share of layer {chosen}; reconstructions of all {count} shares add up to the whole.")
    training = {"format": "openmoss"}
    collection = model.rpartition("/")[2] or "openmoss"
    return finish(source, joined(source, parts), reads, collection, variant, writes, model=model, training=training)


def _clt_part(source: Source, config: dict[str, Any], found: dict[str, Tensor], i: int, count: int) -> Parts:
    """Layer `i`: ``W_D.j[i]`` is what it writes at layer ``j >= i``."""
    W_E, b_E = weight(source, found, "W_E", 3), weight(source, found, "b_E", 2)
    decoders = [weight(source, found, f"W_D.{j}", 3) for j in range(count)]
    bias = weight(source, found, f"b_D.{i}", 1)
    if len(W_E) != count or len(b_E) != count or any(list(D.shape) != [j + 1, W_E.shape[2], len(bias)] for j, D in enumerate(decoders)):
        raise BadFile(f"{source.where}: W_E {list(W_E.shape)} and its decoders do not fit {count} layers of width {len(bias)}.")
    W_dec = torch.cat([decoders[j][i] if j >= i else torch.zeros_like(decoders[j][0]) for j in range(count)], dim=1)
    threshold = None
    if (key := "activation_function.log_jumprelu_threshold") in found:
        log = weight(source, found, key, 2)
        if log.shape != b_E.shape:
            raise BadFile(f"{source.where}: {key} has shape {list(log.shape)}; it must be {list(b_E.shape)}.")
        threshold = log[i].exp()
        if config.get("sparsity_include_decoder_norm", True) is not False:
            raise BadFile(f"{source.where}: how the norms of several decoders count in selection is not documented; no faithful form.")
    return Parts(W_E[i], b_E[i], W_dec, at_target(bias[None], i, count)[0], threshold)
