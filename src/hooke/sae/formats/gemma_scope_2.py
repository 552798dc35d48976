"""Gemma Scope 2 (2025): `config.json` and `params.safetensors`; crosscoders and cross-layer transcoders in one file per layer.

The skip is used as ``x @ affine_skip_connection``. Sites are Hugging Face modules: transcoders read the norm's output with its gain.
In many-layer folders file ``i`` is the ``i``-th layer of the list, and its `b_dec` belongs to the ``i``-th layer that is written.
`config.json` may be missing: the folder's name says the same. `examples.safetensors` is never touched.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hooke.errors import BadConfig, BadFile, LimitReached, unknown
from hooke.files import atomic_folder, write_safetensors
from hooke.sae import Sae, weights_of
from hooke.sae.facts import GROUPS_KEY
from hooke.sae.formats.parts import Parts, asked_site, finish, number, weight, word
from hooke.sae.formats.sites import model_id, module_path, parse_hook
from hooke.sae.formats.source import Source

FILE, CONFIG = "params.safetensors", "config.json"
CONTEXT = 1024
_FOLDER = re.compile(
    r"(?P<site>resid_post|attn_out|mlp_out|transcoder)(?P<all>_all)?/layer_(?P<layer>\d{1,4})_width_(?P<width>\w+?)_l0_(?P<l0>small|medium|big)"
    r"(?P<seed>_seed_\d+)?(?P<affine>_affine)?/?$"
)
_MANY = re.compile(r"(?:crosscoder/layer(?P<layers>(?:_\d{1,4})+)|(?P<clt>clt)/?)_?(?P<variant>width_\w+?_l0_\w+)/?$")
_REPO = re.compile(r"gemma-scope-2-(?P<size>270m|1b|4b|12b|27b)-(?P<kind>pt|it)(?![A-Za-z0-9])")
_HOOKS = {
    "resid_post": ("model.layers.{}.output",) * 2,
    "attn_out": ("model.layers.{}.self_attn.o_proj.input",) * 2,
    "mlp_out": ("model.layers.{}.post_feedforward_layernorm.output",) * 2,
    "transcoder": ("model.layers.{}.pre_feedforward_layernorm.output", "model.layers.{}.post_feedforward_layernorm.output"),
}
_PART = re.compile(r"params_layer_(\d{1,4})(?:\.safetensors)?")
# Values that a joint SAE of many layers may take where each layer's encoder stands in a block of its own.
_MAX_JOINT = 1 << 31
# A skip to one of many layers is laid out over all of them: no larger than the decoder beside it, or than 64 MiB.
_SMALL = 1 << 24


def sniff(source: Source) -> bool:
    """A config with `hf_hook_point_in`, or the parameter files by name."""
    if source.file:
        return source.file == FILE or bool(_PART.fullmatch(source.file))
    return FILE in source.names or bool(members(source))


def members(source: Source) -> list[str]:
    """The files of a crosscoder or cross-layer transcoder."""
    found = [int(m[1]) for name in source.names if name.endswith(".safetensors") and (m := _PART.fullmatch(name))]
    return [f"params_layer_{i}" for i in sorted(found)]


def read(source: Source) -> Sae:
    """One SAE or transcoder; a many-layer folder as a whole, or the part of it whose file was named."""
    if FILE in source.names and not source.file.startswith("params_layer"):
        return _read_one(source)
    return _read_many(source)


def _config(source: Source) -> dict[str, Any]:
    config = source.json(CONFIG) if CONFIG in source.names else {}
    architecture = word(source, config, "architecture", "jump_relu")
    if architecture != "jump_relu":
        raise BadFile(f"{source.where}: architecture {architecture!r}; Gemma Scope 2 is jump_relu throughout.")
    return config


def _model(source: Source, config: dict[str, Any]) -> str:
    if source.model:
        return source.model
    if name := word(source, config, "model_name"):
        return model_id(name)
    if repo := _REPO.search(source.folder.absolute().as_posix()):
        return model_id(f"gemma-3-{repo['size']}-{repo['kind']}")
    source.warn("the model is not known: there is no config.json and no folder called gemma-scope-2-*.")
    return ""


def _read_one(source: Source) -> Sae:
    config = _config(source)
    model = _model(source, config)
    named = _FOLDER.search(source.folder.absolute().as_posix())
    hook_in, hook_out = word(source, config, "hf_hook_point_in"), word(source, config, "hf_hook_point_out")
    if not hook_in and named:
        hook_in, hook_out = (hook.format(int(named["layer"])) for hook in _HOOKS[named["site"]])
    found = source.tensors(FILE)
    parts = Parts(*(weight(source, found, key, 1 + key.startswith("w")) for key in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")))
    if "affine_skip_connection" in found:
        parts = replace(parts, W_skip=weight(source, found, "affine_skip_connection", 2))
    elif config.get("affine_connection") is True or (not config and named and named["affine"]):
        raise BadFile(f"{source.where} says it has an affine skip, but holds no affine_skip_connection.")
    reads = asked_site(source, hook_in, model)
    writes = [parse_hook(hook_out, model).site] if hook_out else None
    l0 = number(source, config, "l0") if "l0" in config else None
    return finish(
        source,
        parts,
        reads,
        _collection(source),
        _variant(named[0] if named else source.folder.name),
        writes,
        model=model,
        context=CONTEXT,
        bos=True,
        metrics={"l0": l0},
        groups=config.get(GROUPS_KEY, {}),
        training={"format": "gemma-scope-2"},
    )


def _collection(source: Source) -> str:
    repo = _REPO.search(source.folder.absolute().as_posix())
    return repo[0] if repo else "gemma-scope-2"


def _variant(text: str) -> str:
    return text.strip("/").replace("/", ".")


def _layers(source: Source, hook: str, count: int) -> list[str]:
    """One hook for each layer out of ``model.layers.{5,9}.output`` or ``{all}``."""
    m = re.search(r"\{([\d, ]+|all)\}", hook)
    if m is None:
        raise BadFile(f"{source.where}: {hook[:80]!r} names no list of layers.")
    numbers = list(range(count)) if m[1] == "all" else [int(part) for part in m[1].split(",") if part.strip()]
    if len(numbers) != count or max(numbers) > 9999:
        raise BadFile(f"{source.where}: {hook[:80]!r} names {len(numbers)} layers; there are {count} files.")
    return [f"{hook[: m.start()]}{n}{hook[m.end() :]}" for n in numbers]


def _read_many(source: Source) -> Sae:
    files, named_file = members(source), _PART.fullmatch(source.file)
    if named_file is None and files != [f"params_layer_{i}" for i in range(len(files))]:
        raise BadFile(f"{source.where} holds {', '.join(files)}; the files of a set are numbered from 0 without a gap.")
    config = _config(source)
    model = _model(source, config)
    named = _MANY.search(source.folder.absolute().as_posix())
    hook_in, hook_out = word(source, config, "hf_hook_point_in"), word(source, config, "hf_hook_point_out")
    if not hook_in and named and named["clt"]:
        hook_in, hook_out = (hook.format("{all}") for hook in _HOOKS["transcoder"])
    elif not hook_in and named:
        hook_in = "model.layers.{" + named["layers"].strip("_").replace("_", ",") + "}.output"
    chosen = int(named_file[1]) if named_file else None
    parts = [_part(source, i, None if named_file else len(files)) for i in (range(len(files)) if chosen is None else [chosen])]
    count = parts[0].W_dec.shape[1] // parts[0].W_enc.shape[0]
    reads = [parse_hook(hook, model) for hook in _layers(source, hook_in, count)]
    writes = [parse_hook(hook, model).site for hook in _layers(source, hook_out or hook_in, count)]
    variant = _variant(named[0] if named else source.folder.name)
    facts: dict[str, Any] = {"model": model, "context": CONTEXT, "bos": True, "training": {"format": "gemma-scope-2"}}
    if chosen is not None:
        reads, variant = [reads[chosen]], f"{variant}.params_layer_{chosen}"
        source.warn(f"this is the share of layer file {chosen}; reconstructions of all {count} shares add up to the whole.")
    elif "l0" in config:
        facts["metrics"] = {"l0": number(source, config, "l0")}
    return finish(source, joined(source, parts), reads, _collection(source), variant, writes, **facts)


def _part(source: Source, i: int, count: int | None) -> Parts:
    """File `i`: features that read one layer and write all `count` (as many as it says); its bias and skip belong to the ``i``-th."""
    where = f"{source.folder}/params_layer_{i}.safetensors"
    found = source.tensors(f"params_layer_{i}.safetensors")
    W_enc, w_dec, b_dec = weight(source, found, "w_enc", 2), weight(source, found, "w_dec", 3), weight(source, found, "b_dec", 1)
    count = count or w_dec.shape[1]
    if list(w_dec.shape[1:]) != [count, len(b_dec)] or W_enc.shape[0] != len(b_dec):
        said = f"w_enc has shape {list(W_enc.shape)} and w_dec {list(w_dec.shape)}"
        raise BadFile(f"{where}: {said}; they must be [{len(b_dec)}, features] and [features, {count}, {len(b_dec)}].")
    if i >= count:
        raise BadFile(f"{where} is file {i} of a set that writes {count} layers; they are numbered from 0.")
    skip = None
    if "affine_skip_connection" in found:
        square = weight(source, found, "affine_skip_connection", 2)
        if square.numel() * count > w_dec.numel() + _SMALL:
            raise BadFile(f"{where}: a skip of shape {list(square.shape)} does not go with w_dec {list(w_dec.shape)}.")
        skip = at_target(square, i, count)
    bias = at_target(b_dec[None], i, count)[0]
    b_enc, threshold = weight(source, found, "b_enc", 1), weight(source, found, "threshold", 1)
    return Parts(W_enc, b_enc, w_dec.flatten(1), bias, threshold, skip)


def at_target(rows: Tensor, i: int, count: int) -> Tensor:
    """`rows` in the ``i``-th of `count` equal runs of columns, 0 elsewhere."""
    out = rows.new_zeros(len(rows), count * rows.shape[1])
    out[:, i * rows.shape[1] : (i + 1) * rows.shape[1]] = rows
    return out


def joined(source: Source, parts: list[Parts]) -> Parts:
    """Several sources side by side: each one's encoder in a block of its own, decoders below each other, biases added."""
    if len(parts) == 1:
        return parts[0]
    size = sum(p.W_enc.shape[0] for p in parts) * sum(p.W_enc.shape[1] for p in parts) + sum(p.W_dec.numel() for p in parts)
    if size > _MAX_JOINT and not source.meta:
        raise LimitReached(
            f"{source.where}: all {len(parts)} layers side by side are {4 * size / 1e9:.0f} GB. Open one layer at a time with member=... "
            "(reconstructions of the layers add up)."
        )
    if len({p.W_dec.shape[1] for p in parts}) > 1:
        raise BadFile(f"{source.where}: its layers write different widths.")
    skips = [p.W_skip for p in parts if p.W_skip is not None]
    if skips and len(skips) != len(parts):
        raise BadFile(f"{source.where}: {len(skips)} of {len(parts)} layers have a skip; all or none must.")
    thresholds = [p.b_enc.new_zeros(len(p.b_enc)) if p.threshold is None else p.threshold for p in parts]
    W_enc = parts[0].W_enc.new_zeros(sum(p.W_enc.shape[0] for p in parts), sum(p.W_enc.shape[1] for p in parts))
    row = column = 0
    for p in parts:
        W_enc[row : row + p.W_enc.shape[0], column : column + p.W_enc.shape[1]] = p.W_enc
        row, column = row + p.W_enc.shape[0], column + p.W_enc.shape[1]
    return Parts(
        W_enc,
        torch.cat([p.b_enc for p in parts]),
        torch.cat([p.W_dec for p in parts]),
        torch.stack([p.b_dec for p in parts]).sum(0),
        torch.cat(thresholds),
        torch.cat(skips) if skips else None,
    )


def write(sae: Sae, path: Path) -> Path:
    """A folder ``<site>/layer_L_width_W_l0_N`` under `path` with `config.json` and `params.safetensors`."""
    facts = sae.facts
    if facts.activation != "jumprelu" or facts.normalize != "none":
        raise BadConfig(f"{sae.name} is {facts.activation}, normalize {facts.normalize}; Gemma Scope 2 files hold plain JumpReLU.")
    if len(facts.input_sites) + len(facts.output_sites) > 2:
        raise BadConfig(f"{sae.name} reads or writes several sites; only single-layer SAEs and transcoders are written.")
    transcoder = facts.output_sites != facts.input_sites
    hooks = [".".join(("model", *module_path(site, facts.model))) for site in (facts.input_sites[0], facts.output_sites[0])]
    folders = {"resid_post": "resid_post", "attn_z": "attn_out", "mlp_out": "mlp_out", "mlp_in": "transcoder"}
    if (facts.site.kind not in folders) or transcoder != (facts.site.kind == "mlp_in"):
        raise unknown("Gemma Scope 2 site", facts.site.kind, folders, "mlp_in is a transcoder to mlp_out.")
    l0 = facts.metrics.get("l0")
    config = {
        "hf_hook_point_in": hooks[0],
        "hf_hook_point_out": hooks[1],
        "width": sae.d_sae,
        "model_name": facts.model,
        "architecture": "jump_relu",
        **({} if l0 is None else {"l0": round(l0)}),
        **({GROUPS_KEY: facts.groups} if facts.groups else {}),
        "affine_connection": sae.W_skip is not None,
        "type": "transcoder" if transcoder else "sae",
    }
    affine = "_affine" if sae.W_skip is not None else ""
    target = (
        path
        / folders[facts.site.kind]
        / f"layer_{facts.site.layer}_width_{sae.d_sae}{f'_l0_{round(l0)}' if l0 is not None else ''}{affine}"
    )
    names = {"W_enc": "w_enc", "W_dec": "w_dec", "W_skip": "affine_skip_connection"}
    with atomic_folder(target) as folder:
        write_safetensors(folder / FILE, {names.get(name, name): tensor.cpu() for name, tensor in weights_of(sae).items()}, {})
        (folder / CONFIG).write_text(_dump(config))
    return target


def _dump(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"
