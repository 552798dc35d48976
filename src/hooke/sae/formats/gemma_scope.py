"""Gemma Scope (2024): one `params.npz` with five arrays; what it is stands in its path.

Weights are used as they are: ``x W_enc + b_enc``, JumpReLU, no ``b_dec`` subtracted, no scale. Arrays may be deflated. `-att` reads the
heads side by side before the output projection, `-mlp` what the post-MLP norm gives, `-transcoders` the normed residual without gain.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hooke.errors import BadConfig, BadFile
from hooke.files import atomic_write
from hooke.names import Site
from hooke.sae import Sae, weights_of
from hooke.sae.formats.parts import Parts, finish, weight
from hooke.sae.formats.sites import NormalizedSite
from hooke.sae.formats.source import Source
from hooke.sae.formats.zipped import members

FILE = "params.npz"
CONTEXT = 1024
_NORM_EPS = 1e-6
"""What Gemma adds to the mean square it divides by."""
_PATH = re.compile(
    r"(?:layer_(?P<layer>\d{1,4})|(?P<embedding>embedding))/width_(?P<width>\w{1,20})/(?:average_l0_(?P<l0>\d{1,6})|canonical)/?$"
)
_REPO = re.compile(r"gemma-scope-(?P<model>[A-Za-z0-9.]+(?:-[A-Za-z0-9.]+)*?)-(?P<kind>res|att|mlp|transcoders)(?![A-Za-z0-9])")
_MODELS = {
    "2b-pt": "google/gemma-2-2b",
    "9b-pt": "google/gemma-2-9b",
    "9b-it": "google/gemma-2-9b-it",
    "27b-pt": "google/gemma-2-27b",
}
_BY_WIDTH = {2304: "2b-pt", 3584: "9b-pt", 4608: "27b-pt"}
_KINDS = {"res": "resid_post", "att": "attn_z", "mlp": "mlp_out", "transcoders": "resid_mid"}
_WIDTHS = {4096: "4k", 16384: "16k", 32768: "32k", 65536: "65k", 131072: "131k", 262144: "262k", 524288: "524k", 1048576: "1m"}


@dataclass(frozen=True)
class _Said:
    """What a path says."""

    repo: str
    model: str
    kind: str
    layer: int
    embedding: bool
    variant: str
    l0: int | None


def sniff(source: Source) -> bool:
    """A `.npz` file with the five arrays, in upper or lower case."""
    name = _file(source)
    if not name:
        return False
    try:
        found = {key.removesuffix(".npy").lower() for key in members(source.folder / name)}
    except BadFile:
        return True  # it is a params.npz; reading says what is wrong with it
    return {"w_enc", "w_dec", "threshold"} <= found


def _file(source: Source) -> str:
    if source.file:
        return source.file if source.file.endswith(".npz") else ""
    return FILE if FILE in source.names else ""


def read(source: Source) -> Sae:
    """The SAE, transcoder or embedding SAE."""
    found = {key.replace("w_", "W_"): tensor for key, tensor in source.tensors(_file(source)).items()}
    parts = Parts(*(weight(source, found, key, 1 + key.startswith("W")) for key in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")))
    said = _said(source, len(parts.b_dec))
    writes = None
    if said.embedding:
        parts = _for_scaled_embedding(parts)
    reads = NormalizedSite("resid_pre.0") if said.embedding else NormalizedSite(f"{_KINDS[said.kind]}.{said.layer}")
    if said.kind == "transcoders" and said.layer >= 0:
        reads, writes = NormalizedSite(reads.site, "rms_in", _NORM_EPS), [f"mlp_out.{said.layer}"]
    if said.layer < 0 and source.site:
        reads = NormalizedSite(str(Site.parse(source.site)))
    training = {"format": "gemma-scope", "excluded": "special tokens"}
    return finish(
        source,
        parts,
        reads,
        said.repo,
        said.variant,
        writes,
        model=said.model,
        context=CONTEXT,
        bos=True,
        metrics={"l0": said.l0},
        training=training,
    )


def _for_scaled_embedding(parts: Parts) -> Parts:
    """They were trained on embeddings as stored; Gemma's residual stream begins with them times sqrt(d_model)."""
    scale = len(parts.b_dec) ** 0.5
    return parts.scaled(1 / scale, 1 / scale)


def _said(source: Source, d_out: int) -> _Said:
    path = source.folder.absolute().as_posix()
    found, repo = _PATH.search(path), next(reversed(list(_REPO.finditer(path))), None)
    if found is None and not source.site:
        raise BadFile(
            f"{source.where}: Gemma Scope files say nothing about themselves; their path does, and this one has no "
            "layer_20/width_16k/average_l0_71 (or embedding/...). Keep those folders, or say site='resid_post.20' (--site)."
        )
    size = repo["model"] if repo else _BY_WIDTH.get(d_out, "")
    if not repo:
        source.warn("no folder is called gemma-scope-*-res, -att, -mlp or -transcoders: taken for residual stream SAEs (-res).")
    if not source.model and not size:
        source.warn(f"the model is not known (no Gemma 2 has width {d_out}).")
    kind = repo["kind"] if repo else "res"
    name = repo[0] if repo else f"gemma-scope-{size}-res" if size else "gemma-scope"
    l0 = int(found["l0"]) if found and found["l0"] else None
    variant = f"width_{found['width']}.{'canonical' if l0 is None else f'average_l0_{l0}'}" if found else ""
    layer = int(found["layer"]) if found and found["layer"] else 0 if found else -1
    embedding = bool(found and found["embedding"])
    return _Said(name, _MODELS.get(size, f"google/{size}" if size else ""), kind, layer, embedding, variant, l0)


def write(sae: Sae, path: Path) -> Path:
    """``gemma-scope-<model>-<kind>/layer_L/width_W/average_l0_N/params.npz`` under `path` (or `path` itself where it is such a path)."""
    facts, kind = sae.facts, _kind(sae)
    known = {model: size for size, model in _MODELS.items()}
    model = known.get(facts.model) or re.sub(r"[^A-Za-z0-9.-]+", "-", facts.model.rpartition("/")[2]).strip("-.") or "unknown"
    target = path / f"gemma-scope-{model}-{kind}" / f"layer_{facts.site.layer}" / f"width_{_WIDTHS.get(sae.d_sae, sae.d_sae)}"
    l0 = facts.metrics.get("l0")
    target = target / ("canonical" if l0 is None else f"average_l0_{round(l0)}") / FILE
    write_npz(
        target, {name: weights_of(sae)[name].cpu().contiguous().numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    )
    return target


def write_npz(path: Path, arrays: dict[str, Any]) -> None:
    """What `numpy.savez` writes, atomically; the same arrays give the same bytes."""
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def _kind(sae: Sae) -> str:
    facts = sae.facts
    if facts.activation != "jumprelu":
        raise BadConfig(f"{sae.name} is {facts.activation} with k={facts.k}; Gemma Scope files hold thresholds and no k.")
    if sae.W_skip is not None:
        raise BadConfig(f"{sae.name} has a linear skip, which Gemma Scope files cannot hold. Gemma Scope 2 can: --to gemma-scope-2.")
    if len(facts.input_sites) + len(facts.output_sites) > 2:
        raise BadConfig(f"{sae.name} reads or writes several sites; a Gemma Scope file holds one.")
    site, transcoder = facts.site, facts.output_sites != facts.input_sites
    if transcoder and site.kind == "resid_mid" and facts.normalize == "rms_in" and facts.output_sites[0].kind == "mlp_out":
        if facts.norm_eps != _NORM_EPS:
            raise BadConfig(
                f"{sae.name} adds {facts.norm_eps:g} to the mean square it divides by; "
                f"Gemma Scope files do not say it, and mean {_NORM_EPS:g}."
            )
        return "transcoders"
    kinds = {ours: theirs for theirs, ours in _KINDS.items() if theirs != "transcoders"}
    if transcoder or site.kind not in kinds or facts.normalize != "none":
        raise BadConfig(
            f"{sae.name} reads {', '.join(map(str, facts.input_sites))} (normalize {facts.normalize}) and writes "
            f"{', '.join(map(str, facts.output_sites))}; Gemma Scope has {', '.join(kinds)} and MLP transcoders without gain."
        )
    return kinds[site.kind]
