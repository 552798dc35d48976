"""Hooke's own file as a dialect; a folder of such files, as packs carry, has each as a member."""

from dataclasses import replace
from pathlib import Path

from hooke.sae import Sae
from hooke.sae.formats.source import Source
from hooke.sae.inspection import asked_of, is_own
from hooke.sae.native import load, save


def sniff(source: Source) -> bool:
    """A safetensors file whose header has our facts, under whatever name."""
    return is_own(source.folder / source.file) if source.file else bool(members(source))


def members(source: Source) -> list[str]:
    """The files of a folder."""
    return sorted(name for name in source.names if is_own(source.folder / name))


def read(source: Source) -> Sae:
    """The SAE; `BadConfig` for another site than its header says."""
    sae = load(source.where)
    source.used.add(source.file)
    return replace(sae, facts=asked_of(sae.facts, source.where, site=source.site, model=source.model))


def write(sae: Sae, path: Path) -> Path:
    """One file; a folder gets it under the SAE's own name."""
    if path.suffix != ".safetensors":
        path = path / f"{sae.name.replace('/', '.')}.safetensors"
    save(sae, path, "float32")
    return path
