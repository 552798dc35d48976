"""Hooke's own file as a dialect; a folder of such files, as packs carry, has each as a member."""

from dataclasses import replace
from pathlib import Path

from hooke.errors import BadConfig, BadFile, Missing
from hooke.files import safetensors_header
from hooke.names import Site
from hooke.sae import Sae
from hooke.sae.formats.source import Source
from hooke.sae.native import HEADER_KEY, load, read_facts, save


def _ours(path: Path) -> bool:
    try:
        return HEADER_KEY in safetensors_header(path)[1]
    except (BadFile, Missing):
        return False


def sniff(source: Source) -> bool:
    """A safetensors file whose header has our facts, under whatever name."""
    if source.file:
        return _ours(source.folder / source.file)
    return bool(members(source))


def members(source: Source) -> list[str]:
    """The files of a folder."""
    return sorted(name for name in source.names if _ours(source.folder / name))


def read(source: Source) -> Sae:
    """The SAE; in `meta` mode its weights have no values. `BadConfig` for another site than its header says."""
    sae = _read(source)
    if source.site and str(Site.parse(source.site)) != str(sae.site):
        raise BadConfig(f"{source.where} says itself that it reads {sae.site}; the site {source.site} cannot be put in its place.")
    return replace(sae, facts=replace(sae.facts, model=source.model)) if source.model else sae


def _read(source: Source) -> Sae:
    path = source.where
    source.used.add(source.file)
    if not source.meta:
        return load(path)
    import torch

    facts, d_in, d_sae = read_facts(path)
    shapes = safetensors_header(path)[0]
    source.dtypes |= {dtype.lower() for name, (dtype, _) in shapes.items() if name.startswith("W_")}
    d_out = shapes.get("b_dec", ("", [d_in]))[1][0]
    sizes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_out), "b_dec": (d_out,), "threshold": (d_sae,)}
    if "W_skip" in shapes:
        sizes["W_skip"] = (d_in, d_out)
    return Sae(**{name: torch.empty(size, device="meta") for name, size in sizes.items()}, facts=facts)


def write(sae: Sae, path: Path) -> Path:
    """One file; a folder gets it under the SAE's own name."""
    if path.suffix != ".safetensors":
        path = path / f"{sae.name.replace('/', '.')}.safetensors"
    save(sae, path, "float32")
    return path
