"""SAELens, versions 1 to 6: `cfg.json` and `sae_weights.safetensors`.

Traps: flat configurations before 6.0 with other key names; `b_dec` is subtracted from the input unless the configuration says no
(transcoders never do); `W_skip` is stored ``[d_out, d_in]``; a top-k may be taken of activations times decoder norms; the hook name of a
converted Gemma Scope 2 transcoder is wrong, its `hf_hook_name` right.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadConfig, BadFile, quoted, unknown
from hooke.files import atomic_folder, write_safetensors
from hooke.sae import Sae, weights_of
from hooke.sae.facts import GROUPS_KEY, Normalize
from hooke.sae.formats.parts import Parts, asked_site, check_parts, finish, gated, number, weight, word
from hooke.sae.formats.sites import NormalizedSite, lens_hook, model_id, parse_hook
from hooke.sae.formats.source import Source

CONFIG, FILE, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
VERSION = "6.0.0"
"""The version of the format that is written."""
_OLD_NAMES = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
# What each architecture is here; training ones are read as the inference form they are exported to.
_RELU = ("standard", "transcoder", "skip_transcoder")
_JUMPRELU = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder", "batchtopk", "matryoshka_batchtopk")
_TOPK = ("topk", "abstopk")
_KNOWN = (*_RELU, *_JUMPRELU, *_TOPK, "gated")
_NO_FORM = {
    "matching_pursuit": "it has no encoder but a search that runs until a residual is small",
    "temporal": "it attends over whole sequences, so a token alone has no code",
}
_NORMALIZE: dict[str, Normalize] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "rms",
    "expected_average_only_in": "none",
}


def sniff(source: Source) -> bool:
    """A `cfg.json` with `d_sae`, `architecture` or `hook_point`."""
    if source.file not in ("", CONFIG, FILE) or CONFIG not in source.names or "sae.safetensors" in source.names:
        return False
    return FILE in source.names or bool({"d_sae", "architecture", "hook_point"} & set(source.json(CONFIG)))


def read(source: Source) -> Sae:
    """The SAE or transcoder."""
    config = _upgraded(source)
    architecture = word(source, config, "architecture", "standard")
    if architecture in _NO_FORM:
        raise BadFile(f"{source.where} is a {architecture} SAE: {_NO_FORM[architecture]}. Hooke has no faithful form for it.")
    if architecture not in _KNOWN:
        raise unknown("SAELens architecture", architecture, _KNOWN, f"Asked by {source.where}.")
    activation = word(source, config, "activation_fn", "relu")
    if activation not in ("relu", "topk"):
        raise BadFile(f"{source.where}: activation {activation!r}; known are relu and topk.")
    found = source.tensors(FILE)
    parts, k = _activation(source, config, architecture, _parts(source, config, architecture, found))
    for name in ("scaling_factor", "finetuning_scaling_factor"):  # a fine-tuned scale on activations before they are decoded
        if name in found:
            scale = weight(source, found, name, 1)
            if len(scale) != len(parts.W_dec):
                raise BadFile(f"{source.where}: {name} has {len(scale)} values for {len(parts.W_dec)} features.")
            parts = replace(parts, W_dec=parts.W_dec * scale[:, None])
    metadata = config["metadata"]
    model = source.model or model_id(word(source, metadata, "model_name"))
    reads, writes = _places(source, metadata, model)
    return finish(
        source,
        parts,
        _normalized(source, config, metadata, reads, model),
        _collection(source, model),
        source.folder.name,
        writes,
        model=model,
        activation="jumprelu" if k is None else "topk",
        k=k,
        context=int(number(source, metadata, "context_size", 0) if metadata.get("context_size") is not None else 0),
        bos=metadata.get("prepend_bos", True) is not False,
        metrics={"l0": _l0(source, metadata)},
        groups=metadata.get(GROUPS_KEY, {}),
        training={"format": "saelens", "dataset": word(source, metadata, "dataset_path")},
    )


def _upgraded(source: Source) -> dict[str, Any]:
    """The configuration in the form of version 6, whatever version wrote it."""
    config = source.json(CONFIG)
    metadata = config.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    version = re.match(r"(\d{1,4})\.", str(config.get("sae_lens_version") or metadata.get("sae_lens_version") or "0."))
    if version and int(version[1]) >= 6:
        return config | {"metadata": metadata}
    config = {_OLD_NAMES.get(key, key): value for key, value in config.items()}
    if word(source, config, "activation_fn", "relu") == "topk":
        arguments = config.get("activation_fn_kwargs")
        config |= {"architecture": "topk", "k": arguments.get("k") if isinstance(arguments, dict) else None}
    if isinstance(config.get("normalize_activations"), bool):
        config["normalize_activations"] = "expected_average_only_in" if config["normalize_activations"] else "none"
    return config | {"metadata": config}


def _parts(source: Source, config: dict[str, Any], architecture: str, found: dict[str, Tensor]) -> Parts:
    W_enc, W_dec, b_dec = weight(source, found, "W_enc", 2), weight(source, found, "W_dec", 2), weight(source, found, "b_dec", 1)
    if architecture == "gated":
        b_gate, r_mag, b_mag = (weight(source, found, name, 1) for name in ("b_gate", "r_mag", "b_mag"))
        if not len(b_gate) == len(r_mag) == len(b_mag) == W_enc.shape[1]:
            raise BadFile(f"{source.where}: b_gate, r_mag and b_mag must have {W_enc.shape[1]} values each.")
        parts = gated(W_enc, b_gate, r_mag, b_mag, W_dec, b_dec)
    else:
        skip = weight(source, found, "W_skip", 2).T if "skip" in architecture else None
        parts = Parts(W_enc, weight(source, found, "b_enc", 1), W_dec, b_dec, W_skip=skip)
    check_parts(source, parts)
    return parts.minus_b_dec() if _subtracts(config, architecture) else parts


def _subtracts(config: dict[str, Any], architecture: str) -> bool:
    return "transcoder" not in architecture and config.get("apply_b_dec_to_input", True) is not False


def _activation(source: Source, config: dict[str, Any], architecture: str, parts: Parts) -> tuple[Parts, int | None]:
    if architecture in _TOPK:
        if config.get("rescale_acts_by_decoder_norm") is True:
            parts = parts.unit_decoder()
        k = int(number(source, config, "k", 100))
        return (parts.both_signs() if architecture == "abstopk" else parts), k
    if architecture not in _JUMPRELU:
        return parts, None
    found = source.tensors(FILE)
    if "threshold" in found:
        threshold = weight(source, found, "threshold", 1)
    elif "log_threshold" in found:
        threshold = weight(source, found, "log_threshold", 1).exp()
    elif "topk_threshold" in found:
        if config.get("rescale_acts_by_decoder_norm") is True:
            parts = parts.unit_decoder()
        threshold = torch.full_like(parts.b_enc, source.scalar(FILE, "topk_threshold", found))
    else:
        threshold = weight(source, found, "threshold", 1)  # says what is missing
    return Parts(parts.W_enc, parts.b_enc, parts.W_dec, parts.b_dec, threshold, parts.W_skip), None


def _places(source: Source, metadata: dict[str, Any], model: str) -> tuple[NormalizedSite, list[str] | None]:
    if metadata.get("hook_head_index") is not None:
        raise BadFile(
            f"{source.where} reads head {quoted(metadata['hook_head_index'])} alone; Hooke reads all heads side by side (attn_z)."
        )
    hook, hook_out = (word(source, metadata, f"hf_hook_name{end}") or word(source, metadata, f"hook_name{end}") for end in ("", "_out"))
    reads = asked_site(source, hook, model)
    return reads, [parse_hook(hook_out, model).site] if hook_out else None


def _normalized(source: Source, config: dict[str, Any], metadata: dict[str, Any], reads: NormalizedSite, model: str) -> NormalizedSite:
    theirs = word(source, config, "normalize_activations", "none")
    if theirs not in _NORMALIZE:
        raise unknown("normalize_activations", theirs, _NORMALIZE, f"Asked by {source.where}.")
    if theirs == "expected_average_only_in":
        source.warn(
            "trained on activations scaled to an average norm; the scale is not in the file, and weights are taken as if it were folded."
        )
    ours: Normalize = _NORMALIZE[theirs]
    kwargs = metadata.get("model_from_pretrained_kwargs")
    centred = isinstance(kwargs, dict) and kwargs.get("center_writing_weights") is True and "gpt2" in model
    if centred and ours == "none":
        ours = "centre"
    if ours != "none" and reads.normalize != "none":
        raise BadFile(f"{source.where} normalises ({theirs}) what its site has normalised already; Hooke has no form for that.")
    return reads if ours == "none" else NormalizedSite(reads.site, ours, 0.0)


def _collection(source: Source, model: str) -> str:
    return model.rpartition("/")[2] or source.folder.parent.name


def _l0(source: Source, metadata: dict[str, Any]) -> float | None:
    if isinstance(metadata.get("l0"), int | float) and not isinstance(metadata["l0"], bool):
        return number(source, metadata, "l0")
    if SPARSITY in source.names and not source.meta:
        return float(torch.pow(10.0, weight(source, source.tensors(SPARSITY), "sparsity", 1).clamp_max(0)).sum())
    return None


def write(sae: Sae, path: Path) -> Path:
    """`cfg.json` and `sae_weights.safetensors` in the folder `path`."""
    facts, transcoder = sae.facts, sae.facts.output_sites != sae.facts.input_sites or sae.W_skip is not None
    architecture = _architecture(sae, transcoder)
    normalize = {ours: theirs for theirs, ours in _NORMALIZE.items() if theirs != "expected_average_only_in"}
    hook = lens_hook(facts.site, facts.normalize)
    metadata = {
        "sae_lens_version": VERSION,
        "model_name": facts.model,
        "hook_name": hook,
        "prepend_bos": facts.bos,
        "context_size": facts.context or None,
        "hook_name_out": lens_hook(facts.output_sites[0], "none") if transcoder else None,
        "model_from_pretrained_kwargs": {"center_writing_weights": facts.normalize == "centre"} if "gpt2" in facts.model else None,
        "dataset_path": facts.training.get("dataset"),
        "l0": facts.metrics.get("l0"),
        GROUPS_KEY: facts.groups or None,
    }
    config = {
        "architecture": architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": normalize.get(facts.normalize, "none"),
        "reshape_activations": "hook_z" if facts.site.kind == "attn_z" else "none",
        **({"k": facts.k, "rescale_acts_by_decoder_norm": False} if facts.activation == "topk" else {}),
        **({"d_out": len(sae.b_dec)} if transcoder else {}),
        "metadata": {key: value for key, value in metadata.items() if value is not None},
    }
    tensors = {name: tensor.cpu() for name, tensor in weights_of(sae).items() if name != "threshold" or "jumprelu" in architecture}
    if sae.W_skip is not None:
        tensors["W_skip"] = tensors["W_skip"].T
    with atomic_folder(path) as folder:
        write_safetensors(folder / FILE, tensors, {})
        (folder / CONFIG).write_text(json.dumps(config))
    return path


def _architecture(sae: Sae, transcoder: bool) -> str:
    facts = sae.facts
    if len(facts.input_sites) + len(facts.output_sites) > 2:
        raise BadConfig(f"{sae.name} reads or writes several sites; a SAELens folder holds one.")
    if facts.activation == "groupmax" or (facts.activation == "topk" and transcoder):
        what = "transcoder" if transcoder else "SAE"
        raise BadConfig(f"{sae.name} is a {facts.activation} {what}; SAELens has no architecture for it.")
    if transcoder and facts.normalize not in ("none", "rms_in"):
        raise BadConfig(f"{sae.name} normalises its input ({facts.normalize}) and writes another site, which SAELens cannot hold.")
    if facts.normalize == "centre" and "gpt2" not in facts.model:
        raise BadConfig(f"{sae.name} takes each token's mean off; SAELens knows that only of GPT-2 with centred writing weights.")
    if facts.activation == "topk":
        return "topk"
    relu = not bool(sae.threshold.any())
    if not transcoder:
        return "standard" if relu else "jumprelu"
    return ("" if relu else "jumprelu_") + ("transcoder" if sae.W_skip is None else "skip_transcoder")
